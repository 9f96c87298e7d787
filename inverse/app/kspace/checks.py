"""Checks of k-space from a file: which samples were measured, the position of k = 0, and what shows in the picture."""

import math
import warnings
from pathlib import Path

import torch
from torch import Tensor

from operators.kspace import ifftc
from priors.files import FileError

SCATTERED = 0.01  # largest fraction of exact zeros within the mask that may be chance
FAINT = 1e-12  # of the largest column's energy, or row's: rounding in single precision leaves up to 1e-14
QUIET, LOUD, FEW = 1.5, 4.0, 3  # times the noise: power of a column without and with signal; columns that are chance
FEWEST = 8  # measured columns, with fewer of which their noise is not estimated
CONTRADICTED = 0.5  # fraction of zeros from which mask and k-space contradict, if there is signal outside the mask too
BAND = 1 / 8  # fraction of an axis, around its middle or at its ends, where the energy of k-space is summed
MOST = 0.5  # fraction of the energy that a picture has within the middle band
AWAY = 2  # samples that the largest one may be away from the middle: echoes can be early or late
WRAPPED, GATHERED = 0.3, 0.18  # of a side: largest offset of the centre; concentration needed to define a centre


class KSpaceWarning(UserWarning):
    """K-space was read, but may not be laid out as expected."""


def measured(path: Path, kspace: Tensor, mask: Tensor | None, columns: slice) -> Tensor:
    """The measured samples: inside the mask and the unpadded columns, without samples that are exactly 0.

    A sample that is exactly 0 in all coils was filled in, not measured, and so were columns and rows of less than
    `FAINT` of the largest one's energy: zeros with the rounding of a Fourier transform and its inverse. Within a mask
    this applies to zeros of whole columns or rows; scattered zeros count if they are more than `SCATTERED`, since some
    occur by chance in data of few bits.
    Arguments: path, for messages; kspace (S, H, W) or (S, coils, H, W); mask (S, H, W) bool, or None; columns.
    Returns: (S, H, W) bool.
    Raises: FileError if mask and k-space contradict each other.
    Warns: KSpaceWarning if samples inside the mask are 0, and if columns or rows without a mask are rounding.
    """
    filled = (kspace != 0).any(1) if kspace.ndim == 4 else kspace != 0
    faint = _faint(kspace)
    filled = filled & ~faint
    inside = torch.zeros(kspace.shape[-1], dtype=torch.bool)
    inside[columns] = True
    if mask is None:
        if bool((faint & inside).any()):
            warnings.warn(
                f"{path}: {float((faint & inside).double().mean()):.1%} of k-space is in columns or rows of less than "
                f"{FAINT:g} of the largest one's energy, as zeros become by rounding in a Fourier transform and its "
                "inverse: treated as not measured; set them to exactly 0, or give a mask",
                KSpaceWarning,
                stacklevel=4,
            )
        return filled & inside
    mask = mask & inside
    some = filled.flatten(1).any(1)[:, None, None]  # all-zero slices are refused later, by `Scan.problem`
    count, empty = int((mask & some).sum()), int((mask & some & ~filled).sum())
    if empty > CONTRADICTED * count and bool((filled & ~mask & inside).any()):
        raise FileError(
            f"{path}: {empty / count:.0%} of the samples inside the mask are exactly 0, and there is signal outside "
            f"the mask: expected a mask that is 1 where measured, ordered as k-space; {_mended(filled, mask, inside)}"
        )
    lines = filled.any(-1, keepdim=True) & filled.any(-2, keepdim=True)
    known = mask & (lines | ~some)
    if (scattered := int((known & some & ~filled).sum())) > SCATTERED * max(count, 1):
        known = known & (filled | ~some)
    zero = "exactly 0 or rounding" if bool((mask & faint).any()) else "exactly 0"
    if (dropped := int((mask & ~known).sum())) > 0:
        warnings.warn(
            f"{path}: {dropped / mask.numel():.1%} of k-space is inside the mask but {zero}"
            + (", scattered" if scattered > SCATTERED * max(count, 1) else ", in whole columns or rows")
            + ": treated as not measured; correct the mask, or give padding_left and padding_right",
            KSpaceWarning,
            stacklevel=4,
        )
    return known


def _power(kspace: Tensor) -> Tensor:
    """|k|^2 of all coils together, (S, H, W) float64; kspace (S, H, W) or (S, coils, H, W)."""
    power = kspace.abs().double().square()
    return power if kspace.ndim == 3 else power.sum(1)


def _mended(filled: Tensor, mask: Tensor, inside: Tensor) -> str:
    """How a mask would agree with the samples that are not 0, by trying usual mistakes; (S, H, W)."""
    changed = [
        ("is the mask inverted? Write 1 - mask", ~mask),
        ("is k = 0 at its first column? Write np.fft.fftshift(mask, axes=-1)", torch.fft.fftshift(mask, dim=-1)),
        ("is it one column off? Write np.roll(mask, 1, axis=-1)", mask.roll(1, -1)),
        ("is it one column off? Write np.roll(mask, -1, axis=-1)", mask.roll(-1, -1)),
    ]
    if mask.shape[-2] == mask.shape[-1]:
        changed.append(("does it select rows? Write mask[:, None], or transpose the mask", mask.mT))
    wrong = [int(((other ^ filled) & inside).sum()) for _, other in changed]
    least = min(wrong)
    if least <= CONTRADICTED * int((filled & inside).sum()):
        return changed[wrong.index(least)][0]
    return "none of the usual changes (inverted, shifted, transposed) agrees with k-space"


def _faint(kspace: Tensor) -> Tensor:
    """Samples in columns or rows whose energy is not 0 but less than `FAINT` of the largest: (S, H, W) bool."""
    power = _power(kspace)
    columns, rows = power.sum(-2, keepdim=True), power.sum(-1, keepdim=True)
    low = [(line > 0) & (line < FAINT * line.amax((-2, -1), keepdim=True)) for line in (columns, rows)]
    return low[0] | low[1]


def check_columns(path: Path, kspace: Tensor, mask: Tensor) -> None:
    """Check for columns that are pure noise although columns farther from k = 0 have signal: not measured, but not 0.

    Arguments: path, for messages; kspace (S, H, W) or (S, coils, H, W); mask (S, H, W) bool.
    Warns: KSpaceWarning if more than a few measured columns have the power of the noise, the tenth percentile of all,
    and on their side of the middle at least two columns farther out have 4 times that.
    """
    power = torch.where(mask, _power(kspace), 0).sum((0, 1))
    count = mask.sum((0, 1))
    if int((count > 0).sum()) < FEWEST:
        return
    level = power / count.clamp_min(1)
    noise = level[count > 0].quantile(0.1)
    quiet, loud = (count > 0) & (level <= QUIET * noise), ((count > 0) & (level >= LOUD * noise)).double()
    middle = len(level) // 2
    beyond = torch.cat([loud[:middle].cumsum(0), loud[middle:].flip(0).cumsum(0).flip(0)])
    empty = torch.nonzero(quiet & (beyond >= 2)).flatten().tolist()
    if len(empty) > FEW:
        warnings.warn(
            f"{path}: {len(empty)} of {int((count > 0).sum())} columns inside the mask have no more power than the "
            f"noise, such as {empty[len(empty) // 2]}, although columns farther from the middle have signal: they were "
            "probably not measured; set them to 0, or correct the mask",
            KSpaceWarning,
            stacklevel=4,
        )


def check_centre(path: Path, kspace: Tensor, mask: Tensor) -> None:
    """Check that k = 0, where the energy of a picture is largest, is in the middle of both axes.

    Arguments: path, for messages; kspace (S, H, W) or (S, coils, H, W); mask (S, H, W) bool.
    Raises: FileError if most of the energy is at the ends of an axis: k-space without fftshift.
    Warns: KSpaceWarning if less than `MOST` of the energy is in the middle of an axis, or the largest sample is more
    than `AWAY` samples from it, and if no sample has an imaginary part.
    """
    known = mask.any(0)
    power = torch.where(mask, _power(kspace), 0).sum(0)
    power = torch.where(known, power - power[known].median() if bool(known.any()) else power, 0)  # without noise
    total = float(power.sum())
    if not total > 0:
        return
    if not bool(torch.view_as_real(kspace)[..., 1].any()):
        warnings.warn(
            f"{path}: every sample has the imaginary part 0, as magnitudes have: k-space of any object is complex; "
            "export it with real and imaginary parts",
            KSpaceWarning,
            stacklevel=4,
        )
    ends, odd, moved, middle = [], [], {}, tuple(n // 2 for n in power.shape)
    for axis in (-2, -1):
        profile = power.sum(-1 if axis == -2 else -2)
        n = len(profile)
        reach = max(1, round(n * BAND / 2))
        near = (torch.arange(n) - n // 2).abs() <= reach
        inner, end = (float(part.sum()) / total for part in (profile[near], profile[near.roll(n - n // 2)]))
        if end > max(MOST, inner):
            ends.append(axis)
            continue
        largest = int(profile.argmax())
        off = largest - n // 2 if abs(largest - n // 2) > AWAY else 0
        around = float(profile[(torch.arange(n) - largest).abs() <= reach].sum()) / total
        if off and around >= MOST:
            moved[axis] = off
        elif off or inner < MOST:
            odd.append(f"{inner:.0%} along axis {axis} (largest sample at {largest} of {n})")
    if ends:
        raise FileError(
            f"{path}: the energy of k-space is at the ends of axes {ends}: expected k = 0 in the middle, at "
            f"{middle}; write np.fft.fftshift(kspace, axes={tuple(ends)}), and the mask "
            "likewise"
        )
    if moved and not odd:
        axes, shifts = tuple(moved), tuple(-shift for shift in moved.values())
        places = " and ".join(f"{shift:+d} from the middle along axis {axis}" for axis, shift in moved.items())
        warnings.warn(
            f"{path}: the energy of k-space is highest {places}: expected k = 0 at {middle}; unless the echo is early "
            f"or late, use np.roll(kspace, {shifts}, {axes}), and the mask likewise",
            KSpaceWarning,
            stacklevel=4,
        )
    if odd:
        warnings.warn(
            f"{path}: the middle eighth of k-space has only {' and '.join(odd)} of the energy: expected most of it "
            f"there, with k = 0 at {middle}; the slice may be noise, k = 0 elsewhere (fix "
            "with np.roll), one axis already transformed, or the axes not ordered (slices, coils, H, W)",
            KSpaceWarning,
            stacklevel=4,
        )


def check_picture(path: Path, kspace: Tensor, mask: Tensor) -> None:
    """Check for a picture split at the border, which does not show in the residual.

    Formula: the centre of |x|^2 along an axis of n pixels is n / (2 pi) arg sum_j |x_j|^2 exp(2 pi i (j - n // 2) / n).
    Arguments: path, for messages; kspace (S, H, W) or (S, coils, H, W); mask (S, H, W) bool.
    Warns: KSpaceWarning if the centre is more than `WRAPPED` of a side from the middle.
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
    if split and bool(mask.any(0)[tuple(n // 2 for n in mask.shape[-2:])]):  # without k = 0 there is no centre
        warnings.warn(
            f"{path}: the picture is split at the border along axes {split}, as after a transform without "
            "np.fft.ifftshift: expected fftshift(fft2(ifftshift(picture))), or an object within the field of view",
            KSpaceWarning,
            stacklevel=4,
        )
