"""The error that saving left in a picture file, against the true one."""

import io

import numpy as np
import pytest
from PIL import Image
from skimage import data
from skimage.filters import gaussian

from priors.rounding import rounding
from tests.priors.picture_files import saved, tiff

PICTURES = {
    "astronaut": data.astronaut()[100:228, 150:278],
    "chelsea": data.chelsea()[60:188, 100:228],
    "coffee": data.coffee()[150:278, 200:328],
    "camera": data.camera()[100:228, 150:278],
    "coins": data.coins()[60:188, 100:228],
    "brick": data.brick()[:64, :64],
}


def jpeg(pixels: np.ndarray, quality: int, **options) -> tuple[bytes, float]:
    """A file of a picture in [0, 1], and its true error."""
    content = saved(np.rint(255 * pixels).astype(np.uint8), "JPEG", quality=quality, **options)
    decoded = np.asarray(Image.open(io.BytesIO(content))) / 255
    return content, float(np.sqrt(np.mean((decoded - pixels) ** 2)))


@pytest.mark.parametrize("quality", [60, 70, 85, 95])
@pytest.mark.parametrize("blur", [0.0, 1.5])
@pytest.mark.parametrize("name", PICTURES)
def test_of_jpeg_it_is_near_the_true_error(name, blur, quality):
    pixels = PICTURES[name] / 255
    pixels = gaussian(pixels, blur, channel_axis=2 if pixels.ndim == 3 else None) if blur else pixels
    content, error = jpeg(pixels, quality)
    found = rounding(content)
    assert 0.65 < found.level / error < 1.6
    assert found.text == f"this JPEG (quality about {quality})"


def test_of_jpeg_with_noise_it_is_near_the_true_error():
    """Noise that the tables hide is no error of the file; what is left of it is."""
    clean = gaussian(PICTURES["astronaut"] / 255, 1.5, channel_axis=2)
    noisy = clean + 0.01 * np.random.default_rng(0).standard_normal(clean.shape)
    content, _ = jpeg(noisy.clip(0, 1), 75)
    error = np.sqrt(np.mean((np.asarray(Image.open(io.BytesIO(content))) / 255 - clean) ** 2))
    assert 0.7 < rounding(content).level / error < 1.5


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 1}, {"progressive": True}])
def test_other_ways_to_write_a_jpeg(options):
    content, error = jpeg(PICTURES["coffee"] / 255, 85, **options)
    assert 0.65 < rounding(content).level / error < 1.6


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_of_less_than_a_block(mode):
    content = saved(PICTURES["coffee"][:5, :3], "JPEG", mode, quality=85)
    assert 1 / 255 / 12**0.5 < rounding(content).level < 0.1


def test_of_files_without_loss_it_is_that_of_their_bits(tmp_path):
    byte = PICTURES["coins"]
    assert rounding(saved(byte, "PNG")).level == pytest.approx(1 / 255 / 12**0.5)
    assert rounding(tiff(byte.astype(np.uint16) * 257)).level == pytest.approx(1 / 65535 / 12**0.5)
    assert rounding(saved(Image.fromarray(byte).convert("1"), "PNG")).text == "1 bits"
    (tmp_path / "float.tif").write_bytes(tiff((byte / 255).astype(np.float32)))
    assert rounding(tmp_path / "float.tif").level == 0
    with pytest.raises(ValueError, match="not a readable picture"):
        rounding(b"\xff\xd8\xff and no more")
    with pytest.raises(FileNotFoundError):
        rounding(tmp_path / "none.jpg")
