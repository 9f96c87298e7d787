"""Posteriors of unknown parameters that y does not determine, or that are at an end of their range."""

import pytest
import torch

from inverse.solve.unknown.doubts import doubts
from inverse.solve.unknown.ranges import LogUniform, Uniform

RANGES = {"width": LogUniform(0.5, 4.0), "angle": Uniform(-90, 90)}


def draws(u):
    """Parameters at places u (n, 2) of the unit square, those outside left out."""
    u = u[((u > 0) & (u < 1)).all(1)]
    assert len(u) > 100
    return {name: torch.tensor([r.at(v) for v in u[:, i].tolist()]) for i, (name, r) in enumerate(RANGES.items())}


def normal(mean, std, n=4000):
    noise = torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.tensor(mean) + torch.tensor(std) * noise


@pytest.mark.parametrize("mean", [0.2, 0.5, 0.85])
@pytest.mark.parametrize("std", [0.01, 0.07])
def test_a_posterior_inside_its_range_is_not_doubted(mean, std):
    assert doubts(RANGES, draws(normal([mean, 0.5], [std, 0.05]))) == []


@pytest.mark.parametrize("std", [0.001, 0.03, 0.1])
@pytest.mark.parametrize(("edge", "sign"), [(1.0, "upper"), (0.0, "lower")])
@pytest.mark.parametrize("beyond", [0, 1, 3])
def test_a_posterior_at_an_end_asks_for_a_wider_range(std, edge, sign, beyond):
    mean = edge + (beyond * std if sign == "upper" else -beyond * std)
    u = normal([mean, 0.5], [std, 0.05], 400_000 if beyond == 3 else 4000)
    (text,) = doubts(RANGES, draws(u))
    assert f"the posterior of width is at the {sign} end of its range (0.5 to 4): widen it" in text


def test_what_y_does_not_determine_asks_for_a_value_and_not_for_a_range():
    u = torch.rand(2000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u[:, 1] = 0.5 + 0.05 * (u[:, 1] - 0.5)
    (text,) = doubts(RANGES, draws(u))
    assert "y hardly determines width:" in text and "give its value" in text and "narrower" not in text


def test_a_combination_that_y_determines_is_named():
    along = torch.rand(2000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (text,) = doubts(RANGES, draws(torch.cat([along, 1 - along], 1)))
    assert "a combination of width and angle" in text


@pytest.mark.parametrize("spread", RANGES.values())
def test_the_place_of_a_value_is_the_inverse_of_its_quantile(spread):
    assert spread.place(spread.at(0.3)) == pytest.approx(0.3)
