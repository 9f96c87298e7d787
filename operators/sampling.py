"""Sampling masks of k-space (H, W), True where measured, with k = 0 at (H // 2, W // 2)."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .arguments import choice, count, number
from .arguments import seed as seeded
from .arguments import shape as sizes
from .base import Shape

Kind = Literal["uniform", "variable", "equispaced"]
GOLDEN = math.pi * (math.sqrt(5) - 1) / 2  # 111.25 degrees
FALL = 4.0  # variable density: exponent by which the density of columns decreases
SPREAD = 3.0  # Poisson disc: radius at the border of k-space relative to that in the middle, minus 1
TOLERANCE = 0.02  # relative error in the number of samples at which the search for a radius stops


def cartesian(
    shape: Shape,
    acceleration: float = 4.0,
    calibration: float = 0.08,
    kind: Kind = "variable",
    seed: int = 0,
) -> Tensor:
    """Cartesian sampling: the central columns, and a selection of the others as the acceleration allows.

    Source: Zbontar et al. 2018 (fastMRI: "uniform" and "equispaced"); Lustig, Donoho & Pauly 2007 ("variable": denser
    in the middle).
    Arguments: shape (H, W); acceleration >= 1: W over the number of columns measured, the central ones included;
    calibration: fraction of columns measured in the middle, in [0, 1]; kind: "uniform", at random; "variable", at
    random, with a density that falls as (1 - |k| / k_max)^4; "equispaced", at equal distances from a random first one;
    seed: of the choice.
    Returns: (H, W) bool.
    Raises: ValueError for an unknown kind, values out of range, or an acceleration that leaves fewer columns than the
    calibration takes.
    """
    choice("cartesian: kind", kind, ("uniform", "variable", "equispaced"))
    height, width = plane(shape)
    n = _number(width, acceleration, calibration)
    middle = round(calibration * width)
    if middle > n:
        raise ValueError(
            f"cartesian: acceleration {acceleration:g} leaves {n} of {width} columns, the calibration needs "
            f"{middle}; lower one of them"
        )
    generator = torch.Generator().manual_seed(seeded(seed))
    start = width // 2 - middle // 2
    columns = torch.zeros(width, dtype=torch.bool)
    columns[start : start + middle] = True
    rest = torch.arange(width)[~columns]
    if kind == "equispaced":
        place = torch.arange(n - middle) + torch.rand((), generator=generator)
        chosen = (place * len(rest) / max(n - middle, 1)).long()
    else:  # weighted sampling without replacement by exponential keys (Efraimidis & Spirakis 2006)
        distance = (rest - width // 2).abs() / (width // 2 + 1)
        rate = (1 - distance) ** FALL if kind == "variable" else torch.ones(len(rest))
        arrival = torch.empty(len(rest)).exponential_(generator=generator) / rate
        chosen = arrival.argsort()[: n - middle]
    columns[rest[chosen]] = True
    return columns.expand(height, width).clone()


def radial(shape: Shape, spokes: int) -> Tensor:
    """Radial sampling: lines through k = 0, each rotated by the golden angle, on the nearest grid points.

    Source: Winkelmann et al. 2007.
    Arguments: shape (H, W); spokes (int >= 1).
    Returns: (H, W) bool.
    Raises: TypeError or ValueError if spokes is not an integer >= 1.
    """
    spokes = count("radial: spokes", spokes, most=2**17)
    height, width = plane(shape)
    reach = math.ceil(math.hypot(height, width) / 2)
    radius = torch.arange(-2 * reach, 2 * reach + 1, dtype=torch.float64) / 2
    angle = GOLDEN * torch.arange(spokes, dtype=torch.float64)[:, None]
    row = (radius * angle.sin() + height // 2).round().long()
    column = (radius * angle.cos() + width // 2).round().long()
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[row[inside], column[inside]] = True
    return mask


def poisson_disc(shape: Shape, acceleration: float = 4.0, calibration: float = 0.08, seed: int = 0) -> Tensor:
    """Variable-density Poisson-disc sampling with a fully sampled central rectangle.

    Formula: grid points in random order are accepted if no accepted one is nearer than r (1 + 3 |k| / k_max). r is
    found by bisection for the number of points that the acceleration allows; surplus points are dropped.
    Source: Bridson 2007 (Poisson disc); Lustig & Pauly 2010 (variable density, in k-space). Implemented by dart
    throwing.
    Arguments: shape (H, W); acceleration >= 1: H W over the number of points; calibration: the rectangle's sides over H
    and W, in [0, 1]; seed: of the order.
    Returns: (H, W) bool.
    Raises: ValueError for numbers out of range, or an acceleration that leaves fewer points than the calibration takes.
    """
    height, width = plane(shape)
    n = _number(height * width, acceleration, calibration)
    middle = np.zeros(shape, dtype=bool)
    rows, columns = round(calibration * height), round(calibration * width)
    top, left = height // 2 - rows // 2, width // 2 - columns // 2
    middle[top : top + rows, left : left + columns] = True
    wanted = n - int(middle.sum())
    if wanted < 0:
        raise ValueError(
            f"poisson_disc: acceleration {acceleration:g} leaves {n} samples, the calibration needs {middle.sum()}; "
            "lower one of them"
        )
    order = torch.randperm(height * width, generator=torch.Generator().manual_seed(seeded(seed))).numpy()
    low, high, taken = 0.0, float(max(shape)), order[~middle.ravel()[order]]  # at radius 0 all are taken
    for _ in range(20):
        if len(taken) <= wanted * (1 + TOLERANCE) + 1:
            break
        r = (low + high) / 2 if low else min(high, 2.0) / 2
        found = _darts(order, middle, r)
        low, high, taken = (r, high, found) if len(found) >= wanted else (low, r, taken)
    mask = torch.from_numpy(middle)
    mask.view(-1)[torch.from_numpy(taken[:wanted].copy())] = True
    return mask


def calibration_region(mask: Tensor) -> tuple[slice, slice]:
    """The fully sampled rectangle around k = 0: the largest square, then extended along each axis.

    Arguments: mask (H, W) bool. Returns: its rows and columns; empty where k = 0 is not measured.
    """

    def rectangle(reach: list[int]) -> tuple[slice, slice]:
        a, b = (slice(max(n // 2 - r, 0), min(n // 2 + r + 1, n)) for n, r in zip(mask.shape, reach, strict=True))
        return a, b

    reach = [-1, -1]
    for axes in ((0, 1), (0,), (1,)):
        while True:
            longer = [r + (axis in axes) for axis, r in enumerate(reach)]
            if min(longer) < 0 or longer[axes[0]] > mask.shape[axes[0]] // 2 or not bool(mask[rectangle(longer)].all()):
                break
            reach = longer
    return rectangle(reach) if min(reach) >= 0 else (slice(0, 0), slice(0, 0))


def _number(total: int, acceleration: float, calibration: float) -> int:
    acceleration = number("acceleration", acceleration, f"[1, {total}]", f"{total} samples in all")
    number("calibration", calibration, "[0, 1]", "the fully sampled fraction in the middle of k-space")
    return round(total / acceleration)


def plane(shape: Shape) -> tuple[int, int]:
    """A shape (H, W), checked."""
    found = sizes("shape", shape)
    if len(found) != 2:
        raise ValueError(f"shape = {found}: expected (H, W); for events (C, H, W) use event_shape[-2:]")
    return found[0], found[1]


def _darts(order: np.ndarray, middle: np.ndarray, r: float) -> np.ndarray:
    """Indices in the flattened plane of accepted points, in order: none nearer to another than its radius."""
    height, width = middle.shape
    y, x = np.mgrid[:height, :width]
    distance = np.hypot((y - height // 2) / (height / 2), (x - width // 2) / (width / 2)) / math.sqrt(2)
    radius = r * (1 + SPREAD * distance)
    free, taken = ~middle, []
    for place in order.tolist():
        row, column = divmod(place, width)
        if not free[row, column]:
            continue
        taken.append(place)
        reach = int(radius[row, column])
        top, left = max(row - reach, 0), max(column - reach, 0)
        near = free[top : row + reach + 1, left : column + reach + 1]
        dy = y[: near.shape[0], :1] + (top - row)
        dx = x[:1, : near.shape[1]] + (left - column)
        near &= dy**2 + dx**2 >= radius[row, column] ** 2
        free[row, column] = False
    return np.array(taken, dtype=np.int64)
