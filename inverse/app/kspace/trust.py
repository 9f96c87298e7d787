"""Samples of k-space within the mask that are no measurements of the picture: unmeasured regions, lines and spikes."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from inverse.app.kspace.checks import SCATTERED, KSpaceWarning
from operators.kspace import mirrored, radius

BINS = 16  # along half a side, in which the power of k-space is averaged
FEWEST = 24  # samples of a bin, with fewer of which it is not used
OUTER = 1.1  # of half a side: the corners beyond have few samples
INNER = 0.2  # likewise: closer to k = 0 no sample is doubted, as the power there changes too quickly
STEP, ERRORS = 0.5, 4.5  # smallest step of log power that no picture has, and in standard errors
WIDEST = 0.16  # of half a side: distance over which the power is extrapolated
RISE = 0.3  # log power, of the step, by which bins outside may differ from each other
LINE = 0.8  # log power by which a line differs from its neighbours and its mirror
FAINT = 1e-8  # of the median power; noise has one in 1e8 samples
SLOPE = 8.0  # log power per half side by which lines differ as they are apart
SPIKE, RING = 80.0, 30.0  # power of a spike over its surroundings, and over those at the same distance from k = 0
MOST_SPIKES = 0.005  # fraction of the samples that may be spikes
REACH, BESIDE = 4, 2  # samples on each side that a spike is compared with; within which k = 0 has its next largest


@dataclass(frozen=True)
class Level:
    """Mean log power per bin (n,), its standard error (n,) and the bin's position (n,), in half sides."""

    value: Tensor
    error: Tensor
    place: Tensor


def trusted(path: Path, kspace: Tensor, mask: Tensor) -> Tensor:
    """The mask without samples that cannot be measurements of the picture.

    Four faults are found. Rounding: samples of less than `FAINT` of the median power, of which noise has none. Regions
    that were not measured but hold noise: outside an ellipse, or beyond a column or row on one side (partial Fourier):
    the log power of a picture decreases smoothly with |k|, to the noise,
    while at the edge of such a region it steps down by more than `STEP`, and stays there. Lines: columns or rows with
    another log power than the lines on both sides and than the mirrored one. Spikes: samples with `SPIKE` times the
    power of their surroundings in the row, in the column and around -k.
    Arguments: path, for messages; kspace (S, H, W) or (S, coils, H, W); mask (S, H, W) bool.
    Returns: (S, H, W) bool.
    Warns: KSpaceWarning for each fault.
    """
    found = []
    for values, known in zip(kspace, mask, strict=True):
        z, kept = values if values.ndim == 3 else values[None], known
        for find in (_rounding, _spikes, _lines, _regions):
            lost, text = find(z, kept)
            if text:
                count = int((kept & lost).sum())
                warnings.warn(
                    f"{path}: {text}: {count} samples ({count / max(int(known.sum()), 1):.1%}) are treated as not "
                    "measured",
                    KSpaceWarning,
                    stacklevel=4,
                )
                kept = kept & ~lost
        found.append(kept)
    return torch.stack(found)


def log_power(z: Tensor, mask: Tensor) -> Tensor:
    """log sum_c |z_c|^2 (H, W) float64; nan where not measured, or exactly 0."""
    power = z.abs().double().square().sum(0)
    return torch.where(mask & (power > 0), power.log(), torch.nan)


def levels(power: Tensor, place: Tensor) -> Level:
    """The levels of the measured samples with a place in (0, 1.3), in bins; without bins of few samples."""
    inside = ~power.isnan() & (place > 0) & (place < 1.3)
    values, index = power[inside], (place[inside] * BINS).long()
    n = int(index.max()) + 1 if len(index) else 0
    count = torch.bincount(index, minlength=n).double()
    mean = torch.bincount(index, values, n) / count.clamp_min(1)
    variance = torch.bincount(index, (values - mean[index]).square(), n) / count.clamp_min(1)
    enough = count >= FEWEST
    middle = torch.bincount(index, place[inside], n) / count.clamp_min(1)
    return Level(mean[enough], (variance / count.clamp_min(1)).sqrt()[enough], middle[enough])


def _step(level: Level) -> tuple[float, float]:
    """The largest significant step down: (the place after which all is lost, its size in log power); (inf, 0) if none.

    The bin between the two sides of a step may be of both.
    """
    q, error, best = level.value, level.error, (float("inf"), 0.0)
    place = level.place
    for e in range(3, len(q) - 1):
        for gap in (1, 2):
            last = e - gap
            if last < 2 or not INNER <= place[e] <= OUTER or place[e] - place[last] > WIDEST:
                continue
            share = float((place[e] - place[last]) / (place[last] - place[last - 2]))
            size = float(q[last] - q[e]) - share * max(float(q[last - 2] - q[last]), 0.0)
            errors = error[last] ** 2 * (1 + share) ** 2 + error[e] ** 2 + share**2 * error[last - 2] ** 2
            sure = ERRORS * float(errors.sqrt())
            after = q[e:]
            flat = float(after.max() - after.min()) <= max(RISE * size, 4 * float(error[e:].max()))
            if size > max(STEP, sure, best[1]) and flat:
                # a bin between that is mostly signal stays
                edge = e if gap == 1 or float(q[e - 1]) > float(q[last] + q[e]) / 2 else e - 1
                best = (float(level.place[edge]) - 0.5 / BINS, size)
    return best


def _rounding(z: Tensor, mask: Tensor) -> tuple[Tensor, str]:
    """Samples that were 0 before a Fourier transform and its inverse, or were set to a small number."""
    power = z.abs().double().square().sum(0)
    lost = mask & (power < FAINT * power[mask].median()) if bool(mask.any()) else torch.zeros_like(mask)
    if int(lost.sum()) <= SCATTERED * int(mask.sum()):
        return torch.zeros_like(mask), ""
    return lost, f"samples of less than {FAINT:g} of the median power are zeros with rounding"


def _regions(z: Tensor, mask: Tensor) -> tuple[Tensor, str]:
    """Samples outside an ellipse, or beyond a line on one side."""
    power = log_power(z, mask)
    height, width = mask.shape
    half = [(torch.arange(n) - n // 2) / (n / 2) for n in (height, width)]
    y, x = half[0][:, None].expand(height, width), half[1][None].expand(height, width)
    shapes = {
        "outside an ellipse": radius((height, width)),
        "in the columns at the left": -x,
        "in the columns at the right": x,
        "in the rows at the top": -y,
        "in the rows at the bottom": y,
    }
    flipped = {"left": -1, "right": -1, "top": -2, "bottom": -2}
    lost, texts = torch.zeros_like(mask), []
    for name, place in shapes.items():
        tried = [power]
        side = name.split()[-1]
        if side in flipped:  # the power of the other side, of conjugate symmetry, is as large
            tried.append(power - _level_of_mirror(power, flipped[side]))
        start, size = max((_step(levels(one, place)) for one in tried), key=lambda found: found[1])
        region = mask & (place > start)
        if size and bool(region.any()):
            lost |= region
            texts.append(f"{name} (beyond {start:.2f} of half a side)")
    if not texts:
        return lost, ""
    return lost, (
        f"the power of k-space drops to that of noise or rounding {' and '.join(texts)}, at once, as where nothing was "
        "measured (an elliptic or partial acquisition, or padding of a smaller matrix)"
    )


def _level_of_mirror(power: Tensor, axis: int) -> Tensor:
    """The mean log power of the line at -k of every sample's line, (H, W)."""
    other = -3 - axis
    means = power.nanmean(other, keepdim=True).expand(power.shape)
    n = means.shape[axis]
    return means.flip(axis).roll(1 - n % 2, axis)


def _lines(z: Tensor, mask: Tensor) -> tuple[Tensor, str]:
    """Columns and rows with another power than their neighbours."""
    power, lost, texts = log_power(z, mask), torch.zeros_like(mask), []
    for axis, name in ((-1, "columns"), (-2, "rows")):
        other = -3 - axis
        level = power.nanmean(other)
        count = mask.sum(other)
        error = (power - level.unsqueeze(other)).square().nanmean(other).sqrt() / count.clamp_min(1).sqrt()
        n = len(level)
        mirror = level.flip(0).roll(1 - n % 2)
        measured = torch.nonzero(count >= FEWEST).flatten().tolist()
        found = []
        for j in measured:
            if abs(j - n // 2) <= max(2, INNER * n / 2) or len(measured) < 5:
                continue
            near = sorted(measured, key=lambda other: abs(other - j))[1:5]
            index = torch.tensor(near if bool(mirror[j].isnan()) else [*near, n // 2 - (j - n // 2)])
            allowed = SLOPE * ((index - j).abs() * (index != 2 * (n // 2) - j)) / (n / 2)
            values = torch.cat([level[torch.tensor(near)], mirror[j : j + 1]])[: len(index)]
            limit = max(LINE, ERRORS * float(error[j]))
            above, below = (level[j] - values - allowed).min(), (values - level[j] - allowed).min()
            if max(float(above), float(below)) > limit:
                found.append(j)
        if found:
            index = torch.tensor(found)
            lost[(slice(None), index) if axis == -1 else (index,)] = True
            texts.append(f"{name} {', '.join(map(str, found[:8]))}")
    if not texts:
        return lost, ""
    return lost, (
        f"{' and '.join(texts)} of k-space have another power than the lines beside them and the mirrored ones, as by "
        "interference or a failed readout"
    )


def _spikes(z: Tensor, mask: Tensor) -> tuple[Tensor, str]:
    """Single samples that stand out, in any coil."""
    height, width = mask.shape
    distance = radius((height, width))
    ring = (distance * BINS).long()
    lost, largest = torch.zeros_like(mask), 0.0
    for coil in z:
        power = torch.where(mask, coil.abs().double().square(), torch.nan)
        typical = torch.full((int(ring.max()) + 1,), torch.inf, dtype=torch.float64)
        for b in range(len(typical)):
            held = power[mask & (ring == b)]
            typical[b] = held.median() if len(held) else torch.inf
        candidates = torch.nonzero(mask & (distance > INNER) & (power > RING * typical[ring])).tolist()
        opposite = mirrored(power)
        for i, j in candidates:
            around = _surroundings(power, opposite, i, j)
            ratio = float(power[i, j]) / max(around, float(typical[ring[i, j]]), 1e-300)
            if ratio > SPIKE and not _peak(power, i, j):
                lost[i, j], largest = True, max(largest, ratio)
    count = int(lost.sum())
    if not 0 < count <= max(1, MOST_SPIKES * int(mask.sum())):
        return torch.zeros_like(mask), ""
    place = tuple(torch.nonzero(lost)[0].tolist())
    return lost, (
        f"{count} samples of k-space, such as {place}, have up to {largest:.0f} times the power of those around, as "
        "spikes of the electronics (stripes over the picture)"
    )


def _peak(power: Tensor, i: int, j: int) -> bool:
    """Whether the next largest samples are beside (i, j), as they are of k = 0, which may be off the middle."""
    others = power.nan_to_num(0.0)
    others[i, j] = 0.0
    row, column = divmod(int(others.argmax()), power.shape[1])
    return bool(power[i, j] >= others.max()) and max(abs(row - i), abs(column - j)) <= BESIDE


def _surroundings(power: Tensor, opposite: Tensor, i: int, j: int) -> float:
    """The largest of: the median along the row, and along the column, without (i, j), and the largest around -k."""
    top, left = max(i - REACH, 0), max(j - REACH, 0)
    row, column = power[i, left : j + REACH + 1].clone(), power[top : i + REACH + 1, j].clone()
    row[j - left], column[i - top] = torch.nan, torch.nan
    beside = opposite[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
    values = [row.nanmedian(), column.nanmedian(), *beside[~beside.isnan()].flatten()]
    return max((float(v) for v in values if not bool(v.isnan())), default=0.0)
