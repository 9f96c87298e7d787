"""Kernels of a camera's shake and of files, and the half of a picture."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from operators import Blur, Masking
from operators.kernels import line_kernel, motion_kernel, read_kernel


@pytest.mark.parametrize("size", [3, 9, 21])
@pytest.mark.parametrize("seed", range(4))
def test_a_motion_kernel_is_a_law_of_where_the_camera_looked(size, seed):
    kernel = motion_kernel(size, seed)
    assert kernel.shape == (size, size) and kernel.dtype == torch.float32
    assert kernel.min() >= 0 and kernel.sum().item() == pytest.approx(1, abs=1e-5)
    place = torch.arange(size) - size // 2
    centre = torch.stack([(kernel.sum(1) * place).sum(), (kernel.sum(0) * place).sum()])
    # so that it moves no picture; a path that is shared between neighbouring pixels keeps its centre
    torch.testing.assert_close(centre, torch.zeros(2), atol=2e-3, rtol=0)


def test_a_seed_is_a_kernel():
    state = torch.random.get_rng_state()
    assert torch.equal(motion_kernel(9, 3), motion_kernel(9, 3))
    assert (motion_kernel(9, 3) - motion_kernel(9, 4)).abs().sum() > 0.1
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(Blur.motion(9, seed=3).kernel[0], motion_kernel(9, 3))


def test_a_longer_path_reaches_further_and_is_cut_to_the_kernel():
    place = torch.arange(41) - 20
    reach = []
    for length in (2.0, 10.0, 40.0, 1000.0):
        kernel = motion_kernel(41, 0, length)
        reach.append(float((kernel * (place[:, None] ** 2 + place**2)).sum().sqrt()))
    assert reach[0] < reach[1] / 3 < reach[2] / 6 and reach[3] < 20 * 2**0.5
    # of a path within a pixel, what is left is the shot in focus
    assert motion_kernel(5, 0, 1e-3)[2, 2] > 0.99


def test_a_path_is_as_long_as_told():
    """A straight camera: a path whose length is its extent is as many pixels long, and touches about as many."""
    kernel = motion_kernel(33, 7, 30.0)
    assert 20 < int((kernel > 1e-4).sum()) < 120


def test_a_straight_movement_by_length_and_angle():
    """Along a row: the hat of bilinear sharing, averaged over 9 pixels. Turned, its moments are those of the line."""
    weights = torch.tensor([1 / 8, 7 / 8, *[1.0] * 7, 7 / 8, 1 / 8]) / 9
    kernel = line_kernel(9, 0)
    torch.testing.assert_close(kernel[5], weights, atol=1e-4, rtol=0)
    assert kernel.shape == (11, 11) and kernel.sum().item() == pytest.approx(1) and kernel[5].sum().item() > 0.999
    torch.testing.assert_close(line_kernel(9, 90), kernel.T, atol=1e-4, rtol=0)
    torch.testing.assert_close(line_kernel(9, 210), line_kernel(9, 30), atol=1e-5, rtol=0)
    kernel = line_kernel(12, 30, 21)
    place = torch.arange(21.0) - 10
    up, right = -place[:, None], place
    variances = [float((kernel * product).sum()) for product in (right**2, up**2, up * right)]
    line = [12**2 / 12 * c for c in (0.75, 0.25, 0.75**0.5 / 2)]  # cos^2, sin^2, cos sin
    np.testing.assert_allclose(variances, np.add(line, [1 / 6, 1 / 6, 0]), atol=0.05)  # sharing adds f (1 - f)
    assert torch.equal(Blur.motion(length=12, angle=30, size=21).kernel[0], kernel)
    assert Blur.motion(length=9, angle=0, boundary="valid").kernel_size == (11, 11)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "expected length and angle for a straight line, or size and seed"),
        ({"angle": 30}, "expected a length"),
        ({"size": 9, "angle": 30}, "expected a length"),
        ({"length": 9, "angle": 30, "seed": 1}, "no seed"),
        ({"length": 9, "angle": 30, "size": 8}, "an odd integer >= 9"),
        ({"length": 9, "angle": 0, "size": 9}, "an odd integer >= 11"),
        ({"length": 0, "angle": 0}, "length = 0"),
        ({"length": 9, "angle": float("nan")}, "angle = nan"),
        ({"length": 5000, "angle": 0}, "length = 5000"),
    ],
)
def test_a_movement_that_is_none(given, message):
    with pytest.raises(ValueError, match=message):
        Blur.motion(**given)


@pytest.mark.parametrize(
    ("error", "arguments", "message"),
    [
        (TypeError, (9.0,), "size = 9.0: expected an integer .* odd"),
        (ValueError, (8,), "size = 8: expected an odd integer"),
        (ValueError, (1,), "size = 1: expected an integer >= 3"),
        (ValueError, (9, 0, 0.0), "length = 0.0: expected a finite number > 0"),
    ],
)
def test_what_is_no_kernel_is_refused(error, arguments, message):
    with pytest.raises(error, match=message):
        motion_kernel(*arguments)


@pytest.mark.parametrize(
    ("seen", "rows", "columns"),
    [("left", slice(None), slice(0, 2)), ("right", slice(None), slice(3, 5)), ("top", slice(0, 3), slice(None)),
     ("bottom", slice(3, 6), slice(None))],
)  # fmt: skip
def test_half_of_a_picture_is_seen(seen, rows, columns):
    expected = torch.zeros(6, 5, dtype=torch.bool)
    expected[rows, columns] = True  # of 5 columns the middle one is hidden
    assert torch.equal(Masking.half((3, 6, 5), seen).mask, expected[None])
    with pytest.raises(ValueError, match="expected one of left, right, top, bottom"):
        Masking.half((3, 6, 5), "middle")


GRAY = np.array([[0, 1, 2], [3, 4, 0], [0, 0, 10], [0, 0, 0], [0, 0, 0]], dtype=np.uint8)


@pytest.mark.parametrize("kind", ["gray.png", "colour.png", "alpha.png", "deep.png", "bilevel.png", "kernel.npy"])
def test_a_kernel_is_read_from_a_file(tmp_path, kind):
    path, expected = tmp_path / kind, GRAY / 20
    opaque = np.full_like(GRAY, 255)
    if kind == "kernel.npy":
        np.save(path, 7 * GRAY.astype(float))
    elif kind == "bilevel.png":
        Image.fromarray(GRAY > 1).save(path)
        expected = (GRAY > 1) / 4
    else:
        pixels = {
            "gray.png": GRAY,
            "colour.png": np.stack([GRAY, 2 * GRAY, 3 * GRAY, opaque], -1),
            "alpha.png": np.stack([GRAY, opaque], -1),
            "deep.png": GRAY.astype(np.uint16) * 6000,
        }
        Image.fromarray(pixels[kind]).save(path)
    blur = Blur.from_file(path, "reflect")
    assert blur.boundary == "reflect"
    np.testing.assert_allclose(blur.kernel[0], expected, atol=1e-7)


def test_a_file_of_kernels_has_one_per_channel(tmp_path):
    np.save(tmp_path / "k.npy", np.stack([GRAY, 2 * GRAY[::-1]]))
    kernel = Blur.from_file(tmp_path / "k.npy").kernel
    assert kernel.shape == (2, 5, 3) and torch.allclose(kernel.sum((1, 2)), torch.ones(2))


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, FileNotFoundError, "no kernel at .*k.npy"),
        (b"words", ValueError, "neither a picture nor a numeric .npy file"),
        (np.zeros((3, 3)), ValueError, "positive sum, given shape \\(3, 3\\), sum 0"),
        (np.ones(3), ValueError, "given shape \\(3,\\)"),
        (np.full((2, 2), np.nan), ValueError, "finite values"),
    ],
)
def test_what_is_no_file_of_a_kernel_is_refused(tmp_path, content, error, message):
    path = tmp_path / "k.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(error, match=message):
        Blur.from_file(path)


def test_kernels_of_pictures_follow_the_rules_of_pictures(tmp_path):
    """Turned by EXIF, of one page, opaque, of real numbers, and in a regular file."""
    weights = np.arange(12, dtype=np.uint8).reshape(3, 4)
    exif = Image.Exif()
    exif[274] = 3
    Image.fromarray(weights[::-1, ::-1].copy()).save(tmp_path / "turned.png", exif=exif)
    torch.testing.assert_close(read_kernel(tmp_path / "turned.png"), torch.from_numpy(weights / weights.sum()).float())
    page = Image.fromarray(weights)
    page.save(tmp_path / "pages.tif", save_all=True, append_images=[page, page])
    Image.fromarray(np.dstack([weights, weights])).save(tmp_path / "alpha.png")
    np.save(tmp_path / "complex.npy", weights + 1j)
    os.mkfifo(tmp_path / "pipe.png")
    messages = {"pages.tif": "several pictures", "alpha.png": "transparent", "complex.npy": "complex128"}
    for name, message in (messages | {"pipe.png": "not a regular"}).items():
        with pytest.raises(ValueError, match=message):
            read_kernel(tmp_path / name)
