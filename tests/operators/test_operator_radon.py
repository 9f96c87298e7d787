"""Radon against closed forms and scikit-image, and filtered back-projection against the pictures."""

import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from operator_cases import uniform
from skimage.transform import iradon, radon
from torch.nn import functional as F

import operators
import priors
from operators import Radon, TransposedSinogram
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


# A picture of 5 x 5 pixels and its sinogram by ASTRA 2.5 (create_proj_geom("parallel", 1.0, 6, [0.1, 0.9, 2.5]),
# projector "linear").
ASTRAS_PICTURE = [[0, 1, 0, 0, 0], [0, 0, 0, 2, 0], [0, 0, 0, 0, 0], [0, 0, 3, 0, 0], [0, 0, 0, 0, 0]]
ASTRAS_SINOGRAM = [
    [0.0, 0.293264, 2.509187, 2.005837, 1.191559, 0.0],
    [0.0, 0.325882, 2.444585, 0.551308, 2.615539, 0.0],
    [0.0, 0.0, 4.854307, 0.306848, 0.472173, 0.466216],
]


def test_astras_geometry():
    x = torch.tensor(ASTRAS_PICTURE).double()[None, None]
    angles = [0.1, 0.9, 2.5]  # which without a unit would be refused
    y = Radon.astra(5, angles, 6)(x)[0, 0]
    torch.testing.assert_close(y, torch.tensor(ASTRAS_SINOGRAM).double(), atol=2e-6, rtol=0)
    torch.testing.assert_close(Radon.astra(5, np.int64(60), 6).angles, Radon(60).angles)


def test_tigres_geometry():
    """Its rays, as its source has them: p on them has p . (-sin, cos) = u - COR with p = (column, row) + offOrigin."""
    n, detectors, cor, down, across = 40, 70, 1.3, 2.0, -1.5
    alpha = torch.linspace(0, math.pi, 9, dtype=torch.float64)[:, None] + 0.2
    u = torch.arange(detectors, dtype=torch.float64) - (detectors - 1) / 2
    place, spots = torch.arange(n, dtype=torch.float64) - (n - 1) / 2, ((1.0, 8.0, -5.0), (0.6, -3.0, 7.0))
    x = sum(w * torch.exp(-((place[:, None] - r) ** 2 + (place - c) ** 2) / 18) for w, r, c in spots)  # sigma 3
    expected = sum(
        w
        * 3
        * math.sqrt(2 * math.pi)
        * torch.exp(-((u + cor - ((r + down) * alpha.cos() - (c + across) * alpha.sin())) ** 2) / 18)
        for w, r, c in spots
    )
    op = Radon.tigre(n, alpha[:, 0], detectors, cor=cor, off_origin=(down, across))
    assert rms(op(x[None, None])[0, 0] - expected) < 0.01 * rms(expected)  # a wrong sign gives 0.4
    first = Radon.tigre(n, 4, n)(x[None, None])[0, 0, 0]  # at angle 0 rays run along rows
    torch.testing.assert_close(first, x.sum(1))


def test_a_number_of_views_has_no_unit():
    for unit in ("radians", "degrees", None):
        torch.testing.assert_close(Radon(60, unit=unit).angles, torch.arange(60) * 3.0, check_dtype=False)


def test_posterior_means_of_skimages_sinograms_at_even_and_odd_sizes():
    """With the axis of rotation half a pixel off, the error at even sizes is several times that at odd ones."""
    errors = {}
    for n in (16, 17):
        place = torch.stack(torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij"), -1).view(-1, 2).double()
        covariance = 0.02 * torch.exp(-torch.cdist(place, place).square() / 18) + 1e-6 * torch.eye(n * n)
        prior = priors.Gaussian(torch.zeros(n * n).double(), covariance, sde=priors.VESDE(), event_shape=(1, n, n))
        x = prior.sample(4, seed=1).double()
        angles = np.linspace(0, 180, 24, endpoint=False)
        seen = np.stack([radon(picture[0].numpy(), angles, circle=False).T for picture in x])[:, None]
        y = torch.from_numpy(seen) + 0.05 * torch.randn(seen.shape, generator=torch.Generator().manual_seed(0))
        named = Radon.skimage(n, angles, circle=False, noise=operators.GaussianNoise(0.05))
        plain = Radon(angles, n, y.shape[-1], noise=operators.GaussianNoise(0.05))
        errors[n] = [
            rms(torch.stack([prior.posterior(op, one[None].float()).mean.view(n, n) for one in y]) - x[:, 0])
            for op in (named, plain)
        ]
    assert errors[16][0] < 1.1 * errors[17][0]
    assert errors[16][1] > 2 * errors[16][0]


def test_a_square_sinogram_that_is_transposed():
    op = Radon(32, 32, 32, noise=operators.GaussianNoise(0.05))
    y = op.measure(bumps(32).float(), seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        op.validate_y(y, (1, 32, 32))
        op.validate_y(torch.randn(y.shape), (1, 32, 32))  # noise alone has no axes to swap
    with pytest.warns(TransposedSinogram, match=r"y\.transpose\(-1, -2\)"):
        op.validate_y(y.mT, (1, 32, 32))


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
        (lambda: Radon(4, size=0), "omit it"),
        (lambda: Radon(4, pixel=0.0), "pixel = 0.0"),
        (lambda: Radon.limited_angle(8, 200, 4), r"a number in \(0, 180\]"),
        (lambda: Radon(4)(uniform(1, 1, 6, 5)), "to a square"),
        (lambda: Radon(4, 8)(uniform(1, 1, 6, 6)), "of the operator's size"),
        (lambda: Radon(4, detectors=12).adjoint(uniform(1, 1, 4, 12)), r"operator\.at\(\(C, n, n\)\)"),
        (lambda: Radon(4).adjoint(uniform(1, 1, 4, 14)), r"operator\.at\(\(C, n, n\)\)"),
        (lambda: Radon(4, 8).adjoint(uniform(1, 1, 4, 11)), r"expected sinograms \(C, 4, 12\).*detectors=11"),
        (lambda: Radon(np.linspace(0, np.pi, 60)), r'unit="radians", or np.rad2deg\(angles\), or unit="degrees"'),
        (lambda: Radon(torch.linspace(-1.6, 1.6, 5)), "look like radians"),
        (lambda: Radon(np.linspace(0, 2 * np.pi, 9)), "look like radians"),
        (lambda: Radon.skimage(8, [0.0, 0.5, 1.0]), "look like radians"),
        (lambda: Radon.limited_angle(8, np.pi / 2, 9), "look like radians"),
        (lambda: Radon(4, unit="turns"), "degrees, radians"),  # type: ignore
        (lambda: Radon(4, centre=math.nan), "omit it"),
        (lambda: Radon(4, origin=(1.0, 2.0, 3.0)), "omit it"),  # type: ignore
        (lambda: Radon(4, 8).adjoint(uniform(1, 1, 12, 4)), r"y\.transpose\(-1, -2\)"),
        (lambda: Radon(4, 8).fbp(uniform(1, 1, 12, 4)), r"y\.transpose\(-1, -2\)"),
        (lambda: Radon(4, 8).validate_y(uniform(1, 1, 12, 4), (1, 8, 8)), r"y\.permute\(0, 1, 3, 2\) fits"),
        (lambda: Radon(4, 8).validate_y(uniform(12, 4), (1, 8, 8)), r"y\.permute\(1, 0\)\[None\]\[None\] fits"),
        (lambda: Radon(4, 8).validate_y(uniform(1, 1, 8, 4), (1, 8, 8)), r"y\.transpose\(-1, -2\), and .*detectors=8"),
        (lambda: Radon(4, 8).validate_y(uniform(8, 4), (1, 8, 8)), r"y\.transpose\(-1, -2\)\[None\]\[None\], and"),
        (lambda: Radon(4, 8).validate_y(uniform(1, 1, 4, 9), (1, 8, 8)), r"; give Radon\(\.\.\., detectors=9\)"),
        (lambda: Radon(4, 8).validate_y(uniform(4, 9), (1, 8, 8)), r"; give y\[None\]\[None\], and"),
        (lambda: Radon.limited_angle(8, 60, 4, unit="radians"), "its angles are degrees"),
        (lambda: Radon.tigre(8, [0.0, 1.0], 9, unit="degrees"), "np.deg2rad"),
        (lambda: Radon(4, 8).fbp(uniform(1, 1, 4, 12), "hanning"), "hamming, hann"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
