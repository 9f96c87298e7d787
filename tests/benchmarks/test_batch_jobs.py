"""The benchmark of many measurements, on few."""

import json

import pytest
import torch
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.trained import batch_jobs
from inverse.app.batch.sources import source_of


def test_the_measurements(tmp_path):
    assert batch_jobs.write_measurements(tmp_path / "y.h5", 5, 0) == 5
    found = source_of(tmp_path / "y.h5").read(0, 5)
    assert set(found) == {"y", "mask", "sigma"} and found["y"].shape == (5, 1, 28, 28)
    assert bool((found["y"][~found["mask"].bool()] == 0).all()) and 0.4 < found["mask"].double().mean() < 0.6
    assert len(torch.unique(found["mask"].flatten(1), dim=0)) == 5


@pytest.mark.slow
def test_the_command(tmp_path):
    words = ["--measurements", "24", "--samples", "1", "--steps", "2", "--block", "2", "--kills", "4"]
    folders = ["--work", str(tmp_path / "work"), "--out", str(tmp_path)]
    result = CliRunner().invoke(app, ["run", "batch", *words, *folders])
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "batch.json").read_text())["rows"]
    assert [row["same"] for row in rows] == ["yes"] * 3 and [row["units"] for row in rows] == ["12"] * 3
    assert [row["finished twice"] for row in rows] == ["0"] * 3 and rows[0]["started twice"] == "0"
    assert int(rows[2]["started twice"]) <= 8
