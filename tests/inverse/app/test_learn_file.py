"""`inverse learn`, on fields of 4 x 4 pixels of which half were measured, other ones in each."""

import h5py
import numpy as np
import pytest
import torch

import priors
from inverse import learn_prior
from inverse.app.batch.sources import source_of
from inverse.app.learn_file import default_recipe
from inverse.app.learning import _checked
from operators import GaussianNoise, Identity, Masking
from tests.inverse.app.test_cli import call, refused

SHAPE, N = (1, 4, 4), 30
RECIPE = """
kind = "prior"
name = "smooth fields"
licence = "CC0"
sde = { type = "VESDE", sigma_min = 0.01, sigma_max = 5.0 }
range = { shift = 0.5, scale = 0.2 }
network = { type = "local", image_channels = 1, channels = [8, 8], blocks = [1, 1] }
training = { steps = 4, batch_size = 8, lr = 1e-3, warmup = 2, ema = 0.5, held_out = 8 }
"""


@pytest.fixture(scope="module")
def measured():
    rng = torch.Generator().manual_seed(0)
    masks = (torch.rand(N, *SHAPE, generator=rng) < 0.5).float()
    operator = Masking(masks, noise=GaussianNoise(0.05)).at(SHAPE)
    return operator, operator.measure(torch.rand(N, *SHAPE, generator=rng).cumsum(-1) / 4, seed=1)


@pytest.fixture
def file(measured, tmp_path):
    with h5py.File(tmp_path / "seen.h5", "w") as file:
        file["y"], file["mask"], file["sigma"] = measured[1], measured[0].mask, np.full(N, 0.05, np.float32)
    (tmp_path / "fields.toml").write_text(RECIPE)
    return tmp_path / "seen.h5"


def test_it_learns_what_the_library_does_and_goes_on(measured, file, tmp_path):
    arguments = ["learn", file, "--operator", "masking", "--recipe", tmp_path / "fields.toml", "--out", tmp_path / "o"]
    first = call(*arguments, "--rounds", 1)
    assert first.exit_code == 0, first.output
    assert "30 measurements of pictures 1 x 4 x 4" in first.output and "a Gaussian, fitted" in first.output
    assert "mask=the file's, of each measurement" in first.output
    result = call(*arguments, "--rounds", 2)  # a second call adds a round
    assert result.exit_code == 0 and str(tmp_path / "o" / "round-2" / "prior") in result.output, result.output
    given = (str(tmp_path / "fields.toml"), *measured, tmp_path / "whole")
    expected = learn_prior(*given, rounds=2, progress=False)
    found = priors.load(tmp_path / "o" / "round-2" / "prior")
    for a, b in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    other = call(*arguments, "--seed", 3)
    assert other.exit_code == 2 and "error: " in other.output and "other settings, seed" in other.output


def test_without_a_recipe(file, tmp_path):
    arguments = ["learn", file, "--operator", "masking", "--rounds", 1, "--minutes", 0.005]
    result = call(*arguments, "--out", tmp_path / "o")
    assert result.exit_code == 0, result.output
    prior = priors.load(tmp_path / "o" / "round-1" / "prior")
    assert prior.event_shape == SHAPE and bool(prior.score(torch.zeros(1, *SHAPE), torch.tensor(0.5)).isfinite().all())
    refused(call(*arguments, "--out", tmp_path / "p", "--recipe", "none"), "no training config 'none'")


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 28, 28), (3, 32, 32), (3, 96, 64), (3, 8, 200)])
@pytest.mark.parametrize("n", [2, 20, 5000])
def test_the_default_recipe_suits_every_size(shape, n):
    source = source_of(torch.zeros(n, *shape))
    _checked(default_recipe("seen.h5", shape, n), Identity(noise=GaussianNoise(0.1)), source, shape, 1, "cpu")


def test_pictures_too_large_for_a_gaussian_need_a_start(tmp_path):
    with h5py.File(tmp_path / "large.h5", "w") as file:
        file["y"] = np.zeros((3, 1, 48, 48), np.float32)
    lines = ["learn", tmp_path / "large.h5", "--operator", "identity", "--sigma", 0.1, "--out", tmp_path / "o"]
    refused(call(*lines), "2304 values", "--start")
