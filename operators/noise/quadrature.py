"""Moments of a Gaussian times a likelihood of one variable, by Gauss-Legendre quadrature."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

NODES = 24
SEARCHES = 4  # of the interval that holds the mass, each about 4 times narrower where it is narrow


class Center(NamedTuple):
    """Where a density is large: its mode, its width there (one standard deviation of a Gaussian of the same curvature,
    or the inverse slope of an exponential), and how many widths above the mode are integrated; (N, *M) each."""

    mode: Tensor
    width: Tensor
    above: Tensor


def tilted_moments(
    log_likelihood: Callable[[Tensor], Tensor],
    mean: Tensor,
    variance: Tensor,
    least: float,
    center: Center | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean and variance of N(u; mean, variance) exp(log_likelihood(u)) over u >= least, (N, *M) each.

    Formula: Gauss-Legendre quadrature with 24 nodes on an interval around the mass. Without a center, that interval is
    narrowed from 8 standard deviations of the Gaussian by the moments found on it, for densities with one mode.
    Arguments: log_likelihood: u (N, *M) -> (N, *M), nats, up to a constant of each entry; mean and variance (N, *M);
    least: smallest u, may be -inf; center.
    """
    low, high = interval(log_likelihood, mean, variance, least, center)
    return _moments(log_likelihood, mean, variance, low, high)[:2]


def log_marginal(
    log_likelihood: Callable[[Tensor], Tensor],
    mean: Tensor,
    variance: Tensor,
    least: float,
    center: Center | None = None,
) -> Tensor:
    """log of the integral of N(u; mean, variance) exp(log_likelihood(u)) over u >= least, (N, *M); arguments as
    `tilted_moments`."""
    low, high = interval(log_likelihood, mean, variance, least, center)
    log_p, _, _ = _terms(log_likelihood, mean, variance, low, high)
    return log_p.logsumexp(0) + (0.5 * (high - low)).log() - 0.5 * (2 * torch.pi * variance).log()


def interval(
    log_likelihood: Callable[[Tensor], Tensor], mean: Tensor, variance: Tensor, least: float, center: Center | None
) -> tuple[Tensor, Tensor]:
    """Ends of an interval that holds nearly all of the mass, (N, *M) each; arguments as `tilted_moments`."""
    if center is not None:
        low = (center.mode - 8 * center.width).clamp_min(least)
        return low, center.mode + center.above * center.width
    spread = variance.sqrt()
    low = (mean - 8 * spread).clamp_min(least)
    # above `least` a Gaussian far below it falls off exponentially
    tail = variance / ((low - mean).clamp_min(0) + spread)
    high = torch.maximum(mean + 8 * spread, low + 16 * tail)
    for _ in range(SEARCHES - 1):
        found, around, gap = _moments(log_likelihood, mean, variance, low, high)
        width = torch.maximum(around.sqrt(), 0.5 * gap)  # mass on a single node may be anywhere between its neighbours
        low, high = torch.maximum(low, found - 8 * width), torch.minimum(high, found + 12 * width)
    return low, high


def _moments(
    log_likelihood: Callable[[Tensor], Tensor], mean: Tensor, variance: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance on [low, high], and the largest distance of two nodes."""
    log_p, at, gap = _terms(log_likelihood, mean, variance, low, high)
    p = torch.softmax(log_p, 0)
    found = (p * at).sum(0)
    return found, (p * (at - found) ** 2).sum(0), gap


def _terms(
    log_likelihood: Callable[[Tensor], Tensor], mean: Tensor, variance: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Logarithms of the quadrature's terms at its nodes (n, N, *M) without the Gaussian's constant and the interval's
    half length, those nodes, and the largest distance of two."""
    nodes, log_weights, gap = _legendre(NODES)
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    u = [middle + half * node for node in nodes]
    log_p = [log_likelihood(v) - 0.5 * (v - mean) ** 2 / variance + w for v, w in zip(u, log_weights, strict=True)]
    return torch.stack(log_p), torch.stack(u), gap * half


@lru_cache(maxsize=1)
def _legendre(n: int) -> tuple[list[float], list[float], float]:
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return nodes.tolist(), np.log(weights).tolist(), float(np.diff(nodes).max())
