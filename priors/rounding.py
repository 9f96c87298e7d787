"""The error of saving an image to a file: rounding to bits, and JPEG compression."""

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from priors.decoding import decode
from priors.files import regular

JPEG = b"\xff\xd8\xff"  # the first bytes of such files
BLOCK, MOST_BLOCKS = 8, 2**14  # side of a block in pixels; largest number of blocks used per plane
# Rec. ITU-T T.871 (JFIF): mean square error of R, G and B for an error of one grey level in Y, Cb, Cr
WEIGHTS = (1.0, (0.344136**2 + 1.772**2) / 3, (1.402**2 + 0.714136**2) / 3)
# Annex K.1 of Rec. ITU-T T.81, mean of the luminance table: quality 50 in libjpeg
MEAN_LUMINANCE = 57.625
FEWEST_BLOCKS, MOST_GROUPS = 16, 4  # least number of blocks per group; groups per plane
LEAST_SCALE = 1e-3  # smallest scale of coefficients, in grey levels


@dataclass(frozen=True)
class Rounding:
    """The error of saving in an image file.

    Attributes: level: root mean square, in image units (0 of floating-point files); text: its origin, such as "8 bits"
    or "this JPEG (quality about 85)"; hides: whether saving removed fine detail and noise, as JPEG does.
    """

    level: float
    text: str
    hides: bool = False


def rounding(source: Path | bytes) -> Rounding:
    """The root mean square error of rounding in an image file, estimated from the file alone.

    Formula: of b bits 1 / ((2^b - 1) sqrt(12)). Of JPEG, each DCT coefficient c was divided by its step q of the file's
    tables and rounded to k. Coefficients of a plane follow Laplace distributions whose scales fall with frequency r as
    s r^-a exp(-g r^2), shared by blocks of similar detail; s, a and g maximise the likelihood of all k, zeros included.
    The error is the mean of E[(c - q k)^2 given k] over coefficients: about q^2 / 12 where k is not 0, else the
    variance within half a step. Errors of chroma are weighted by their effect on R, G and B; rounding to 8 bits before
    and after is added. Chroma detail removed by subsampling is not included.
    Source: Lam & Goodman 2000 for the Laplace distributions; the model of their scales is our own.
    Arguments: source: path of a picture file, or its content.
    Raises: FileNotFoundError; ValueError as `priors.decoding.decode`. The losses of WebP, AVIF and JPEG 2000 are
    unknown; such files count as 8 bits.
    """
    content = source if isinstance(source, bytes) else regular(source, "image").read_bytes()
    picture = decode(content, None if isinstance(source, bytes) else str(source))
    if picture.values.dtype.kind == "f":
        return Rounding(0.0, "floating-point numbers")
    bits = 1 if picture.values.dtype.kind == "b" else 8 * picture.values.dtype.itemsize
    level = 1 / ((2**bits - 1) * math.sqrt(12))
    if not content.startswith(JPEG):
        return Rounding(level, f"{bits} bits")
    planes = _planes(content)
    errors = [w * table_error(*plane) for w, plane in zip(WEIGHTS, planes, strict=False)]
    text = f"this JPEG (quality about {_quality(planes[0][1])})"
    return Rounding(math.sqrt(sum(errors) / 255**2 + 2 * level**2), text, True)


def _planes(content: bytes) -> list[tuple[np.ndarray, np.ndarray]]:
    """DCT coefficients (n, 8, 8) and steps (8, 8) of each plane as it was coded, in grey levels."""
    from PIL import Image
    from scipy.fft import dctn

    image = Image.open(io.BytesIO(content), formats=("JPEG", "MPO"))
    layers, tables = image.layer, image.quantization  # type: ignore  # of a JPEG alone
    if len(layers) == 3:
        image.draft("YCbCr", image.size)
    values = np.asarray(image).astype(np.float64).reshape(image.height, image.width, -1)
    most = [max(layer[axis] for layer in layers) for axis in (2, 1)]
    found = []
    for (_, across, down, table), plane in zip(layers, np.moveaxis(values, 2, 0), strict=False):
        plane = _blocks(plane - 128, most[0] // down, most[1] // across).mean((-2, -1))
        blocks = _blocks(plane, BLOCK, BLOCK).reshape(-1, BLOCK, BLOCK)
        blocks = blocks[:: -(-len(blocks) // MOST_BLOCKS)]
        found.append((dctn(blocks, axes=(1, 2), norm="ortho"), np.array(tables[table], float).reshape(BLOCK, BLOCK)))
    return found


def _blocks(plane: np.ndarray, down: int, across: int) -> np.ndarray:
    """(H, W) -> (h, w, down, across): whole blocks, or one continued by the last pixels where none is whole."""
    h, w = (max(n // step, 1) for n, step in zip(plane.shape, (down, across), strict=True))
    plane = np.pad(plane, [(0, max(step - n, 0)) for n, step in zip(plane.shape, (down, across), strict=True)], "edge")
    return plane[: h * down, : w * across].reshape(h, down, w, across).swapaxes(1, 2)


def table_error(coefficients: np.ndarray, step: np.ndarray) -> float:
    """Mean square error of the DCT coefficients of a plane that JPEG rounded, in grey levels^2.

    Formula: as of `rounding`; blocks of similar detail share one distribution.
    Arguments: coefficients (n, 8, 8), after rounding; step (8, 8), the table.
    """
    k = np.abs(np.rint(coefficients / step))
    detail = np.where(np.arange(BLOCK**2) > 0, k.reshape(len(k), -1), 0).sum(1)
    groups = np.array_split(k[detail.argsort(kind="stable")], min(max(len(k) // FEWEST_BLOCKS, 1), MOST_GROUPS))
    return sum(len(group) * _of_group(group, step) for group in groups) / len(k)


def _of_group(k: np.ndarray, step: np.ndarray) -> float:
    scale = _scales(k, step)
    zeros = (k == 0).mean(0)
    inside, beyond = _left(scale, step)
    error = zeros * inside + (1 - zeros) * beyond
    error[0, 0] = step[0, 0] ** 2 / 12  # the mean of a block is not distributed about 0
    return float(error.mean())


def _scales(k: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Maximum-likelihood scales (8, 8) of the Laplace distributions, on a grid; k (n, 8, 8): magnitudes in steps."""
    n, zeros, size = len(k), (k == 0).sum(0), np.maximum(k - 0.5, 0).sum(0)
    r = np.hypot(*np.mgrid[:BLOCK, :BLOCK])
    r[0, 0] = 1.0
    grid = np.meshgrid(
        np.geomspace(0.05, 400, 50), np.linspace(0, 4, 21), [0.0, *np.geomspace(0.003, 0.3, 10)], indexing="ij"
    )
    s, a, g = (part.reshape(-1, 1, 1) for part in grid)
    scale = np.maximum(s * r**-a * np.exp(-g * r**2), LEAST_SCALE)
    ratio = step / scale
    log = zeros * np.log(-np.expm1(-ratio / 2)) - size * ratio + (n - zeros) * np.log(-np.expm1(-ratio))
    log[:, 0, 0] = 0
    return scale[log.sum((1, 2)).argmax()]


def _left(scale: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E[c^2 | |c| < step / 2] of Laplace laws, and E[(c - q k)^2 | k] of k that is not 0; all (8, 8)."""
    u = (np.linspace(0, 1, 64, endpoint=False) + 1 / 128)[:, None, None]  # of half a step, or of one
    near = np.exp(-(u - u[0]) * step / 2 / scale)  # relative to the first, to avoid underflow
    far = np.exp(-(u - u[0]) * step / scale)
    inside = (near * (u * step / 2) ** 2).sum(0) / near.sum(0)
    return inside, (far * ((u - 0.5) * step) ** 2).sum(0) / far.sum(0)


def _quality(step: np.ndarray) -> int:
    """In libjpeg's scale, by the mean of the luminance table."""
    percent = 100 * step.mean() / MEAN_LUMINANCE
    return round(min(max(100 - percent / 2 if percent <= 100 else 5000 / percent, 1), 100))
