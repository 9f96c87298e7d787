"""Faults of k-space that a scan can have: each is found or modelled, its remedy helps, and right scans are silent."""

import math
import warnings

import pytest
import torch

import priors
from benchmarks.trained.scan_mistakes import FAULTS, MODELLED, measured
from inverse.app.kspace.artefacts import falling, ghost, point, stripe
from inverse.app.kspace.noise import combined, noise_levels, unlike_coils
from inverse.app.kspace.shots import gains, uneven
from inverse.scans import Scan
from operators.kspace import fftc, ifftc, radius

PICTURES = priors.samples("brain-mri").floats()[:, 0]
LARGE = priors.samples("brain-mri-224").floats()[:, 0]
QUIET = 0.003  # sigma at which a picture's signal is above the noise up to the border of k-space

SAID = {  # fault: what the warning says
    "noise outside an ellipse": "outside an ellipse",
    "noise outside an ellipse of .75": "outside an ellipse",
    "zeros outside an ellipse, rounded": "zeros with rounding",
    "partial Fourier, filled with noise": "columns at the right",
    "a Hamming window": "apodisation",
    "a spike": "spikes of the electronics",
    "a column of interference": "interference or a failed readout",
    "a zipper": "a zipper",
    "an offset": "an offset of the receiver",
    "an N/2 ghost": "N/2 ghost",
    "1.3 times the gain in half of the columns": "the signal of the columns from 0 on",
    "1.3 times the gain in every other column": "the signal of the even columns",
    "maps conjugated": "sens_maps conjugated",
    "maps mirrored": "sens_maps mirrored along the columns' axis",
    "maps moved by half a side": "sens_maps moved by half a side along both axes",
    "maps moved by 4 pixels": "moved by (-4, 2) pixels",
    "maps of another slice": "is it of another slice",
    "maps in another order": "sens_maps in the order of coils",
}


@pytest.mark.parametrize("seed", range(40))
def test_right_scans_are_silent(tmp_path, seed):
    """Of both shipped sets of pictures, cropped or padded, with 1 to 12 coils, all or a part of the columns."""
    picture = (PICTURES if seed % 2 else LARGE)[seed % 8]
    if seed % 3 == 1:
        picture = picture[2:-4, 3:-2]
    if seed % 5 == 2:
        picture = torch.nn.functional.pad(picture, (0, 0, 10, 10))
    sigma = (0.003, 0.005, 0.01, 0.02, 0.05)[seed // 2 % 5]
    coils, acceleration = (1, 4, 8, 12, 2)[seed % 5], (1.0, 1.0, 2.0, 3.0)[seed // 3 % 4]
    m = measured(picture, seed, coils, sigma, acceleration, given=seed % 4 == 3)
    scan, texts = m.read(tmp_path)
    assert texts == [] and torch.equal(scan.mask[0], m.mask)


@pytest.mark.parametrize("acceleration", [1.0, 2.0])
@pytest.mark.parametrize("fault", SAID)
def test_faults_are_named(tmp_path, fault, acceleration):
    for seed in (0, 1):
        sigma = 0.01 if "interference" in fault else QUIET  # twelve times QUIET is less than the signal
        m = measured(PICTURES[seed + 2], seed, 4, sigma, acceleration, given=fault.startswith("maps"))
        if acceleration > 1 and fault == "an N/2 ghost":
            continue  # too few columns around k = 0
        texts = FAULTS[fault](m).read(tmp_path)[1]
        assert any(SAID[fault] in text for text in texts), texts


@pytest.mark.parametrize(
    "fault, lost",
    [
        ("noise outside an ellipse", lambda m: radius(m.mask.shape) > 1),
        ("zeros outside an ellipse, rounded", lambda m: radius(m.mask.shape) > 1),
        ("partial Fourier, filled with noise", lambda m: ((torch.arange(64) - 32) / 32 > 0.4).expand(64, 64)),
    ],
)
def test_what_was_not_measured_leaves_the_mask(tmp_path, fault, lost):
    m = measured(PICTURES[0], 0, 4, QUIET, 1.0)
    left = FAULTS[fault](m).read(tmp_path)[0].mask[0]
    wrong = left != (m.mask & ~lost(m))
    assert float(wrong.double().mean()) < 0.03  # to a line or two at the edge
    assert float(left[lost(m)].double().mean()) < 0.1


def test_a_spike_and_a_line_leave_the_mask(tmp_path):
    for fault, most in (("a spike", 8), ("a column of interference", 128)):
        m = measured(PICTURES[1], 3, 4, 0.01, 1.0)
        wrong = FAULTS[fault](m)
        differs = (wrong.kspace - m.kspace).abs().amax(0) > 1e-9
        left = wrong.read(tmp_path)[0].mask[0]
        assert not bool((left & differs).any()) and int((~left).sum()) <= most


def test_remedies_for_an_offset_a_ghost_and_a_zipper_help(tmp_path):
    m = measured(PICTURES[2], 1, 4, 0.01, 1.0)
    z = FAULTS["an offset"](m).kspace
    border = radius((64, 64)) > 0.8
    assert m.changed(z - z[:, border].mean(1)[:, None, None]).read(tmp_path)[1] == []
    z = FAULTS["an N/2 ghost"](m).kspace
    _, phase, slope = ghost(z, m.mask, -1)
    assert slope == 0 and phase == pytest.approx(-0.6, abs=math.pi / 32)
    odd = torch.arange(64) % 2
    assert m.changed(z * torch.exp(1j * phase * odd)).read(tmp_path)[1] == []
    z = FAULTS["a zipper"](m).kspace
    size, row = stripe(z, m.mask, -2)
    assert size > 4
    h = ifftc(z, (-2,))
    h[:, row] = (h[:, row - 2] + h[:, row + 2]) / 2
    assert m.changed(fftc(h, (-2,))).read(tmp_path)[1] == []


def test_remedies_for_maps_help(tmp_path):
    m = measured(PICTURES[3], 0, 4, 0.01, 2.0, given=True)
    assert any("sens_maps" in text for text in FAULTS["maps mirrored"](m).read(tmp_path)[1])
    again = FAULTS["maps mirrored"](FAULTS["maps mirrored"](m))
    assert again.read(tmp_path)[1] == []


def test_what_the_checks_measure_of_pictures_and_of_faults():
    m = measured(PICTURES[4], 0, 4, 0.01, 1.0)
    for find, fault in ((falling, "a Hamming window"), (lambda z, mask: point(z, mask)[0], "an offset")):
        assert find(FAULTS[fault](m).kspace, m.mask) > 1.2 * find(m.kspace, m.mask) + 1
    assert ghost(m.kspace, m.mask, -1)[0] < 0.005 and stripe(m.kspace, m.mask, -1)[0] < 1.5


@pytest.mark.parametrize("ratio", [1.0, 2.5, 20.0])
@pytest.mark.parametrize("given", [False, True])
def test_a_noisy_coil_is_whitened(ratio, given):
    """To noise of one level, with the picture in the same units, and sensitivities that explain it."""
    m = measured(PICTURES[1], 5, 4, 0.02, 1.0, given=given)
    right = m.scan().problem(0)
    noise = m.noise.clone()
    noise[1] *= ratio
    scan = type(m)(**{**vars(m), "noise": noise}).scan()
    problem = scan.problem(0)
    assert problem.noise_ratio == pytest.approx(ratio if ratio > 1.5 else 1, rel=0.25)
    assert problem.scale == pytest.approx(right.scale, rel=0.03)
    assert problem.sigma == pytest.approx(0.02, rel=0.15)
    error = problem.operator(m.picture[None, None] / problem.scale) - problem.y
    level = error.square().mean((0, 2, 3, 4)).sqrt() * problem.scale
    assert float(level.max() / level.min()) < 1.5, level
    if given:
        assert level.mean() == pytest.approx(0.02, rel=0.15) and problem.zero_filled.max() < 1.5


def test_noise_levels_of_coils():
    m = measured(PICTURES[1], 5, 8, 0.02, 1.0)
    factors = torch.tensor([1.0, 2.0, 1.0, 0.5, 1.0, 1.0, 3.0, 1.0])
    levels = noise_levels(m.signal + m.noise * factors[:, None, None], m.mask)
    assert levels is not None
    torch.testing.assert_close(levels, 0.02 * factors.double(), rtol=0.15, atol=0)
    assert unlike_coils(m.kspace, m.mask) is None
    assert noise_levels(m.kspace[:1], m.mask) is None and noise_levels(m.kspace, m.mask & False) is None
    copies = noise_levels(torch.cat([m.kspace, m.kspace[:1]]), m.mask)
    assert copies is not None and bool((copies > 0).all()), "a coil that is a copy is not without noise"


def test_coils_are_combined_by_least_squares():
    m = measured(PICTURES[1], 5, 4, 0.02, 1.0)
    torch.testing.assert_close(
        combined(ifftc(m.signal), m.maps.to(torch.complex128)).float(), m.picture.abs(), atol=1e-5, rtol=0
    )


def test_a_noisy_coil_is_said_in_no_warning(tmp_path):
    m = measured(PICTURES[1], 2, 4, 0.01, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan = FAULTS[MODELLED](m).read(tmp_path)[0]
    assert isinstance(scan, Scan) and scan.problem(0).noise_ratio > 1.5


@pytest.mark.parametrize("axis", [-1, -2])
def test_the_gain_of_a_shot_is_named_and_its_remedy_helps(axis):
    """From a quarter, the middle and three quarters of the lines on, along both axes, at the size of each prior."""
    for pictures in (PICTURES, LARGE):
        m = measured(pictures[1], 0, 1, QUIET, 1.0)
        n = m.mask.shape[axis]
        k = torch.arange(n) - n // 2
        for first in (-n // 4, 0, n // 4):
            factor = torch.where(k >= first, 1.4, 1.0)
            factor = factor if axis == -1 else factor[:, None]
            text = uneven(m.kspace * factor, m.mask)
            assert f"{'columns' if axis == -1 else 'rows'} from " in text and text.count("times") == 1
            step = next(step for at, step, _ in gains(m.kspace * factor, m.mask, axis) if at == first)
            assert math.exp(step / 2) == pytest.approx(1.4, rel=0.2)
            assert uneven(m.kspace * factor / torch.where(factor > 1, math.exp(step / 2), 1), m.mask) == ""


def test_gains_are_not_compared_across_lines_that_were_measured_in_part():
    m = measured(PICTURES[0], 0, 1, QUIET, 2.0)
    assert gains(m.kspace, m.mask, -2) == [] and gains(m.kspace, m.mask, -1)
    assert gains(torch.zeros(1, 64, 64), torch.zeros(64, 64, dtype=torch.bool), -1) == []
