"""Masks of k-space: how much, where, and from which seed."""

import math

import pytest
import torch

from operators.sampling import calibration_region, cartesian, poisson_disc, radial

SHAPES = [(64, 64), (33, 47), (20, 61)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["uniform", "variable", "equispaced"])
@pytest.mark.parametrize("acceleration", [1, 2.5, 4, 8])
def test_columns_are_as_many_as_asked_for(shape, kind, acceleration):
    mask = cartesian(shape, acceleration, 0.08, kind)
    assert mask.shape == shape and mask.dtype == torch.bool
    assert (mask == mask[0]).all() and int(mask[0].sum()) == round(shape[1] / acceleration)
    middle = round(0.08 * shape[1])
    start = shape[1] // 2 - middle // 2
    assert mask[0, start : start + middle].all()


def test_kinds_of_columns():
    """Equal distances up to the rounding; a density that falls outwards, or does not."""
    gaps = cartesian((1, 400), 8, 0, "equispaced")[0].nonzero()[:, 0].diff()
    assert set(gaps.tolist()) == {8}
    distance = (torch.arange(400) - 200).abs().float()
    mean = {
        kind: torch.stack([distance[cartesian((1, 400), 8, 0, kind, seed)[0]].mean() for seed in range(20)]).mean()
        for kind in ("uniform", "variable")
    }
    assert mean["uniform"] == pytest.approx(
        100, abs=5
    )  # 20 means of 50 numbers of deviation 58: a standard error of 1.8
    # of 1/8 of the columns, drawn without replacement, less than the 1 / 6 of 200 of the density's own mean
    assert 33 < mean["variable"] < 60


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("acceleration", [2, 4, 8])
def test_points_of_a_poisson_disc_are_as_many_as_asked_for(shape, acceleration):
    mask = poisson_disc(shape, acceleration)
    assert mask.shape == shape and int(mask.sum()) == round(math.prod(shape) / acceleration)
    assert mask[shape[0] // 2, shape[1] // 2]


def test_points_of_a_poisson_disc_keep_their_distance():
    """Pairs of neighbours in the outer part, where as many independent points have some."""
    mask = poisson_disc((64, 64), 8, 0.1)
    outer = mask.clone()
    outer[16:48, 16:48] = False
    assert not (outer[:, 1:] & outer[:, :-1]).any() and not (outer[1:] & outer[:-1]).any()
    assert not (outer[1:, 1:] & outer[:-1, :-1]).any() and not (outer[1:, :-1] & outer[:-1, 1:]).any()
    density = [float(mask[part].float().mean()) for part in ((slice(24, 40), slice(24, 40)), (slice(8), slice(64)))]
    assert density[0] > 4 * density[1] > 0


def test_spokes_go_through_the_middle_at_golden_angles():
    mask = radial((65, 65), 1)
    assert mask[32].all() and int(mask.sum()) == 65
    two = radial((65, 65), 2) & ~mask
    row, column = (two.nonzero() - 32).double().T
    angle = torch.atan2(row, column) % math.pi
    expected = math.pi * (math.sqrt(5) - 1) / 2
    far = row.hypot(column) > 20
    assert (angle[far] - expected).abs().max() < 0.5**0.5 / 20  # half a pixel's diagonal, seen from the middle
    counts = [int(radial((40, 50), n).sum()) for n in (5, 10, 20)]
    assert counts[0] < counts[1] < counts[2] < 2 * counts[1] and radial((40, 50), 5)[20, 25]


@pytest.mark.parametrize("draw", [lambda s: cartesian((9, 64), seed=s), lambda s: poisson_disc((24, 25), seed=s)])
def test_a_seed_is_a_mask(draw):
    state = torch.get_rng_state()
    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_region_that_is_measured_whole():
    mask = torch.zeros(20, 31, dtype=torch.bool)
    assert calibration_region(mask) == (slice(0, 0), slice(0, 0))
    mask[8:13, 10:21] = True  # about (10, 15)
    mask[0, 0] = mask[10] = True
    assert calibration_region(mask) == (slice(8, 13), slice(10, 21))
    mask[8:13, 10] = False
    assert calibration_region(mask) == (slice(8, 13), slice(11, 20))
    assert calibration_region(torch.ones(20, 31, dtype=torch.bool)) == (slice(0, 20), slice(0, 31))
    assert calibration_region(cartesian((12, 50), 2, 0.2))[0] == slice(0, 12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cartesian((8, 8), kind="random"), ValueError, "kind = 'random'"),
        (lambda: cartesian((8, 8), 0.5), ValueError, "acceleration = 0.5"),
        (lambda: cartesian((8, 8), 9), ValueError, r"in \[1, 8\]"),
        (lambda: cartesian((8, 8), 2, 1.2), ValueError, "calibration = 1.2"),
        (lambda: cartesian((8, 40), 8, 0.5), ValueError, "leaves 5 of 40 columns, the calibration needs 20"),
        (lambda: poisson_disc((8, 8), 16, 0.9), ValueError, "leaves 4 samples, the calibration needs 49"),
        (lambda: radial((8, 8), 0), ValueError, "spokes = 0"),
        (lambda: radial((8, 8), 2.0), TypeError, "spokes = 2.0"),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
