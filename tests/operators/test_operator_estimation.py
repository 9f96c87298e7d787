"""Sigma told from a measurement: on photographs, on noise alone, and where it cannot be told."""

import numpy as np
import pytest
import torch
from skimage import data, img_as_float

import operators
from operators import Blur, Downsampling, GaussianNoise, Grayscale, LinearMap, Masking, Resize, estimate_sigma
from operators.estimation import rounding_level


def photograph(name: str) -> torch.Tensor:
    pixels = np.atleast_3d(img_as_float(getattr(data, name)()))
    x = torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float()[None]
    return x[..., : x.shape[2] // 4 * 4, : x.shape[3] // 4 * 4]


PHOTOGRAPHS = {name: photograph(name) for name in ("astronaut", "chelsea", "camera", "coins")}
OPERATORS = {
    "nothing": lambda shape: Downsampling(1),
    "blur": lambda shape: Blur.gaussian(1.5, "reflect"),
    "downsampling": lambda shape: Downsampling(2),
    "resize": lambda shape: Resize(1.5),
    "grayscale": lambda shape: Grayscale(weights=[1 / shape[0]] * shape[0]),
    "some pixels": lambda shape: Masking.random(shape, keep=0.5),
    "a box missing": lambda shape: Masking.box(shape, 100),
    "grayscale @ blur": lambda shape: Grayscale(weights=[1 / shape[0]] * shape[0]) @ Blur.gaussian(1.0),
}


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("picture", PHOTOGRAPHS)
def test_photographs(picture, name, sigma):
    x = PHOTOGRAPHS[picture]
    operator = OPERATORS[name](tuple(x.shape[1:]))
    clean = operator(x)
    noise = sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    y = clean + (noise if operator.support is None else torch.where(operator.support, noise, 0))
    assert estimate_sigma(y, operator).item() == pytest.approx(sigma, rel=0.15)


def test_noise_alone_is_found_with_little_bias():
    """The least of several estimates is chosen, each with a standard error of 1 %."""
    y = 0.3 + 0.07 * torch.randn(4, 1, 512, 512, generator=torch.Generator().manual_seed(0))
    found = estimate_sigma(y)
    assert found.shape == (4,)
    assert found.mean().item() == pytest.approx(0.07, rel=0.02)


def test_rows_are_apart_and_units_are_y_s():
    x = torch.cat([PHOTOGRAPHS["astronaut"], PHOTOGRAPHS["astronaut"].flip(-1)])
    y = x + torch.tensor([0.02, 0.1]).view(2, 1, 1, 1) * torch.randn(
        x.shape, generator=torch.Generator().manual_seed(2)
    )
    both = estimate_sigma(y)
    torch.testing.assert_close(both, torch.cat([estimate_sigma(y[:1]), estimate_sigma(y[1:])]))
    torch.testing.assert_close(estimate_sigma(255 * y), 255 * both)
    assert both[1] > 4 * both[0]


def test_clipped_places_do_not_count():
    """Half of the picture is black: clipped, its noise is gone, and with it half of the places would say 0."""
    x = PHOTOGRAPHS["astronaut"].clone()
    x[..., :300] = -1.0
    y = (x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(3))).clamp(0, 1)
    assert estimate_sigma((255 * y).round() / 255).item() == pytest.approx(0.05, rel=0.15)


@pytest.mark.parametrize(
    ("y", "operator", "error", "fragment"),
    [
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), None, TypeError, "floating tensor"),
        (torch.zeros(1, 64), None, ValueError, "pictures"),
        (torch.full((1, 1, 64, 64), torch.nan), None, ValueError, "finite"),
        (torch.rand(1, 1, 64, 64), Masking(torch.arange(64) % 2 == 0), ValueError, "0 quads"),
        (torch.rand(1, 1, 8, 8), None, ValueError, "150"),
        (torch.rand(1, 4), LinearMap(torch.eye(4)), ValueError, "LinearMap"),
        (torch.rand(1, 4), Blur.gaussian(1.0) @ LinearMap(torch.eye(4)), ValueError, "as a number"),
    ],
)
def test_what_does_not_tell(y, operator, error, fragment):
    with pytest.raises(error, match=fragment):
        estimate_sigma(y, operator)


def test_it_asks_nothing_of_the_noise_stated():
    x = PHOTOGRAPHS["coins"]
    operator = operators.Blur.gaussian(1.0, noise=GaussianNoise(0.5))
    y = x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(estimate_sigma(y, operator), estimate_sigma(y, operators.Blur.gaussian(1.0)))


def rounded(x: torch.Tensor, bits: int) -> torch.Tensor:
    return (x * (2**bits - 1)).round() / (2**bits - 1)


@pytest.mark.parametrize("picture", PHOTOGRAPHS)
@pytest.mark.parametrize("sigma", [0.0, 0.002, 0.004, 0.006])
def test_little_noise_on_eight_bits_is_not_found_in_steps(picture, sigma):
    """A median of differences of 8 bits knew 0, .0029 and .0058 alone, and 0 of noiseless pictures."""
    clean = Blur.gaussian(1.5, "reflect")(PHOTOGRAPHS[picture][..., :128, 100:228])
    y = rounded(clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(5)), 8)
    error = (y - clean).square().mean().sqrt().item()
    assert estimate_sigma(y).item() == pytest.approx(error, rel=0.2)
    assert estimate_sigma(y).item() >= 0.999 / 255 / 12**0.5


@pytest.mark.parametrize("seed", range(4))
def test_motion_blur_has_a_direction_that_only_noise_fills(seed):
    operator = Blur.motion(9, seed=seed, boundary="reflect")
    clean = operator(PHOTOGRAPHS["astronaut"][..., 100:228, 150:278])
    y = rounded(clean, 8)
    assert estimate_sigma(y, operator).item() == pytest.approx(1 / 255 / 12**0.5, rel=0.5)


def test_the_floor_is_that_of_the_values_or_the_one_given():
    clean = Blur.gaussian(3.0, "reflect")(PHOTOGRAPHS["chelsea"][..., :96, :96])
    for bits in (8, 16):
        y = rounded(clean, bits)
        level = 1 / (2**bits - 1) / 12**0.5
        assert rounding_level(y).item() == pytest.approx(level, rel=0.01)
        assert level * 0.99 < estimate_sigma(y).item() < 3 * level
        assert estimate_sigma(255 * y).item() == pytest.approx(255 * estimate_sigma(y).item(), rel=0.01)
        assert estimate_sigma(y, floor=0.05).item() == pytest.approx(0.05)
    assert rounding_level(clean).item() == 0, "floating-point numbers are not equidistant"
    flat = torch.full((1, 1, 64, 64), 0.5)
    flat[..., 0, 0], flat[..., 0, 1] = 0.0, 1.0
    assert estimate_sigma(flat).item() == 0 and estimate_sigma(flat, floor=0.001).item() == pytest.approx(0.001)


@pytest.mark.parametrize("floor", [-0.1, float("nan"), float("inf")])
def test_a_floor_that_is_none(floor):
    with pytest.raises(ValueError, match="floor"):
        estimate_sigma(PHOTOGRAPHS["coins"], floor=floor)


def test_a_large_picture_is_thinned_out():
    y = 0.5 + 0.03 * torch.randn(1, 1, 1100, 2000, generator=torch.Generator().manual_seed(6))
    assert estimate_sigma(y).item() == pytest.approx(0.03, rel=0.03)
