"""The benchmark of a large photograph, on a small one."""

import json

from typer.testing import CliRunner

from benchmarks import large
from benchmarks.cli import app


def test_a_line_of_the_table():
    """Memory is that of its own process: more than a picture, less than the toolkit."""
    row = large.measure("circular", None, 2, (32, 48))
    assert row["NFE + vjp"] == "3 + 4" and row["method"] == "mmps, 2 steps"
    assert 0 < float(row["memory, GB"]) < 0.5
    assert float(row["PSNR sample, dB"]) > 10


def test_the_command_writes_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(large, "measure", lambda boundary, tile, steps: {"border": boundary, "tiles": str(tile)})
    result = CliRunner().invoke(app, ["run", "large", "--tile", "128", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "large.json").read_text())["rows"]
    assert [row["border"] for row in rows] == ["circular", "reflect", "circular"] and rows[2]["tiles"] == "128"
    assert "| circular | 128 |" in (tmp_path / "large.md").read_text()
