"""Factors of intervals: their guarantees over many calibrations, and how many pictures they need."""

import math

import pytest
import torch
from scipy import stats

from inverse.quality.risk import averaged, confident, fewest, risk_p, split

REPEATS, PIXELS = 1500, 40


def pictures(n: int, seed: int) -> torch.Tensor:
    """Scores (n, 40) of pictures that are easy or hard as a whole, so that pixels depend on each other."""
    generator = torch.Generator().manual_seed(seed)
    hard = torch.randn(n, 1, generator=generator).mul(0.7).exp()
    return (hard * torch.randn(n, PIXELS, generator=generator).abs()).double()


TESTED = pictures(4000, 10**6)


def risk(factor: float) -> float:
    return TESTED.gt(factor).double().mean().item()


@pytest.mark.parametrize(("n", "level"), [(19, 0.9), (30, 0.8), (9, 0.9)])
def test_one_number_is_covered_exactly_as_often_as_ranks_say(n, level):
    scores = torch.rand(20_000, n + 1, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    covered = torch.tensor([float(row[0]) <= split(row[1:], level) for row in scores]).double().mean()
    exact = math.ceil((n + 1) * level - 1e-9) / (n + 1)
    assert exact >= level and covered == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000))


@pytest.mark.parametrize(("n", "allowed"), [(10, 0.1), (25, 0.2)])
def test_the_average_part_outside_is_controlled_and_not_by_far(n, allowed):
    """Over calibrations the mean risk is at most what is allowed, and more than that less 2 / (n + 1)."""
    risks = torch.tensor([risk(averaged(pictures(n, seed), allowed)) for seed in range(REPEATS)])
    error = 4 * risks.std().item() / REPEATS**0.5
    assert allowed - 2 / (n + 1) - error < risks.mean() < allowed + error


@pytest.mark.parametrize(("n", "allowed", "delta"), [(22, 0.1, 0.1), (60, 0.2, 0.2)])
def test_few_calibrations_have_a_larger_risk(n, allowed, delta):
    """The average alone does not promise this: there about half of the calibrations have a larger risk."""
    over = {"confident": 0.0, "averaged": 0.0}
    for seed in range(REPEATS):
        scores = pictures(n, seed)
        over["confident"] += (risk(confident(scores, allowed, delta)) > allowed) / REPEATS
        over["averaged"] += (risk(averaged(scores, allowed)) > allowed) / REPEATS
    assert over["confident"] <= delta + 4 * math.sqrt(delta * (1 - delta) / REPEATS)
    assert over["averaged"] > delta


def test_the_p_value_bounds_that_of_the_worst_losses():
    """Losses of 0 or 1: the mean is a binomial count, whose distribution the p-value must not be below."""
    for n, r in ((20, 0.1), (50, 0.3)):
        for k in range(n + 1):
            assert risk_p(k / n, n, r) >= min(1.0, stats.binom.cdf(k, n, r)) - 1e-12
    assert risk_p(0.0, 22, 0.1) == pytest.approx(0.9**22) and risk_p(0.1, 22, 0.1) == 1.0


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_as_many_pictures_as_are_named_suffice_and_one_less_does_not(level):
    for guarantee, delta in (("average", 0.1), ("confident", 0.1), ("confident", 0.01)):
        n = fewest(level, guarantee, delta)

        def made(n: int, guarantee=guarantee, delta=delta) -> None:
            scores = pictures(max(n, 1), 0)[:n]
            split(scores[:, 0], level)
            averaged(scores, 1 - level) if guarantee == "average" else confident(scores, 1 - level, delta)

        made(n)
        if n > 1:
            with pytest.raises(ValueError, match=r"needs? \d+ or more"):
                made(n - 1)


def test_a_factor_leaves_the_allowed_part_above_it():
    scores = torch.arange(1.0, 101.0).view(10, 10).double()
    assert averaged(scores, 0.5) == 100 - 45  # (10 L + 1) / 11 <= 1 / 2: L = .45
    assert averaged(scores, 1 / 11) == 100
