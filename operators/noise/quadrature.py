"""Moments of a Gaussian or gamma law times a likelihood of one variable, by Gauss-Legendre quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

NODES = 24
FLOOR = 0.1  # standard deviations, the least mean of a gamma law; of .02, .05, .1 and .2 .05 and .1 were best for ep
DECADES = 5  # of u that nodes are spread over at most
LARGE = 100.0  # from which the next term of Stirling's formula is below 1e-8
SEARCHES = 3  # of the interval that holds the mass, each about 4 times narrower where it is narrow


def tilted_moments(
    log_likelihood: Callable[[Tensor], Tensor], mean: Tensor, variance: Tensor, least: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of N(u; mean, variance) exp(log_likelihood(u)) over u >= least, and the log of its integral,
    (N, *M) each.

    Formula: Gauss-Legendre quadrature with 24 nodes on an interval around the mass, narrowed from 8 standard deviations
    of the Gaussian by the moments found on it, for densities with one mode.
    Arguments: log_likelihood: u (N, *M) -> (N, *M), nats, up to a constant of each entry; mean and variance (N, *M);
    least: smallest u, may be -inf.
    """

    def log_p(u: Tensor) -> Tensor:
        return log_likelihood(u) - 0.5 * (u - mean) ** 2 / variance

    spread = variance.sqrt()
    low = (mean - 8 * spread).clamp_min(least)
    # above `least` a Gaussian far below it falls off exponentially
    tail = variance / ((low - mean).clamp_min(0) + spread)
    high = torch.maximum(mean + 8 * spread, low + 16 * tail)
    low, high = _narrowed(log_p, low, high, SEARCHES)
    terms, at, _ = _terms(log_p, low, high)
    p = torch.softmax(terms, 0)
    found = (p * at).sum(0)
    return (
        found,
        (p * (at - found) ** 2).sum(0),
        terms.logsumexp(0) + (0.5 * (high - low)).log() - 0.5 * (2 * torch.pi * variance).log(),
    )


def nonnegative_mean(mean: Tensor, variance: Tensor) -> Tensor:
    """The mean of a gamma law in place of N(mean, variance): the same, but at least a tenth of a standard deviation."""
    return torch.maximum(mean, FLOOR * variance.sqrt())


def gamma_moments(
    log_likelihood: Callable[[Tensor], Tensor], mean: Tensor, variance: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of Gamma(u) exp(log_likelihood(u)), and the log of its integral, (N, *M) each, for a gamma law
    of this mean and variance.

    Formula: with w = log(u / mean) and a = mean^2 / variance, the law of w is proportional to exp(a (w - e^w)), which
    is smooth where that of u has a pole at 0. Gauss-Legendre quadrature with 48 nodes on an interval that is narrowed
    as in `tilted_moments`. Below the first interval, likelihood and e^w count as constant.
    Arguments: as of `tilted_moments`; mean > 0.
    """
    a = mean * (mean / variance)

    def log_p(w: Tensor) -> Tensor:
        return a * (w - torch.expm1(w)) + log_likelihood(mean * w.exp())

    high = torch.log1p(10 * a.rsqrt() + 16 / a)
    end = torch.maximum(high - DECADES * math.log(10), -8 * a.rsqrt() - 20 / a)
    low, high = _narrowed(log_p, end, high, SEARCHES + 1)
    terms, at, _ = _terms(log_p, low, high, 2 * NODES)  # there may be mass near 0 and a narrow mode
    below = torch.where(low > end, -math.inf, log_p(low) - a.log())
    terms = torch.cat([terms + (0.5 * (high - low)).log(), below[None]])
    u = mean * torch.cat([at.exp(), (low.exp() * a / (a + 1))[None]])
    p = torch.softmax(terms, 0)
    found = (p * u).sum(0)
    log_z = terms.logsumexp(0) + 0.5 * (a / (2 * math.pi)).log() - beyond_stirling(a)
    return found, (p * (u - found) ** 2).sum(0), log_z


def beyond_stirling(a: Tensor) -> Tensor:
    """log Gamma(a) - (a - 1/2) log a + a - log(2 pi) / 2."""
    low = a.clamp(max=LARGE)
    exact = torch.lgamma(low) - (low - 0.5) * low.log() + low - 0.5 * math.log(2 * math.pi)
    return torch.where(a < LARGE, exact, 1 / (12 * a))


def _narrowed(log_p: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, searches: int) -> tuple[Tensor, Tensor]:
    """Ends of an interval within [low, high] that holds nearly all of the mass, (N, *M) each."""
    for _ in range(searches):
        found, around, gap = _moments(log_p, low, high)
        width = torch.maximum(around.sqrt(), 0.5 * gap)  # mass on a single node may be anywhere between its neighbours
        low, high = torch.maximum(low, found - 8 * width), torch.minimum(high, found + 12 * width)
    return low, high


def _moments(log_p: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance on [low, high], and the largest distance of two nodes."""
    terms, at, gap = _terms(log_p, low, high)
    p = torch.softmax(terms, 0)
    found = (p * at).sum(0)
    return found, (p * (at - found) ** 2).sum(0), gap


def _terms(
    log_p: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, n: int = NODES
) -> tuple[Tensor, Tensor, Tensor]:
    """Logarithms of the quadrature's terms at its nodes (n, N, *M) without the interval's half length, those nodes, and
    the largest distance of two."""
    nodes, log_weights, gap = _legendre(n)
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    at = [middle + half * node for node in nodes]
    terms = [log_p(v) + w for v, w in zip(at, log_weights, strict=True)]
    return torch.stack(terms), torch.stack(at), gap * half


@lru_cache(maxsize=2)
def _legendre(n: int) -> tuple[list[float], list[float], float]:
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return nodes.tolist(), np.log(weights).tolist(), float(np.diff(nodes).max())
