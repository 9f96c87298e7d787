"""Radon against closed forms and scikit-image, and filtered back-projection against the pictures."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from operator_cases import uniform
from skimage.transform import iradon, radon
from torch.nn import functional as F

import operators
from operators import Radon
from operators.backprojection import WINDOWS, ramp, shares

# (weight, width, column, row upwards), the picture's side being 1: bumps and their closed-form line integrals
BUMPS = ((1.0, 0.08, 0.1, -0.06), (-0.5, 0.05, -0.15, 0.05), (0.7, 0.09, 0.0, 0.08))


def bumps(n: int) -> torch.Tensor:
    u = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) / n
    return sum(w * torch.exp(-((u - a) ** 2 + (-u[:, None] - b) ** 2) / (2 * s**2)) for w, s, a, b in BUMPS)[None, None]


def bumps_seen(op: Radon, n: int) -> torch.Tensor:
    theta, detectors = op.angles.deg2rad()[:, None], op.detectors_for(n)
    p = (torch.arange(detectors, dtype=torch.float64) - (detectors - 1) / 2) / n
    return sum(
        w * s * math.sqrt(2 * math.pi) * torch.exp(-((p - a * theta.cos() - b * theta.sin()) ** 2) / (2 * s**2))
        for w, s, a, b in BUMPS
    )


def rms(a: torch.Tensor) -> float:
    return float(a.square().mean().sqrt())


def test_projections_of_smooth_bumps_at_second_order():
    errors = []
    for n in (24, 48, 96):
        op = Radon(37, pixel=1 / n)
        errors.append(rms(op(bumps(n))[0, 0] - bumps_seen(op, n)))
    assert errors[2] < 1e-4
    assert all(3.5 < coarse / fine < 4.5 for coarse, fine in pairwise(errors)), errors


def test_projections_of_a_disc_at_first_order():
    """Chords of a circle, whose edge the pixels blur."""
    errors = []
    for n in (32, 64, 128):
        fine = (torch.arange(8 * n) - (8 * n - 1) / 2) / (8 * n)
        inside = (fine - 0.1) ** 2 + (-fine[:, None] + 0.15) ** 2 < 0.3**2
        op = Radon([0, 10, 33, 45, 80, 90, 120, 178], pixel=1 / n)
        y = op(inside.double().view(n, 8, n, 8).mean((1, 3))[None, None])[0, 0]
        theta, p = op.angles.deg2rad()[:, None], (torch.arange(y.shape[1]) - (y.shape[1] - 1) / 2) / n
        distance = p - (0.1 * theta.cos() - 0.15 * theta.sin())
        errors.append(rms(y - 2 * (0.3**2 - distance**2).clamp(min=0).sqrt()))
    assert errors[2] < 3e-3
    assert all(1.6 < coarse / fine < 2.6 for coarse, fine in pairwise(errors)), errors


def test_the_axes_and_the_sense_of_rotation():
    x = uniform(1, 1, 6, 6).double()
    y = Radon([0, 90, 180, 270], detectors=6)(x)[0, 0]
    down, across = x[0, 0].sum(0), x[0, 0].sum(1)
    torch.testing.assert_close(y, torch.stack([down, across.flip(0), down.flip(0), across]))


@pytest.mark.filterwarnings("ignore:Radon transform. image must be zero outside")
@pytest.mark.parametrize("circle", [True, False])
@pytest.mark.parametrize("n", [64, 65])
def test_scikit_images_transform(n, circle):
    angles = np.linspace(0, 180, 25, endpoint=False)
    x = bumps(n)
    sinogram = radon(x[0, 0].numpy(), angles, circle=circle)
    expected = torch.from_numpy(sinogram.T)[None, None]
    op = Radon.skimage(n, angles, circle)
    y = op(x)
    assert rms(y - expected) < 4e-3 * rms(expected)  # both interpolate linearly; a wrong sense or centre gives 0.2
    assert rms(y - expected.flip(-1)) > 0.1 * rms(expected)
    theirs = torch.from_numpy(iradon(sinogram, angles, circle=circle))
    inside = (torch.arange(n)[:, None] - n // 2) ** 2 + (torch.arange(n) - n // 2) ** 2 < (n // 2 - 1) ** 2
    assert rms((op.fbp(expected)[0, 0] - theirs)[inside]) < 0.01 * rms(x)
    if n % 2 == 0:  # the default axis of rotation is half a pixel away
        assert rms(Radon(angles, n, y.shape[-1])(x) - expected) > 0.05 * rms(expected)


def test_the_axis_of_rotation():
    """On the detectors it moves the sinogram along, in the picture it is where that is turned about."""
    x, angles = bumps(32), torch.linspace(0, 180, 13)
    default = Radon(angles, 32, 40)
    assert torch.equal(Radon(angles, 32, 40, centre=19.5, origin=(15.5, 15.5))(x), default(x))
    torch.testing.assert_close(Radon(angles, 32, 40, centre=22.5)(x)[..., 3:], default(x)[..., :-3])
    down = F.pad(x, (0, 0, 2, 0))[..., :32, :]  # by two rows; and to the left by three columns
    moved = F.pad(down, (0, 3))[..., 3:]
    torch.testing.assert_close(Radon(angles, 32, 40, origin=(17.5, 12.5))(moved), default(x), atol=1e-3, rtol=0)
    whole = Radon(90, 32, 60, centre=24.25, origin=(14.0, 16.0), pixel=0.7)
    assert rms(whole.fbp(whole(x)) - x) < 0.03 * rms(x)
    operators.check(Radon(5, 8, centre=4.25, origin=(3, 4.5), noise=operators.GaussianNoise(0.1)), (1, 8, 8))


def test_radians():
    radians = np.linspace(0, np.pi, 60, endpoint=False)
    degrees = Radon(np.rad2deg(radians)).angles
    torch.testing.assert_close(Radon(radians, unit="radians").angles, degrees)
    torch.testing.assert_close(Radon(60).angles, degrees)
    few = Radon([0.0, 1.0, 2.0, 3.0], unit="degrees")  # a small wedge, and no doubt
    assert few.angles.tolist() == [0, 1, 2, 3]
    for angles in ([0.0], [0.0, 1.5], [2.0, 2.0, 2.0], [0, 3, 6, 9], [-90.0, 0.0, 1.0]):  # these cannot be mistaken
        assert Radon(angles).angles.tolist() == angles


@pytest.mark.parametrize("n", [31, 32])
def test_default_detectors_see_every_pixel(n):
    corner = torch.zeros(1, 1, n, n).double()
    corner[..., 0, -1] = 1.0
    for angles in ([45.0], [30.0, 135.0]):
        mass = Radon(angles)(corner).sum(-1)  # of a single pixel it is 1 only on average over its places
        assert (mass > 0.5).all()
    assert Radon(4).detectors_for(n) % 2 == n % 2


@pytest.mark.parametrize("n", [47, 48])
def test_filtered_back_projection_of_smooth_bumps(n):
    """Exact for many views up to the discretisation; few views leave streaks."""
    x = bumps(n)
    errors = [rms(op.fbp(op(x)) - x) / rms(x) for op in (Radon(views, pixel=0.7) for views in (8, 16, 90))]
    assert errors[0] > 3 * errors[1] > 3 * errors[2] and errors[2] < 0.02
    op = Radon(90)
    assert abs(float(op.fbp(op(x)).sum() / x.sum()) - 1) < 0.01


def test_turns_of_a_whole_circle_and_uneven_views():
    x = bumps(48)
    half = Radon(90, 48)
    reference = half.fbp(half(x))
    whole = Radon(torch.arange(180) * 2.0, 48)
    torch.testing.assert_close(whole.fbp(whole(x)), reference, atol=2e-3, rtol=0)
    golden = Radon(torch.arange(120) * 111.246, 48)
    assert rms(golden.fbp(golden(x)) - x) < 0.03 * rms(x)


def test_views_share_the_half_circle():
    scattered = 180 * uniform(50, seed=3) + 360
    torch.testing.assert_close(shares(scattered).sum().item(), math.pi)
    torch.testing.assert_close(shares(torch.tensor([10.0, 0, 100])).tolist(), np.deg2rad([50, 45, 85]).tolist())
    limited = Radon.limited_angle(16, 60, 20)
    torch.testing.assert_close(shares(limited.angles), torch.full((20,), math.radians(3), dtype=torch.float64))


def test_the_ramp_is_the_frequency_and_keeps_the_mean():
    f = torch.fft.rfftfreq(512, dtype=torch.float64)
    response = ramp(512, "ramp")
    assert (response - f).abs().max() < 2e-3 and 0 < response[0] < 1e-3
    smoother = [float(ramp(512, window).sum()) for window in WINDOWS]
    assert smoother == sorted(smoother, reverse=True)


def test_windows_take_noise_away():
    op, noise = Radon(60, 32), torch.randn(1, 1, 60, 46, generator=torch.Generator().manual_seed(0))
    spreads = [rms(op.fbp(noise, window)) for window in WINDOWS]
    assert spreads == sorted(spreads, reverse=True) and spreads[0] > 2 * spreads[-1]


def test_the_matrix_follows_size_and_dtype():
    op = Radon(5)
    for n, dtype in ((6, torch.float32), (9, torch.float64), (6, torch.float64), (6, torch.float32)):
        x = uniform(2, 1, n, n).to(dtype)
        torch.testing.assert_close(op(x), Radon(5)(x))
        torch.testing.assert_close(op.adjoint(op(x)), Radon(5, n).adjoint(op(x)))
        assert op(x).dtype == dtype


def test_it_can_be_differentiated_twice():
    x = uniform(1, 2, 4, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(Radon(3).double(), (x,)) and torch.autograd.gradgradcheck(Radon(3).double(), (x,))


def test_partial_views():
    assert Radon.sparse_view(16, 4).angles.tolist() == [0, 45, 90, 135]
    limited = Radon.limited_angle(16, 60, 4, start=-30, detectors=9)
    assert limited.angles.tolist() == [-30, -15, 0, 15] and limited.measurement_shape((1, 16, 16)) == (1, 4, 9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Radon([]), "finite and not empty"),
        (lambda: Radon(0), "angles = 0: expected an integer >= 1"),
        (lambda: Radon([[0.0, 1.0]]), r"given shape \(1, 2\)"),  # type: ignore
        (lambda: Radon(4, size=0), "leave it out"),
        (lambda: Radon(4, pixel=0.0), "pixel = 0.0"),
        (lambda: Radon.limited_angle(8, 200, 4), r"a number in \(0, 180\]"),
        (lambda: Radon(4)(uniform(1, 1, 6, 5)), "to a square"),
        (lambda: Radon(4, 8)(uniform(1, 1, 6, 6)), "of the size that the operator is for"),
        (lambda: Radon(4, detectors=12).adjoint(uniform(1, 1, 4, 12)), r"operator\.at\(\(C, n, n\)\)"),
        (lambda: Radon(4).adjoint(uniform(1, 1, 4, 14)), r"operator\.at\(\(C, n, n\)\)"),
        (lambda: Radon(4, 8).adjoint(uniform(1, 1, 4, 11)), r"expected sinograms \(C, 4, 12\).*detectors=11"),
        (lambda: Radon(np.linspace(0, np.pi, 60)), r'unit="radians", or np.rad2deg\(angles\), or unit="degrees"'),
        (lambda: Radon(torch.linspace(-1.6, 1.6, 5)), "look like radians"),
        (lambda: Radon(np.linspace(0, 2 * np.pi, 9)), "look like radians"),
        (lambda: Radon.skimage(8, [0.0, 0.5, 1.0]), "look like radians"),
        (lambda: Radon.limited_angle(8, np.pi / 2, 9), "look like radians"),
        (lambda: Radon(4, unit="turns"), "degrees, radians"),  # type: ignore
        (lambda: Radon(4, centre=math.nan), "leave it out"),
        (lambda: Radon(4, origin=(1.0, 2.0, 3.0)), "leave it out"),  # type: ignore
        (lambda: Radon(4, 8).adjoint(uniform(1, 1, 12, 4)), r"y\.transpose\(-1, -2\)"),
        (lambda: Radon(4, 8).fbp(uniform(1, 1, 12, 4)), r"y\.transpose\(-1, -2\)"),
        (lambda: Radon(4, 8).validate_y(uniform(1, 1, 12, 4), (1, 8, 8)), r"y\.permute\(0, 1, 3, 2\) fits"),
        (lambda: Radon(4, 8).validate_y(uniform(12, 4), (1, 8, 8)), r"y\.permute\(1, 0\)\[None\]\[None\] fits"),
        (lambda: Radon(4, 8).fbp(uniform(1, 1, 4, 12), "hanning"), "hamming, hann"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
