"""The benchmark of conformal intervals, with pictures that the prior does not expect."""

import pytest
import torch
from typer.testing import CliRunner

import priors
from benchmarks import cli
from benchmarks.exact.problems import smooth_covariance
from benchmarks.trained import conformal
from priors import VPSDE, Gaussian
from priors.data import ImageSet

SHAPE = (1, 8, 8)
NARROW = Gaussian(torch.full((64,), 0.8), 0.02 * smooth_covariance(8, 1.5, 0.3), VPSDE(), event_shape=SHAPE)
BROAD = Gaussian(torch.full((64,), 0.4), smooth_covariance(8, 1.5, 0.2), VPSDE(), event_shape=SHAPE)


@pytest.fixture(autouse=True)
def analytic(monkeypatch):
    """A narrow prior elsewhere, and 60 pictures of a broad one."""
    pictures = (BROAD.sample(60, seed=5).clamp(0, 1) * 255).round().to(torch.uint8)
    monkeypatch.setattr(priors, "load", lambda name: NARROW)
    monkeypatch.setattr(priors, "samples", lambda name: ImageSet(pictures))
    monkeypatch.setattr(conformal, "REGION", (2, 6))


def test_conformal_intervals_hold_their_level_where_plain_ones_do_not(tmp_path):
    rows = conformal.run("narrow", "broad", [0.8], 60, 30, 40, 6, 0, tmp_path, progress=False)
    assert [row["guarantee of pixels"] for row in rows] == ["average", "confident"]
    average, sure = ({k: float(v.split()[0]) for k, v in row.items() if "," in k} for row in rows)
    assert average["pixels, plain, %"] < 60 and 76 < average["pixels, conformal, %"] < 90
    assert sure["pixels, conformal, %"] > average["pixels, conformal, %"]
    for title in ("region, conformal, %", "whole, conformal, %"):
        assert average[title] > 74
    assert average["half width, conformal"] > average["half width, plain"]


def test_finished_solves_are_kept(tmp_path, monkeypatch):
    how = ("narrow", "broad", [0.5], 6, 4, 3, 2, 0, tmp_path, False)
    rows = conformal.run(*how)
    monkeypatch.setattr("inverse.app.batch.job.solve_there", None)
    assert conformal.run(*how) == rows


def test_more_images_than_there_are_are_refused(tmp_path):
    for n, known in ((61, 30), (30, 30)):
        with pytest.raises(ValueError, match="at most 60"):
            conformal.run("narrow", "broad", [0.8], n, known, 2, 2, 0, tmp_path)


def test_the_command_writes_a_table(tmp_path):
    words = ["--images", "12", "--calibration", "8", "--splits", "3", "--samples", "2", "--level", "0.5"]
    result = CliRunner().invoke(
        cli.app, ["run", "conformal", *words, "--work", str(tmp_path / "w"), "--out", str(tmp_path)]
    )
    assert result.exit_code == 0, result.output
    assert "| 50 | average | " in (tmp_path / "conformal.md").read_text()
