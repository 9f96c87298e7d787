"""PNG of 16 bits, against torchvision's libpng, which reads all of them."""

import numpy as np
import pytest
import torch
from skimage.io import imsave

from priors.decoding import decode
from priors.png import is_deep, read_deep, write_png
from tests.priors.picture_files import png

pytestmark = pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
RANDOM = np.random.default_rng(0).integers(0, 2**16, (23, 31, 4), np.uint16)


def by_libpng(content: bytes) -> np.ndarray:
    io = pytest.importorskip("torchvision.io", reason="torchvision, an independent decoder")
    return io.decode_image(torch.frombuffer(bytearray(content), dtype=torch.uint8), mode="UNCHANGED").numpy()


@pytest.mark.parametrize("shape", [(23, 31), (23, 31, 1), (23, 31, 3), (1, 1, 3), (5, 1), (1, 7, 3)])
def test_what_is_written_is_read_by_others_and_by_us(tmp_path, shape):
    pixels = RANDOM[..., 0] if len(shape) == 2 else RANDOM[..., : shape[2]]
    pixels = pixels[: shape[0], : shape[1]]
    write_png(tmp_path / "a.png", pixels)
    content = (tmp_path / "a.png").read_bytes()
    expected = pixels[..., None] if pixels.ndim == 2 else pixels
    np.testing.assert_array_equal(by_libpng(content).transpose(1, 2, 0), expected)
    np.testing.assert_array_equal(np.atleast_3d(decode(content).values), expected)
    assert decode(content).white == 65535


@pytest.mark.parametrize("channels, colour", [(2, 4), (3, 2), (4, 6)])
def test_every_channel_is_read_with_both_bytes(channels, colour):
    content = png(RANDOM[..., :channels], colour, 16)
    assert is_deep(content)
    np.testing.assert_array_equal(read_deep(content), RANDOM[..., :channels])
    np.testing.assert_array_equal(by_libpng(content).transpose(1, 2, 0), RANDOM[..., :channels])


def test_others_are_not_deep(tmp_path):
    imsave(tmp_path / "grey.png", RANDOM[..., 0], check_contrast=False)
    imsave(tmp_path / "eight.png", RANDOM[..., :3].astype(np.uint8), check_contrast=False)
    assert not any(is_deep((tmp_path / name).read_bytes()) for name in ("grey.png", "eight.png"))
    assert not is_deep(b"") and not is_deep(b"\x89PNG\r\n\x1a\n")


def test_a_truncated_one_is_refused():
    content = png(RANDOM[..., :3], 2, 16)
    with pytest.raises(ValueError, match="not a readable picture"):
        decode(content[: len(content) // 2], "half.png")
