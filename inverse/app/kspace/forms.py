"""K-space from a file: complex data of any form, the order of its axes, and the columns that padding leaves."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from priors.files import FileError

PADDING = ("padding_left", "padding_right")  # fastMRI attributes
PAIRS = (("r", "i"), ("real", "imag"), ("re", "im"), ("x", "y"))  # field names of compound complex values
EXPECTED = "expected a dataset 'kspace' (slices, H, W) or (slices, coils, H, W), complex, as fastMRI writes it"
THIN = 8  # samples: an axis H or W shorter than this, and than slices or coils, is in the wrong place


def form(dtype: np.dtype, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of the complex values in a dataset; None if it has no complex values.

    They may be complex, compound with one of the pairs of field names `PAIRS`, or real with a last axis of 2.
    """
    if dtype.kind == "c" or _parts(dtype) is not None:
        return shape
    return shape[:-1] if dtype.kind in "fiu" and len(shape) >= 4 and shape[-1] == 2 else None


def to_complex64(values: np.ndarray) -> Tensor:
    """Values in one of the forms of `form` as complex64."""
    if (parts := _parts(values.dtype)) is not None:
        values = np.stack([values[name] for name in parts], -1)
    if values.dtype.kind != "c":
        values = np.ascontiguousarray(values, np.float32).view(np.complex64)[..., 0]
    with np.errstate(over="ignore"):  # infinite values are refused later
        return torch.from_numpy(np.ascontiguousarray(values, np.complex64))


def _parts(dtype: np.dtype) -> tuple[str, str] | None:
    names = {name.lower(): name for name in dtype.names or ()}
    for a, b in PAIRS:
        if set(names) == {a, b} and all(dtype[names[part]].kind in "fiu" for part in (a, b)):
            return names[a], names[b]
    return None


def check_axes(path: Path, shape: tuple[int, ...]) -> None:
    """Refuse shapes other than (slices, H, W) and (slices, coils, H, W).

    Raises: FileError that names the numpy call to fix the axes.
    """
    if len(shape) == 2:
        raise FileError(f"{path}: 'kspace' is {shape}: {EXPECTED}; for one slice, write kspace[None]")
    if len(shape) not in (3, 4) or 0 in shape:
        raise FileError(f"{path}: 'kspace' is {shape}: {EXPECTED}")
    thin = [axis for axis in (len(shape) - 2, len(shape) - 1) if shape[axis] < THIN]
    if thin and max(shape[:-2]) > THIN:
        front = ", slices and coils first" if len(shape) == 4 else ", slices first"
        raise FileError(
            f"{path}: 'kspace' is {shape}, with {shape[thin[0]]} samples along axis {thin[0]}: {EXPECTED}; reorder the "
            f"axes{front}, such as np.moveaxis(kspace, {thin[0]}, {len(shape) - 3})"
        )


def padding(path: Path, attrs: dict[str, Any], width: int) -> slice:
    """The measured columns by fastMRI's attributes: padding_left <= column < padding_right; all if there are none.

    Raises: FileError unless 0 <= padding_left <= width // 2 < padding_right <= width.
    """
    left, right = (attrs.get(name, end) for name, end in zip(PADDING, (0, width), strict=True))
    a, b, fits = 0, width, False
    with suppress(TypeError, ValueError, OverflowError):  # texts, lists
        (a,), (b,) = (np.asarray(end).reshape(-1).tolist() for end in (left, right))
        fits = a == int(a) and b == int(b) and 0 <= a <= width // 2 < b <= width
    if not fits:
        raise FileError(
            f"{path}: padding_left = {left!r} and padding_right = {right!r}: expected the first measured column and "
            f"the one after the last, on either side of the middle, {width // 2} of {width}; correct or delete them"
        )
    return slice(int(a), int(b))
