"""Means, intervals, differences and ties against slow answers and known laws."""

import itertools
import math

import numpy as np
import pytest

from benchmarks.suite.report.stats import DRAWS, difference, estimate, loss, paired, per_image

RNG = np.random.default_rng(0)


def values(array) -> dict[tuple[int, int], float]:
    """(images, seeds) numbers as a metric's values."""
    return {(i, s): float(v) for i, row in enumerate(np.asarray(array)) for s, v in enumerate(row)}


def every_resample(rows: np.ndarray) -> np.ndarray:
    """Means of all n^n resamples of rows (n, columns), the law that a bootstrap draws from."""
    n = len(rows)
    return np.array([rows[list(chosen)].mean(0) for chosen in itertools.product(range(n), repeat=n)])


def covered(drawn: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Parts of a law at or below low, and at or below high."""
    return float((drawn <= low + 1e-12).mean()), float((drawn <= high + 1e-12).mean())


def test_means_are_over_seeds_and_then_over_images():
    found = {(3, 0): 1.0, (3, 1): 3.0, (5, 0): 10.0}
    assert per_image(found) == {3: 2.0, 5: 10.0}
    assert estimate(found).mean == 6.0 and estimate(found).n == 2  # not 14 / 3: seeds are no images


def test_intervals_are_quantiles_of_all_resamples():
    rows = RNG.normal(size=(6, 1)) ** 3
    found = estimate(values(rows))
    low, high = covered(every_resample(rows)[:, 0], found.low, found.high)
    error = 4 * math.sqrt(0.025 * 0.975 / DRAWS) + 0.002  # of a quantile of so many draws, and of the atoms of the law
    assert abs(low - 0.025) < error and abs(high - 0.975) < error


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    hits = 0
    for _ in range(300):
        found = estimate(values(RNG.normal(2.0, 1.0, size=(40, 1))))
        hits += found.low <= 2.0 <= found.high
    assert abs(hits / 300 - 0.94) < 4 * math.sqrt(0.94 * 0.06 / 300)  # percentile intervals of 40 have about 94 %


@pytest.mark.parametrize("better", ["higher", "lower", 0.95, -1.0])
def test_differences_are_quantiles_of_all_paired_resamples(better):
    pairs = RNG.normal(0.9, 0.1, size=(6, 2))
    found = difference(values(pairs[:, :1]), values(pairs[:, 1:]), better)
    drawn = every_resample(pairs)
    gains = np.array([loss(b, better) - loss(a, better) for a, b in drawn])
    for law, low, high in ((drawn[:, 0] - drawn[:, 1], found.low, found.high), (gains, found.worst, found.best)):
        below, above = covered(law, low, high)
        error = 4 * math.sqrt(0.025 * 0.975 / DRAWS) + 0.002
        assert abs(below - 0.025) < error and abs(above - 0.975) < error
    assert found.change == pytest.approx(pairs[:, 0].mean() - pairs[:, 1].mean())
    assert found.gain == pytest.approx(loss(pairs[:, 1].mean(), better) - loss(pairs[:, 0].mean(), better))


def test_pairs_are_of_shared_images_and_seeds():
    one = {(0, 0): 1.0, (0, 1): 3.0, (1, 0): 5.0, (2, 0): 7.0, (2, 1): 9.0}
    other = {(0, 1): 10.0, (0, 2): 20.0, (2, 5): 30.0, (4, 0): 0.0}
    # image 0 shares seed 1 alone; image 2 shares none, so each has its own mean; images 1 and 4 are of one side
    np.testing.assert_array_equal(paired(one, other), [[3.0, 10.0], [8.0, 30.0]])


def test_pairing_sees_what_differs_less_than_images_do():
    hard = RNG.normal(0, 10, size=(30, 1))
    one, other = values(hard + 0.1), values(hard + 0.02 * RNG.normal(size=(30, 1)))
    found = difference(one, other, "higher")
    assert found.better and not found.worse
    alone = estimate(one), estimate(other)
    assert alone[0].low < alone[1].high  # the intervals of the means overlap widely


def test_a_constant_shift_has_no_doubt():
    found = difference({(i, 0): i + 1.0 for i in range(5)}, {(i, 0): float(i) for i in range(5)}, "lower")
    assert (found.change, found.gain) == (1.0, -1.0) and found.worse
    assert found.low == pytest.approx(1) and found.high == pytest.approx(1)


def test_a_target_is_missed_by_the_mean_and_not_by_images():
    right = values([[0.85], [1.05]] * 100)  # scattered about .95
    tight = values([[0.90], [0.90]] * 100)  # every image nearer to .95, and the set wrong
    assert difference(right, tight, 0.95).better and difference(tight, right, 0.95).worse


def test_without_direction_there_is_no_gain():
    found = difference(values([[1.0], [2.0]]), values([[0.0], [0.0]]), "none")
    assert math.isnan(found.gain) and not found.better and not found.worse and found.change == 1.5


def test_one_image_has_no_interval_and_none_no_mean():
    found = estimate({(0, 0): 1.0, (0, 1): 2.0})
    assert found.mean == 1.5 and math.isnan(found.low) and found.n == 1
    assert not difference({(0, 0): 2.0}, {(0, 0): 1.0}, "higher").better
    assert math.isnan(estimate({}).mean) and difference({}, {(0, 0): 1.0}, "higher").n == 0


def test_intervals_are_the_same_every_time_and_blind_to_order():
    found = values(RNG.normal(size=(9, 2)))
    backwards = dict(reversed(found.items()))
    assert estimate(found) == estimate(backwards)
