"""PNG files of 16 bits in several channels, which Pillow reads with 8 bits and does not write."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from priors.files import atomic

SIGNATURE = b"\x89PNG\r\n\x1a\n"
BITS, COLOUR = 24, 25  # places of the bit depth and of the colour type in a file
GREY, RGB, GREY_ALPHA, RGB_ALPHA = 0, 2, 4, 6  # colour types
# by colour type: Pillow's mode and the layouts in which it unpacks the upper and the lower bytes of that mode. Grey
# with alpha has four bytes a pixel, as RGBA of 8 bits, which holds them all at once.
LAYOUTS = {
    RGB: ("RGB", "RGB;16B", "RGB;16L"),
    RGB_ALPHA: ("RGBA", "RGBA;16B", "RGBA;16L"),
    GREY_ALPHA: ("RGBA", "RGBA", None),
}
UP = 2  # the filter of rows that are written: the difference to the row above


def is_deep(content: bytes) -> bool:
    """Whether a file is a PNG of 16 bits in more than one channel."""
    return (
        content.startswith(SIGNATURE) and len(content) > COLOUR and content[BITS] == 16 and content[COLOUR] in LAYOUTS
    )


def read_deep(content: bytes) -> np.ndarray:
    """The pixels (H, W, channels) uint16 of such a file, as they are stored.

    Raises: as Pillow, for damaged files.
    """
    mode, upper, lower = LAYOUTS[content[COLOUR]]
    high = _unpacked(content, mode, upper)
    if lower is None:
        return (high[..., ::2] << 8) | high[..., 1::2]
    return (high << 8) | _unpacked(content, mode, lower)


def _unpacked(content: bytes, mode: str, layout: str) -> np.ndarray:
    from PIL import Image

    image: Any = Image.open(io.BytesIO(content), formats=("PNG",))
    tile = image.tile[0]  # a tuple in Pillow before 11
    if image.mode != mode:
        raise ValueError(f"its mode is {image.mode}, expected {mode}")
    image.tile = [tile._replace(args=layout) if hasattr(tile, "_replace") else (*tile[:3], layout)]
    return np.asarray(image).astype(np.uint16)


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write pixels (H, W) or (H, W, 3), uint16, as a PNG of 16 bits, atomically.

    Source: W3C, Portable Network Graphics (third edition).
    """
    rows = np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], -1), ">u2")
    height, width, channels = rows.shape
    plain = rows.reshape(height, -1).view(np.uint8)
    filtered = np.diff(plain, axis=0, prepend=np.zeros_like(plain[:1]))  # modulo 256
    stored = np.concatenate((np.full((height, 1), UP, np.uint8), filtered), 1).tobytes()
    kind = {1: GREY, 3: RGB}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(stored)), (b"IEND", b""))
    with atomic(path) as temporary:
        temporary.write_bytes(SIGNATURE + b"".join(_chunk(*part) for part in parts))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
