"""Blur against scipy."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import torch
from operator_cases import peaked, uniform

from operators import Blur, GaussianNoise, SVDOperator
from operators.blur import DIRECT
from operators.convolution import in_parts
from operators.kernels import motion_kernel


@pytest.mark.parametrize("size", [(3, 3), (3, 5), (4, 3), (2, 2), (1, 4), (5, 6)])
@pytest.mark.parametrize(("boundary", "mode"), [("circular", "wrap"), ("reflect", "mirror"), ("valid", "")])
@pytest.mark.parametrize("direct", [DIRECT, 0], ids=["direct", "by transforms"])
def test_is_a_convolution(size, boundary, mode, direct, monkeypatch):
    monkeypatch.setattr("operators.blur.DIRECT", direct)
    kernel, x = uniform(*size).double(), uniform(2, 2, 8, 7, seed=1).double()
    y = Blur(kernel, boundary=boundary)(x)
    for row, picture in zip(y, x, strict=True):
        for got, channel in zip(row, picture, strict=True):
            k, c = kernel.numpy(), channel.numpy()
            valid = boundary == "valid"
            expected = scipy.signal.convolve2d(c, k, "valid") if valid else scipy.ndimage.convolve(c, k, mode=mode)
            np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-12)


def test_gaussian_kernel_is_scipys():
    picture = np.zeros((41, 41))
    picture[20, 20] = 1
    expected = scipy.ndimage.gaussian_filter(picture, 1.7, mode="wrap", truncate=4.0)
    got = Blur.gaussian(1.7)(torch.from_numpy(picture)[None, None])[0, 0]
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-7)


def test_boundaries_have_the_right_kind():
    circular, reflect = Blur(peaked(3, 3)), Blur(peaked(3, 3), boundary="reflect")
    assert isinstance(circular, Blur) and isinstance(circular, SVDOperator)
    assert isinstance(reflect, Blur) and not isinstance(reflect, SVDOperator)
    assert Blur(peaked(3, 2), "valid").measurement_shape((2, 8, 8)) == (2, 6, 7)


def test_adjoint_before_any_forward():
    y = uniform(1, 1, 6, 7)
    assert Blur(peaked(3, 2), "valid").adjoint(y).shape == (1, 1, 8, 8)
    assert Blur(peaked(3, 2), "reflect").adjoint(y).shape == (1, 1, 6, 7)


def test_spectrum_follows_the_kernel_and_the_size():
    """What is remembered of a kernel must not outlive it."""
    blur, small, large = Blur(peaked(3, 3)), uniform(1, 1, 6, 6), uniform(1, 1, 9, 8)
    for x in (small, large, small, small.double()):
        torch.testing.assert_close(blur.V(blur.spectrum(x) * blur.Vt(blur.U(blur.Vt(x)))).shape, x.shape)
        torch.testing.assert_close(blur(x), Blur(peaked(3, 3))(x))
    before = blur(small)
    blur.kernel.mul_(2)
    torch.testing.assert_close(blur(small), 2 * before)


def test_a_severe_blur_keeps_its_svd():
    """Most of this spectrum lies below single precision."""
    blur, x = Blur.gaussian(4.0, noise=GaussianNoise(0.01)).at((1, 40, 40)), uniform(2, 1, 40, 40)
    y = blur(x)
    assert float((blur.singular_values == 0).float().mean()) > 0.5
    torch.testing.assert_close(blur.U(blur.singular_values * blur.Vt(x)), y, atol=1e-5, rtol=0)
    torch.testing.assert_close(blur(blur.pinv(y)), y, atol=1e-5, rtol=0)


def test_spectral_maps_are_differentiable():
    blur = Blur(peaked(3, 4)).double()
    x = uniform(1, 1, 5, 6).double().requires_grad_()
    for f in (blur.V, blur.Vt, blur.U, blur.Ut, blur.pinv):
        assert torch.autograd.gradcheck(f, (x,))


@pytest.mark.parametrize("shape", [(2, 3, 32, 40), (1, 1, 33, 41), (3, 1, 17, 64)])
def test_large_pictures_are_transformed_in_parts(shape):
    """They give what small ones do, and the result is an ordinary tensor."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    operator = Blur(motion_kernel(9, 3), noise=GaussianNoise(0.1)).at(shape[1:])

    def results():
        return [operator(x), operator.adjoint(x), operator.solve_gram(x, 0.3), operator.U(operator.Ut(x))]

    whole = results()
    with in_parts():
        parts = results()
    for a, b in zip(whole, parts, strict=True):
        assert b.is_contiguous()
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("radius", [0.3, 2.0, 2.7])
def test_the_disc_of_a_lens_out_of_focus_has_its_area(radius):
    """A point becomes a disc of pi radius^2 pixels: of equal brightness inside, and of variance radius^2 / 4."""
    kernel = Blur.defocus(radius).kernel[0].double()
    n = kernel.shape[-1]
    at = torch.arange(n, dtype=torch.float64) - n // 2
    assert float(kernel.sum()) == pytest.approx(1.0, abs=1e-6) and n % 2 == 1
    if radius > 1:
        assert float(kernel.max()) == pytest.approx(1 / (torch.pi * radius**2), rel=0.03)
        variance = float((kernel * at**2).sum()) - 1 / 12  # less that of a pixel
        assert variance == pytest.approx(radius**2 / 4, rel=0.05)
    for wrong in (0, -1, float("nan"), 1e6):
        with pytest.raises(ValueError, match=r"Blur\.defocus: radius"):
            Blur.defocus(wrong)
