"""Simultaneous bands and exact p-values, against simulation, scipy and definitions."""

import math

import pytest
import torch
from scipy import stats

from inverse.quality.bands import binomial_interval, ecdf_band, histogram_band, holm, uniform_p

LEVEL, REPEATS = 0.95, 8000


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def within(share: float, level: float, n: int, above: float = 0.0) -> bool:
    """Whether a simulated share is that level, up to four standard errors, and at most so much above it."""
    error = 4 * math.sqrt(level * (1 - level) / n)
    return level - error <= share <= level + above + error


@pytest.mark.parametrize("n", [20, 100, 250])
def test_a_band_holds_uniform_numbers_together_with_its_level(n):
    """The level is simultaneous over all points, and not wasted: counts are whole numbers, hence the slack above."""
    u, band = uniform(REPEATS, n), ecdf_band(n, LEVEL)
    inside = torch.ones(REPEATS, dtype=torch.bool)
    for edge, low, high in zip(band.edges[1:], band.low, band.high, strict=True):
        counted = (u < edge).sum(1)
        inside &= (counted >= low) & (counted <= high)
    assert within(inside.double().mean().item(), LEVEL, REPEATS, above=0.02)
    assert band.low[-1] == band.high[-1] == n


@pytest.mark.parametrize(("n", "bins"), [(60, 5), (100, 10), (300, 20)])
def test_so_does_that_of_a_histogram(n, bins):
    band = histogram_band(n, bins, LEVEL)
    cells = (uniform(REPEATS, n, seed=1) * bins).long() + bins * torch.arange(REPEATS)[:, None]
    counts = cells.flatten().bincount(minlength=bins * REPEATS).view(REPEATS, bins)
    inside = ((counts >= band.low) & (counts <= band.high)).all(1)
    assert within(inside.double().mean().item(), LEVEL, REPEATS, above=0.04)


def statistic(u: torch.Tensor, points: int) -> torch.Tensor:
    """The least two-sided binomial probability of the counts below z, by scipy; u (R, n) -> (R,)."""
    n, least = u.shape[1], torch.ones(len(u), dtype=torch.float64)
    for z in range(1, points):
        c = (u < z / points).sum(1).numpy()
        for tail in (stats.binom.cdf(c, n, z / points), stats.binom.sf(c - 1, n, z / points)):
            least = torch.minimum(least, 2 * torch.from_numpy(tail))
    return least


@pytest.mark.parametrize("n", [5, 30])
def test_p_values_are_those_of_simulation(n):
    """The share of simulated statistics that are at least as extreme as the observed one."""
    points = max(n, 10)
    null = statistic(uniform(40_000, n, seed=2), points)
    for k, power in enumerate((1.0, 1.2, 1.6, 2.5)):
        u = uniform(n, seed=10 + k) ** power
        expected = (null <= statistic(u[None], points)[0] * (1 + 1e-9)).double().mean().item()
        assert uniform_p(u) == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 40_000) + 1e-4)


def test_few_uniform_numbers_are_rejected():
    p = torch.tensor([uniform_p(u) for u in uniform(800, 25, seed=3)])
    for level in (0.01, 0.05, 0.2):
        assert (p <= level).double().mean() <= level + 4 * math.sqrt(level * (1 - level) / 800)
    assert (p <= 0.2).double().mean() > 0.1, "and not too few"


def test_a_far_p_value_is_bounded_in_no_time():
    u = uniform(5000) ** 3
    assert 0 < uniform_p(u) <= 1e-9


def test_ranks_of_one_are_in_the_last_cell():
    assert uniform_p(torch.ones(50, dtype=torch.float64)) < 1e-9


def test_holm_is_the_smallest_level_that_rejects():
    p = [0.011, 0.02, 0.012, 0.6]

    def rejected(level: float) -> set[int]:
        found = set()
        for step, i in enumerate(sorted(range(4), key=p.__getitem__)):
            if p[i] > level / (4 - step):
                break
            found.add(i)
        return found

    for i, adjusted in enumerate(holm(p)):
        assert i in rejected(adjusted + 1e-9)
        assert i not in rejected(adjusted - 1e-9)
    assert holm([]) == []


@pytest.mark.parametrize(("k", "n"), [(0, 7), (3, 20), (20, 20), (412, 500)])
def test_the_interval_of_a_probability_is_that_of_scipy(k, n):
    expected = stats.binomtest(k, n).proportion_ci(0.95, method="exact")
    assert binomial_interval(k, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(
    "call",
    [
        lambda: uniform_p(torch.tensor([0.5, 1.5])),
        lambda: uniform_p(torch.tensor([0.5, math.nan])),
        lambda: uniform_p(torch.zeros(2, 2)),
        lambda: uniform_p(torch.zeros(0)),
        lambda: ecdf_band(0),
        lambda: ecdf_band(10, 1.0),
        lambda: histogram_band(10, 1),
        lambda: binomial_interval(3, 2),
    ],
)
def test_what_is_no_list_of_ranks_is_refused(call):
    with pytest.raises((ValueError, TypeError), match="expected"):
        call()
