"""Antialiased resizing, against a sum over pixels and against torch and Pillow where their borders do not matter."""

import math

import numpy as np
import pytest
import torch
from operator_cases import uniform
from PIL import Image
from torch.nn.functional import interpolate

from operators import Resize


def cubic(u: float) -> float:
    """Keys' kernel, a = -1/2."""
    u, a = abs(u), -0.5
    if u <= 1:
        return (a + 2) * u**3 - (a + 3) * u**2 + 1
    return a * (u**3 - 5 * u**2 + 8 * u - 4) if u < 2 else 0.0


def slowly(line: np.ndarray, factor: float) -> np.ndarray:
    """MATLAB's rule for one line, on a line that is mirrored so often that its ends are out of reach."""
    margin = 8 * len(line) * math.ceil(1 + factor)
    long = np.pad(line, margin, mode="symmetric")
    sums = []
    for i in range(math.ceil(len(line) / factor)):
        centre = factor * (i + 0.5) - 0.5 + margin
        weights = np.array([cubic((j - centre) / factor) for j in range(len(long))])
        sums.append(weights @ long / weights.sum())
    return np.array(sums)


@pytest.mark.parametrize("factor", [1, 1.5, 2, 3, 4, 7.3])
def test_bicubic_is_the_sum_that_it_says(factor):
    x = uniform(1, 1, 7, 10).double()
    y = Resize(factor)(x)[0, 0].numpy()
    expected = np.apply_along_axis(slowly, 0, np.apply_along_axis(slowly, 1, x[0, 0].numpy(), factor), factor)
    assert y.shape == (math.ceil(7 / factor), math.ceil(10 / factor))
    np.testing.assert_allclose(y, expected, atol=1e-12)


@pytest.mark.parametrize("kernel", ["bicubic", "bilinear"])
def test_inside_it_is_torchs_antialiased_one(kernel):
    """Torch leaves out what lies beyond the border, where this mirrors: two rows of pixels differ."""
    x = uniform(2, 3, 24, 32).double()
    torchs = interpolate(x, scale_factor=0.25, mode=kernel, antialias=True)
    torch.testing.assert_close(Resize(4, kernel)(x)[..., 2:-2, 2:-2], torchs[..., 2:-2, 2:-2], atol=1e-12, rtol=0)
    assert (Resize(4, kernel)(x) - torchs).abs().max() > 1e-3


@pytest.mark.parametrize("factor", [1.5, 2, 3, 4])
def test_without_antialiasing_it_is_torchs_and_the_nearest_pixel_is_pillows(factor):
    x = uniform(1, 1, 24, 36)
    torchs = interpolate(x, scale_factor=1 / factor, mode="bilinear")
    torch.testing.assert_close(Resize(factor, "bilinear", antialias=False)(x), torchs)
    for antialias in (True, False):
        y = Resize(factor, "nearest", antialias=antialias)(x)[0, 0].numpy()
        pillows = Image.fromarray(x[0, 0].numpy(), mode="F").resize(y.shape[::-1], Image.Resampling.NEAREST)
        np.testing.assert_array_equal(y, np.asarray(pillows))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_single_pixels_have_a_stated_phase(factor):
    x = uniform(2, 3, 24, 37)
    for offset in range(factor):
        y = Resize(factor, "nearest", offset=offset)(x)
        kept = x[..., offset::factor, offset::factor]
        torch.testing.assert_close(y[..., : kept.shape[-2], : kept.shape[-1]], kept, atol=0, rtol=0)
    torchs = interpolate(x[..., :36], scale_factor=1 / factor, mode="nearest")
    torch.testing.assert_close(Resize(factor, "nearest", offset=0)(x[..., :36]), torchs, atol=0, rtol=0)
    usual = Resize(factor, "bicubic", offset=(factor - 1) / 2)(x)
    torch.testing.assert_close(Resize(factor, "bicubic")(x), usual, atol=0, rtol=0)


@pytest.mark.parametrize("offset", [-0.5, 1.5, float("nan")])
def test_an_offset_beyond_the_first_block_is_refused(offset):
    with pytest.raises(ValueError, match=r"Resize: offset = .*: expected"):
        Resize(2, "nearest", offset=offset)


def test_inside_lanczos_is_pillows():
    x = uniform(1, 1, 36, 40)
    pillows = np.asarray(Image.fromarray(x[0, 0].numpy(), mode="F").resize((10, 9), Image.Resampling.LANCZOS))
    np.testing.assert_allclose(Resize(4, "lanczos")(x)[0, 0, 3:-3, 3:-3], pillows[3:-3, 3:-3], atol=1e-6)


def test_a_constant_stays_and_a_kernel_does_not_alias():
    stripes = (torch.arange(32) % 2).float().expand(1, 1, 32, 32)
    for kernel in ("bicubic", "bilinear", "lanczos"):
        torch.testing.assert_close(Resize(3, kernel)(torch.ones(1, 2, 10, 11)), torch.ones(1, 2, 4, 4))
        inside = Resize(4, kernel)(stripes)[..., 3:-3, 3:-3]
        torch.testing.assert_close(inside, torch.full((1, 1, 2, 2), 0.5), atol=0.02, rtol=0)


def test_the_svd_of_a_large_picture_is_exact_and_made_once():
    op, x = Resize(4).at((1, 256, 192)), uniform(1, 1, 256, 192)
    y = op(x)
    assert y.shape == (1, 1, 64, 48)
    torch.testing.assert_close(op(op.pinv(y)), y, atol=1e-5, rtol=0)
    torch.testing.assert_close(op.U(op.singular_values * op.Vt(x)), y, atol=1e-5, rtol=0)


def test_the_size_behind_a_measurement_is_asked_for_where_it_is_not_unique():
    y, op = uniform(1, 1, 3, 4), Resize(2)
    for shape in ((1, 5, 7), (1, 6, 8)):
        assert op.at(shape).adjoint(y).shape == op.at(shape).pinv(y).shape == (1, *shape)
    for call in (op.adjoint, op.pinv, lambda y: op.solve_gram(y, 1.0)):
        with pytest.raises(ValueError, match=r"operator\.at\(\(1, 6, 8\)\)"):
            call(y)
    with pytest.raises(ValueError, match=r"expected measurements \(C, 3, 4\)"):
        op.at((1, 5, 7)).adjoint(uniform(1, 1, 4, 4))
    assert Resize(1.5).adjoint(uniform(1, 1, 1, 3)).shape == (1, 1, 1, 4)  # 1 and 4 pixels are the only sizes
    assert op.largest((1, 3, 4)) == (1, 6, 8)
