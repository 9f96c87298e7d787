"""The benchmark of volumes: its volumes and baseline, and that finished work is reused."""

import pytest
import torch

from benchmarks.trained import volumes
from priors.data import ImageSet


def test_volumes_turn_and_shrink_about_the_middle():
    x = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    found = volumes.volumes(torch.nn.functional.avg_pool2d(x, 5, 1, 2))
    assert found.shape == (2, 1, volumes.DEPTH, 32, 32)
    still = volumes.volumes(torch.full((1, 1, 8, 8), 0.4))
    torch.testing.assert_close(still, torch.full_like(still, 0.4))
    difference = found.diff(dim=2).square().mean().sqrt()
    assert 0 < difference < 0.1 and abs(volumes.coupling(torch.full((1, 1, 8, 8), 0.4))) < 1e-6


def test_interpolation_is_exact_on_a_ramp():
    ramp = torch.arange(float(volumes.DEPTH)).view(1, 1, -1, 1, 1).expand(1, 1, -1, 4, 4)
    found = volumes.interpolated(ramp[:, :, :: volumes.EVERY])
    last = volumes.DEPTH - volumes.EVERY
    torch.testing.assert_close(found[:, :, : last + 1], ramp[:, :, : last + 1])
    torch.testing.assert_close(found[:, :, last + 1 :], torch.full_like(found[:, :, last + 1 :], last))


def test_finished_work_is_reused_and_shown(tmp_path, monkeypatch):
    calls = []

    def measured(truth, method, tau, samples, seed):
        calls.append((method, seed))
        found = {"psnr": 20.0 + seed, "seen": 21.0, "hidden": 19.0, "crps": 0.01, "chi2": 1.0, "seconds": 2.0}
        drawn = method.startswith(("independent", "coupled"))
        return found | ({"coverage80": 0.8, "coverage95": 0.95, "method": "mmps"} if drawn else {})

    measured.__module__ = volumes.__name__  # whose code is part of the key
    monkeypatch.setattr(volumes, "measured", measured)
    monkeypatch.setattr(volumes, "read", lambda data, split: ImageSet(torch.arange(576).view(9, 1, 8, 8).byte()))
    rows, tau = volumes.run(tmp_path, 2, 4, 0, tmp_path)
    assert len(calls) == 2 * len(volumes.METHODS) and len(rows) == len(volumes.METHODS) and tau > 0
    assert rows[0]["PSNR, dB"].startswith("20.50") and rows[0]["coverage of 95 %"] == "-"
    assert rows[2]["coverage of 95 %"] == "95.0"
    assert volumes.run(tmp_path, 2, 4, 0, tmp_path)[0] == rows and len(calls) == 8


@pytest.mark.slow
def test_a_coupling_helps_slices_that_are_not_measured():
    truth = volumes.volumes(volumes.priors.samples(volumes.PRIOR).floats(slice(0, 1)))
    found = {m: volumes.measured(truth, m, 0.05, 2, 0) for m in ("independent slices", "coupled slices")}
    assert found["coupled slices"]["hidden"] > found["independent slices"]["hidden"] + 3
