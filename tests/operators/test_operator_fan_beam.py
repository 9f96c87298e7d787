"""FanBeam against closed forms, Radon, ASTRA and deepinv, and its filtered back-projection against the pictures."""

import math
from itertools import pairwise

import pytest
import torch
from operator_cases import uniform

import operators
import priors
from inverse import solve
from operators import FanBeam, GaussianNoise, PoissonNoise, Radon, Transmission
from operators.backprojection import redundancy

# (weight, width, right, up), the picture's side being 1: bumps and their closed-form line integrals
BUMPS = ((1.0, 0.08, 0.1, -0.06), (-0.5, 0.05, -0.15, 0.05), (0.7, 0.09, 0.0, 0.08))
GEOMETRIES = {  # lengths over the side of the picture, angles of a whole turn
    "line": {"source": 1.4},
    "arc": {"source": 1.4, "curved": True},
    "shifted": {"source": 1.2, "detector": 0.7, "offset": 0.11, "centre": 1.2},
    "shifted arc": {"source": 1.2, "detector": 0.7, "offset": -0.11, "centre": 1.2, "curved": True},
}


def picture(height: int, width: int, side: float) -> torch.Tensor:
    u = (torch.arange(width, dtype=torch.float64) - (width - 1) / 2) / side
    v = ((height - 1) / 2 - torch.arange(height, dtype=torch.float64)[:, None]) / side
    return sum(w * torch.exp(-((u - a) ** 2 + (v - b) ** 2) / (2 * s**2)) for w, s, a, b in BUMPS)[None, None]


def rms(a: torch.Tensor) -> float:
    return float(a.square().mean().sqrt())


def lengths(name: str, n: int) -> dict:
    return {k: v if k == "curved" else n * v for k, v in GEOMETRIES[name].items()}


def scanner(name: str, n: int, angles=37, **more) -> FanBeam:
    """A geometry for pictures of n x n pixels."""
    detectors = {"detectors": 2 * n} if "centre" in GEOMETRIES[name] else {}
    return FanBeam(angles, size=n, **(lengths(name, n) | detectors | more))


def rays(op: FanBeam, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sources and detectors (views, detectors, 2), right and up, placed as the docstring says, the side being 1."""
    a = op.angles.deg2rad()
    e, f = torch.stack([a.cos(), a.sin()], -1), torch.stack([-a.sin(), a.cos()], -1)
    source = (op.offset * e - op.source * f)[:, None]
    detectors, ahead = op.detectors_for(n), op.source + op.detector
    spacing = ahead / op.source if op.spacing is None else op.spacing
    centre = (detectors - 1) / 2 if op.centre is None else op.centre
    along = spacing * (torch.arange(detectors, dtype=torch.float64) - centre)[:, None]
    if op.curved:
        ends = ahead * ((along / ahead).sin() * e[:, None] + (along / ahead).cos() * f[:, None])
    else:
        ends = along * e[:, None] + ahead * f[:, None]
    return source.expand_as(ends) / n, (source + ends) / n


@pytest.mark.parametrize("name", GEOMETRIES)
def test_projections_of_smooth_bumps_at_second_order(name):
    errors = []
    for n in (24, 48, 96):
        op = scanner(name, n, pixel=1 / n)
        start, end = rays(op, n)
        along = (end - start) / (end - start).norm(dim=-1, keepdim=True)
        exact = torch.zeros(start.shape[:2], dtype=torch.float64)
        for w, s, *at in BUMPS:
            off = torch.tensor(at, dtype=torch.float64) - start
            across = off[..., 0] * along[..., 1] - off[..., 1] * along[..., 0]
            exact += w * s * math.sqrt(2 * math.pi) * torch.exp(-(across**2) / (2 * s**2))
        errors.append(rms(op(picture(n, n, n))[0, 0] - exact))
    assert errors[2] < 1e-4
    assert all(3.3 < coarse / fine < 4.7 for coarse, fine in pairwise(errors)), errors


@pytest.mark.parametrize("name", GEOMETRIES)
def test_projections_of_an_ellipse_at_first_order(name):
    """Chords of an ellipse, whose edge the pixels blur: |chord| from the quadratic equation along each ray."""
    errors = []
    for n in (32, 64, 128):
        fine = (torch.arange(8 * n, dtype=torch.float64) - (8 * n - 1) / 2) / (8 * n)
        inside = ((fine - 0.08) / 0.3) ** 2 + ((-fine[:, None] + 0.1) / 0.2) ** 2 < 1
        op = scanner(name, n, torch.tensor([0.0, 33, 90, 160, 215, 300]), pixel=1 / n)
        y = op(inside.double().view(n, 8, n, 8).mean((1, 3))[None, None])[0, 0]
        start, end = rays(op, n)
        along, axes = (end - start) / (end - start).norm(dim=-1, keepdim=True), torch.tensor([0.3, 0.2]).double()
        d, o = along / axes, (start - torch.tensor([0.08, -0.1]).double()) / axes
        a, b, c = (d * d).sum(-1), (d * o).sum(-1), (o * o).sum(-1) - 1
        errors.append(rms(y - 2 * (b**2 - a * c).clamp(min=0).sqrt() / a))
    assert errors[2] < 3e-3
    assert all(1.6 < coarse / fine < 2.8 for coarse, fine in pairwise(errors)), errors


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("size", [(24, 24), (17, 26)])
def test_the_adjoint_is_exact(name, size):
    op = FanBeam(13, **lengths(name, 30), size=size)
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)).double()
    y = op(x)
    v = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).double()
    assert abs(float((y * v).sum() - (x * op.adjoint(v)).sum())) < 1e-12 * float(y.norm() * v.norm())


@pytest.mark.parametrize("curved", [False, True])
def test_a_distant_source_is_the_parallel_beam(curved):
    angles, x = torch.arange(24) * 15.0, picture(48, 48, 48)
    parallel, errors = Radon(angles, 48, 70), []
    for distance in (1e3, 1e4, 1e5):
        fan = FanBeam(angles, distance, distance, 48, 70, 2.0, curved=curved)
        errors.append(rms(fan(x) - parallel(x)) / rms(parallel(x)))
        assert rms(fan.fbp(fan(x)) - parallel.fbp(parallel(x))) < 30 / distance * rms(x)
    assert errors[2] < 1e-4 and all(9 < far / farther < 11 for far, farther in pairwise(errors)), errors
    shifted = FanBeam(angles, 1e7, 0.0, 48, 70, centre=30.25, origin=(20.0, 21.0), pixel=0.5)
    along = Radon(angles, 48, 70, centre=30.25, origin=(20.0, 21.0), pixel=0.5)
    torch.testing.assert_close(shifted(x), along(x), atol=1e-4, rtol=1e-4)
    displaced = FanBeam(angles, 1e7, 0.0, 48, 70, offset=2.0)  # parallel rays are displaced as by detectors
    torch.testing.assert_close(displaced(x), Radon(angles, 48, 70, centre=32.5)(x), atol=1e-4, rtol=1e-4)


def test_the_source_is_below_in_view_0_and_detectors_go_to_the_right():
    x = torch.zeros(1, 1, 21, 21).double()
    x[..., 18, 15] = 1.0  # near the source, and to the right: magnified more than above
    below = FanBeam([0.0], 15.0, 15.0, 21, 81)(x)[0, 0, 0]
    above = FanBeam([0.0], 15.0, 15.0, 21, 81)(x.flip(-2))[0, 0, 0]
    place = [float((y * torch.arange(81)).sum() / y.sum()) - 40 for y in (below, above)]
    assert abs(place[0] - 5 * 15 / 7) < 0.5 and abs(place[1] - 5 * 15 / 23) < 0.5  # spacing 2: a pixel at the axis
    turned = FanBeam([90.0], 15.0, 15.0, 21, 81)(x)  # counterclockwise: as the picture turned clockwise in view 0
    torch.testing.assert_close(turned, FanBeam([0.0], 15.0, 15.0, 21, 81)(x.rot90(-1, (-2, -1))))


# Sinograms of a picture of 16 x 12 pixels by ASTRA 2.5 (projector "line_fanflat"): create_proj_geom("fanflat", 2.0, 10,
# [0.1, 0.9, 2.5, 4.0], 40.0, 20.0); and by "fanflat_vec" with the source at 1.5 e - 40 f and the first detector at
# -11 e + 20 f from it and the axis, with e = (cos a, sin a), f = (-sin a, cos a).
ASTRAS = [
    [0.0, -0.012, -0.262, -0.098, 3.033, 4.62, 3.967, 1.198, 0.266, 0.03],
    [0.0, 0.007, 0.124, 0.782, 2.872, 5.231, 3.302, 0.931, 0.124, 0.007],
    [0.024, 0.341, 1.757, 3.571, 3.623, 2.823, 0.955, 0.122, 0.075, 0.007],
    [0.011, 0.136, 0.913, 3.224, 5.255, 2.766, 0.409, 0.051, 0.004, 0.0],
]
ASTRAS_SHIFTED = [
    [0.0, -0.014, -0.243, 0.29, 3.159, 4.969, 3.346, 1.199, 0.266, 0.0],
    [0.0, 0.012, 0.198, 1.064, 3.308, 5.119, 2.899, 0.712, 0.086, 0.005],
    [0.039, 0.449, 2.03, 3.706, 3.596, 2.708, 0.704, 0.084, 0.047, 0.005],
    [0.017, 0.186, 1.114, 3.536, 5.11, 2.399, 0.355, 0.049, 0.002, 0.0],
]


def test_astras_geometry():
    """Its projector measures lengths in pixels, not Joseph's weights: 4 % on 16 pixels, .07 % on 256. A wrong sign or
    order is off by 60 % and more."""
    x, angles = picture(16, 12, 16), [0.1, 0.9, 2.5, 4.0]
    ours = FanBeam.astra((16, 12), angles, 40.0, 20.0, 10, 2.0)(x)[0, 0]
    expected = torch.tensor(ASTRAS).double()
    assert rms(ours - expected) < 0.045 * rms(expected) < 0.1 * rms(ours.flip(-1) - expected)
    shifted = FanBeam(angles, 40.0, 20.0, (16, 12), 10, 2.0, offset=1.5, centre=5.5, unit="radians")(x)[0, 0]
    expected = torch.tensor(ASTRAS_SHIFTED).double()
    assert rms(shifted - expected) < 0.03 * rms(expected)


def test_deepinvs_geometry():
    """Its angles start a quarter of a turn later, lengths are (n - 1) / n of what it is given, and it takes equal steps
    along the central ray, so that y lacks 1 / cos of the ray's angle."""
    deepinv = pytest.importorskip("deepinv")
    n, angles = 64, torch.tensor([0.0, 40, 100, 170, 250, 300])
    lengths = {"pixel_spacing": 1.0, "source_radius": 150.0, "detector_radius": 100.0, "detector_spacing": 2.0}
    physics = deepinv.physics.Tomography(
        angles, n, circle=True, fan_beam=True, fan_parameters={**lengths, "n_detector_pixels": 80}, normalize=False
    )
    x, unit = picture(n, n, n).float(), (n - 1) / n
    theirs = physics.A(x).mT
    op = FanBeam(angles - 90, 150 * unit, 100 * unit, n, 80, 2 * unit)
    gamma = torch.atan(2 * (torch.arange(80) - 39.5) / 250)
    assert rms(op(x) * gamma.cos() - theirs) < 2e-3 * rms(theirs)


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("span", [360, 260])
def test_filtered_back_projection(name, span):
    """A whole turn, and a short scan of at least half a turn and the fan; exact up to the discretisation."""
    n = 48
    x = picture(n, n, n)
    errors = []
    for step in (18.0, 2.0):
        op = scanner(name, n, torch.arange(20.0, 20 + span, step), pixel=0.7)
        errors.append(rms(op.fbp(op(x)) - x) / rms(x))
    assert errors[1] < 0.025 and errors[0] > 3 * errors[1], errors
    assert abs(float(op.fbp(op(x)).sum() / x.sum()) - 1) < 0.01


def test_filtered_back_projection_of_an_oblong_picture():
    op = FanBeam(120, 60.0, 20.0, (30, 44), origin=(13.0, 22.5))
    x = picture(30, 44, 30)
    assert rms(op.fbp(op(x)) - x) < 0.04 * rms(x)
    noise = torch.randn(1, 1, 120, op.detectors_for((30, 44)), generator=torch.Generator().manual_seed(0))
    assert rms(op.fbp(noise, "hann")) < 0.5 * rms(op.fbp(noise))


def test_lines_are_counted_once():
    """The weights of a ray and of the opposite ray along the same line have the sum 1."""
    gamma = torch.linspace(-0.3, 0.3, 13).double()
    torch.testing.assert_close(redundancy(torch.arange(36) * 10.0, gamma), torch.full((36, 13), 0.5).double())
    angles = torch.arange(0, 250, 1.0).double()
    w = redundancy(angles, gamma)
    assert float(w.min()) >= 0 and float(w.max()) <= 1
    for view, ray in ((3, 2), (20, 5), (40, 8), (60, 3)):
        opposite = angles[view] + 180 - 2 * gamma[ray].rad2deg()
        between = min(int(opposite), 248)
        share = torch.lerp(w[between, 12 - ray], w[between + 1, 12 - ray], opposite - between)
        there = float(share) if float(opposite) < 249 else 0.0
        assert abs(float(w[view, ray]) + there - 1) < 0.01, (view, ray)


def test_a_posterior_and_photon_counts():
    """`solve` with fan-beam data is the exact Gaussian posterior, as is that of the logarithm of photon counts."""
    n = 8
    place = torch.stack(torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij"), -1).view(-1, 2).double()
    covariance = 0.02 * torch.exp(-torch.cdist(place, place).square() / 8) + 1e-6 * torch.eye(n * n)
    prior = priors.Gaussian(torch.full((n * n,), 0.3).double(), covariance, sde=priors.VESDE(), event_shape=(1, n, n))
    x = prior.sample(1, seed=1)
    op = FanBeam(10, 20.0, 10.0, size=n, noise=GaussianNoise(0.1))
    y = op.measure(x, seed=0)
    exact = prior.posterior(op, y)
    mean = exact.mean.flatten()
    found = solve(prior, op, y, n_samples=32, method="mmps", seed=0, progress=False)
    drawn = exact.sample(32, seed=5).mean(0).flatten()
    assert (found.mean.flatten() - mean).norm() < 1.5 * (drawn - mean).norm()
    counting = Transmission(PoissonNoise(1e5)) @ op
    line, noise = counting.outer.line_integrals(counting.measure(x, seed=0))
    counted = prior.posterior(FanBeam(10, 20.0, 10.0, size=n, noise=noise), line).mean.flatten()
    truth = x.flatten()
    assert (counted - truth).norm() < (mean - truth).norm() < 0.5 * (x - 0.3).norm()


def test_it_can_be_differentiated_twice():
    x, op = uniform(1, 2, 4, 5).double().requires_grad_(), FanBeam(3, 6.0).double()
    assert torch.autograd.gradcheck(op, (x,)) and torch.autograd.gradgradcheck(op, (x,))
    assert operators.make("fan_beam", angles=4, source=20.0).detectors_for(8) == FanBeam(4, 20).detectors_for((8, 8))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: FanBeam(4, 0.0), "source = 0.0.*divide one in mm"),
        (lambda: FanBeam(4, 9.0, -1.0), "detector = -1.0"),
        (lambda: FanBeam(4, 9.0, spacing=0.0), "spacing = 0.0"),
        (lambda: FanBeam(4, 9.0, size=16), "corners of a picture 16 x 16 are 11.31 from it"),
        (lambda: FanBeam(4, 9.0)(uniform(1, 1, 16, 12)), "corners of a picture 16 x 12 are 10 from it"),
        (lambda: FanBeam(4, 30.0, size=(5, 6))(uniform(1, 1, 6, 5)), r"expected events \(C, 5, 6\)"),
        (lambda: FanBeam(4, 30.0, size=(5, 6, 7)), r"expected n or \(H, W\)"),  # type: ignore
        (lambda: FanBeam(4, 30.0).adjoint(uniform(1, 1, 4, 12)), r"operator\.at\(\(C, n, n\)\)"),
        (lambda: FanBeam(4, 30.0, size=8).fbp(uniform(1, 1, 12, 4)), r"y\.transpose\(-1, -2\)"),
        (lambda: FanBeam(4, 30.0, size=8).adjoint(uniform(1, 1, 4, 9)), r"pictures of 8 pixels.*detectors=9"),
        (lambda: FanBeam(4, 30.0, size=8, detectors=99, curved=True), "span 189 degrees"),
        (lambda: FanBeam([0.0, 1.0, 2.0], 30.0), "FanBeam: 3 angles of up to 2 look like radians"),
        (lambda: FanBeam(4, 30.0, centre=math.nan), "FanBeam: centre = nan"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
