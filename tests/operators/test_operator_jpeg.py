"""JPEG against Pillow's."""

import io

import numpy as np
import pytest
import torch
from operator_cases import uniform
from PIL import Image

from operators import JPEG


def photograph(*shape: int) -> np.ndarray:
    """Part of a real one, uint8 (H, W, 3)."""
    from skimage import data

    return data.astronaut()[100 : 100 + shape[0], 200 : 200 + shape[1]]


def pillows(pixels: np.ndarray, quality: int, subsampling: str = "4:4:4"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return Image.open(file)


def ours(pixels: np.ndarray, quality: int, subsampling: str = "4:4:4", rounding: str = "sharp") -> np.ndarray:
    x = torch.from_numpy(np.atleast_3d(pixels).transpose(2, 0, 1).copy())[None].double() / 255
    y = JPEG(quality, subsampling, rounding=rounding)(x).clamp(0, 1) * 255
    return y[0].permute(1, 2, 0).numpy().reshape(pixels.shape)


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 95, 100])
def test_the_tables_are_libjpegs(quality):
    tables, op = pillows(photograph(8, 8), quality).quantization, JPEG(quality)
    assert op.luminance.int().flatten().tolist() == tables[0]
    assert op.chrominance.int().flatten().tolist() == tables[1]


@pytest.mark.parametrize("shape", [(64, 64), (61, 53), (17, 16), (16, 17)])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
@pytest.mark.parametrize("quality", [10, 50, 90])
def test_it_decodes_as_pillow_does(shape, subsampling, quality):
    """Within about the grey level that Pillow loses to integers on the way; to be smooth costs half of what is lost."""
    pixels = photograph(*shape)
    decoded = np.asarray(pillows(pixels, quality, subsampling)).astype(float)
    lost = np.abs(pixels - decoded).mean()
    assert np.abs(ours(pixels, quality, subsampling) - decoded).mean() < 1.4 < lost / 1.8
    assert np.abs(ours(pixels, quality, subsampling, "smooth") - decoded).mean() < 0.6 * lost


def test_gray_pictures_of_any_size():
    pixels = photograph(37, 45)[..., 1].copy()
    decoded = np.asarray(pillows(pixels, 30)).astype(float)
    assert np.abs(ours(pixels, 30) - decoded).mean() < 1 < np.abs(pixels - decoded).mean() / 3


@pytest.mark.parametrize(("rounding", "jump", "misses"), [("smooth", 0.0, 0.19), ("sharp", 0.75, 0.05)])
def test_how_it_rounds(rounding, jump, misses):
    """A flat gray picture is one coefficient of 8 times its level: between whole steps it goes as the formula says."""
    op = JPEG(50, rounding=rounding).double()
    c = torch.linspace(-2, 2, 4001, dtype=torch.float64)  # in steps of 16
    level = (c * 16 / 8 + 128) / 255
    r = (255 * op(level[:, None, None, None].expand(-1, 1, 8, 8))[:, 0, 3, 3] - 128) * 8 / 16
    assert float(r.diff().max()) == pytest.approx(jump, abs=4e-3) and r.diff().min() > -1e-9
    torch.testing.assert_close(r[::1000], torch.arange(-2.0, 3).double(), atol=1e-9, rtol=0)
    assert float((r - c.round()).square().mean().sqrt()) == pytest.approx(misses, abs=3e-3)


def test_a_finer_quality_is_nearer_and_a_step_says_how_near():
    x = 0.5 + 3 * (uniform(8, 1, 32, 32) - 0.5)  # of many steps in every coefficient
    true = [(JPEG(q, rounding="sharp")(x) - x).square().mean().sqrt() / JPEG(q).step for q in (50, 90)]
    # c - [c] is uniform, of which r = [c] + (c - [c])^3 leaves (c - [c]) (1 - (c - [c])^2): 0.86 of its spread
    assert true == pytest.approx([0.86 / 12**0.5] * 2, rel=0.03)
    torch.testing.assert_close(JPEG(torch.tensor([10, 90])).step, torch.stack([JPEG(10).step, JPEG(90).step]))
