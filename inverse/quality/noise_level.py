"""The noise level of pictures under a prior, by maximum likelihood."""

import math

import torch
from torch import Tensor

from priors import Prior
from priors.arguments import number
from priors.rng import RowRNG

HALVINGS, PROBES = 6, 2  # of the range of levels, on a logarithmic scale; random vectors of the trace
START = 1e-5  # the first time at which a prior is evaluated


@torch.no_grad()
def level_under(prior: Prior, x: Tensor, low: float, high: float, seed: int = 0) -> float:
    """The standard deviation s of white noise under which noisy pictures are most probable.

    Formula: p_s, the law of x0 + s z, obeys the heat equation in s^2, so that with D the denoiser at level s
        d log p_s(x) / d s^2 = (|x - D(x)|^2 / s^2 - (d - tr J_D(x))) / (2 s^2),
    which is 0 at the maximum: the residual is s^2 times the number of values that the denoiser does not fit. The
    trace by random signs (Hutchinson 1990), the root by bisection in log s to (high / low)^(1 / 64).
    Source: Stein 1981, whose unbiased risk estimate has the same trace; Song et al. 2021 for p_s of a network.
    Arguments: prior, of pictures E, whose denoiser has a derivative; x (N, *E), of one noise level; low, high: range of
    levels, in units of x; seed of the signs.
    Returns: s, at most ``high``, where x is less probable at smaller levels, and at least ``low`` and the least level
    of the prior.
    Raises: ValueError for an empty range, and as `Prior.denoise_vjp`.
    """
    low, high = number("low", low, "(0, inf)"), number("high", high, "(0, inf)")
    if low >= high:
        raise ValueError(f"low = {low:g}, high = {high:g}: expected low < high")
    signs = random_signs(x, seed, PROBES)
    low = max(low, _least(prior))
    if low >= high or excess(prior, x, high, signs) >= 0:
        return high
    a, b = math.log(low), math.log(high)
    for _ in range(HALVINGS):
        middle = (a + b) / 2
        if excess(prior, x, math.exp(middle), signs) >= 0:
            a = middle
        else:
            b = middle
    return math.exp((a + b) / 2)


def random_signs(x: Tensor, seed: int = 0, probes: int = 1) -> Tensor:
    """+1 and -1 for the trace of a Jacobian, (probes, *x.shape)."""
    signs = RowRNG.rows(seed, len(x) * probes, device=x.device).normal((len(x) * probes, *x.shape[1:])).sign()
    return signs.to(x).unflatten(0, (probes, len(x)))


def excess(prior: Prior, x: Tensor, s: float, signs: Tensor) -> float:
    """|x - D(x)|^2 / s^2 - (d - tr J_D(x)), summed over pictures (N, *E); positive where a larger noise level than s is
    more probable; signs: as `random_signs`."""
    t = prior.sde.time(torch.tensor(s))
    alpha = prior.sde.alpha(t)
    denoised, vjp = prior.denoise_vjp(alpha.to(x) * x, t.to(x))
    trace = sum(float((v * vjp(v)).sum(dtype=torch.float64)) for v in signs) * float(alpha) / len(signs)
    return float((x - denoised).square().sum(dtype=torch.float64)) / s**2 - (x.numel() - trace)


def _least(prior: Prior) -> float:
    start = torch.tensor(START, dtype=torch.float64)
    return float(prior.sde.sigma(start) / prior.sde.alpha(start))
