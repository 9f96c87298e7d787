"""Do samples explain the measurement? chi^2 of the residual, and p-values."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from inverse.gaussian import Wiener
from operators import ConeBeam, Fourier, LinearOperator, NonCartesian, Operator, Radon
from operators.composition import Composition
from operators.solvers import column
from operators.tomography import Tomography
from priors import Prior
from priors.arguments import rows as rows_of

OF_BLUR = "for a blur, its kernel"  # what is often wrong, where the operator is not one of those below
POOR = (0.5, 2.0)  # range of chi^2 outside which `solve` warns, if it is not chance
RARE = 1e-4  # largest probability of such a chi^2 for exact samples at which it warns
FLOORS = 9.0  # noiseless y: largest squared residual, relative to that of the prior's least noise
AT_ONCE = 2**20  # entries of a residual that are squared in double precision at once
NUMBERS_AT_ONCE = 2**16  # of samples that are measured in one call


class PoorFit(UserWarning):
    """Samples that do not explain the measurement to within its noise, or that fit the noise too: they are not samples
    of the posterior."""


def residual_chi2(operator: Operator, y: Tensor, x: Tensor) -> Tensor:
    """Mean squared residual relative to the noise variance: about 1 for a posterior sample, less if noise was fitted.

    Formula: mean over measured entries of (y - E[y | A x])^2 / Var[y | A x]; E[y | A x] = A x except of Rician noise.
    Arguments: operator (with parameters for these B measurements); y (B, *M); x (B, *E).
    Returns: (B,).
    Raises: ValueError for a noise without a variance, such as sigma = 0.
    """
    _known(operator)
    operator = operator.at(tuple(rows_of("x", x).shape[1:]))
    clean = operator(x)
    operator.noise.fits(y, tuple(clean.shape[1:]), len(clean))
    if y.device != clean.device:
        raise ValueError(f"y is on {y.device} and x on {x.device}: move one of them with .to(...)")
    variance = operator.noise.variance(clean)
    if not bool((variance > 0).all()):
        raise ValueError("the noise has variance 0 somewhere: chi^2 is not defined, use sigma > 0")
    return _mean_square(operator, y - operator.noise.mean(clean), variance).to(y)


def suspects(operator: Operator | None) -> str:
    """The parts of an operator, or of the one that a composition begins with, that are often wrong, in words."""
    first: Any = operator
    while isinstance(first, Composition):
        first = first.inner
    if isinstance(first, Tomography | ConeBeam):
        beam = "" if isinstance(first, Radon) else ", source distance"
        return f"its centre, angles, detector pitch{beam}, or the gain and units of y"
    if isinstance(first, Fourier | NonCartesian):
        return "its mask or trajectory, its phase and coil sensitivities, or the scale, conjugation or axes of y"
    return OF_BLUR


def misfit(
    chi2: float, p: float, allowed: tuple[float, float], rare: float, method: str = "", gaussian: bool = True,
    operator: Operator | None = None,
) -> str:  # fmt: skip
    """A message on an implausible chi^2, with remedies; empty if it is in ``allowed`` or not that rare.

    Arguments: chi2; p: probability of a larger chi^2, as `predictive_p`; allowed: smallest and largest plausible chi^2;
    rare: p-value below which chance is excluded (above one minus it on the other side); method: another one to try;
    gaussian: whether the noise has a sigma_y; operator: whose parts that are often wrong are named.
    """
    parts = suspects(operator)
    other = f"method {method!r}" if method else ""
    figures = f"chi^2 {chi2:.3g}, p = {p:.2g}"
    if not chi2 <= allowed[1] and not p >= rare:
        if chi2 <= POOR[1]:
            return (
                f"the residuals are {100 * (chi2**0.5 - 1):.0f} % larger than sigma_y ({figures}): the operator is "
                f"wrong ({parts}), more steps (n_steps) are needed"
                + (other and f", or {other}")
                + f", or sigma_y is {chi2**0.5:.3g} times the stated one; a larger sigma_y hides a wrong operator"
            )
        cause = "sigma_y is too small" if gaussian else "there is more noise than stated"
        own = "" if operator is None or parts == OF_BLUR else f"{parts}; "
        return (
            f"no sample explains y ({figures}): {cause}, the operator is wrong ({own}operators.check tests "
            "one of your own), the prior does not cover the picture, or the method failed: try more steps (n_steps)"
            + (other and f", or {other}")
        )
    if chi2 < allowed[0] and p > 1 - rare:
        cause = "sigma_y is too large" if gaussian else "there is less noise than stated"
        return (
            f"the samples fit the noise ({figures}): the noise is correlated, clipped or rounded (JPEG), {cause}, or "
            "the method does not sample the posterior" + (other and f": try {other}")
        )
    return ""


def misfits(
    operator: Operator,
    y: Tensor,
    samples: Tensor,
    log_weights: Tensor,
    floor: float = 0.0,
    method: str | Callable[[], str] = "",
) -> list[str]:
    """Messages on residuals that posterior samples cannot have, one per measurement; empty if plausible.

    Formula: the `mean_chi2` of the samples, outside .5 to 2, if exact samples have such a chi^2 with probability below
    1e-4. For noiseless measurements the residual is compared with that of noise of standard deviation ``floor`` on x0,
    and reported above 3 times it. Labels are never reported, nor is a sample of weight 0.
    Arguments: operator; y (B, *M); samples (B, K, *E); log_weights (B, K); floor: sigma / alpha at the last noise
    level; method: another one to suggest, if any, or a function that finds one, called if there is a message.
    Returns: B strings.
    """
    found = mean_chi2(operator, y, samples, log_weights, floor)
    if found is None:
        return [""] * len(y)
    told = judged(operator, *found, method if isinstance(method, str) else "")
    return told if isinstance(method, str) or not any(told) else judged(operator, *found, method())


def judged(operator: Operator, chi2: Tensor, p: Tensor, method: str = "") -> list[str]:
    """The messages of `misfits` on these figures. Arguments: operator; chi2 and p (B,), of `mean_chi2`; method."""
    noise = operator.noise
    gaussian, allowed = "gaussian" in noise.capabilities, POOR
    if gaussian and noise.noiseless:
        allowed = (0.0, FLOORS)
    figures = zip(chi2.tolist(), p.tolist(), strict=True)
    return [misfit(*each, allowed, RARE, method, gaussian, operator) for each in figures]


@torch.no_grad()
def mean_chi2(
    operator: Operator, y: Tensor, samples: Tensor, log_weights: Tensor, floor: float = 0.0
) -> tuple[Tensor, Tensor] | None:
    """The chi^2 that `solve` checks, the mean over samples, and the probability that exact samples have a larger one.

    Formula: the weighted mean over samples of the mean of (y - E[y | A x])^2 / v over measured entries; v is the noise
    variance, and for noiseless measurements the squared residual of noise of standard deviation ``floor`` on x0. The
    probability is that of a chi^2 law, for a single sample; by Jensen's inequality the mean over samples has no heavier
    exponential moments. For noise that is not Gaussian, v is the larger of its variances at y and at A x, the result is
    relative to the same mean for measurements simulated from the samples, and the law has the variance of theirs.
    Arguments: as `misfits`.
    Returns: chi^2 (B,) and probability (B,), float64; None for labels, which have no residual.
    """
    if not y.is_floating_point():
        return None
    weights, noise = torch.softmax(log_weights.double(), 1), operator.noise
    gaussian = "gaussian" in noise.capabilities
    generator = torch.Generator().manual_seed(0)
    chi2, simulated, spread = torch.zeros(3, len(y), dtype=torch.float64, device=y.device)
    m, tiny = _measured(operator, y).flatten(1).sum(1).double(), torch.finfo(y.dtype).tiny
    at_once = max(1, NUMBERS_AT_ONCE // samples[:, 0].numel())
    for some, shares in zip(samples.split(at_once, 1), weights.split(at_once, 1), strict=True):
        n = some.shape[1]
        rows, x = operator.rows(torch.arange(len(y)).repeat_interleave(n)), some.flatten(0, 1)
        measured, clean = y.repeat_interleave(n, 0) if n > 1 else y, rows(x)
        residual, variance = _deviation(rows, measured, clean)
        if noise.noiseless:
            drawn = torch.stack([torch.randn(some[:, 0].shape, generator=generator) for _ in range(n)], 1)
            away = floor * drawn.flatten(0, 1).to(x)
            made = _mean_square(rows, rows(x + away) - clean, torch.ones_like(measured))
            variance = variance + column(made.to(y), measured)
        if not gaussian:
            clean = clean.clamp_min(noise.least)
            made = rows.noise.sample(clean.cpu(), generator).to(y)
            away, v = _deviation(rows, made, clean)
            simulated += _shared(shares, _mean_square(rows, away, v, tiny).view(len(y), n))
            spread += _shared(
                shares, _mean_square(rows, away**2 / v.clamp_min(tiny), torch.ones_like(v)).view(len(y), n)
            )
        chi2 += _shared(shares, _mean_square(rows, residual, variance, tiny).view(len(y), n))
    shape = m / 2  # of the gamma law of chi^2
    if not gaussian:
        shape = m * simulated**2 / (spread - simulated**2)
        chi2 = torch.where(chi2 > 0, chi2 / simulated, 0)
    chi2 = torch.where(m > 0, chi2, 1.0)  # nothing was measured, so everything explains it
    return chi2, torch.special.gammaincc(shape, (shape * chi2).nan_to_num(torch.inf, torch.inf))


def predictive_p(operator: Operator, y: Tensor, samples: Tensor, log_weights: Tensor | None = None) -> Tensor:
    """Posterior-predictive p-value of the residual: below .01, no sample explains y; above .99, samples fit the noise.

    Formula: sum_k w_k P(chi^2_m >= T(y, x_k)), T the squared residual over the m measured entries relative to the
    noise variance: the probability that a new measurement of a sample is further from it than y is. Too small a
    sigma_y, a wrong operator and a prior that does not cover the picture all give p near 0.
    Source: Gelman, Meng & Stern 1996.
    Arguments: operator with Gaussian noise; y (B, *M); samples (B, K, *E); log_weights (B, K), default equal, as in a
    `Solution`.
    Returns: (B,).
    Raises: ValueError for other noise, sigma = 0, and different numbers of measurements.
    """
    _known(operator)
    if not isinstance(y, Tensor) or not isinstance(samples, Tensor) or samples.ndim < 3 or y.ndim < 1:
        raise TypeError("predictive_p: expected tensors y (B, *M) and samples (B, K, *E)")
    operator = operator.at(tuple(samples.shape[2:]))
    if "gaussian" not in operator.noise.capabilities:
        raise ValueError(f"{type(operator.noise).__name__}: expected GaussianNoise, whose residuals follow a chi^2 law")
    if len(y) != len(samples):
        raise ValueError(f"{len(y)} measurements and samples of {len(samples)}: expected the same number")
    m = _measured(operator, y).flatten(1).sum(1)[:, None].double()
    residuals = torch.stack([residual_chi2(operator, y, x) for x in samples.unbind(1)], 1).double() * m
    if log_weights is not None and tuple(log_weights.shape) != tuple(samples.shape[:2]):
        raise ValueError(f"log_weights {tuple(log_weights.shape)}: expected {tuple(samples.shape[:2])}, as of samples")
    weights = torch.softmax(torch.zeros_like(residuals) if log_weights is None else log_weights.double(), 1)
    return _shared(weights, torch.special.gammaincc((m / 2).expand_as(residuals), residuals / 2))


def prior_predictive_p(prior: Prior, operator: Operator, y: Tensor, draws: Tensor, seed: int = 0) -> Tensor:
    """Does the prior cover y? Near 0, measurements of the prior's own samples are never as far from their mean as y.

    Formula: (1 + #{k: T(y_k) >= T(y)}) / (n + 1), T(y) = (y - A m)' (A C A' + Sigma_y)^-1 (y - A m), y_k a simulated
    measurement of a prior sample. T is -2 log p(y), up to a constant, of a Gaussian with the prior's mean m and
    covariance C; its distribution is taken under the prior itself, so that p is uniform if the prior is right.
    Source: Box 1980 (the predictive check); the Gaussian statistic, which costs no evaluation, is ours.
    Arguments: prior with `Prior.moments`; operator (linear, Gaussian noise); y (B, *M); draws (n, *E): samples of the
    prior, such as from `inverse.sample`, hundreds; seed of their noise.
    Returns: (B,), at least 1 / (n + 1).
    Raises: ValueError for a prior without moments, an operator that is not linear or has other noise, and no draws.
    """
    if not isinstance(prior, Prior):
        raise TypeError(f"prior of type {type(prior).__name__}: expected a priors.Prior, for example priors.load(...)")
    rows_of("draws", draws, prior.event_shape)
    if prior.moments is None:
        raise ValueError(f"{type(prior).__name__} has no moments: set them by Moments.of_images(draws)")
    if not isinstance(operator, LinearOperator) or "gaussian" not in operator.capabilities:
        raise ValueError(f"{type(operator).__name__}: expected a LinearOperator with GaussianNoise")
    if len(draws) < 1:
        raise ValueError("no draws: expected at least one sample of the prior, better hundreds")
    operator.validate_y(y, tuple(prior.event_shape))
    moments = prior.moments.to(y.device, torch.promote_types(y.dtype, draws.dtype))
    found, operator = [], operator.at(tuple(draws.shape[1:]))
    for b in range(len(y)):
        rows = operator.rows(torch.full((len(draws) + 1,), b))
        seen = torch.cat([y[b : b + 1], operator.rows(torch.full((len(draws),), b)).measure(draws, seed=seed)])
        residual = (seen - rows(moments.mean.expand(len(seen), *moments.mean.shape))) * _measured(rows, seen)
        explained = Wiener(moments, rows).solve(residual, float("inf"), rtol=1e-4, max_steps=500)
        t = (residual * explained).flatten(1).sum(1)
        found.append((1 + (t[1:] >= t[0]).sum()) / (len(draws) + 1))
    return torch.stack(found)


def _shared(weights: Tensor, values: Tensor) -> Tensor:
    """The sum over samples of weight times value, (B,); a sample of weight 0 is absent, whatever its value."""
    return torch.where(weights == 0, 0, weights * values).sum(1)


def _deviation(operator: Operator, y: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """y - E[y | clean] and its variance; of noise that is not Gaussian, the larger one at y and at clean."""
    noise = operator.noise
    variance = noise.variance(torch.maximum(y, clean))
    if "gaussian" not in noise.capabilities:  # counts of 0 whose rate is 0 too
        variance = torch.maximum(variance, column(1e-3 * variance.flatten(1).mean(1), y))
    return y - noise.mean(clean), variance


def _measured(operator: Operator, y: Tensor) -> Tensor:
    """1 where y (B, *M) was measured and 0 elsewhere, in its shape and dtype."""
    return torch.ones_like(y) if operator.support is None else operator.support.expand_as(y).to(y)


def _mean_square(operator: Operator, residual: Tensor, variance: Tensor, least: float = 0.0) -> Tensor:
    """Mean over measured entries of residual^2 / variance, (B,) float64; both (B, *M), the variance at least that."""
    support = operator.support
    given = [residual, variance.expand_as(residual), None if support is None else support.expand_as(residual)]
    total, count = residual.new_zeros(2, len(residual), dtype=torch.float64)
    parts = [[None] if value is None else value.flatten(1).split(AT_ONCE, 1) for value in given]
    for r, v, m in zip(*parts[:2], parts[2] * (len(parts[0]) if support is None else 1), strict=True):
        squares, measured = r.double().square_() / v.clamp_min(least), torch.ones_like(r) if m is None else m
        total += (squares * measured).sum(1)
        count += measured.sum(1)
    return total / count


def _known(operator: Operator) -> None:
    if not isinstance(operator, Operator):
        raise TypeError(f"operator of type {type(operator).__name__}: expected an operators.Operator")
