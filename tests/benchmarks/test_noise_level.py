"""The benchmark of `--sigma auto`: what its 40 files are, and how the best fixed sigma is found."""

import math
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.trained import noise_level


def test_every_format_meets_every_operator():
    cells = noise_level.cells()
    assert len(set(cells)) == 40
    assert {(c.operator, c.kind[:4]) for c in cells} >= {
        (name, kind) for name in noise_level.OPERATORS for kind in ("JPEG", "PNG", "TIFF")
    }
    assert {(c.kind, c.noise > 0) for c in cells} == {(k, n) for k in noise_level.FORMATS for n in (True, False)}


@pytest.mark.parametrize("place", [3, 9, 17])
def test_files_hold_what_was_saved(place, tmp_path):
    problem, error = noise_level.posed(noise_level.cells()[place], "0.02", tmp_path)
    assert problem.sigma == 0.02 and 0 < error < 0.05
    assert problem.prior.event_shape[1:] == (noise_level.SIZE, noise_level.SIZE)


def test_the_best_sigma_is_walked_to_and_kept(tmp_path, monkeypatch):
    """PSNR falls on both sides of .002, from which the walk starts two levels away."""
    cell, asked = noise_level.cells()[9], []
    x = noise_level.truth(cell)

    def solved(prior, operator, y, n, budget, progress):
        asked.append(float(operator.noise.sigma))
        offset = 0.01 * 2 ** abs(math.log2(asked[-1] / 0.002))
        return SimpleNamespace(mean=x + offset)

    monkeypatch.setattr(noise_level, "solve", solved)
    monkeypatch.setattr(noise_level.Solved, "__init__", _without_version)
    assert noise_level.Solved(tmp_path, 2).best(cell, 0.008, tmp_path) is None, "the limit ends it"
    sigma, found = noise_level.Solved(tmp_path).best(cell, 0.008, tmp_path)
    assert (sigma, found) == (0.002, pytest.approx(40, abs=0.01))
    assert sorted(set(asked)) == pytest.approx([0.001, 0.002, 0.004, 0.008, 0.016]) and len(asked) == 5
    rows = list(noise_level.run([cell], tmp_path))
    assert rows[0]["best fixed sigma"] == "0.002" and float(rows[0]["estimate"]) == pytest.approx(asked[-1], rel=0.01)


def _without_version(self, work, limit=None):
    """As it is, but a stand-in of `solve` has no code in a package."""
    self.records = noise_level.Records(work / "noise_level.jsonl")
    self.left, self.version = math.inf if limit is None else limit, ""


def test_the_command_writes_the_table(tmp_path, monkeypatch):
    cell = noise_level.cells()[0]
    problem = SimpleNamespace(sigma=0.01)
    rows = [
        noise_level._row(cell, 0.012, problem, (0.008, 30.0), 29.9),
        noise_level._row(cell, 1e-6, problem, (0.001, 30.0), 29.0),
    ]
    monkeypatch.setattr(noise_level, "run", lambda chosen, work, limit: iter(rows))
    result = CliRunner().invoke(app, ["run", "noise-level", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "noise_level.md").read_text()
    assert "below the best: 1 of 2" in text and "0.83 to 0.83" in text and "-1.00" in text
    monkeypatch.setattr(noise_level, "run", lambda chosen, work, limit: iter(()))
    assert CliRunner().invoke(app, ["run", "noise-level", "--out", str(tmp_path)]).exit_code == 1
