"""The benchmark of large pictures in tiles: what it compares, and its table."""

import pytest
import torch

import priors
from benchmarks.trained import tiles
from benchmarks.trained.tiles import Cell, Central, Watched, cells, truth


def test_the_comparison_sees_a_margin_that_is_too_small(monkeypatch):
    monkeypatch.setattr(tiles, "CROP", 96)
    network = priors.load("natural-grey", event_shape=(1, 128, 128))
    tiled, x = priors.Tiled(network, 64), torch.rand(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    watched = Watched(tiled, network, tiled.margin)
    assert torch.equal(watched.denoise(x, 0.3), tiled.denoise(x, 0.3)) and watched.worst < 1e-5
    tiled.margin = 16
    watched.denoise(x, 0.3)
    assert watched.worst > 1e-4


def test_central_tiles_are_those_around_the_centre():
    network = priors.load("natural-grey", event_shape=(1, 256, 256))
    central, whole = Central(network, 64), priors.Tiled(network, 64)
    assert len(central.tiles(256, 256)) == 4
    x = truth(256)
    found, expected = central.denoise(x, 0.3), whole.denoise(x, 0.3)
    inner = slice(64, 192)
    assert torch.equal(found[..., inner, inner], expected[..., inner, inner])
    assert (found - expected).abs().max() > 1e-3 and central.seconds >= 0


def test_cells():
    assert cells(256, 2, (1, 2), 512, 0, 1024) == [
        Cell(256, 2, None, 1, 0), Cell(256, 2, 128, 1, 0), Cell(256, 2, 128, 2, 0)
    ]  # fmt: skip
    assert cells(1024, 2, (2,), 512, 0, 1024) == [Cell(1024, 2, 512, 2, 0, True)]


@pytest.mark.slow
def test_a_small_run(tmp_path):
    found = tiles.run(cells(128, 1, (1, 2), 128, 0, 1024), tmp_path)
    rows = tiles.table(found, tmp_path)
    assert [row["processes"] for row in rows] == ["1", "1", "2"] and rows[2]["one process"] == "0"
    assert (
        float(rows[2]["whole"]) < 1e-4 and float(rows[2]["crop"]) < 1e-4 and len(rows[2]["peak, GB"].split(", ")) == 2
    )
    assert tiles.run(cells(128, 1, (1, 2), 128, 0, 1024), tmp_path) == found  # of the records
