"""One's own picture: what is chosen and said, and samples that are kept as they finish."""

import importlib

import h5py
import numpy as np
import pytest
import torch
from skimage.data import astronaut
from skimage.io import imsave
from skimage.transform import resize

from inverse import Solution, solve
from inverse.own import draw, finished, pose
from inverse.plan import plan
from priors import Tiled

MASK = "masking:keep=0.5"


@pytest.fixture
def photo(tmp_path):
    imsave(tmp_path / "photo.png", picture(24, 32), check_contrast=False)
    return tmp_path / "photo.png"


def picture(height, width, channels=3):
    pixels = (255 * resize(astronaut()[:256, 100:356], (height, width), anti_aliasing=True)).astype(np.uint8)
    return pixels if channels == 3 else pixels[..., 0]


@pytest.mark.parametrize(
    ("size", "name", "shape"),
    [
        ((28, 28, 1), "fashion-mnist", (1, 28, 28)),
        ((32, 32, 3), "cifar10", (3, 32, 32)),
        ((28, 28, 3), "natural", (3, 28, 28)),
        ((24, 32, 3), "natural", (3, 24, 32)),
        ((24, 32, 1), "natural-grey", (1, 24, 32)),
    ],
)
def test_the_prior_is_chosen_by_the_picture_and_said(tmp_path, size, name, shape):
    imsave(tmp_path / "p.png", picture(*size), check_contrast=False)
    problem = pose(tmp_path / "p.png", MASK)
    assert problem.prior.event_shape == problem.truth.shape[1:] == shape
    assert problem.facts["prior"].startswith(f"{name}, chosen because")
    assert "becomes" not in problem.facts["picture"]
    assert "the default" in problem.facts["sigma"] and problem.sigma == 0.05


def test_colour_becomes_grey_where_the_prior_is_and_it_is_said(tmp_path):
    imsave(tmp_path / "p.png", picture(28, 28), check_contrast=False)
    problem = pose(tmp_path / "p.png", MASK, "0.1", "fashion-mnist")
    expected = torch.from_numpy(picture(28, 28) / 255).mean(2).float()
    torch.testing.assert_close(problem.truth[0, 0], expected)
    assert "the mean of its channels" in problem.facts["picture"] and "as asked for" in problem.facts["sigma"]


def test_a_measurement_tells_the_size_of_the_picture(tmp_path):
    np.save(tmp_path / "y.npy", np.full((1, 3, 12, 16), 0.5, np.float32))
    problem = pose(tmp_path / "y.npy", "downsampling:factor=3", "0.1", measured=True)
    assert problem.prior.event_shape == (3, 36, 48) and problem.truth is None
    assert problem.y.shape == (1, 3, 12, 16)


def test_sigma_is_estimated_and_said(tmp_path):
    """A blurred photograph with noise of .04, as a picture of 8 bits."""
    blurred = resize(astronaut(), (128, 128), anti_aliasing=True).mean(2, keepdims=True).repeat(3, 2)
    y = (blurred * 0.8 + 0.1 + 0.04 * np.random.default_rng(0).standard_normal(blurred.shape)).clip(0, 1)
    imsave(tmp_path / "y.png", (255 * y).astype(np.uint8))
    problem = pose(tmp_path / "y.png", "blur:sigma=1", "auto", measured=True)
    assert problem.sigma == pytest.approx(0.04, rel=0.15)
    assert float(problem.operator.noise.sigma) == pytest.approx(problem.sigma)
    assert "estimated" in problem.facts["sigma"]


def test_tiles_where_memory_asks_for_them(photo):
    whole, tiles = pose(photo, MASK, memory=1e9), pose(photo, MASK, memory=1e5)
    assert not isinstance(whole.prior, Tiled) and "whole" in whole.facts["tiles"]
    assert isinstance(tiles.prior, Tiled) and tiles.prior.tile == 512 and "GB" in tiles.facts["tiles"]
    assert pose(photo, MASK, tile=16).prior.tile == 16


@pytest.mark.parametrize(
    ("changed", "fragment"),
    [
        ({"sigma": "auto"}, "sigma auto is for a measurement"),
        ({"sigma": "loud"}, "'loud'"),
        ({"sigma": "-1"}, "sigma must be >= 0"),
        ({"prior": "nobody"}, "nobody"),
        ({"prior": "cifar10"}, "--resize"),
        ({"operator": "downsampling:factor=5"}, "crop them to 20 x 30"),
        ({"prior": "cifar10", "resize": True, "tile": 8}, "tile"),
    ],
)
def test_what_cannot_be_is_refused(photo, changed, fragment):
    with pytest.raises((ValueError, FileNotFoundError), match=fragment):
        pose(**({"path": photo, "operator": MASK} | changed))


def test_grey_becomes_colour_where_the_prior_is_and_it_is_said(tmp_path):
    imsave(tmp_path / "grey.png", picture(24, 32, 1), check_contrast=False)
    problem = pose(tmp_path / "grey.png", MASK, prior="natural")
    assert problem.prior.event_shape == (3, 24, 32) and "three channels alike" in problem.facts["picture"]


def test_measurements_that_do_not_fit_are_refused(tmp_path):
    imsave(tmp_path / "grey.png", picture(24, 32, 1), check_contrast=False)
    with pytest.raises(ValueError, match="has 1 channels, the measurement of such a picture has 3"):
        pose(tmp_path / "grey.png", "blur", "0.1", "natural", measured=True)
    assert pose(tmp_path / "grey.png", "grayscale", "0.1", measured=True).prior.event_shape == (3, 24, 32)
    np.save(tmp_path / "two.npy", np.zeros((2, 3, 24, 32), np.float32))
    with pytest.raises(ValueError, match="holds 2 measurements"):
        pose(tmp_path / "two.npy", "blur", "0.1", measured=True)
    np.save(tmp_path / "label.npy", np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="name a --prior"):
        pose(tmp_path / "label.npy", "classifier", measured=True)


@pytest.fixture
def posed(photo, monkeypatch):
    monkeypatch.setattr(importlib.import_module("inverse.evaluation"), "TIMED", 0.0)
    problem = pose(photo, MASK, "0.1")
    return problem, plan(problem.prior, problem.operator, problem.y, 3, "mmps", 2, batch_size=1)


def test_a_killed_run_goes_on_with_what_it_has(posed, tmp_path):
    """And ends with what an unbroken `solve` gives, sample by sample."""
    problem, chosen = posed
    file, seen = tmp_path / "o" / "solution.h5", []

    def killed(n):
        if n == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw(problem, chosen, 7, file, progress=False, on_samples=killed)
    assert finished(problem, chosen, 7, file).samples.shape[1] == 2
    resumed = draw(problem, chosen, 7, file, progress=False, on_samples=seen.append)
    given = (problem.prior, problem.operator, problem.y, 3, "mmps", 2)
    unbroken = solve(*given, seed=7, batch_size=1, progress=False)
    assert seen == [3] and torch.equal(resumed.samples, unbroken.samples)
    assert torch.equal(Solution.load(file).samples, unbroken.samples)
    assert draw(problem, chosen, 7, file, progress=False, on_samples=seen.append).seconds and seen == [3]


def test_pairs_are_not_torn_apart(posed, tmp_path):
    """Though a batch holds one sample at a time."""
    problem, _ = posed
    given = (problem.prior, problem.operator, problem.y, 4, "mmps", 2)
    chosen, seen = plan(*given, batch_size=1, antithetic=True), []
    drawn = draw(problem, chosen, 7, tmp_path / "s.h5", progress=False, on_samples=seen.append)
    assert seen == [2, 4] and drawn.antithetic and Solution.load(tmp_path / "s.h5").antithetic
    assert torch.equal(drawn.samples, solve(*given, seed=7, batch_size=1, progress=False, antithetic=True).samples)
    with pytest.raises(ValueError, match="another problem"):
        finished(problem, plan(*given, batch_size=1), 7, tmp_path / "s.h5")
    with pytest.raises(ValueError, match="pairs"):
        plan(*given[:3], 3, "mmps", 2, antithetic=True)


def test_the_file_tells_everything(posed, tmp_path):
    problem, chosen = posed
    solution = draw(problem, chosen, 0, tmp_path / "s.h5", {"command": "inverse solve photo.png"}, progress=False)
    with h5py.File(tmp_path / "s.h5") as file:
        for name, tensor in {
            "y": problem.y,
            "truth": problem.truth,
            "mean": solution.mean,
            "std": solution.std,
        }.items():
            np.testing.assert_array_equal(file[name], tensor.numpy())
        told = dict(file.attrs)
    assert MASK in told["operator"] and told["sigma_y"] == 0.1 and "natural" in told["prior"] and told["seed"] == 0
    assert told["command"] == "inverse solve photo.png"


def test_samples_of_another_problem_are_not_mixed_in(posed, photo, tmp_path):
    problem, chosen = posed
    file = tmp_path / "s.h5"
    draw(problem, chosen, 0, file, progress=False)
    for other, seed in ((problem, 1), (pose(photo, MASK, "0.2"), 0), (pose(photo, "masking:keep=0.4", "0.1"), 0)):
        with pytest.raises(ValueError, match="another problem"):
            draw(other, chosen, seed, file, progress=False)
    file.write_bytes(b"something else")
    with pytest.raises(ValueError, match="no readable solution"):
        finished(problem, chosen, 0, file)
