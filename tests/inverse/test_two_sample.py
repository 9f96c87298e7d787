"""The classifier's two-sample test, where truths and samples are of one posterior or not."""

import math

import pytest
import torch

from inverse.quality.two_sample import two_sample
from tests.cases import normal

D, NOISE = 5, 0.5
GAIN = 1 / (1 + NOISE**2)


def drawn(n: int, seed: int, kind: str = "exact") -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x ~ N(0, I), y = x + noise, and a draw of p(x | y), or of p(x) for "prior"."""
    x, noise, z = normal(3, n, D, seed=seed)
    y = x + NOISE * noise
    exact = GAIN * y + math.sqrt(1 - GAIN) * z
    return x, {"exact": exact, "prior": z, "shifted": exact + 0.3}[kind], y


def test_p_values_of_exact_draws_are_uniform():
    """500 repeats of 40 pairs; the accuracy is a whole number of pairs, so that ties make p-values a bit larger."""
    p = torch.tensor([two_sample(*drawn(40, seed), replicas=99, seed=seed).p_value for seed in range(500)])
    for level in (0.05, 0.2, 0.5):
        error = 4 * math.sqrt(level * (1 - level) / 500)
        assert level - 0.08 - error < (p <= level).double().mean() < level + error


@pytest.mark.parametrize("kind", ["prior", "shifted"])
def test_draws_of_another_law_are_told_from_truths(kind):
    found = two_sample(*drawn(100, 0, kind), replicas=199)
    assert found.p_value == pytest.approx(1 / 200) and found.accuracy > 0.65


def test_only_y_tells_draws_of_the_prior_from_truths():
    """Both are N(0, I): without y there is nothing to see."""
    x, z, y = drawn(100, 1, "prior")
    assert two_sample(x, z, replicas=199).p_value > 0.02 >= two_sample(x, z, y, replicas=199).p_value


def test_y_alone_tells_nothing():
    """Truth and sample share their y, and with equal x all is equal: every pair is a tie."""
    x, _, y = drawn(30, 2)
    found = two_sample(x, x.clone(), y, replicas=19)
    assert (found.accuracy, found.p_value) == (0.5, 1.0)


def test_classes_are_exchangeable():
    x, sample, y = drawn(50, 3)
    one, other = two_sample(x, sample, y), two_sample(sample, x, y)
    assert one.accuracy == pytest.approx(other.accuracy) and one.p_value == pytest.approx(other.p_value, abs=0.1)


def test_units_do_not_matter():
    x, sample, y = drawn(50, 4)
    scale = torch.logspace(-6, 6, D, dtype=torch.float64)
    assert two_sample(x, sample, y) == two_sample(7 + scale * x, 7 + scale * sample, 1e3 * y)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((normal(9, 2), normal(9, 2)), "10 or more"),
        ((normal(20, 2), normal(20, 3)), "expected"),
        ((normal(20, 2), normal(20, 2), normal(19, 2)), "expected"),
        ((normal(20, 2) / 0, normal(20, 2)), "infinite"),
    ],
)
def test_bad_features_are_refused(arguments, word):
    with pytest.raises(ValueError, match=word):
        two_sample(*arguments)
