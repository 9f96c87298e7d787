"""Stacks of pictures and of measurements: read as the pictures that were saved, and solved one by one."""

import h5py
import numpy as np
import pytest
import tifffile
import torch

from inverse import Solution
from inverse.app.operator_text import named
from inverse.app.photo import pose
from inverse.app.photo_shape import arrangement
from inverse.app.stack import opened_stack
from priors import VESDE, Gaussian
from priors.checkpoints import save
from tests.cases import score_prior
from tests.inverse.app.test_cli import call, refused

BYTES = np.random.default_rng(0).integers(0, 256, (4, 9, 11, 3), np.uint8)
WORDS = BYTES.astype(np.uint16) * 250 + 7
GREY = BYTES[..., 0]


def written(path, values):
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["pictures" if values.ndim == 3 else "images"] = values
    else:
        tifffile.imwrite(path, values, photometric="rgb")
    return path


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("a.npy", GREY, GREY / 255),
        ("a.npy", WORDS[..., 1], WORDS[..., 1] / 65535),
        ("a.npy", BYTES, BYTES / 255),
        ("a.npy", BYTES.transpose(0, 3, 1, 2), BYTES / 255),
        ("a.npy", GREY[:, None] / 255, GREY / 255),
        ("a.h5", BYTES[:1], BYTES[:1] / 255),
        ("a.npy", GREY > 99, 1.0 * (GREY > 99)),
        ("a.h5", GREY, GREY / 255),
        ("a.h5", BYTES.transpose(0, 3, 1, 2), BYTES / 255),
        ("a.tif", BYTES, BYTES / 255),
        ("a.tif", WORDS, WORDS / 65535),
        ("a.tif", BYTES.astype(np.float32) / 255, BYTES / 255),
    ],
)
def test_every_form_is_read_in_image_units(tmp_path, name, values, expected):
    stack = opened_stack(written(tmp_path / name, values), False)
    assert stack is not None and stack.count == len(expected) and stack.what == "picture"
    for n, one in enumerate(expected):
        np.testing.assert_allclose(stack.read(n).floats, one, atol=1e-7)
        assert f"{name}, picture {n}" == stack.read(n).name == stack.name(n)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (BYTES[0], "pass --measured"),
        (GREY[0], "pass --measured"),
        (GREY[:1], "pass --measured"),
        (GREY[:3], "three grey pictures or the channels of one"),
        (np.zeros((2, 3, 9, 3), np.uint8), "both its second and its last axis"),
        (np.zeros((2, 5, 9, 7), np.uint8), r"grey \(N, H, W\)"),
        (np.zeros((2, 5, 9), np.int32), "of which white is not known"),
        (np.zeros((0, 5, 9), np.uint8), "at least one picture"),
        (np.zeros((2, 1, 5, 9, 7)), "--measured"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        opened_stack(written(tmp_path / "a.npy", values), False)


def test_measurements_are_rows_and_what_differs_between_them_is_for_batch(tmp_path):
    y = np.random.default_rng(0).normal(size=(3, 5))
    stack = opened_stack(written(tmp_path / "y.npy", y), True)
    assert stack is not None and stack.what == "measurement"
    np.testing.assert_array_equal(torch.cat([stack.read(n) for n in range(3)]).numpy(), y)
    assert opened_stack(written(tmp_path / "one.npy", y[:1]), True) is None
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["y"], file["sigma"] = y, [0.1, 0.2, 0.3]
    with pytest.raises(ValueError, match="has sigma for each measurement: use `inverse batch`"):
        opened_stack(tmp_path / "y.h5", True)
    assert opened_stack(tmp_path / "none.png", False) is None


RADON = "radon:angles=30,size=16,pixel=1"


@pytest.mark.parametrize(
    ("operator", "shape", "expected"),
    [
        (RADON, (30, 24), (1, 1, 30, 24)),
        (RADON, (1, 30, 24), (1, 1, 30, 24)),
        (RADON, (3, 30, 24), (1, 3, 30, 24)),
        (RADON, (5, 30, 24), (5, 1, 30, 24)),
        (RADON, (5, 1, 30, 24), (5, 1, 30, 24)),
        ("identity", (40, 30), (1, 1, 40, 30)),
        ("identity", (3, 40, 30), (1, 3, 40, 30)),
        ("identity", (2, 3, 40, 30), (2, 3, 40, 30)),
        ("masking:file=mask.npy", (40, 30), (1, 1, 40, 30)),
        ("masking:file=mask.npy", (4, 40, 30), (4, 1, 40, 30)),
        ("fourier:mask=mask.npy", (2, 40, 30), (1, 2, 40, 30)),
        ("fourier:mask=mask.npy", (6, 2, 40, 30), (6, 2, 40, 30)),
        ("linear:matrix=matrix.npy", (5,), (1, 5)),
        ("linear:matrix=matrix.npy", (7, 5), (7, 5)),
        ("linear:matrix=matrix.npy", (5, 5), (5, 5)),
        ("compressed_sensing:keep=0.5,seed=0,transform=dct", (7, 5), (7, 5)),
        ("classifier:name=fashion-mnist-classifier", (4,), (4,)),
    ],
)
@pytest.mark.filterwarnings("ignore::inverse.app.operator_text.DrawnInstrument")
def test_the_axes_of_an_array_are_those_of_the_operator_s_measurements(
    tmp_path, monkeypatch, operator, shape, expected
):
    monkeypatch.chdir(tmp_path)
    np.save("mask.npy", np.arange(40 * 30).reshape(40, 30) % 2)
    np.save("matrix.npy", np.eye(5, 8))
    stated = named(operator, True)
    assert arrangement(shape, stated, None, None) == expected
    y = np.random.default_rng(0).normal(size=shape)
    stack = opened_stack(written(tmp_path / "y.npy", y), True, lambda s: arrangement(s, stated, None, None))
    assert (stack is None) == (expected[0] == 1)
    if stack is not None:
        np.testing.assert_array_equal(torch.cat([stack.read(n) for n in range(stack.count)]), y.reshape(expected))


def test_arrays_for_a_prior_of_one_size():
    """With the prior's own events, of any number of axes."""
    for operator, shape, expected in (("identity", (8, 8), (1, 1, 8, 8)), ("identity", (3, 8, 8), (3, 1, 8, 8))):
        assert arrangement(shape, named(operator, True), score_prior(), None) == expected
    flat = Gaussian(torch.zeros(6), torch.eye(6), VESDE(), event_shape=(6,))
    assert arrangement((3, 6), named("identity", True), flat, None) == (3, 6)


def test_a_sinogram_and_counts_without_leading_axes(tmp_path):
    """One measurement each, not one per row."""
    y = np.random.default_rng(0).random((30, 24)).astype(np.float32)
    sinogram = pose(written(tmp_path / "sinogram.npy", y), RADON, "0.5", measured=True)
    assert sinogram.y.shape == (1, 1, 30, 24) and sinogram.prior.event_shape == (1, 16, 16)
    np.testing.assert_array_equal(sinogram.y[0, 0], y)
    counts = pose(written(tmp_path / "counts.npy", np.round(30 * y) / 30), "identity", "poisson:30", measured=True)
    assert counts.y.shape == (1, 1, 30, 24) and counts.prior.event_shape == (1, 30, 24)
    line = ["solve", tmp_path / "sinogram.npy", "--measured", "--operator", RADON, "--sigma", 0.5, "--dry"]
    result = call(*line, "--samples", 1, "--out", tmp_path / "o")
    assert result.exit_code == 0 and "a measurement of 1 x 30 x 24" in result.output, result.output


@pytest.fixture
def prior(tmp_path):
    save(tmp_path / "prior", score_prior(), data="none", licence="none")
    return ["--prior", tmp_path / "prior", "--steps", 3, "--method", "mmps", "--operator", "masking"]


def test_a_bad_page_does_not_stop_the_others_and_a_second_call_goes_on(prior, tmp_path):
    """Each page has its own noise and its own samples, those that it has alone."""
    pages = np.random.default_rng(0).random((4, 8, 8)).astype(np.float32)
    pages[1, 2, 2] = np.nan
    arguments = ["solve", written(tmp_path / "a.npy", pages), *prior, "--out", tmp_path / "o"]
    result = call(*arguments, "--samples", 1)
    assert result.exit_code == 2 and "error: 1 of 4 failed: a.npy, picture 1" in result.output
    assert "a.npy, picture 1 has values that are not finite" in result.output
    folders = ["picture-000", "picture-002", "picture-003"]
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == folders
    first = [Solution.load(tmp_path / "o" / name / "solution.h5").samples for name in folders]
    assert not torch.equal(first[0], first[1])
    pages[1, 2, 2] = 0.5
    written(tmp_path / "a.npy", pages)
    again = call(*arguments, "--samples", 2)
    assert again.exit_code == 0 and again.output.count("1 of them already finished") == 3, again.output
    for name, x in zip(folders, first, strict=True):
        assert torch.equal(Solution.load(tmp_path / "o" / name / "solution.h5").samples[:, :1], x)
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file["images"] = pages[:1]
    alone = call("solve", tmp_path / "one.h5", *prior, "--samples", 1, "--out", tmp_path / "alone")
    assert alone.exit_code == 0, alone.output
    assert torch.equal(Solution.load(tmp_path / "alone" / "solution.h5").samples, first[0])


def test_a_stack_of_measurements(prior, tmp_path):
    y = np.random.default_rng(0).random((2, 1, 8, 8)).astype(np.float32)
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["y"] = y
    given = [*prior[:-1], "identity", "--measured", "--samples", 1]
    result = call("solve", tmp_path / "y.h5", *given, "--sigma", 0.1, "--out", tmp_path / "o")
    assert result.exit_code == 0 and "y.h5, measurement 1" in result.output, result.output
    for n in range(2):
        path = tmp_path / "o" / f"measurement-{n:03d}" / "solution.h5"
        with h5py.File(path) as file:
            np.testing.assert_array_equal(file["y"][()], y[n : n + 1])
    refused(call("solve", tmp_path / "y.h5", *prior, "--out", tmp_path / "p", "--range", 0, 1), "--range")
