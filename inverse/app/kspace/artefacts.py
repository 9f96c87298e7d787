"""Faults of k-space that show in the picture: filters, a bright point, a line of interference, N/2 ghosts, gains."""

import math
import warnings
from pathlib import Path

import torch
from torch import Tensor

from inverse.app.kspace.checks import KSpaceWarning
from inverse.app.kspace.shots import uneven
from inverse.app.kspace.trust import levels, log_power
from operators.kspace import ifftc, radius
from operators.sampling import calibration_region

FROM, TO = (0.6, 0.8), (0.93, 1.0)  # half sides: where the fall of the power to the border is measured
FALL = 2.6  # of log power; of 250 pictures the largest is 2.4, of Hamming windows 2.5 to 4
AROUND, BRIGHT, BRIGHTER = 8, 15.0, 1.3  # pixels around the middle; power of a point over their mean and their largest
STRIPE = 2.9  # log power by which a line of the picture exceeds those beside it
CALIBRATION = 24  # least samples along both axes of the region in which ghosts are looked for
GHOST, EXPECTED = 0.01, 0.08  # least relative decrease; and over sin(phase / 2): pictures without ghosts have .06
ANGLES, SLOPES = 32, (0.0, -1.0, 1.0, -2.0, 2.0)  # number of phases; radians per half side


def check_artefacts(path: Path, kspace: Tensor, mask: Tensor) -> None:
    """Check for faults that posterior samples reproduce, and whose residuals are as of right scans.

    Arguments: path, for messages; kspace (S, H, W) or (S, coils, H, W); mask (S, H, W) bool.
    Warns: KSpaceWarning for each of `falling`, `point`, `stripe`, `ghost` and `shots.gains` beyond what pictures have.
    """
    for values, known in zip(kspace, mask, strict=True):
        z = torch.where(known, values if values.ndim == 3 else values[None], 0)
        if not bool(z.any()):
            continue
        every = (_falling(z, known), _point(z, known), _stripe(z, known), _ghost(z, known), uneven(z, known))
        for text in filter(None, every):
            warnings.warn(f"{path}: {text}", KSpaceWarning, stacklevel=4)


def falling(z: Tensor, mask: Tensor) -> float:
    """The fall of the mean log power from about .7 to 1 of half a side: the largest along an axis, and with |k|.

    Arguments: z (coils, H, W) complex; mask (H, W) bool.
    """
    height, width = mask.shape
    y, x = (((torch.arange(n) - n // 2) / (n / 2)).abs() for n in (height, width))
    power, falls = log_power(z, mask), [0.0]
    for place in (radius((height, width)), y[:, None].expand(height, width), x.expand(height, width)):
        found = levels(power, place)
        inner, outer = ((found.place > low) & (found.place < high) for low, high in (FROM, TO))
        if bool(inner.any()) and bool(outer.any()):
            falls.append(float(found.value[inner].mean() - found.value[outer].mean()))
    return max(falls)


def point(z: Tensor, mask: Tensor) -> tuple[float, float]:
    """The power of the middle pixel at high frequencies over the largest, and over the mean, of those around it."""
    height, width = mask.shape
    picture = ifftc(torch.where(mask & (radius((height, width)) > 0.5), z, 0)).abs().double().square().sum(0)
    a, b = height // 2, width // 2
    middle = float(picture[a, b])
    around = picture[max(a - AROUND, 0) : a + AROUND + 1, max(b - AROUND, 0) : b + AROUND + 1].clone()
    around[min(a, AROUND), min(b, AROUND)] = 0
    return middle / max(float(around.max()), 1e-300), middle / max(float(around.mean()), 1e-300)


def stripe(z: Tensor, mask: Tensor, axis: int) -> tuple[float, int]:
    """The log power by which a line of the picture exceeds those beside it, of high frequencies along it; and which.

    A line of width 3 is compared with the four on both sides. Arguments: axis: -2 for rows, -1 for columns; 0 if lines
    across it were measured in part.
    """
    other = -3 - axis
    n = mask.shape[other]
    known = mask.any(axis)
    if not bool((mask.all(axis) | ~known).all()):
        return 0.0, 0
    far = known & (((torch.arange(n) - n // 2) / (n / 2)).abs() > 0.5)
    if not bool(far.any()):
        return 0.0, 0
    power = ifftc(z, (axis,)).abs().double().square().sum(0)
    power = power[:, far] if axis == -2 else power[far].mT
    level = power.clamp_min(1e-300).log().mean(-1)
    best = (0.0, 0)
    for r in range(2, len(level) - 2):
        beside = torch.cat([level[max(r - 5, 0) : r - 1], level[r + 2 : r + 6]])
        best = max(best, (float(level[r] - beside.max()), r))
    return best


def ghost(z: Tensor, mask: Tensor, axis: int) -> tuple[float, float, float]:
    """The phase of every other line of k-space along an axis for which the sum of magnitudes is least.

    A phase of every other line puts a copy of the picture at half a side, which adds magnitude where nothing was.
    Source: Clare 2008 (Nyquist ghosts by the entropy of the picture), with the sum of magnitudes.
    Returns: the relative decrease of that sum, the phase (radians) and its slope along the lines (radians per half
    side of the picture); zeros for a fully sampled region of fewer than `CALIBRATION` samples.
    """
    region = calibration_region(mask)
    sizes = [part.stop - part.start for part in region]
    if min(sizes) < CALIBRATION:
        return 0.0, 0.0, 0.0
    window = torch.zeros(mask.shape)
    ends = [
        torch.ones(n) if n == whole else torch.hann_window(n + 2, periodic=False)[1:-1]
        for n, whole in zip(sizes, mask.shape, strict=True)
    ]
    window[region] = ends[0][:, None] * ends[1]
    odd = (torch.arange(mask.shape[axis]) - mask.shape[axis] // 2) % 2 == 1
    second = ifftc(torch.where(odd[:, None] if axis == -2 else odd, z * window, 0))
    first, m = ifftc(z * window) - second, mask.shape[-3 - axis]
    along = (torch.arange(m) - m // 2) / (m / 2)
    along = along if axis == -2 else along[:, None]

    def total(phase: float, slope: float) -> float:
        turned = first + second * torch.exp(1j * (phase + slope * along))
        return float(turned.abs().square().sum(0).sqrt().sum())

    now, best = max(total(0, 0), 1e-300), (0.0, 0.0, 0.0)
    for slope in SLOPES:
        for k in range(-ANGLES // 4, ANGLES // 4 + 1):  # half a turn more is the picture moved by half a side
            phase = 2 * math.pi * k / ANGLES
            best = max(best, (1 - total(phase, slope) / now, phase, slope))
    return best


def _falling(z: Tensor, mask: Tensor) -> str:
    if (fall := falling(z, mask)) < FALL:
        return ""
    return (
        f"the power of k-space falls by a factor of {math.exp(fall):.2g} from .7 of half a side to its border, faster "
        "than that of pictures: a filter (apodisation such as Hann, Hamming or Tukey) blurs the picture and leaves "
        "noise that is not white; export k-space without the filter, divide by it, or give a mask without the filtered "
        "border"
    )


def _point(z: Tensor, mask: Tensor) -> str:
    over_largest, over_mean = point(z, mask)
    if over_largest < BRIGHTER or over_mean < BRIGHT:
        return ""
    a, b = (n // 2 for n in mask.shape)
    return (
        f"pixel ({a}, {b}), the middle, stands out by {over_mean**0.5:.0f} times from those around: an offset of the "
        "receiver adds a constant to all samples; subtract from each coil the mean of its samples at the border of "
        "k-space"
    )


def _stripe(z: Tensor, mask: Tensor) -> str:
    found = {"row": stripe(z, mask, -2), "column": stripe(z, mask, -1)}
    name = max(found, key=lambda each: found[each])
    size, number = found[name]
    if size < STRIPE:
        return ""
    remedy = ", or crop it off by --rows" if name == "row" else ""
    return (
        f"{name} {number} of the picture has {math.exp(size):.0f} times the power of the {name}s beside it at high "
        "frequencies: interference at one frequency (a zipper); its pixels are lost, and the noise is estimated too "
        f"large: transform k-space along this axis, replace the {name} by the mean of those two away{remedy}"
    )


def _ghost(z: Tensor, mask: Tensor) -> str:
    found = {"columns": ghost(z, mask, -1), "rows": ghost(z, mask, -2)}
    name = max(found, key=lambda each: found[each])
    size, phase, slope = found[name]
    angle = math.hypot(phase, slope / math.sqrt(3))
    if size < max(GHOST, EXPECTED * math.sin(min(angle, math.pi) / 2)):
        return ""
    tilt = f", with {slope:.2g} radians more per half side of the picture along them" if slope else ""
    return (
        f"every other of the {name} of k-space has another phase, by {-phase:.2f} radians{tilt}: a ghost of the "
        "picture lies half a side away (N/2 ghost, as of EPI); correct the phase of the odd lines"
    )
