"""The benchmark of k-space off the grid: its own parts, and that finished work is reused."""

import pytest
import torch

from benchmarks.trained import noncartesian
from operators import GaussianNoise, NonCartesian


def test_the_transform_is_as_accurate_as_asked(monkeypatch):
    monkeypatch.setattr(noncartesian, "SIZES", (8, 9))
    rows = noncartesian.accuracy()
    assert len(rows) == 6
    for row in rows:
        assert all(float(row[name]) < 1e-5 for name in ("forward - direct sum", "dot test", "gram - adjoint forward"))


def test_cg_sense_ends_at_the_least_squares_picture():
    op = NonCartesian.radial((1, 6, 5), 8, coils=3, noise=GaussianNoise(0.1)).double()
    x = torch.rand(1, 1, 6, 5, generator=torch.Generator().manual_seed(0)).double()
    y = op.measure(x)
    basis = torch.eye(30, dtype=torch.float64).reshape(30, 1, 6, 5)
    expected = torch.linalg.lstsq(op(basis).flatten(1).T, y.reshape(-1, 1)).solution.reshape(x.shape)
    torch.testing.assert_close(noncartesian.cg_sense(op, y, 30), expected, atol=1e-6, rtol=1e-6)
    first = noncartesian.cg_sense(op, y, 1)  # the steepest descent from 0
    slope = op.adjoint(y)
    torch.testing.assert_close(first, slope * (slope.square().sum() / op(slope).square().sum()))


def test_finished_work_is_reused_and_shown(tmp_path, monkeypatch):
    calls = []

    def measured(operator, truth, method, samples, seed):
        calls.append((type(operator).__name__, method, seed))
        found = {"psnr": 20.0 + seed, "ssim": 0.5, "crps": 0.01, "chi2": 1.0, "seconds": 2.0}
        return found | ({"coverage80": 0.8, "coverage95": 0.95, "sample": 18.0} if method == "solve" else {})

    measured.__module__ = noncartesian.__name__  # whose code is part of the key
    monkeypatch.setattr(noncartesian, "measured", measured)
    truth = torch.rand(3, 1, 16, 16)
    rows = noncartesian.run(truth[:2], "pictures", 4, 0, tmp_path)
    assert len(calls) == 2 * 2 * len(noncartesian.METHODS) and len(rows) == 2 * len(noncartesian.METHODS)
    assert rows[0]["PSNR, dB"].startswith("20.50") and rows[0]["coverage of 95 %"] == "-"
    assert rows[3]["coverage of 95 %"] == "95.0" and {row["acquisition"] for row in rows} == set(
        noncartesian.acquisitions(16)
    )
    assert noncartesian.run(truth[:2], "pictures", 4, 0, tmp_path) == rows and len(calls) == 16
    noncartesian.run(truth, "pictures", 4, 0, tmp_path)
    assert len(calls) == 24


@pytest.mark.slow
def test_every_method_on_a_small_picture():
    truth = noncartesian.priors.samples(noncartesian.PRIOR).floats(slice(0, 1))[..., 16:112, 16:112]
    for operator in noncartesian.acquisitions(96).values():
        found = {m: noncartesian.measured(operator, truth, m, 2, 0)["psnr"] for m in noncartesian.METHODS}
        assert found["solve"] > found["gridding"] and found["CG-SENSE"] > found["gridding"], found
