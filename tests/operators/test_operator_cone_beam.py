"""ConeBeam against closed forms, FanBeam and ASTRA's geometry, and its reconstruction against the volumes."""

import math
import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from operator_cases import uniform

from operators import ConeBeam, FanBeam, PoissonNoise, Transmission, sheets

# (weight, width, right, up, towards later slices), the volume's side being 1: bumps of closed-form line integrals
BUMPS = ((1.0, 0.08, 0.1, -0.06, 0.12), (-0.5, 0.06, -0.15, 0.05, -0.1), (0.7, 0.09, 0.0, 0.08, 0.02))
GEOMETRIES = {  # lengths over the side of the volume, angles of a whole turn
    "cone": {"source": 1.4},
    "shifted": {"source": 1.2, "detector": 0.7, "offset": 0.11, "centre": (0.9, 1.2)},
    "wide rows": {"source": 1.3, "detector": 1.3, "spacing": (0.06, 0.035), "origin": (0.4, 0.45, 0.6)},
}


def scanner(name: str, n: int, angles=7, **more) -> ConeBeam:
    """A geometry for volumes of n^3 voxels, with 1.5 n x 2 n detectors, or as many as are needed."""

    def scaled(value):
        return tuple(n * v for v in value) if isinstance(value, tuple) else n * value

    given = {k: scaled(v) for k, v in GEOMETRIES[name].items()}
    if name == "wide rows":
        given["spacing"] = tuple(v * 24 / n for v in given["spacing"])  # the same number of detectors for every n
    detectors = {"detectors": (3 * n // 2, 2 * n)} if "centre" in given else {"detectors": (30, 60)}
    return ConeBeam(angles, size=n, **(given | (detectors if name != "cone" else {}) | more))


def rays(op: ConeBeam, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sources and detectors (views, rows, columns, 3) from the volume's middle: right, up, towards later slices; the
    side being 1. Placed as the docstrings say."""
    a = op.angles.deg2rad()
    e, f = torch.stack([a.cos(), a.sin(), 0 * a], -1), torch.stack([-a.sin(), a.cos(), 0 * a], -1)
    z = torch.tensor([0.0, 0.0, 1.0]).double()
    count, ahead = op.detectors_for(n), op.source + op.detector
    pitch = op.spacing or (ahead / op.source,) * 2
    centre = op.centre or tuple((k - 1) / 2 for k in count)
    up, along = (p * (torch.arange(k, dtype=torch.float64) - c) for p, k, c in zip(pitch, count, centre, strict=True))
    source = (op.offset * e - op.source * f)[:, None, None]
    ends = source + ahead * f[:, None, None] + up[:, None, None] * z + (along[:, None] * e[:, None])[:, None]
    middle = (n - 1) / 2
    at = (middle,) * 3 if op.origin is None else op.origin
    axis = torch.tensor([at[2] - middle, middle - at[1], at[0] - middle]).double()
    return (source + axis).expand_as(ends) / n, (ends + axis) / n


def places(n: int, fine: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """right (n,), up (n, 1), later (n, 1, 1) of voxels."""
    line = (torch.arange(n * fine, dtype=torch.float64) - (n * fine - 1) / 2) / (n * fine)
    return line, -line[:, None], line[:, None, None]


def bumps(n: int) -> torch.Tensor:
    u, v, w = places(n)
    each = (k * torch.exp(-((u - a) ** 2 + (v - b) ** 2 + (w - c) ** 2) / (2 * s**2)) for k, s, a, b, c in BUMPS)
    return sum(each)[None, None]


def ball(n: int, radius: float, right: float, up: float, later: float, fine: int = 4) -> torch.Tensor:
    """The share of every voxel within a ball."""
    u, v, w = places(n, fine)
    inside = (u - right) ** 2 + (v - up) ** 2 + (w - later) ** 2 < radius**2
    return inside.float().view(n, fine, n, fine, n, fine).mean((1, 3, 5)).double()[None, None]


def distance(start: torch.Tensor, end: torch.Tensor, point) -> torch.Tensor:
    """Of a point to the lines."""
    along = (end - start) / (end - start).norm(dim=-1, keepdim=True)
    return torch.linalg.cross(torch.tensor(point, dtype=torch.float64) - start, along).norm(dim=-1)


def rms(a: torch.Tensor) -> float:
    return float(a.square().mean().sqrt())


@pytest.mark.parametrize("name", GEOMETRIES)
def test_projections_of_smooth_bumps_at_second_order(name):
    errors = []
    for n in (16, 32, 64):
        op = scanner(name, n, 3, pixel=1 / n)
        start, end = rays(op, n)
        exact = sum(
            w * s * math.sqrt(2 * math.pi) * torch.exp(-(distance(start, end, at) ** 2) / (2 * s**2))
            for w, s, *at in BUMPS
        )
        errors.append(rms(op(bumps(n))[0, 0] - exact) / rms(exact))
    assert errors[2] < 4e-3
    assert 3.3 < errors[1] / errors[2] < 4.7, errors  # at 16 voxels the bumps are narrow


@pytest.mark.parametrize("name", GEOMETRIES)
def test_projections_of_a_ball(name):
    """Chords 2 sqrt(r^2 - d^2) of a ball, whose edge the voxels blur: an error of first order."""
    errors = []
    for n in (16, 32, 64):
        op = scanner(name, n, torch.tensor([10.0, 130, 255]), pixel=1 / n)
        place = (0.05, -0.08, 0.1)
        exact = 2 * (0.3**2 - distance(*rays(op, n), place) ** 2).clamp_min(0).sqrt()
        errors.append(rms(op(ball(n, 0.3, *place))[0, 0] - exact) / rms(exact))
    assert errors[2] < 0.025
    assert all(1.6 < coarse / fine < 3.5 for coarse, fine in pairwise(errors)), errors


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("size", [(9, 12, 12), (6, 7, 10)])
def test_the_adjoint_is_exact(name, size, dtype, tolerance):
    op = scanner(name, 14)
    op = ConeBeam(5, op.source, op.detector, size, op.detectors, op.spacing, None, 0.7, op.centre, op.origin, op.offset)
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=dtype)
    y = op(x)
    v = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    assert abs(float((y * v).sum() - (x * op.adjoint(v)).sum())) < tolerance * float(y.norm() * v.norm())
    x.requires_grad_()
    (slope,) = torch.autograd.grad((op(x) * v).sum(), x)
    assert torch.equal(slope, op.adjoint(v))


def test_blocks_change_nothing(monkeypatch):
    op, x = scanner("shifted", 12), uniform(2, 1, 12, 12, 12)
    y = op(x)
    expected = y, op.adjoint(y), op.fdk(y)
    monkeypatch.setattr(sheets, "BLOCK", 2000)
    monkeypatch.setattr(sheets, "PART", 100)
    for one, other in zip((op(x), op.adjoint(y), op.fdk(y)), expected, strict=True):
        torch.testing.assert_close(one, other)


def test_the_middle_row_is_a_fan_beam():
    x = uniform(1, 2, 9, 12, 14).double()
    for angles in (11, torch.arange(0.0, 220, 20)):  # a whole turn, and a short scan
        op = ConeBeam(angles, 30.0, 10.0, (9, 12, 14), (7, 25), offset=0.4, pixel=0.5)
        fan = FanBeam(angles, 30.0, 10.0, (12, 14), 25, offset=0.4, pixel=0.5)
        y = op(x)
        assert torch.equal(y[..., 3, :], fan(x[:, :, 4]))
        torch.testing.assert_close(op.fdk(y)[:, :, 4], fan.fbp(y[..., 3, :]))


# Source, middle of the detector, and the steps to the next column and the next row, by astra.geom_2vec (ASTRA 2.5) of
# create_proj_geom("cone", 2.0, 1.5, 18, 24, [0.3, 2.5], 40.0, 20.0): x, y, z, along columns, rows and slices of volumes
ASTRAS = [
    [11.82080827, -38.21345957, 0, -5.91040413, 19.10672978, 0, 1.91067298, 0.59104041, 0, 0, 0, 1.5],
    [23.93888576, 32.04574462, 0, -11.96944288, -16.02287231, 0, -1.60228723, 1.19694429, 0, 0, 0, 1.5],
]


def test_the_geometry_of_astra():
    n, s, point = 24, 0.09, (0.12, -0.2, 0.15)  # x, y, z: up is -y
    op = ConeBeam.astra(n, [0.3, 2.5], 40.0, 20.0, (18, 24), (1.5, 2.0), pixel=1 / n)
    source, middle, column, row = torch.tensor(ASTRAS, dtype=torch.float64).view(2, 4, 3).unbind(1)
    at = torch.arange(24).double() - 11.5, torch.arange(18).double()[:, None] - 8.5
    ends = middle[:, None, None] + at[0][:, None] * column[:, None, None] + at[1][..., None] * row[:, None, None]
    away = distance((source[:, None, None] / n).expand_as(ends), ends / n, point)
    exact = s * math.sqrt(2 * math.pi) * torch.exp(-(away**2) / (2 * s**2))
    x, y, z = places(n)
    x = torch.exp(-((x - point[0]) ** 2 + (-y - point[1]) ** 2 + (z - point[2]) ** 2) / (2 * s**2))[None, None]
    theirs = exact.movedim(0, 1)  # (rows, views, columns)
    # a bump of 2.2 voxels, interpolated linearly: 2.3 %
    assert rms(op(x) - theirs.movedim(1, 0).flip(-1)[None, None]) < 0.03 * rms(exact)


@pytest.mark.parametrize("span", [360, 210])
def test_the_reconstruction_of_a_ball(span):
    """From a whole turn, and from a short scan: half a turn and the angle of the fan."""
    n, views = 32, span // 3
    op = ConeBeam(torch.arange(views) * 3.0, 4.0 * n, size=n, detectors=(48, 48), pixel=0.5)
    x = ball(n, 0.3, 0.05, -0.04, 0.08)
    u, v, w = places(n)
    away = ((u - 0.05) ** 2 + (v + 0.04) ** 2 + (w - 0.08) ** 2).sqrt()
    found = op.fdk(op(x))[0, 0]
    assert abs(float(found[away < 0.2].mean()) - 1) < 0.01 and rms(found[away < 0.2] - 1) < 0.03
    assert abs(float(found[(away > 0.4) & (away < 0.5)].mean())) < 0.02
    smooth = op.fdk(op(x), "hann")[0, 0]
    assert rms(smooth[away < 0.2] - 1) < rms(found[away < 0.2] - 1)


@pytest.mark.slow
def test_memory_of_a_large_volume():
    """In a process of its own: 128^3 voxels, 8 MB, and 60 views of 128 x 128, 4 MB. All weights would be 4 GB."""
    code = (
        "import resource, torch; from operators import ConeBeam; torch.set_num_threads(1);"
        "import scipy.sparse; peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "op = ConeBeam(60, 256.0, 128.0, 128, 128, 2.3); x = torch.rand(1, 1, 128, 128, 128); before = peak();"
        "op.adjoint(op(x)); print((peak() - before) / 1024)"
    )
    megabytes = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 20 < megabytes < 200


def test_counts_of_photons():
    op = Transmission(PoissonNoise(100.0)) @ ConeBeam(3, 12.0, size=(3, 4, 4), pixel=0.1)
    assert op.measure(uniform(1, 1, 3, 4, 4)).shape == (1, 1, 3, *ConeBeam(3, 12.0).detectors_for((3, 4, 4)))


def test_what_is_refused():
    op = ConeBeam(5, 20.0, size=(4, 6, 8), detectors=(7, 9))
    y = torch.zeros(1, 1, 5, 7, 9)
    assert op.adjoint(y).shape == (1, 1, 4, 6, 8) and op.measurement_shape((2, 4, 6, 8)) == (2, 5, 7, 9)
    for bad, words in (
        (lambda: op(torch.zeros(1, 1, 6, 8)), r"volumes \(C, 4, 6, 8\), given \(1, 6, 8\)"),
        (lambda: op.adjoint(torch.zeros(1, 1, 7, 5, 9)), r"expected projections \(C, 5, rows, columns\)"),
        (lambda: op.fdk(torch.zeros(1, 1, 5, 9, 7)), r"detectors=\(9, 7\)"),
        (lambda: op.fdk(y, "sharp"), "filter"),
        (lambda: ConeBeam(5, 20.0).adjoint(y), r"operator.at\(\(C, D, H, W\)\)"),
        (lambda: ConeBeam(5, 4.0, size=8), r"ConeBeam: source = 4"),
        (lambda: ConeBeam(5, -1.0), "ConeBeam: source"),
        (lambda: ConeBeam(5, 20.0, detectors=(3, 4, 5)), r"\(rows, columns\)"),
        (lambda: ConeBeam(5, 20.0, spacing=(1.0, 0.0)), "ConeBeam: spacing"),
        (lambda: ConeBeam(5, 20.0, origin=(1.0, 2.0)), r"\(slice, row, column\)"),
        (lambda: ConeBeam(5, 20.0, size=(4, 5)), r"\(D, H, W\)"),
    ):
        with pytest.raises(ValueError, match=words):
            bad()
