"""The gate for k-space of a file: complex numbers of any form, what was measured of them, and where k = 0 is."""

import math
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from operators.kspace import ifftc, radius
from priors.files import FileError

PADDING = ("padding_left", "padding_right")  # attributes of fastMRI
PAIRS = (("r", "i"), ("real", "imag"), ("re", "im"), ("x", "y"))  # names of the parts of compound numbers
EXPECTED = "expected a dataset 'kspace' (slices, H, W) or (slices, coils, H, W), complex, as fastMRI writes it"
SCATTERED = 0.01  # fraction of exact zeros among what a mask calls measured, up to which they may be chance
CONTRADICTED = 0.5  # the fraction from which mask and k-space cannot both be right, if there is also k-space outside
BAND = 1 / 8  # of an axis, about its middle or about its ends, in which the energy of k-space is looked for
MOST = 0.5  # of the energy, which a picture has within the middle band
AWAY = 2  # samples that the largest one may be from the middle: an echo comes early or late
WRAPPED, GATHERED = 0.3, 0.18  # of a side: how far the picture's centre may be; a picture has one if so concentrated
OUTERMOST = 0.1  # fraction of the measured samples, those farthest from k = 0, that show the noise
UNEVEN = 4.0  # the largest noise of a coil over the least, from which one level for all is wrong
THIN = 8  # samples: fewer along H or W than this, and than slices or coils, are an axis in the wrong place


class KSpaceWarning(UserWarning):
    """K-space that is read, but may not be what it is taken for."""


def form(dtype: np.dtype, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of the complex numbers that a dataset holds; None where these are no complex numbers.

    They may be complex, compound of two parts by one of the names in `PAIRS`, or real with a last axis of 2.
    """
    if dtype.kind == "c" or _parts(dtype) is not None:
        return shape
    return shape[:-1] if dtype.kind in "fiu" and len(shape) >= 4 and shape[-1] == 2 else None


def to_complex64(values: np.ndarray) -> Tensor:
    """Numbers of one of the forms of `form` as complex64."""
    if (parts := _parts(values.dtype)) is not None:
        values = np.stack([values[name] for name in parts], -1)
    if values.dtype.kind != "c":
        values = np.ascontiguousarray(values, np.float32).view(np.complex64)[..., 0]
    with np.errstate(over="ignore"):  # infinite numbers are refused later
        return torch.from_numpy(np.ascontiguousarray(values, np.complex64))


def _parts(dtype: np.dtype) -> tuple[str, str] | None:
    names = {name.lower(): name for name in dtype.names or ()}
    for a, b in PAIRS:
        if set(names) == {a, b} and all(dtype[names[part]].kind in "fiu" for part in (a, b)):
            return names[a], names[b]
    return None


def check_axes(path: Path, shape: tuple[int, ...]) -> None:
    """Refuse shapes of k-space whose axes are others than (slices, H, W) or (slices, coils, H, W).

    Raises: FileError, with the call of numpy that mends it.
    """
    if len(shape) == 2:
        raise FileError(f"{path}: 'kspace' is {shape}: {EXPECTED}; write kspace[None], one slice")
    if len(shape) not in (3, 4) or 0 in shape:
        raise FileError(f"{path}: 'kspace' is {shape}: {EXPECTED}")
    thin = [axis for axis in (len(shape) - 2, len(shape) - 1) if shape[axis] < THIN]
    if thin and max(shape[:-2]) > THIN:
        front = ", slices and coils first" if len(shape) == 4 else ", slices first"
        raise FileError(
            f"{path}: 'kspace' is {shape}, with {shape[thin[0]]} samples along axis {thin[0]}: {EXPECTED}; bring the "
            f"axes into that order{front}, such as np.moveaxis(kspace, {thin[0]}, {len(shape) - 3})"
        )


def padding(path: Path, attrs: dict[str, Any], width: int) -> slice:
    """The columns that were measured by fastMRI's attributes: padding_left <= column < padding_right; all without them.

    Raises: FileError for other numbers than 0 <= padding_left <= width // 2 < padding_right <= width.
    """
    left, right = (attrs.get(name, end) for name, end in zip(PADDING, (0, width), strict=True))
    a, b, fits = 0, width, False
    with suppress(TypeError, ValueError, OverflowError):  # texts, lists
        (a,), (b,) = (np.asarray(end).reshape(-1).tolist() for end in (left, right))
        fits = a == int(a) and b == int(b) and 0 <= a <= width // 2 < b <= width
    if not fits:
        raise FileError(
            f"{path}: padding_left = {left!r} and padding_right = {right!r}: expected the first column that was "
            f"measured and the one after the last, about the middle one, {width // 2} of {width}; correct or drop them"
        )
    return slice(int(a), int(b))


def measured(path: Path, kspace: Tensor, mask: Tensor | None, columns: slice) -> Tensor:
    """What was measured: what the mask says, within the columns that are no padding, without what is exactly 0.

    A sample that is exactly 0 in all coils was not measured: it was filled in. Within a mask these are the zeros of
    whole columns or rows, and others where they are more than `SCATTERED`, as of few bits some are chance.
    Arguments: path, for messages; kspace (S, H, W) or (S, coils, H, W); mask (S, H, W) bool, or None; columns.
    Returns: (S, H, W) bool.
    Raises: FileError where mask and k-space contradict each other.
    Warns: KSpaceWarning where the mask calls measured what is 0.
    """
    filled = (kspace != 0).any(1) if kspace.ndim == 4 else kspace != 0
    inside = torch.zeros(kspace.shape[-1], dtype=torch.bool)
    inside[columns] = True
    if mask is None:
        return filled & inside
    mask = mask & inside
    some = filled.flatten(1).any(1)[:, None, None]  # slices of zeros are refused when they are posed
    count, empty = int((mask & some).sum()), int((mask & some & ~filled).sum())
    if empty > CONTRADICTED * count and bool((filled & ~mask & inside).any()):
        raise FileError(
            f"{path}: of what the mask calls measured {empty / count:.0%} are exactly 0, and there is k-space where it "
            "says that there is none: expected 1 where measured, in the order of k-space; is the mask inverted "
            "(write 1 - mask), or k = 0 at its first column (write np.fft.fftshift(mask, axes=-1))?"
        )
    lines = filled.any(-1, keepdim=True) & filled.any(-2, keepdim=True)
    known = mask & (lines | ~some)
    if (scattered := int((known & some & ~filled).sum())) > SCATTERED * max(count, 1):
        known = known & (filled | ~some)
    if (dropped := int((mask & ~known).sum())) > 0:
        warnings.warn(
            f"{path}: {dropped / mask.numel():.1%} of k-space is exactly 0 where the mask says that it was measured"
            + (", scattered" if scattered > SCATTERED * max(count, 1) else ", in whole columns or rows")
            + ": taken for not measured; correct the mask, or give padding_left and padding_right",
            KSpaceWarning,
            stacklevel=4,
        )
    return known


def check_centre(path: Path, kspace: Tensor, mask: Tensor) -> None:
    """Look for k = 0, where the energy of any picture is, along both axes.

    Arguments: path, for messages; kspace (S, H, W) or (S, coils, H, W); mask (S, H, W) bool.
    Raises: FileError where most of the energy is at the ends of an axis, which is k-space that has not been shifted.
    Warns: KSpaceWarning where less than `MOST` of the energy is in the middle of an axis, or the largest sample is more
    than `AWAY` from it.
    """
    power = kspace.abs().double().square()
    power = torch.where(mask, power if kspace.ndim == 3 else power.sum(1), 0).sum(0)
    total = float(power.sum())
    if not total > 0:
        return
    ends, odd = [], []
    for axis in (-2, -1):
        profile = power.sum(-1 if axis == -2 else -2)
        n = len(profile)
        reach = max(1, round(n * BAND / 2))
        near = (torch.arange(n) - n // 2).abs() <= reach
        middle, end = (float(part.sum()) / total for part in (profile[near], profile[near.roll(n - n // 2)]))
        if end > max(MOST, middle):
            ends.append(axis)
        elif middle < MOST or abs(int(profile.argmax()) - n // 2) > AWAY:
            odd.append(f"{middle:.0%} along axis {axis}, whose largest sample is {int(profile.argmax())} of {n}")
    if ends:
        raise FileError(
            f"{path}: the energy of k-space is at the ends of axes {ends}: expected k = 0 in the middle, at "
            f"{tuple(n // 2 for n in power.shape)}; write np.fft.fftshift(kspace, axes={tuple(ends)}), and the mask "
            "likewise"
        )
    if odd:
        warnings.warn(
            f"{path}: the middle eighth of k-space has {' and '.join(odd)}: expected most of the energy there, with "
            f"k = 0 at {tuple(n // 2 for n in power.shape)}; the slice may be noise, k = 0 elsewhere (np.roll it "
            "there), an axis transformed already, or the axes in another order than (slices, coils, H, W)",
            KSpaceWarning,
            stacklevel=4,
        )


def outermost(mask: Tensor) -> Tensor:
    """The tenth of the measured samples of a plane that is farthest from k = 0, where the noise is: (H, W) bool.

    Arguments: mask (H, W) bool.
    """
    distance = radius((mask.shape[0], mask.shape[1])).to(mask.device)
    return mask & (distance >= distance[mask].quantile(1 - OUTERMOST)) if bool(mask.any()) else mask


def check_picture(path: Path, kspace: Tensor, mask: Tensor) -> None:
    """Look for a picture that is split at the border, and for coils of unlike noise; neither shows in the residual.

    Formula: the centre of |x|^2 along an axis of n pixels is n / (2 pi) arg sum_j |x_j|^2 exp(2 pi i (j - n // 2) / n).
    Arguments: path, for messages; kspace (S, H, W) or (S, coils, H, W); mask (S, H, W) bool.
    Warns: KSpaceWarning where the centre is more than `WRAPPED` of a side from the middle, and where the outermost
    tenth of k-space differs by more than `UNEVEN` between coils.
    """
    values = torch.where(mask[:, None], kspace if kspace.ndim == 4 else kspace[:, None], 0)
    power = ifftc(values).abs().double().square().sum((0, 1))
    if not float(power.sum()) > 0:
        return
    split = []
    for axis in (-2, -1):
        profile = power.sum(-1 if axis == -2 else -2)
        turn = 2j * math.pi * (torch.arange(len(profile)) - len(profile) // 2) / len(profile)
        centre = (profile * turn.exp()).sum() / profile.sum()
        if float(centre.abs()) > GATHERED and abs(float(centre.angle())) > 2 * math.pi * WRAPPED:
            split.append(axis)
    if split and bool(mask.any(0)[tuple(n // 2 for n in mask.shape[-2:])]):  # without k = 0 it is no picture
        warnings.warn(
            f"{path}: the picture is split at the border along axes {split}: a transform without np.fft.ifftshift of "
            "the picture makes such k-space; expected fftshift(fft2(ifftshift(picture))), or an object within the "
            "field of view",
            KSpaceWarning,
            stacklevel=4,
        )
    levels = values[..., outermost(mask.any(0))].abs().transpose(0, 1).flatten(1).median(1).values
    levels = levels[levels > 0]  # not of slices or coils of zeros
    if len(levels) > 1 and float(levels.max() / levels.min()) > UNEVEN:
        warnings.warn(
            f"{path}: the noise of the coils differs by a factor of {float(levels.max() / levels.min()):.2g}, and one "
            "level is assumed for all: divide every coil by its noise (and its sensitivity likewise), or leave the "
            "noisy ones out",
            KSpaceWarning,
            stacklevel=4,
        )
