"""Rank histograms with their band, the Frechet distance, and the drawing of both."""

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.suite.records import Record, Scale
from benchmarks.suite.report.axes import limits, log_axis, plain_axis
from benchmarks.suite.report.labels import Box, place
from benchmarks.suite.report.plots import Point, front, pareto
from benchmarks.suite.report.pooling import pool
from benchmarks.suite.report.sets import distances, histogram
from benchmarks.suite.report.stats import Estimate, loss
from benchmarks.suite.report.tables import build

K, PIXELS, BINS = 19, 64, 10


def counted(rng, images: int, spread: float) -> np.ndarray:
    """Ranks (images, BINS) of truths among samples whose pixels go up and down together; spread 1 is right."""
    common = rng.normal(size=(images, K + 1, 1)) * 0.8
    members = common + 0.6 * rng.normal(size=(images, K + 1, PIXELS))
    members[:, 1:] *= spread
    ranks = (members[:, :1] > members[:, 1:]).sum(1) + rng.uniform(size=(images, PIXELS))
    cells = np.minimum(ranks / (K + 1) * BINS, BINS - 1).astype(int)
    return np.stack([np.bincount(row, minlength=BINS) for row in cells])


def test_the_band_holds_a_right_samplers_bins_however_its_pixels_depend():
    rng = np.random.default_rng(0)
    outside = [histogram(counted(rng, 25, 1.0)).outside for _ in range(200)]
    # 1 % of 2000 bins; a band from counts of independent pixels would be left by most
    assert 0.002 < sum(outside) / (200 * BINS) < 0.025


@pytest.mark.parametrize("spread", [0.5, 2.0])
def test_a_wrong_sampler_leaves_the_band(spread):
    found = histogram(counted(np.random.default_rng(1), 40, spread))
    assert found.outside >= 2
    ends = found.parts[[0, -1]].sum() > 2 / BINS
    assert ends if spread < 1 else not ends


def test_few_images_have_no_band_and_no_ranks_are_refused():
    assert math.isnan(histogram(np.ones((2, BINS))).low[0]) and histogram(np.ones((2, BINS))).outside == 0
    with pytest.raises(ValueError, match="expected"):
        histogram(np.zeros((0, BINS)))


def featured(method: str, features: np.ndarray | None) -> Record:
    n = 40 if features is None else len(features)
    return Record(method, "p", "t", "q", method, True, 0, tuple(range(n)), features=features,
                  metrics={"m": np.zeros(n)}, scales={"m": Scale("m", "higher")})  # fmt: skip


def test_the_frechet_distance_is_to_the_truths_features():
    rng = np.random.default_rng(2)
    truth = rng.normal(size=(64, 3))
    found = [featured("truth", truth), featured("same", truth), featured("moved", truth + 2.0),
             featured("few", truth[:5]), featured("none", None)]  # fmt: skip
    (problem,) = pool(found)
    told = distances(problem)
    assert told["same"] == pytest.approx(0, abs=1e-9) and told["moved"] == pytest.approx(12)
    assert "5 images" in told["few"] and "no features" in told["none"] and "truth" not in told
    table = build(problem)
    assert {line.name for line in table.lines} == {"same", "moved", "few", "none"}
    assert distances(pool(found[1:])[0]) == {}


def test_the_front_is_what_no_other_beats():
    rng = np.random.default_rng(3)
    for better in ("higher", "lower", 0.5):
        points = [Point(str(i), c, Estimate(q, q, q, 9)) for i, (c, q) in enumerate(rng.uniform(0.1, 1, size=(30, 2)))]
        slow = {
            p.name for p in points
            if not any(o.cost <= p.cost and loss(o.quality.mean, better) <= loss(p.quality.mean, better)
                       and o is not p for o in points)
        }  # fmt: skip
        assert {p.name for p in front(points, better)} == slow


def test_names_keep_apart_in_a_crowd():
    rng = np.random.default_rng(4)
    frame = Box(0, 0, 400, 300)
    points = [(x, y, f"method{i}") for i, (x, y) in enumerate(rng.normal((200, 150), (60, 40), size=(20, 2)))]
    boxes = [label.box for label in place(points, frame)]
    assert sum(a.overlap(b) for i, a in enumerate(boxes) for b in boxes[:i]) == 0
    assert all(b.left >= 0 and b.right <= 400 and b.top >= 0 and b.bottom <= 300 for b in boxes)


def test_axes_have_a_few_round_ticks():
    rng = np.random.default_rng(5)
    for _ in range(200):
        a, b = sorted(10 ** rng.uniform(-3, 4, size=2))
        for axis in (log_axis([a, b], 0, 100), plain_axis([-a, b], 0, 100)):
            ticks = axis.ticks()
            assert 2 <= len(ticks) <= 9
            assert all(-1e-6 <= axis.at(tick) <= 100 + 1e-6 for tick in ticks)
    assert log_axis([3.0], 0, 1).at(3.0) == pytest.approx(0.5)
    assert plain_axis([0.0], 0, 1).at(0.0) == pytest.approx(0.5)


def test_what_is_far_off_does_not_flatten_the_rest():
    assert limits([24, 25, 26, 25.5, -300]) == (24, 26)
    points = [Point(f"m{i}", 1.0 + i, Estimate(q, q - 1, q + 1, 9)) for i, q in enumerate([24, 25, 26, 25.5, -300])]
    drawn = str(pareto(points, Scale("PSNR, dB", "higher"), "seconds"))
    assert "m4 (−300.00)" in drawn and drawn.count("<circle") == 4
    alone = str(pareto([replace(points[0], quality=Estimate(1.0, math.nan, math.nan, 1))], Scale("x", 0.95), "NFE"))
    assert "nan" not in alone
