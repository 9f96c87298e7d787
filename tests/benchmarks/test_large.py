"""The benchmark of a large photograph, on a small one."""

import json

import pytest
from typer.testing import CliRunner

from benchmarks import large
from benchmarks.cli import app


@pytest.mark.slow
def test_a_line_of_the_table():
    """In this process: a new one takes seconds to import."""
    whole, tiled = (large._measure("circular", tile, 4, (32, 48)) for tile in (None, 16))
    assert whole["NFE + vjp"] == tiled["NFE + vjp"] == "5 + 10" and whole["method"] == "mmps, 4 steps"
    assert whole["PSNR sample, dB"] == tiled["PSNR sample, dB"] and float(whole["PSNR sample, dB"]) > 12
    assert (whole["tiles"], tiled["tiles"]) == ("none", "16 px") and large.resident() > 1e8


def test_the_command_writes_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(large, "measure", lambda boundary, tile, steps: {"border": boundary, "tiles": str(tile)})
    result = CliRunner().invoke(app, ["run", "large", "--tile", "128", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "large.json").read_text())["rows"]
    assert [row["border"] for row in rows] == ["circular", "reflect", "circular"] and rows[2]["tiles"] == "128"
    assert "| circular | 128 |" in (tmp_path / "large.md").read_text()
