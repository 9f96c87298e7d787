"""The table of effective sample sizes, end to end on an analytic prior."""

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import cli
from benchmarks.exact import problems
from benchmarks.trained import reliability
from priors import VESDE, Gaussian
from tests.cases import stand_in

SHAPE = (1, 6, 6)
PRIOR = Gaussian(torch.full((36,), 0.4), problems.smooth_covariance(6, 1.5, 0.3), VESDE(0.01, 10.0), event_shape=SHAPE)


@pytest.fixture(autouse=True)
def analytic(monkeypatch):
    stand_in(monkeypatch, PRIOR, reliability)


def test_modes_on_a_gaussian(tmp_path):
    """Exact weights of a Gaussian's guided flow are nearly even, however few the steps; tempered ones resample."""
    chosen = reliability.settings([4], [8], [8], [6, 16], 2)
    rows, found = reliability.run("p", "masking", chosen, 2, 50, 0, tmp_path, progress=False)
    plain, tempered, moved, *exact = found
    assert [row["mode"] for row in rows] == [setting.mode for setting in chosen]
    assert rows[0]["effective samples"] == "-" and plain.warned == 0 and plain.ess.tolist() == pytest.approx([50, 50])
    assert max(tempered.covered.max(), moved.covered.max()) < 0.6, "so few steps leave few ancestors, and it is seen"
    assert not torch.equal(tempered.covered, moved.covered)
    assert exact[-1].ess.mean() > 25 and exact[-1].ess.mean() > exact[0].ess.mean() - 5
    assert exact[0].nvjp > plain.nvjp
    again, _ = reliability.run("p", "masking", chosen, 2, 50, 0, tmp_path, progress=False)
    assert again == rows, "finished settings are read, seconds and all"


def test_the_command_writes_table_and_plot(tmp_path):
    few = ["--images", "1", "--samples", "3", "--plain", "2", "--tempered", "2", "--moved", "2", "--exact", "2"]
    places = ["--work", str(tmp_path / "work"), "--out", str(tmp_path)]
    result = CliRunner().invoke(cli.app, ["run", "reliability", *few, *places], catch_exceptions=False)
    assert result.exit_code == 0
    assert "| exact | 2 |" in (tmp_path / "reliability.md").read_text()
    assert (tmp_path / "reliability.png").stat().st_size > 1000


def test_an_unknown_task_is_refused(tmp_path):
    with pytest.raises(ValueError, match="task 'sharpen': expected one of"):
        reliability.run("p", "sharpen", [], 1, 2, 0, tmp_path)
