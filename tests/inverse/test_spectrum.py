"""Kernels of a wrong size and a wrong way of shrinking are told by the spectrum of a picture."""

import pytest
import torch

import priors
from inverse.quality.aliasing import folded, gains
from inverse.quality.kernel_shape import misshapen, reshaped
from inverse.quality.kernel_size import misstated, stretched
from inverse.quality.spectrum import design, fitted, periodogram
from operators import Blur, Downsampling, GaussianNoise, Identity, Resize
from operators.kernels import disc_kernel, gaussian_kernel, line_kernel

NOISE = GaussianNoise(0.01)
PICTURES = priors.samples("natural").floats()


def blur(length: float, angle: float = 20.0) -> Blur:
    return Blur(line_kernel(length, angle), "valid", NOISE)


def test_the_power_law_of_a_drawn_spectrum_is_found():
    """Exponential values whose mean is a law behind a response, and noise."""
    rows, columns = (torch.rand(20000, generator=torch.Generator().manual_seed(k)).double() - 0.5 for k in range(2))
    x = design(rows, columns)[:, None]
    truth = torch.tensor([1.0, -2.5, 0.3, 0.0, 0.1, 0.0, 0.2, 0.0], dtype=torch.float64)
    response = torch.rand(20000, 1, generator=torch.Generator().manual_seed(2)).double()
    mean = (response * (x @ truth).exp()).sum(1) + 0.5
    power = -mean * torch.rand(20000, generator=torch.Generator().manual_seed(3)).double().log()
    for noise, known in ((0.5, True), (5.0, False)):
        found = fitted(power, response, x, noise, known=known)[1]
        torch.testing.assert_close(found[:-1], truth, atol=0.1, rtol=0)
        assert found[-1].exp().item() == pytest.approx(0.5, rel=0.05)


def test_the_periodogram_of_white_noise_is_its_variance():
    noise = 0.3 * torch.randn(1, 3, 300, 250, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    power, rows, columns = periodogram(noise)
    assert power.mean().item() == pytest.approx(0.09, rel=0.02)
    wave = torch.cos(2 * torch.pi * (0.25 * torch.arange(300)[:, None] + 0.125 * torch.arange(250)))
    power, rows, columns = periodogram(wave.expand(1, 1, -1, -1))
    assert (rows[power.argmax()].abs().item(), columns[power.argmax()].item()) == pytest.approx((0.25, 0.125), abs=0.01)


@pytest.mark.parametrize(("length", "stated"), [(11, 7), (7, 11)])
def test_a_movement_of_the_wrong_length_is_reported(length, stated):
    measured = [blur(length).measure(x[None], seed=0) for x in PICTURES]
    assert [misstated(blur(length), y) for y in measured] == [""] * len(measured)
    wrong = [misstated(blur(stated), y) for y in measured]
    assert sum(bool(text) for text in wrong) >= len(wrong) - 1
    assert all("length, angle or width" in text for text in wrong if text)


def test_the_factor_is_that_of_the_widths():
    right, wide = (Blur(gaussian_kernel(width, 21), "valid", NOISE) for width in (1.6, 2.7))
    measured = [right.measure(x[None], seed=0) for x in PICTURES]
    factors = [stretched(wide, y)[0] for y in measured]
    assert sum(factor in (0.5, 0.6, 0.7) for factor in factors) >= len(factors) - 1


def test_only_blurs_of_one_kernel_and_pictures_are_compared():
    y = blur(7).measure(PICTURES[:1], seed=0)
    each = Blur(torch.stack([line_kernel(7, 20.0)] * 3), "valid", NOISE)
    for operator in (Identity(NOISE), each, blur(7).with_noise(GaussianNoise(0.0))):
        assert stretched(operator, y) == (1.0, 0.0) and misstated(operator, y) == ""
    assert stretched(blur(7), y[..., :40, :]) == (1.0, 0.0)


def test_shrinking_without_antialiasing_is_told_from_that_with():
    smooth, single = (Resize(2, kernel, NOISE).at(tuple(PICTURES.shape[1:])) for kernel in ("bicubic", "nearest"))
    for right, stated, remedy in ((single, smooth, "kernel=nearest"), (smooth, single, "kernel=bicubic")):
        measured = [right.measure(x[None], seed=0) for x in PICTURES]
        assert sum(bool(folded(right, y)) for y in measured) <= 1
        texts = [folded(stated, y) for y in measured]
        assert sum(remedy in text for text in texts) >= len(texts) // 2
    assert gains(Downsampling(2, NOISE), measured[0]) == {} == gains(Resize(1.5, noise=NOISE), measured[0])


def test_a_disc_a_gaussian_and_a_movement_are_told_from_each_other():
    """Of equal variance; a right one, also one that is 12 % too wide for its shape, is left alone."""
    made = {
        "disc": Blur(disc_kernel(3.6, 9), "valid", NOISE),
        "Gaussian": Blur(gaussian_kernel(1.8, 15), "valid", NOISE),
        "movement": Blur(line_kernel(8.8, 40.0), "valid", NOISE),
    }
    for name, right in made.items():
        measured = [right.measure(x[None], seed=0) for x in PICTURES[:4]]
        assert [misshapen(right, y) for y in measured] == [""] * len(measured)
        for stated in made.keys() - {name}:
            texts = [misshapen(made[stated], y) for y in measured]
            assert sum(f"fits a {name}" in text for text in texts) >= len(texts) - 1, (name, stated, texts)


def test_shapes_are_not_compared_of_narrow_kernels_and_of_other_operators():
    narrow = Blur(gaussian_kernel(0.3, 5), "valid", NOISE)
    for operator in (narrow, Identity(NOISE)):
        assert reshaped(operator, PICTURES[:1]) == ("", 0.0) and misshapen(operator, PICTURES[:1]) == ""
