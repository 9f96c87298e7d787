"""What a score network is trained to minimise.

All are weights on one error: sigma s + z = alpha (D - x0) / sigma, so a loss is w(t) mean |D(x_t, t) - x0|^2.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from priors.base import Prior, expand
from priors.sde import SDE

Weight = Callable[[SDE, Tensor, float], Tensor]
T_TRAIN = 1e-5  # the least time that networks are trained at, as in the paper


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
    """Every noise level weighs alike for a network of unit-variance target; t (N,) -> (N,).

    Source: Karras et al. 2022, table 1.
    """
    return (sde.alpha(t) / sde.sigma(t)) ** 2 + 1 / variance


WEIGHTS: dict[str, Weight] = {"score": _score, "likelihood": _likelihood, "unit": _unit}


def perturb(sde: SDE, x0: Tensor, t: Tensor, z: Tensor) -> Tensor:
    """x_t = alpha(t) x0 + sigma(t) z under the sde; x0, z (N, *E), t (N,) -> (N, *E)."""
    return expand(sde.alpha(t), x0) * x0 + expand(sde.sigma(t), x0) * z


def denoising_score_matching(prior: Prior, x0: Tensor, t: Tensor, z: Tensor, weight: str = "score") -> Tensor:
    """Continuous denoising score matching, (N,).

    Formula: w(t) mean_E |D(alpha x0 + sigma z, t) - x0|^2, which is lambda(t) |s + z / sigma|^2 for the score s of D.
    Source: Vincent 2011; Song et al. 2021, equation 7.
    Arguments: prior (its network is trained); x0, z (N, *E) data and standard normal noise; t (N,) times; weight (a
    name in `WEIGHTS`).
    Raises: ValueError for an unknown weight.
    """
    if weight not in WEIGHTS:
        raise ValueError(f"weight = {weight!r}: expected one of {sorted(WEIGHTS)}")
    error = prior.denoise(perturb(prior.sde, x0, t, z), t) - x0
    return WEIGHTS[weight](prior.sde, t, prior.variance).to(x0) * error.flatten(1).square().mean(1)


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
