"""The benchmark of a large photograph, on a small one."""

import json

import pytest
import torch
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.trained import large
from priors import pictures
from priors.data import floats


@pytest.mark.slow
def test_a_line_of_the_table():
    """In this process: a new one takes seconds to import."""
    whole, tiled = (large._measure(large.photograph((32, 48)), "circular", tile, 4) for tile in (None, 16))
    assert whole["NFE + vjp"] == tiled["NFE + vjp"] == "5 + 10" and whole["method"] == "mmps, 4 steps"
    assert whole["PSNR sample, dB"] == tiled["PSNR sample, dB"] and float(whole["PSNR sample, dB"]) > 12
    assert (whole["tiles"], tiled["tiles"]) == ("none", "16 px") and large.resident() > 1e8


def test_the_command_writes_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(large, "measure", lambda truth, border, tile, *how: {"border": border, "tiles": str(tile)})
    result = CliRunner().invoke(app, ["run", "large", "--tile", "128", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "large.json").read_text())["rows"]
    assert [row["border"] for row in rows] == ["circular", "reflect", *["circular"] * 4]
    assert [row["tiles"] for row in rows] == ["None", "None", "None", "128", "None", "None"]
    assert "| circular | 128 |" in (tmp_path / "large.md").read_text()


def test_a_photograph_of_one_s_own(tmp_path, monkeypatch):
    pixels = torch.randint(256, (3, 20, 30), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    pictures.write(tmp_path / "mine.h5", pictures.Pictures((pixels, pixels[:, :5])))
    seen = []
    monkeypatch.setattr(large, "measure", lambda truth, *cell: seen.append(truth) or {"border": cell[0]})
    arguments = ["run", "large", "--data", str(tmp_path / "mine.h5"), "--out", str(tmp_path)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert all(torch.equal(truth, floats(pixels)[None]) for truth in seen) and len(seen) == 6
    assert "The first picture of mine.h5, 30 x 20 pixels" in (tmp_path / "large.md").read_text()
