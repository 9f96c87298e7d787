"""Images as PNG data URIs: 8 bits, lossless."""

import base64
import struct
import zlib
from collections.abc import Iterator

import numpy as np

MAGIC = b"\x89PNG\r\n\x1a\n"


def encode(pixels: np.ndarray) -> bytes:
    """A PNG file of 8-bit pixels.

    Source: PNG specification, ISO/IEC 15948:2004; of its filters, the shortest of three.
    Arguments: pixels uint8 (H, W) of grey or (H, W, 3) of red, green and blue.
    Raises: ValueError for another shape or dtype.
    """
    grey = pixels.ndim == 2
    if pixels.dtype != np.uint8 or not (grey or (pixels.ndim == 3 and pixels.shape[2] == 3)) or not pixels.size:
        raise ValueError(f"pixels {pixels.dtype} {pixels.shape}: expected uint8 (H, W) or (H, W, 3)")
    height, width = pixels.shape[:2]
    packed = min(
        (zlib.compress(lines, 9) for lines in _filtered(pixels.reshape(height, -1), 1 if grey else 3)), key=len
    )
    head = struct.pack(">IIBBBBB", width, height, 8, 0 if grey else 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", packed), (b"IEND", b""))
    return MAGIC + b"".join(_chunk(*part) for part in parts)


def uri(pixels: np.ndarray) -> str:
    """`encode` as a data: URI."""
    return "data:image/png;base64," + base64.b64encode(encode(pixels)).decode()


def grey_or_colour(picture: np.ndarray) -> np.ndarray:
    """A picture in image units as 8-bit pixels: clipped to [0, 1] and rounded.

    Arguments: picture (C, H, W); one channel is grey, three are a colour, two (a complex picture) are shown by their
    magnitude and any other number by its mean.
    Returns: uint8 (H, W) or (H, W, 3).
    """
    channels = np.nan_to_num(np.asarray(picture, dtype=np.float64), nan=0.0, posinf=1.0, neginf=0.0)
    if len(channels) == 3:
        channels = channels.transpose(1, 2, 0)
    elif len(channels) == 2:
        channels = np.hypot(*channels)
    else:
        channels = channels.mean(0)
    return np.rint(255 * channels.clip(0, 1)).astype(np.uint8)


def spread(std: np.ndarray, top: float) -> np.ndarray:
    """A standard deviation in matplotlib's magma, dark for none, brightest at ``top`` and above.

    Arguments: std (C, H, W), of which the mean over channels is shown; top > 0, in the same units.
    Returns: uint8 (H, W, 3).
    """
    share = np.nan_to_num(np.asarray(std, dtype=np.float64).mean(0) / top, nan=0.0, posinf=1.0).clip(0, 1)
    return magma()[np.rint(255 * share).astype(np.uint8)]


def magma() -> np.ndarray:
    """The colours of the scale of `spread`, uint8 (256, 3)."""
    from matplotlib import colormaps

    return colormaps["magma"](np.arange(256), bytes=True)[:, :3]


def _filtered(lines: np.ndarray, step: int) -> Iterator[bytes]:
    """The lines (H, bytes), less what is at their left (``step`` bytes per pixel), and less what is above, mod 256."""
    left, above = np.zeros_like(lines), np.zeros_like(lines)
    left[:, step:], above[1:] = lines[:, :-step], lines[:-1]
    for kind, less in enumerate((np.zeros_like(lines), left, above)):
        yield np.concatenate([np.full((len(lines), 1), kind, np.uint8), lines - less], 1).tobytes()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
