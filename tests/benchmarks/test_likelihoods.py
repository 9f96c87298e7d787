"""Likelihood and identifiability, on untrained networks and on latents that are made up."""

import pytest
import torch
from typer.testing import CliRunner

import priors
from benchmarks import cli
from benchmarks.common import commands
from benchmarks.trained import identifiability, likelihood
from priors import VESDE, VPSDE, checkpoints
from priors.data import ImageSet
from tests.cases import normal, score_prior

IMAGES = ImageSet(torch.randint(0, 256, (4, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("likelihoods")
    for name, sde in (("ve", VESDE(sigma_max=10.0)), ("same", VESDE(sigma_max=10.0)), ("vp", VPSDE(scale=0.3))):
        checkpoints.save(root / name, score_prior(sde))
    return {name: root / name for name in ("ve", "same", "vp")}


def test_a_row_per_prior_with_mean_error_and_evaluations(folders):
    rows = likelihood.run({name: folders[name] for name in ("ve", "vp")}, IMAGES[:2], seed=3)
    assert [(row["prior"], row["SDE"]) for row in rows] == [("ve", "VESDE"), ("vp", "VPSDE")]
    bits = priors.bits_per_dim(priors.load(folders["vp"]), IMAGES.floats()[:2], seed=3, probe="rademacher")
    assert rows[1]["bits/dim"] == f"{bits.mean():.3f} +- {bits.std() / 2**0.5:.3f}"
    assert 30 < float(rows[0]["evaluations"]) < 300


def test_rows_are_counted_not_calls():
    prior = likelihood.RowCount(score_prior())
    prior.denoise(torch.zeros(3, 1, 8, 8), 0.5)
    prior.denoise_vjp(torch.zeros(2, 1, 8, 8), 0.5)
    assert prior.rows == 5


def test_one_prior_twice_encodes_alike_and_different_images_do_not(folders):
    rows = identifiability.run({name: folders[name] for name in ("ve", "same")}, IMAGES[:3], seed=0)
    assert [row["images"] for row in rows] == ["clean", "clean", "dequantised", "dequantised"]
    for same, different in (rows[:2], rows[2:]):
        assert float(same["correlation, mean"]) > 0.999 and float(same["relative distance"]) < 1e-3
        assert float(different["correlation, mean"]) < 0.5 and float(different["relative distance"]) > 0.1


def test_correlation_of_made_up_latents():
    """Of z and a z + sqrt(1 - a^2) z' it is a; a dimension that never varies has none."""
    n, a = 4000, torch.tensor([0.0, 0.5, 0.9], dtype=torch.float64)
    z, noise = normal(n, 3, seed=1), normal(n, 3, seed=2)
    other = 7 + 3 * (a * z + (1 - a**2).sqrt() * noise)
    other[:, 0] = 1.0
    found = identifiability.correlations(z, other)
    assert len(found) == 2 and (found - a[1:]).abs().max() < 4 / n**0.5
    row = identifiability.compare(z, 2 * z)
    assert row["correlation, mean"] == row["5%"] == row["95%"] == "1.000" and row["relative distance"] == "1.000"


def test_what_cannot_be_compared_is_refused(folders, tmp_path):
    with pytest.raises(ValueError, match="1 priors: expected two"):
        identifiability.run({"ve": folders["ve"]}, IMAGES, seed=0)
    two = {name: folders[name] for name in ("ve", "same")}
    with pytest.raises(ValueError, match="2 images: expected at least 3"):
        identifiability.run(two, IMAGES[:2], seed=0)
    with pytest.raises(ValueError, match="1 images: expected at least 2"):
        likelihood.run(two, IMAGES[:1], seed=0)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*none, .*neither: train it"):
        likelihood.run({"ve": folders["ve"], "a": tmp_path / "none", "b": tmp_path / "neither"}, IMAGES, seed=0)


@pytest.mark.parametrize("command", ["likelihood", "identifiability"])
def test_the_commands_write_a_table_or_name_the_missing_folder(folders, tmp_path, monkeypatch, command):
    monkeypatch.setattr(priors, "samples", lambda name: IMAGES)
    given = ["--prior", str(folders["ve"]), "--prior", str(folders["same"])]
    result = CliRunner().invoke(
        cli.app,
        ["run", command, *given, "--images", "3" if command == "identifiability" else "2", "--out", str(tmp_path)],
    )
    assert result.exit_code == 0, result.output
    assert str(folders["same"]) in (tmp_path / f"{command}.md").read_text()
    monkeypatch.setattr(commands, "SMALL_PRIORS", tmp_path)
    result = CliRunner().invoke(cli.app, ["run", command, "--out", str(tmp_path)], env={"COLUMNS": "300"})
    assert result.exit_code == 2 and "'ve'" in result.output and "clone the repository" in result.output
