"""Simultaneous bands of the empirical distribution function and of histograms, and exact p-values of uniformity."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from priors.arguments import count, number

POINTS = 100  # at which the distribution function is looked at, at most
HALVINGS = 40  # of the interval in which the pointwise level lies
NEGLIGIBLE, TINY = 1e-6, 1e-15  # p-values below the first are only bounded; below the second by rounding
SLIGHT = 1e-9  # relative: probabilities that are equal up to rounding


@dataclass(frozen=True)
class Band:
    """Intervals that hold all counts of uniform numbers together with a given probability.

    Attributes: edges (L + 1,): ends of the cells of [0, 1] in which numbers are counted, from 0 to 1; low, high (L,):
    the least and the largest count that is inside, of numbers below the end of a cell for `ecdf_band`, in a cell for
    `histogram_band`; n: how many numbers are counted.
    """

    edges: Tensor
    low: Tensor
    high: Tensor
    n: int


def uniform_p(u: Tensor, points: int = POINTS) -> float:
    """The p-value of independent numbers being uniform on [0, 1], by the largest deviation of their distribution.

    Formula: c_l numbers are below z_l = l / L; the statistic is the least over l of the binomial probabilities
    2 min(P(C_l <= c_l), P(C_l >= c_l)), C_l ~ Bin(n, z_l). Its distribution is computed exactly: the counts are a
    Markov chain, c_l+1 - c_l ~ Bin(n - c_l, (z_l+1 - z_l) / (1 - z_l)).
    Source: Säilynoja, Bürkner & Vehtari 2022, section 3 (their test and its recursion); Aldor-Noiman et al. 2013.
    Arguments: u (n,) in [0, 1]; points (int >= 2): L at most, no more than n and 10.
    Raises: TypeError or ValueError for what is no list of numbers in [0, 1].
    """
    ordered = np.sort(_numbers(u))
    n, edges = len(ordered), _edges(len(ordered), points)
    counted = np.searchsorted(ordered, edges[1:-1], side="left")
    cdf = _cdfs(n, edges[1:-1])
    rows = np.arange(len(counted))
    below, above = cdf[rows, counted + 1], 1 - cdf[rows, counted]
    least = float(2 * np.minimum(below, above).min())
    if (bound := least * len(counted)) < NEGLIGIBLE:  # Bonferroni's, above the exact value and quicker
        return max(TINY, bound)
    return min(1.0, max(0.0, 1 - _inside_path(n, edges, *_intervals(cdf, least * (1 + SLIGHT)))))


def ecdf_band(n: int, level: float = 0.95, points: int = POINTS) -> Band:
    """The band that holds the whole distribution function of n uniform numbers with a given probability.

    Formula: pointwise central intervals of Bin(n, z_l) of one level, the largest for which all hold with ``level``.
    Source: Säilynoja, Bürkner & Vehtari 2022, section 3.2.
    Arguments: n (int >= 1); level in (0, 1), simultaneous; points: as `uniform_p`.
    Returns: `Band`; the last count is n.
    Raises: TypeError or ValueError for other numbers.
    """
    n, level = count("n", n), number("level", level, "(0, 1)")
    edges = _edges(n, points)
    cdf = _cdfs(n, edges[1:-1])
    alpha = _widest(lambda a: _inside_path(n, edges, *_intervals(cdf, a)), level)
    low, high = _intervals(cdf, alpha)
    return _band(n, edges, np.append(low, n), np.append(high, n))


def histogram_band(n: int, bins: int = 10, level: float = 0.95) -> Band:
    """The band that holds all bins of the histogram of n uniform numbers with a given probability.

    Formula: central intervals of Bin(n, 1 / bins) of one level, the largest for which all hold with ``level``.
    Source: as `ecdf_band`; Talts et al. 2018 (rank histograms, with pointwise bands).
    Arguments: n (int >= 1); bins (int >= 2); level in (0, 1), simultaneous.
    Returns: `Band`.
    Raises: TypeError or ValueError for other numbers.
    """
    n, bins, level = count("n", n), count("bins", bins, 2), number("level", level, "(0, 1)")
    edges, cdf = np.linspace(0, 1, bins + 1), _cdfs(n, np.array([1 / bins]))

    def inside(alpha: float) -> float:
        low, high = _intervals(cdf, alpha)
        return _inside_cells(n, bins, int(low[0]), int(high[0]))

    low, high = _intervals(cdf, _widest(inside, level))
    return _band(n, edges, low.repeat(bins), high.repeat(bins))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted so that rejecting those below a level errs anywhere with at most that probability.

    Formula: in increasing order, the largest so far of (m - i) p_(i), i = 0 .. m - 1, at most 1; valid for any
    dependence between the tests.
    Source: Holm 1979.
    Arguments: p_values (m numbers).
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [1.0] * len(order), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def binomial_interval(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Ends of the exact confidence interval of a probability (Clopper & Pearson 1934).

    Arguments: successes, of n trials; level in (0, 1).
    """
    successes, n = count("successes", successes, 0, n), count("n", n)
    tail = (1 - number("level", level, "(0, 1)")) / 2

    def solved(beyond: Callable[[float], float], target: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if beyond(middle) < target else (low, middle)
        return (low + high) / 2

    def reached(p: float, count: int) -> float:
        return 1 - float(_cdfs(n, np.array([p]))[0, count])

    low = 0.0 if successes == 0 else solved(lambda p: reached(p, successes), tail)
    high = 1.0 if successes == n else solved(lambda p: reached(p, successes + 1), 1 - tail)
    return low, high


def _numbers(u: Tensor) -> np.ndarray:
    if not isinstance(u, Tensor) or u.ndim != 1 or not u.is_floating_point() or len(u) == 0:
        given = f"a tensor {tuple(u.shape)} of {u.dtype}" if isinstance(u, Tensor) else type(u).__name__
        raise TypeError(f"u: expected a floating tensor (n,) of numbers in [0, 1], given {given}")
    if not bool(((u >= 0) & (u <= 1)).all()):
        raise ValueError("u has entries outside [0, 1], or nan: expected numbers in [0, 1]")
    return u.detach().cpu().double().numpy()


def _edges(n: int, points: int) -> np.ndarray:
    cells = min(count("points", points, 2), max(n, 10))
    return np.linspace(0, 1, cells + 1)


def _band(n: int, edges: np.ndarray, low: np.ndarray, high: np.ndarray) -> Band:
    return Band(
        torch.from_numpy(edges), torch.from_numpy(low.astype(np.int64)), torch.from_numpy(high.astype(np.int64)), n
    )


def _log_factorials(n: int) -> np.ndarray:
    return np.append(0.0, np.log(np.arange(1, n + 1)).cumsum())


def _cdfs(n: int, z: np.ndarray) -> np.ndarray:
    """P(Bin(n, z) < c) for c = 0 .. n + 1, (L, n + 2); z (L,) in (0, 1)."""
    logs, k = _log_factorials(n), np.arange(n + 1)
    z = z[:, None]
    pmf = np.exp(logs[n] - logs[k] - logs[n - k] + k * np.log(z) + (n - k) * np.log1p(-z))
    return np.pad(pmf.cumsum(1), ((0, 0), (1, 0))).clip(0, 1)


def _intervals(cdf: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest count c with 2 P(C <= c) > alpha and 2 P(C >= c) > alpha, (L,) each."""
    low = (2 * cdf[:, 1:] <= alpha).sum(1)
    high = (2 * (1 - cdf[:, :-1]) > alpha).sum(1) - 1
    return low, high


def _inside_path(n: int, edges: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """The probability that all counts of numbers below the inner edges are within low and high."""
    logs = _log_factorials(n)
    mass, first = np.ones(1), 0
    for left, right, a, b in zip(edges[:-2], edges[1:-1], low.tolist(), high.tolist(), strict=True):
        if a > b:
            return 0.0
        mass, first = _stepped(mass, first, a, b, (right - left) / (1 - left), n, logs), a
    return float(mass.sum())


def _inside_cells(n: int, bins: int, low: int, high: int) -> float:
    """The probability that the counts of all of equal cells are within low and high."""
    logs = _log_factorials(n)
    mass = np.zeros(n + 1)
    mass[0] = 1.0
    for cell in range(bins):
        total = np.zeros(n + 1)
        for before in np.flatnonzero(mass).tolist():
            k = np.arange(low, min(high, n - before) + 1)
            total[before + k] += mass[before] * _binomial(n - before, k, 1 / (bins - cell), logs)
        mass = total
    return float(mass[n])


def _stepped(mass: np.ndarray, first: int, low: int, high: int, q: float, n: int, logs: np.ndarray) -> np.ndarray:
    """The mass of counts low .. high, one cell on from ``mass`` of counts first, first + 1, ..."""
    before = np.arange(first, first + len(mass))[:, None]
    k = np.arange(low, high + 1)[None] - before
    chance = _binomial(n - before, k.clip(0), q, logs)
    return mass @ np.where(k >= 0, chance, 0.0)


def _binomial(n: np.ndarray | int, k: np.ndarray, q: float, logs: np.ndarray) -> np.ndarray:
    """P(Bin(n, q) = k), 0 for k > n."""
    rest = n - k
    kept = rest >= 0
    rest = np.where(kept, rest, 0)
    if q >= 1:
        return np.where(kept & (rest == 0), 1.0, 0.0)
    log_p = logs[n] - logs[k] - logs[rest] + k * math.log(q) + rest * math.log1p(-q)
    return np.where(kept, np.exp(np.where(kept, log_p, 0.0)), 0.0)


def _widest(inside: Callable[[float], float], level: float) -> float:
    """The largest pointwise alpha whose intervals all hold with at least ``level``."""
    low, high = 0.0, 1 - level  # at alpha = 1 - level all hold together with at most about level
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) >= level else (low, middle)
    return low
