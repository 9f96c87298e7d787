"""One's own picture: what is chosen and said, and samples that are kept as they finish."""

import importlib
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from skimage.data import astronaut
from skimage.filters import gaussian
from skimage.io import imsave
from skimage.transform import resize

from inverse import Solution, solve
from inverse.app.noise_text import read_noise
from inverse.app.photo import draw, finished, pose
from inverse.plan import plan
from operators import Blur, LinearOperator, Masking, registry
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
    assert "averaged to grey" in problem.facts["picture"] and "as requested" in problem.facts["sigma"]


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


@pytest.mark.parametrize("quality", [85, 95])
@pytest.mark.parametrize("place", [(60, 150), (200, 200), (300, 30), (380, 300)])
def test_sigma_of_a_jpeg_is_not_0_and_its_rounding_is_named(tmp_path, quality, place):
    """A blurred photograph without noise: what is wrong in the file is its rounding (6 of 8 such were told 0)."""
    top, left = place
    clean = gaussian(astronaut()[top : top + 128, left : left + 128] / 255, 1.5, channel_axis=2)
    pixels = np.rint(255 * clean).astype(np.uint8)
    imsave(tmp_path / "y.jpg", pixels, quality=quality, check_contrast=False)
    problem = pose(tmp_path / "y.jpg", "blur:sigma=1.5", "auto", measured=True)
    error = (problem.y[0].permute(1, 2, 0).numpy() - clean).std()
    assert 0.65 * error < problem.sigma < 1.6 * error
    assert f"the rounding of this JPEG (quality about {quality})" in problem.facts["sigma"]


def test_sigma_of_arrays_is_not_below_their_rounding(tmp_path):
    clean = gaussian(astronaut()[:128, 150:278] / 255, 3.0, channel_axis=2).transpose(2, 0, 1)[None]
    np.save(tmp_path / "y.npy", (np.rint(255 * clean) / 255).astype(np.float32))
    problem = pose(tmp_path / "y.npy", "blur:sigma=3", "auto", measured=True)
    assert problem.sigma == pytest.approx(1 / 255 / 12**0.5, rel=0.1)
    flat = np.full((1, 3, 64, 64), 0.5, np.float32)
    flat[..., 0, 0], flat[..., 0, 1] = 0, 1
    np.save(tmp_path / "y.npy", flat)
    with pytest.raises(ValueError, match="give --sigma a number"):
        pose(tmp_path / "y.npy", "blur:sigma=3", "auto", measured=True)


def test_tiles_where_memory_asks_for_them(photo):
    whole, tiles = pose(photo, MASK, memory=1e9), pose(photo, MASK, memory=1e5)
    assert not isinstance(whole.prior, Tiled) and "whole" in whole.facts["tiles"]
    assert isinstance(tiles.prior, Tiled) and tiles.prior.tile == 512 and "GB" in tiles.facts["tiles"]
    assert pose(photo, MASK, tile=16).prior.tile == 16
    several = pose(photo, MASK, processes=2)
    assert several.prior.processes == 2 and several.facts["tiles"].endswith("for several processes; 2 processes")
    assert several.identity == pose(photo, MASK, tile=512).identity  # results are the same


@pytest.mark.parametrize(
    ("changed", "fragment"),
    [
        ({"sigma": "auto"}, "sigma auto requires --measured"),
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
    assert problem.prior.event_shape == (3, 24, 32) and "repeated in three channels" in problem.facts["picture"]


def test_measurements_that_do_not_fit_are_refused(tmp_path):
    imsave(tmp_path / "grey.png", picture(24, 32, 1), check_contrast=False)
    with pytest.raises(ValueError, match="has 1 channels, but this operator measures 3"):
        pose(tmp_path / "grey.png", "blur:sigma=1", "0.1", "natural", measured=True)
    mean = "grayscale:weights=0.33,0.33,0.34"
    assert pose(tmp_path / "grey.png", mean, "0.1", measured=True).prior.event_shape == (3, 24, 32)
    np.save(tmp_path / "two.npy", np.zeros((2, 3, 24, 32), np.float32))
    with pytest.raises(ValueError, match="has 2 measurements"):
        pose(tmp_path / "two.npy", "blur:sigma=1", "0.1", measured=True)
    np.save(tmp_path / "label.npy", np.zeros(1, np.int64))
    with pytest.raises(ValueError, match=r"does not determine the picture's size.* give --size .* or a --prior"):
        pose(tmp_path / "label.npy", "classifier:name=fashion-mnist-classifier", measured=True)
    np.save(tmp_path / "small.npy", np.zeros((1, 1, 28, 28), np.float32))
    with pytest.raises(ValueError, match="boundary=reflect if picture and measurement have the same size"):
        pose(tmp_path / "small.npy", "blur:sigma=1,boundary=valid", "0.1", "fashion-mnist", measured=True)
    found = pose(tmp_path / "small.npy", "blur:sigma=1", "0.1", "fashion-mnist", measured=True)
    assert found.operator.boundary == "reflect" and "boundary=reflect (default)" in found.facts["operator"]


@pytest.mark.parametrize(
    ("operator", "fragment"),
    [
        ("motion", "no operator named 'motion'. Did you mean 'blur'"),
        ("blur:motion=8,seed=1", "size = 8: expected an odd integer"),
        ("blur:motion=9,angel=30", "argument 'angel' .did you mean 'angle'"),
        ("blur:file=kernel.npy", "no kernel at kernel.npy"),
        ("blur:kernel=kernel.png", "no image at kernel.png"),
        ("blur:sigma=wide", "expected a number"),
        ("blur:sigma=-1", "sigma_px = -1"),
        ("masking:box=99", "a box of 99 x 99 .* does not fit"),
        ("downsampling:factor=0", "factor = 0"),
        ("resize:factor=0.5,kernel=bicubic", "factor = 0.5"),
        ("compressed_sensing:keep=7,transform=dct,seed=0", "keep = 7"),
        ("varying_blur.rotation:degrees=nan", "degrees=nan"),
    ],
)
@pytest.mark.filterwarnings("ignore::inverse.app.operator_text.DrawnInstrument")
def test_a_mistake_in_an_operator_is_told_first_of_a_measurement_too(tmp_path, operator, fragment):
    """Not that the operator does not tell the picture's size."""
    imsave(tmp_path / "y.png", picture(24, 32), check_contrast=False)
    with pytest.raises((ValueError, FileNotFoundError), match=f"^[^;]*{fragment}"):
        pose(tmp_path / "y.png", operator, "0.1", measured=True)


def test_the_border_of_a_measurement_is_not_made_up(tmp_path):
    """Valid: a crop is explained by a picture that reaches beyond it. Of a picture, the border is Python's default."""
    imsave(tmp_path / "y.png", picture(24, 32), check_contrast=False)
    problem = pose(tmp_path / "y.png", "blur:length=5,angle=0", "0.1", measured=True)
    assert problem.operator.boundary == "valid" and problem.prior.event_shape == (3, 24 + 6, 32 + 6)
    assert "boundary=valid (default)" in problem.facts["operator"] and "3 x 30 x 38" in problem.facts["picture"]
    assert pose(tmp_path / "y.png", "blur:sigma=1").operator.boundary == Blur.gaussian(1.0).boundary
    reflect = pose(tmp_path / "y.png", "blur:sigma=1,boundary=reflect", "0.1", measured=True)
    assert reflect.prior.event_shape == (3, 24, 32)


def test_sigma_of_a_measurement_is_estimated_unless_told(tmp_path):
    blurred = resize(astronaut(), (96, 96), anti_aliasing=True) * 0.8 + 0.1
    y = blurred + 0.04 * np.random.default_rng(0).standard_normal(blurred.shape)
    np.save(tmp_path / "y.npy", y.transpose(2, 0, 1)[None].astype(np.float32))
    told, open_ = (pose(tmp_path / "y.npy", "identity", s, measured=True) for s in ("auto", None))
    assert told.sigma == open_.sigma == pytest.approx(0.04, rel=0.3) and "estimated" in open_.facts["sigma"]
    np.save(tmp_path / "k.npy", np.zeros((1, 2, 64, 64), np.float32))
    given = "fourier.radial:spokes=9"
    with pytest.raises(ValueError, match="give sigma as a number"):
        pose(tmp_path / "k.npy", given, prior="brain-mri", measured=True, size="64x64")


@pytest.fixture
def plug_in(monkeypatch):
    """A stranger's operators: one says nothing of its pictures' size, one has their shape."""

    class Slopes(LinearOperator):
        def forward(self, x):
            return x[..., 1:] - x[..., :-1]

    class Negative(LinearOperator):
        def forward(self, x):
            return 1 - x

    monkeypatch.setitem(registry.REGISTRY, "slopes", Slopes)
    monkeypatch.setitem(registry.REGISTRY, "negative", Negative)


@pytest.mark.parametrize(
    ("size", "prior", "shape"),
    [("24x33", None, (3, 24, 33)), ("3x24x33", None, (3, 24, 33)), ("24x33", "natural", (3, 24, 33))],
)
def test_a_plug_in_measures_pictures_of_the_size_that_is_told(plug_in, tmp_path, size, prior, shape):
    np.save(tmp_path / "y.npy", np.zeros((1, 3, 24, 32), np.float32))
    found = pose(tmp_path / "y.npy", "slopes", "0.1", prior, measured=True, size=size)
    assert tuple(found.prior.event_shape) == shape and found.operator.measurement_shape(shape) == (3, 24, 32)
    assert pose(tmp_path / "y.npy", "negative", "0.1", measured=True).prior.event_shape == (3, 24, 32)


@pytest.mark.parametrize(
    ("given", "fragment"),
    [
        ({}, "measurement of shape .3, 24, 32. does not determine the picture's size: give --size"),
        ({"size": "24"}, "expected HEIGHTxWIDTH"),
        ({"size": "24x0"}, "expected HEIGHTxWIDTH"),
        ({"size": "24x32"}, "maps pictures .* to .3, 24, 31.: give the picture's --size"),
        ({"size": "24x33", "prior": "cifar10"}, "omit the option"),
        ({"size": "24x33", "measured": False}, "--size requires --measured"),
    ],
)
def test_a_size_that_is_none(plug_in, tmp_path, given, fragment):
    np.save(tmp_path / "y.npy", np.zeros((1, 3, 24, 32), np.float32))
    imsave(tmp_path / "y.png", picture(24, 32), check_contrast=False)
    path = tmp_path / ("y.npy" if given.get("measured", True) else "y.png")
    with pytest.raises(ValueError, match=fragment):
        pose(**({"path": path, "operator": "slopes", "sigma": "0.1", "measured": True} | given))


@pytest.fixture
def posed(photo, monkeypatch):
    monkeypatch.setattr(importlib.import_module("inverse.costs.evaluation"), "TIMED", 0.0)
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
    with pytest.raises(ValueError, match="not a readable solution"):
        finished(problem, chosen, 0, file)


def test_the_key_of_a_problem_is_not_its_words(posed):
    """Another wording of the plan, or an update of it, does not throw finished samples away; another mask does."""
    problem, chosen = posed
    key = problem.key(chosen, 0)
    assert replace(problem, facts={"picture": "in other words"}).key(chosen, 0) == key
    other = replace(problem, operator=Masking.random((3, 24, 32), 0.5, seed=1, noise=problem.operator.noise))
    assert other.key(chosen, 0) != key and replace(problem, sigma=0.2).key(chosen, 0) != key


def test_the_key_of_a_problem_is_not_how_its_operator_is_written(photo):
    same = [pose(photo, text).identity for text in ("blur", "blur:sigma=1.5", "blur.gaussian:sigma_px=1.5,truncate=4")]
    assert same[0] == same[1] == same[2] != pose(photo, "blur:sigma=1.4").identity


def test_the_share_that_is_measured_is_said(photo, tmp_path):
    """So that a mask that is inverted shows before the solve."""
    mask = np.zeros((24, 32), np.uint8)
    mask[:6] = 255
    imsave(tmp_path / "mask.png", mask, check_contrast=False)
    problem = pose(photo, f"masking:file={tmp_path / 'mask.png'}")
    assert "25% of them measured, where the mask is 1 or white" in problem.facts["operator"]
    assert "measured" not in pose(photo, "blur").facts["operator"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("poisson:40", ["Poisson", "40 photons"]),
        ("camera:40,0.05", ["Poisson", "40 photons", "read noise of standard deviation 0.05"]),
        ("rician:0.1", ["Rician", "0.1 in each part"]),
        ("speckle:8", ["speckle", "8 looks"]),
    ],
)
def test_a_noise_that_is_not_gaussian_is_described_in_place_of_sigma(photo, text, words):
    """It has no sigma: none is printed, not a 0."""
    problem = pose(photo, MASK, text)
    assert repr(problem.operator.noise) == repr(read_noise(text)) and "sigma" not in problem.facts
    assert all(word in problem.facts["noise"] for word in words)
    assert problem.identity != pose(photo, MASK, "poisson:41").identity
    for wrong in ("poisson:", "camera:3", "speckle:a", "uniform:3"):
        with pytest.raises(ValueError, match=r"poisson:PEAK|poisson:100|camera:100,0\.05|speckle:4"):
            pose(photo, MASK, wrong)
