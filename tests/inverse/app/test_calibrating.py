"""`inverse calibrate`: the command line, on a small prior."""

import h5py
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import priors
from inverse import Calibration, calibrate
from inverse.app import calibrating
from inverse.app.cli import app
from operators import GaussianNoise, Masking, PoissonNoise
from priors import VPSDE
from tests.cases import picture

FEW = ("--draws", "12", "--samples", "3", "--method", "ddrm", "--steps", "3")


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """A Gaussian over 1 x 8 x 8 pictures by any name, and an empty folder to be in."""
    prior = picture(VPSDE())
    monkeypatch.setattr(priors, "load", lambda name, **given: prior)
    monkeypatch.chdir(tmp_path)
    return prior


def line(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["calibrate", *words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return " ".join(result.output.split())


def test_it_writes_what_calibrate_finds(small, tmp_path):
    words = ("--operator", "masking:keep=0.5", "--sigma", "0.1", "--seed", "4")
    told = line(*words, "--draws", "20", "--samples", "9", "--method", "mmps", "--out", "c")
    assert told.startswith("method: mmps, 32 steps time: about") and "Calibrated: mmps, 20 draws" in told
    operator = Masking.random((1, 8, 8), 0.5, noise=GaussianNoise(0.1))
    expected = calibrate(small, operator, "mmps", 20, 9, seed=4, progress=False)
    found = Calibration.load("c/calibration.h5")
    torch.testing.assert_close(found.ranks, expected.ranks)
    assert (tmp_path / "c/calibration.txt").read_text() == expected.summary() + "\n"
    assert (tmp_path / "c/calibration.png").read_bytes().startswith(b"\x89PNG")


def test_a_failed_test_is_an_exit_status(tmp_path):
    told = line("--operator", "masking:keep=0.5", "--draws", "40", "--samples", "9", "--method", "mmps", "--steps", "2",
                code=1)  # fmt: skip
    assert "Not calibrated" in told and "FAIL" in (tmp_path / "calibration/calibration.txt").read_text()


def test_truths_of_a_file(tmp_path):
    with h5py.File("x.h5", "w") as file:
        file["images"] = np.random.default_rng(0).integers(0, 256, (15, 8, 8), dtype=np.uint8)
    told = line("--operator", "masking:keep=0.5", *FEW, "--truths", "x.h5", "--dry")
    assert "12 x 3 samples" in told and "besides" not in told and not (tmp_path / "calibration").exists()


def test_other_noise(monkeypatch):
    """Photon counts need truths that are no darker than black."""
    with h5py.File("x.h5", "w") as file:
        file["images"] = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    seen = []

    def watched(prior, operator, *arguments, **named):
        seen.append(operator)
        return calibrate(prior, operator, *arguments, **named)

    monkeypatch.setattr(calibrating, "calibrate", watched)
    words = ("--operator", "masking:keep=0.5", "--sigma", "poisson:100", "--samples", "2", "--steps", "2")
    CliRunner().invoke(app, ["calibrate", *words, "--truths", "x.h5"])
    assert isinstance(seen[0].noise, PoissonNoise)


def test_a_size_that_the_prior_does_not_serve():
    assert "(1, 9, 9)" in line("--operator", "masking:keep=0.5", "--size", "9x9", *FEW, code=2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--operator", "sharpen"), "sharpen"),
        (("--operator", "masking:keep=0.5", "--sigma", "loud"), "sigma = 'loud'"),
        (("--operator", "masking:keep=0.5", "--truths", "none.h5"), "none.h5"),
        (("--operator", "masking:keep=0.5", "--draws", "1", "--dry"), "--draws = 1"),
        (("--operator", "masking:keep=0.5", "--processes", "0", "--dry"), "--processes = 0"),
    ],
)
def test_bad_words_are_refused(words, said):
    assert said in line(*words, code=2)
