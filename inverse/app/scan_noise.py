"""The noise of a scan including the errors of estimated coils and phase, estimated from posterior residuals."""

import copy
import warnings
from dataclasses import replace

import torch
from torch import Tensor

from inverse.app.devices import solve_there
from inverse.app.fastmri import Problem
from inverse.auto import VARIANTS
from inverse.quality import PoorFit
from inverse.quality.instrument import DoubtfulInstrument
from inverse.quality.scale import ImplausibleScale
from operators import GaussianNoise
from operators.kspace import radius
from priors import Prior

PILOT = VARIANTS["mmps, fast"]
PILOT_SAMPLES, MOST_PILOTS = 2, 5
BANDS = 6  # of |k|, each with the same number of measured samples
CLOSE = 0.05  # the estimate has converged if chi^2 differs from 1 by less
RELAXATION = 1.5  # over-relaxation of decreasing steps, in which expectation maximisation converges slowly
FAR = 0.8  # chi^2 below which steps are over-relaxed: closer to 1 this would amplify chance
LEAST = 0.1  # lower bound, relative to the variance at the border of k-space, which signal there only increases
MISSED = 4.0  # mean variance over sigma^2 above which the estimates are reported
LOUD = 2.0  # ratio of sigma^2 to the estimate at the border of k-space, likewise
REMEDIES = {
    "sensitivities": "add coil sensitivities to the file",
    "phase": "use a prior of complex pictures, which needs no phase",
}


def with_errors(problem: Problem, prior: Prior, seed: int = 0, number: int = 0) -> Problem:
    """The problem with a noise that includes the errors of its estimates: of coils, phase and sigma.

    A few cheap posterior samples are drawn, and the variance of each band of |k| is set to their mean squared residual
    there. This repeats until the residual agrees with the assumed variance (mean squared residual 1 +- .05), at most
    five times.
    Formula: v_b <- E[mean over the band of |y - A x|^2 | y], then made non-increasing in |k| (pool adjacent violators):
    the noise is white, and the errors of smooth maps decrease like the picture's spectrum. sigma^2 is the variance of
    the outermost bands. A given sigma is a lower bound.
    Source: Dempster, Laird & Rubin 1977 (expectation maximisation, of the variance by the marginal likelihood of y).
    Arguments: problem; prior of its size; seed; number of the slice, which selects the random stream with the seed.
    Returns: the problem with another noise, sigma and excess; unchanged if nothing was estimated.
    Raises: ValueError as `inverse.solve` for a prior whose denoiser has no derivative.
    """
    if not problem.estimated:
        return problem
    given = None if "sigma" in problem.estimated else (problem.sigma / problem.scale) ** 2
    border = (problem.sigma / problem.scale) ** 2
    mask = problem.operator.mask.reshape(-1, *problem.operator.mask.shape[-2:])[0]
    # one level if only sigma was estimated, so that methods for white noise can still be used
    band, counts = bands(mask, BANDS if set(problem.estimated) - {"sigma"} else 1)
    v = torch.full((len(counts),), border, dtype=torch.float64)
    for k in range(MOST_PILOTS):
        posed = _with_variances(problem, v, band, given)
        with warnings.catch_warnings():
            for known in (PoorFit, ImplausibleScale, DoubtfulInstrument):  # only relevant for the final solve
                warnings.simplefilter("ignore", known)
            pilot = solve_there(
                prior, posed.operator, posed.y, PILOT_SAMPLES, PILOT, PILOT.n_steps, seed + k, progress=False,
                numbers=[number], noise_checks=False,
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
    """Split the plane (H, W) into n bands of |k| with equally many measured samples; |k| is relative to half the sides.

    Returns: band index of every sample, (H, W); number of measured samples per band, (n,).
    """
    distance = radius((mask.shape[0], mask.shape[1])).to(mask.device)
    ends = distance[mask].quantile(torch.linspace(0, 1, n + 1, device=mask.device)[1:-1])
    band = torch.bucketize(distance, ends)
    return band, torch.bincount(band[mask], minlength=n).double()


def non_increasing(values: Tensor, weights: Tensor) -> Tensor:
    """The closest non-increasing sequence (n,) in weighted least squares: pool adjacent violators."""
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        pools.append((value, weight, 1))
        while len(pools) > 1 and pools[-2][0] < pools[-1][0]:
            (b, m, j), (a, n, i) = pools.pop(), pools.pop()
            pools.append(((a * n + b * m) / max(n + m, 1e-30), n + m, i + j))
    return torch.cat([values.new_full((k,), value) for value, _, k in pools])


def suspects(problem: Problem, before: Problem) -> list[str]:
    """Warnings about the estimates of a problem, with remedies; empty if they explain y to within the noise.

    Arguments: problem as returned by `with_errors`; before: as passed to it.
    """
    found, estimates = [], [name for name in problem.estimated if name != "sigma"]
    if problem.excess > MISSED:
        remedies = " or ".join(REMEDIES[name] for name in estimates)
        verb = "does" if estimates == ["phase"] else "do"
        maps = problem.operator.coils is not None and "sensitivities" not in estimates
        given = ", or the sensitivities in the file (their order, position, phase and scale)," if maps else ""
        estimated = ", or leave the sensitivities out of the file, to have them estimated" if maps else ""
        found.append(
            f"the estimated {' and '.join(estimates)}{given} {verb} not explain y to within its noise: the noise was "
            f"increased by a factor of {problem.excess**0.5:.1f}, most in the middle of k-space; {remedies}, or "
            f"measure more of the middle (with --accelerate: --calibration){estimated}. Movement between the lines, "
            "k-space without its imaginary part and rows that were not measured look alike, and none of these remedies "
            "helps against them"
        )
    if "sigma" in problem.estimated and problem.sigma**2 > LOUD * before.sigma**2:
        found.append(
            f"residuals are {problem.sigma / before.sigma:.1f} times the noise at the border of k-space, everywhere: "
            "the mask may be wrong, or the prior may not cover this picture"
        )
    return found


def _with_variances(problem: Problem, v: Tensor, band: Tensor, given: float | None) -> Problem:
    white = float(v[-1]) if given is None else given
    operator, sigma = copy.copy(problem.operator), v.sqrt().float()
    operator._modules = dict(operator._modules)  # a copy, so that the given problem keeps its noise
    if len(v) == 1:
        operator.noise = GaussianNoise(float(sigma[0]))
    else:
        plane = sigma.to(band.device)[band]
        axes = problem.y.ndim - 1
        operator.noise = GaussianNoise(plane.reshape(*[1] * (axes - 2), *plane.shape), event_ndim=axes)
    excess = float(v.mean()) / white  # bands have equal size
    return replace(problem, operator=operator, sigma=white**0.5 * problem.scale, excess=excess)


def _residual(problem: Problem, x: Tensor, band: Tensor, mask: Tensor, counts: Tensor) -> Tensor:
    """Mean of (y - A x)^2 over real and imaginary parts and coils, per band, (n,) float64."""
    power = (problem.y - problem.operator(x)).double().square().flatten(0, -3).mean(0)
    total = torch.zeros(len(counts), dtype=torch.float64, device=power.device).index_add(0, band[mask], power[mask])
    return (total.to(counts.device) / counts.clamp_min(1)).cpu()
