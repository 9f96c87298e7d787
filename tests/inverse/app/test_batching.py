"""`inverse batch`: the command line, on a small prior."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import priors
from inverse import BatchResults, solve_batch
from inverse.app.batching import Stated
from inverse.app.cli import app
from inverse.app.operator_text import named
from operators import Blur, GaussianNoise, Identity, Masking, estimate_sigma
from tests.cases import score_prior

N, HOW = 5, ("--samples", "2", "--steps", "3", "--method", "mmps")


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """An untrained prior of 1 x 8 x 8 pictures by any name, and an empty folder to be in."""
    prior = score_prior()
    monkeypatch.setattr(priors, "load", lambda name, **given: prior)
    monkeypatch.chdir(tmp_path)
    return prior


def truth() -> torch.Tensor:
    return torch.rand(N, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def write(**arrays) -> str:
    with h5py.File("y.h5", "w") as file:
        for name, values in arrays.items():
            file[name] = np.asarray(values)
    return "y.h5"


def line(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["batch", *words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return " ".join(result.output.split())


def test_with_masks_and_noise_levels_of_their_own(small):
    masks = torch.stack([Masking.random((1, 8, 8), 0.5, seed=k).mask for k in range(N)])
    sigma = torch.linspace(0.05, 0.2, N)
    operator = Masking(masks, noise=GaussianNoise(sigma))
    y = operator.measure(truth(), seed=1)
    file = write(y=y, mask=masks.to(torch.uint8), sigma=sigma, truth=truth())
    told = line(file, "--operator", "masking", "--out", "r.h5", "--prior", "small", "--block", "2", *HOW)
    assert "each with its own mask and sigma" in told and "5 of 5 measurements solved by mmps, 3 steps" in told
    expected = solve_batch(small, operator, y, "expected.h5", 2, "mmps", 3, block=2, progress=False)
    found = BatchResults("r.h5")
    torch.testing.assert_close(found.mean[:], expected.mean[:], rtol=1e-5, atol=1e-6)
    assert found.quantile_levels == (0.05, 0.5, 0.95)


def test_a_shared_operator_and_kept_samples(small):
    operator = Blur.gaussian(0.5, boundary="reflect", noise=GaussianNoise(0.1))
    smooth = torch.nn.functional.avg_pool2d(truth(), 5, 1, 2, count_include_pad=False)
    np.save("y.npy", operator.measure(smooth, seed=1).numpy())
    told = line(
        "y.npy", "--operator", "blur:sigma=0.5,boundary=reflect", "--out", "r.h5", "--prior", "small", "--sigma", "0.1",
        "--keep-samples", "--quantiles", "0.1,0.9", *HOW,
    )  # fmt: skip
    found = BatchResults("r.h5")
    assert "5 measurements" in told and found.samples[1:3].shape == (2, 2, 1, 8, 8)
    assert found.quantile_levels == (0.1, 0.9) and found.solution(3).samples.shape == (1, 2, 1, 8, 8)
    told = line(
        "y.npy", "--operator", "blur:sigma=0.5,boundary=reflect", "--out", "r.h5", "--sigma", "0.2", *HOW, code=2
    )
    assert "another problem (the operator" in told


def test_a_failed_measurement_is_told_with_the_remedy(small):
    y = Masking(torch.ones(1, 8, 8)).measure(truth())
    y[3] = np.inf
    file, common = write(y=y), ("--out", "r.h5", "--prior", "small", "--sigma", "0.1", "--block", "1", *HOW)
    told = line(file, "--operator", "identity", *common, code=2)
    assert "4 of 5 measurements solved" in told and "error: measurements 3 to 3: ValueError" in told
    assert "--retry-failed" in told


def test_the_level_of_each_measurement_is_estimated():
    stated = Stated(named("identity", measured=True), (1, 64, 64), None)
    levels = torch.tensor([0.02, 0.2])
    plain = torch.full((2, 1, 64, 64), 0.5)
    y = Identity(GaussianNoise(levels)).measure(plain, seed=0)
    found = stated({"y": y}).noise.sigma
    assert torch.equal(found, estimate_sigma(y, Identity(GaussianNoise(1.0))))
    torch.testing.assert_close(found, levels, rtol=0.2, atol=0)
    assert stated({"y": y, "sigma": torch.tensor([0.3, 0.4])}).noise.sigma.tolist() == pytest.approx([0.3, 0.4])


@pytest.mark.parametrize(
    ("arrays", "words", "told"),
    [
        ({"x": truth()}, (), "'y' is missing"),
        ({"y": truth(), "mask": np.ones((2, 8, 8))}, (), "expected numbers with one entry for each"),
        ({"y": truth()}, (), "lacks arguments"),
        ({"y": truth(), "mask": np.ones((N, 8, 8))}, ("--sigma", "much"), "sigma = 'much'"),
        ({"y": truth(), "mask": np.ones((N, 8, 8))}, ("--quantiles", "a,b"), "quantiles 'a,b'"),
        ({"y": truth()[..., :7], "mask": np.ones((N, 8, 7))}, ("--sigma", "1"), "8, 7"),
    ],
)
def test_refusals(arrays, words, told):
    assert told in line(write(**arrays), "--operator", "masking", "--out", "r.h5", "--prior", "small", *words, code=2)


def test_a_plan(small):
    told = line(
        write(y=truth()), "--operator", "identity", "--sigma", "0.1", "--out", "r.h5", "--prior", "small", "--dry", *HOW
    )
    assert "time: about" in told and "method: mmps, 3 steps" in told
    assert [path.name for path in Path().iterdir()] == ["y.h5"]


def test_the_sigma_of_a_blur_is_not_that_of_the_noise(small):
    """blur:sigma= is the width of the kernel; the file's sigma is the noise of each measurement."""
    sigma = torch.linspace(0.05, 0.2, N)
    operator = Blur.gaussian(0.6, "reflect", noise=GaussianNoise(sigma))
    file = write(y=operator.measure(truth(), seed=1), sigma=sigma)
    words = line(file, "--operator", "blur:sigma=0.6,boundary=reflect", "--out", "r.h5", "--prior", "small", *HOW)
    assert "each with its own sigma" in words
    y = torch.from_numpy(h5py.File(file)["y"][:])
    expected = solve_batch(small, operator, y, "expected.h5", 2, "mmps", 3, progress=False)
    torch.testing.assert_close(BatchResults("r.h5").mean[:], expected.mean[:], rtol=1e-5, atol=1e-6)
