"""Training losses of score networks.

Since sigma s + z = alpha (D - x0) / sigma, each denoising loss is w(t) mean |D(x_t, t) - x0|^2.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from priors.arguments import choice, rows
from priors.base import Prior, expand
from priors.noising import LEAST, SDE
from priors.sde import LadderSDE

Weight = Callable[[SDE, Tensor, float], Tensor]
T_TRAIN = LEAST


def _score(sde: SDE, t: Tensor, variance: float) -> Tensor:
    """lambda = sigma^2: |sigma s + z|^2, the paper's default; t (N,) -> (N,).

    Source: Song et al. 2021, equation 7.
    """
    return (sde.alpha(t) / sde.sigma(t)) ** 2


def _likelihood(sde: SDE, t: Tensor, variance: float) -> Tensor:
    """lambda = g^2: g^2 |s + z / sigma|^2, a bound on the negative log-likelihood; t (N,) -> (N,).

    Source: Song et al. 2021b, theorem 1.
    """
    return sde.g2(t) * (sde.alpha(t) / sde.sigma(t) ** 2) ** 2


def _unit(sde: SDE, t: Tensor, variance: float) -> Tensor:
    """Equal weight of all noise levels for a network with a unit-variance target; t (N,) -> (N,).

    Source: Karras et al. 2022, table 1.
    """
    return (sde.alpha(t) / sde.sigma(t)) ** 2 + 1 / variance


WEIGHTS: dict[str, Weight] = {"score": _score, "likelihood": _likelihood, "unit": _unit}


def perturb(sde: SDE, x0: Tensor, t: Tensor, z: Tensor) -> Tensor:
    """x_t = alpha(t) x0 + sigma(t) z under the sde; x0, z (N, *E), t (N,) -> (N, *E).

    Raises: TypeError or ValueError for tensors of wrong types or shapes.
    """
    rows("x0", x0)
    if not isinstance(z, Tensor) or z.shape != x0.shape or z.device != x0.device:
        raise ValueError(
            f"z: expected a tensor of x0's shape {tuple(x0.shape)} on {x0.device}, of standard normal noise"
        )
    if not isinstance(t, Tensor) or t.shape not in ((len(x0),), (1,), ()) or t.is_complex() or t.is_meta:
        raise ValueError(f"t: expected a tensor ({len(x0)},) of times, one per sample")
    return expand(sde.alpha(t), x0) * x0 + expand(sde.sigma(t), x0) * z


def denoising_score_matching(
    prior: Prior, x0: Tensor, t: Tensor, z: Tensor, weight: str = "score", target: Tensor | None = None
) -> Tensor:
    """Continuous denoising score matching, (N,).

    Formula: w(t) mean_E |D(alpha x0 + sigma z, t) - x0|^2, which is lambda(t) |s + z / sigma|^2 for the score s of D.
    Source: Vincent 2011; Song et al. 2021, equation 7.
    Arguments: prior (its network is trained); x0, z (N, *E) data and standard normal noise; t (N,) times; weight (a
    name in `WEIGHTS`); target (N, *E): what D is compared with, default x0.
    Raises: ValueError for an unknown weight.
    """
    _known(prior)
    error = prior.denoise(perturb(prior.sde, x0, t, z), t) - (x0 if target is None else target)
    return _weight(prior, t, weight).to(x0) * error.flatten(1).square().mean(1)


def sliced_score_matching(prior: Prior, x0: Tensor, t: Tensor, z: Tensor, v: Tensor, weight: str = "score") -> Tensor:
    """Sliced score matching with variance reduction, under every p_t, (N,).

    Formula: lambda(t) / d (|s|^2 + 2 v' (ds/dx) v) with s = (alpha D - x_t) / sigma^2, whose mean over x0, z and v is
    that of `denoising_score_matching` minus a constant independent of s. It does not use the added noise z other than
    through x_t.
    Source: Song, Garg, Shi & Ermon 2019, equation 8 (SSM-VR, twice); Song et al. 2021, section 3.3.
    Arguments: as `denoising_score_matching`; v (N, *E): projections of mean 0 and covariance I that are independent of
    x0 and z, such as signs.
    Raises: ValueError for an unknown weight.
    """
    _known(prior)
    trained = torch.is_grad_enabled()
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        x = perturb(prior.sde, x0, t, z).detach().requires_grad_()
        s = prior.score(x, t)
        (product,) = torch.autograd.grad((s * v).sum(), x, create_graph=trained)
    each = (s.square() + 2 * v * product).flatten(1).mean(1)
    loss = (_weight(prior, t, weight) * prior.sde.sigma(t) ** 4 / prior.sde.alpha(t) ** 2).to(x0) * each
    return loss if trained else loss.detach()


def smld(prior: Prior, x0: Tensor, level: Tensor, z: Tensor) -> Tensor:
    """The SMLD loss at discrete noise levels, sigma_i^2 mean |s(x0 + sigma_i z) + z / sigma_i|^2, (N,).

    Source: Song & Ermon 2019, equations 5 and 6 (twice, and a mean over elements); Song et al. 2021, equation 1.
    Arguments: prior of a `LadderSDE` whose alphas are 1; x0, z (N, *E); level (N,) integers from 1 (the least noise).
    Raises: ValueError for another SDE.
    """
    sde = _ladder(prior)
    if any(alpha != 1 for alpha in sde.alphas):
        raise ValueError("smld: expected alpha = 1 at every level, as for LadderSDE.smld; for others use the loss ddpm")
    t = level.to(x0) / len(sde.alphas)
    sigma = expand(sde.sigma(t), x0)
    return (sigma * prior.score(x0 + sigma * z, t) + z).flatten(1).square().mean(1)


def ddpm(prior: Prior, x0: Tensor, level: Tensor, z: Tensor) -> Tensor:
    """The loss of noise prediction, mean |eps_hat(sqrt(alpha-bar_i) x0 + sigma_i z) - z|^2, (N,).

    Formula: eps_hat = (x_i - sqrt(alpha-bar_i) D) / sigma_i.
    Source: Ho et al. 2020, equation 14; Song et al. 2021, equation 3.
    Arguments: prior of a `LadderSDE`; x0, z (N, *E); level (N,) integers from 1 (the least noise).
    Raises: ValueError for another SDE.
    """
    t = level.to(x0) / len(_ladder(prior).alphas)
    alpha, sigma = expand(prior.sde.alpha(t), x0), expand(prior.sde.sigma(t), x0)
    x = alpha * x0 + sigma * z
    return ((x - alpha * prior.denoise(x, t)) / sigma - z).flatten(1).square().mean(1)


def _known(prior: Prior) -> None:
    if not isinstance(prior, Prior):
        raise TypeError(f"prior of type {type(prior).__name__}: expected a priors.Prior")


def _weight(prior: Prior, t: Tensor, weight: str) -> Tensor:
    return WEIGHTS[choice("weight", weight, sorted(WEIGHTS))](prior.sde, t, prior.variance)


def _ladder(prior: Prior) -> LadderSDE:
    if not isinstance(prior.sde, LadderSDE):
        raise ValueError(
            f"{type(prior.sde).__name__} has no discrete levels: expected a LadderSDE, such as LadderSDE.ddpm()"
        )
    return prior.sde


def likelihood_times(sde: SDE, u: Tensor) -> Tensor:
    """Times on [T_TRAIN, 1] of density proportional to the sde's g^2 / sigma^2, from uniform numbers u (N,); (N,).

    Formula: g^2 / sigma^2 = d/dt log (sigma / alpha)^2, so log (sigma / alpha) is uniform between its ends.
    Source: Song et al. 2021b, section 5 (importance-sampled times), there for VP.
    """
    first, last = (_log_ratio(sde, t) for t in (T_TRAIN, 1.0))
    return sde.time(torch.exp(first + (last - first) * u.double())).clamp(T_TRAIN, 1.0).to(u)


def likelihood_density(sde: SDE, t: Tensor) -> Tensor:
    """The density of `likelihood_times` of the sde over the uniform density on [T_TRAIN, 1], t (N,) -> (N,).

    A loss divided by it has the expectation of that loss under uniform times.
    """
    total = 2 * (_log_ratio(sde, 1.0) - _log_ratio(sde, T_TRAIN))
    return (1 - T_TRAIN) * sde.g2(t) / sde.sigma(t) ** 2 / total.to(t)


def _log_ratio(sde: SDE, t: float) -> Tensor:
    return torch.log(sde.sigma(t) / sde.alpha(t))
