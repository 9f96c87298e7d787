"""The benchmark of cone beams: its phantoms and scanner, total variation of volumes, and reuse of finished work."""

import pytest
import torch

import priors
from benchmarks.common.tv import divergence, gradient, total_variation
from benchmarks.trained import cone
from operators import GaussianNoise, Identity


def test_the_ellipsoids_are_organs_in_the_range_of_the_prior():
    n = 40
    x = cone.ellipsoids(n)
    units = priors.load(cone.PRIOR).units
    assert units is not None and x.shape == (1, 1, n, n, n) and float(x.min()) >= 0 and float(x.max()) <= 1
    hu = units.physical(x)[0, 0]
    assert hu[0, 0, 0] == cone.AIR and hu[18, 18, 12] == hu[18, 18, 28] == cone.LUNG  # both lungs
    assert hu[18, 27, 20] < hu[18, 27, 21] == cone.BONE and hu[34, 18, 15] == 90.0  # canal, spine, liver
    moved = units.physical(cone.ellipsoids(n, 0.15))[0, 0]
    assert moved[0, 0, 0] == cone.AIR and moved[37, 18, 15] == 90.0
    assert cone.made("ellipsoids", n)[1] == pytest.approx(
        float(cone.ellipsoids(n, 0.15).diff(dim=2).square().mean() ** 0.5)
    )


def test_the_body_is_largest_in_the_middle():
    x = cone.body(32, cone.TRUTH)
    sums = x[0, 0].sum((1, 2))
    assert x.shape == (1, 1, 32, 32, 32) and sums[16] > 1.02 * sums[0]
    assert 0 < cone.made("body", 32)[1] < 0.05


def test_the_detector_sees_the_whole_volume():
    """Corners of the cube, far apart: each is on the detector in every view."""
    op = cone.scanner(24)
    assert op.measurement_shape((1, 24, 24, 24)) == (1, cone.VIEWS, 24, 24)
    low, high = slice(0, 2), slice(-2, None)  # one voxel could be between the detectors
    for corner in ((low, low, low), (low, high, high), (high, low, high), (high, high, low)):
        x = torch.zeros(1, 1, 24, 24, 24)
        x[(..., *corner)] = 1.0
        assert bool((op(x).sum((-1, -2)) > 0).all())


def test_the_divergence_is_the_adjoint_of_the_gradient_of_volumes():
    generator = torch.Generator().manual_seed(0)
    for shape in ((2, 1, 5, 4), (2, 1, 3, 5, 4), (1, 2, 1, 3, 3)):
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        p = torch.randn(len(shape) - 2, *shape, generator=generator, dtype=torch.float64)
        torch.testing.assert_close((gradient(x) * p).sum(), (x * divergence(p)).sum())


def test_total_variation_of_a_volume_finds_a_cube():
    x = torch.zeros(1, 1, 12, 12, 12)
    x[..., 3:9, 4:10, 2:8] = 1.0
    op = Identity(GaussianNoise(0.3))
    y = op.measure(x, seed=0)
    found = total_variation(op, y, 300)
    assert ((found - y).square().mean() / 0.09 - 1).abs() < 0.02  # the residual is at the noise level
    slices = total_variation(op, y[0].movedim(1, 0), 300).movedim(0, 1)[None]
    assert (found - x).norm() < 0.95 * (slices - x).norm() < 0.5 * (y - x).norm()


def test_finished_work_is_reused_and_shown(tmp_path, monkeypatch):
    calls = []

    def apart(call, phantom, n, method, *settings):
        calls.append((phantom, method))
        found = {"psnr": 30.0, "rms": 0.01, "crps": 0.005, "chi2": 1.0, "seconds": 2.0, "bytes": 5e6, "coupling": 0.01}
        drawn = {"coverage80": 0.8, "coverage95": 0.95, "method": "mmps", "predicted seconds": 3.0}
        return found | (drawn | {"predicted bytes": 6e6} if "slices" in method else {})

    monkeypatch.setattr(cone, "apart", apart)
    given = (list(cone.PHANTOMS), 16, list(cone.METHODS), 2, 0, 50, 0, tmp_path)
    rows = cone.run(*given)
    assert len(calls) == len(rows) == len(cone.PHANTOMS) * len(cone.METHODS)
    assert rows[0]["coverage of 95 %"] == "-" and rows[-1]["coverage of 95 %"] == "95.0"
    assert rows[-1]["RMS error, HU"] == "41.0" and rows[-1]["memory predicted"] == "6"
    assert cone.run(*given) == rows and len(calls) == len(rows)


def test_an_unknown_phantom_is_refused():
    with pytest.raises(ValueError, match="expected one of body, ellipsoids"):
        cone.run_cone(phantom=["head"])


@pytest.mark.slow
def test_coupled_slices_are_nearer_than_feldkamp():
    found = {m: cone.measured("body", 16, m, 2, 0, 50, 0) for m in ("FDK", "coupled slices")}
    assert found["coupled slices"]["psnr"] > found["FDK"]["psnr"] + 3
