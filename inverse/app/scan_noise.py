"""The noise of a scan together with the errors of what was estimated of it, as its posterior samples leave them."""

import copy
import warnings
from dataclasses import replace

import torch
from torch import Tensor

from inverse.app.devices import solve_there
from inverse.app.fastmri import Problem
from inverse.auto import VARIANTS
from inverse.quality import PoorFit
from inverse.quality.scale import ImplausibleScale
from operators import GaussianNoise
from operators.kspace import radius
from priors import Prior

PILOT = VARIANTS["mmps, fast"]
PILOT_SAMPLES, MOST_PILOTS = 2, 5
BANDS = 6  # of |k|, of as many measured samples each
CLOSE = 0.05  # of a chi^2 of 1, at which the estimate ends
RELAXATION = 1.5  # of steps to less noise, for which expectation maximisation alone is slow
FAR = 0.8  # the chi^2 below which such steps are taken: near 1 they would enlarge what is chance
LEAST = 0.1  # of the variance that the border of k-space told, which picture there can only have made too large
MISSED = 4.0  # mean variance over sigma^2 from which the estimates deserve a caution
LOUD = 2.0  # sigma^2 over what the border told, likewise
REMEDIES = {
    "sensitivities": "write the coils' sensitivities into the file",
    "phase": "take a prior of complex pictures, which needs no phase",
}


def with_errors(problem: Problem, prior: Prior, seed: int = 0, number: int = 0) -> Problem:
    """The problem with a noise that holds the errors of its estimates too: of coils, phase and sigma.

    A few posterior samples are drawn, cheaply, and the variance of each band of |k| becomes what they leave of y
    there; and again until this agrees with what was assumed (mean squared residual 1 +- .05), five times at most.
    Formula: v_b <- E[mean over the band of |y - A x|^2 | y], then made non-increasing in |k| (pool adjacent violators):
    the noise is white, and the errors of smooth maps fall as the picture's spectrum does. sigma^2 is the variance of
    the outermost bands. A sigma that was given is the least variance.
    Source: Dempster, Laird & Rubin 1977 (expectation maximisation, of the variance by the marginal likelihood of y).
    Arguments: problem; prior of its size; seed; number of the slice, which decides the random numbers with it.
    Returns: the problem with another noise, sigma and excess; itself where nothing was estimated.
    Raises: ValueError as `inverse.solve` of a prior whose denoiser has no derivative.
    """
    if not problem.estimated:
        return problem
    given = None if "sigma" in problem.estimated else (problem.sigma / problem.scale) ** 2
    border = (problem.sigma / problem.scale) ** 2
    mask = problem.operator.mask.reshape(-1, *problem.operator.mask.shape[-2:])[0]
    # one level where only sigma was estimated, so that methods for white noise still serve
    band, counts = bands(mask, BANDS if set(problem.estimated) - {"sigma"} else 1)
    v = torch.full((len(counts),), border, dtype=torch.float64)
    for k in range(MOST_PILOTS):
        posed = _with_variances(problem, v, band, given)
        with warnings.catch_warnings():
            for known in (PoorFit, ImplausibleScale):  # of the solve that follows they matter
                warnings.simplefilter("ignore", known)
            pilot = solve_there(
                prior, posed.operator, posed.y, PILOT_SAMPLES, PILOT, PILOT.n_steps, seed + k, progress=False,
                numbers=[number],
            )  # fmt: skip
        left = torch.stack([_residual(problem, x, band, mask, counts) for x in pilot.samples.unbind(1)]).mean(0)
        chi2 = float((left / v * counts).sum() / counts.sum())
        ratio = left / v
        v = v * torch.where(ratio < 1, ratio ** (RELAXATION if chi2 < FAR else 1.0), ratio)
        least = border * LEAST if given is None else given
        v = non_increasing(v, counts).clamp_min(least)
        if abs(chi2 - 1) < CLOSE:
            break
    return _with_variances(problem, v, band, given)


def bands(mask: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The plane (H, W) in n bands of |k|, in half sides, of as many measured samples each.

    Returns: the number of every sample's band, (H, W); how many were measured of each, (n,).
    """
    distance = radius((mask.shape[0], mask.shape[1])).to(mask.device)
    ends = distance[mask].quantile(torch.linspace(0, 1, n + 1, device=mask.device)[1:-1])
    band = torch.bucketize(distance, ends)
    return band, torch.bincount(band[mask], minlength=n).double()


def non_increasing(values: Tensor, weights: Tensor) -> Tensor:
    """The nearest sequence (n,) that does not increase, by weighted squares: pool adjacent violators."""
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        pools.append((value, weight, 1))
        while len(pools) > 1 and pools[-2][0] < pools[-1][0]:
            (b, m, j), (a, n, i) = pools.pop(), pools.pop()
            pools.append(((a * n + b * m) / max(n + m, 1e-30), n + m, i + j))
    return torch.cat([values.new_full((k,), value) for value, _, k in pools])


def suspects(problem: Problem, before: Problem) -> list[str]:
    """What speaks against the estimates of a problem, and what to do; nothing where these explain y to the noise.

    Arguments: problem, as `with_errors` returned it; before: as it was given to it.
    """
    found, estimates = [], [name for name in problem.estimated if name != "sigma"]
    if problem.excess > MISSED:
        remedies = " or ".join(REMEDIES[name] for name in estimates)
        found.append(
            f"the estimated {' and '.join(estimates)} miss y by more than its noise: the noise was taken "
            f"{problem.excess**0.5:.1f} times as large for it, most in the middle of k-space; {remedies}, or measure "
            "more of the middle (with --accelerate: --calibration)"
        )
    if "sigma" in problem.estimated and problem.sigma**2 > LOUD * before.sigma**2:
        found.append(
            f"samples leave {problem.sigma / before.sigma:.1f} times the noise at the border of k-space, all over it: "
            "the mask may be wrong, or the prior does not cover this picture"
        )
    return found


def _with_variances(problem: Problem, v: Tensor, band: Tensor, given: float | None) -> Problem:
    white = float(v[-1]) if given is None else given
    operator, sigma = copy.copy(problem.operator), v.sqrt().float()
    operator._modules = dict(operator._modules)  # the copy's own, so that the problem keeps its noise
    if len(v) == 1:
        operator.noise = GaussianNoise(float(sigma[0]))
    else:
        plane = sigma.to(band.device)[band]
        axes = problem.y.ndim - 1
        operator.noise = GaussianNoise(plane.reshape(*[1] * (axes - 2), *plane.shape), event_ndim=axes)
    excess = float(v.mean()) / white  # bands are of one size
    return replace(problem, operator=operator, sigma=white**0.5 * problem.scale, excess=excess)


def _residual(problem: Problem, x: Tensor, band: Tensor, mask: Tensor, counts: Tensor) -> Tensor:
    """Mean of (y - A x)^2 over real and imaginary parts and coils, per band, (n,) float64."""
    power = (problem.y - problem.operator(x)).double().square().flatten(0, -3).mean(0)
    total = torch.zeros(len(counts), dtype=torch.float64, device=power.device).index_add(0, band[mask], power[mask])
    return (total.to(counts.device) / counts.clamp_min(1)).cpu()
