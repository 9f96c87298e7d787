"""Trajectories through k-space, (M, 2): rows and columns in cycles per pixel, from -1/2 to 1/2."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .arguments import choice, count, number, tensor
from .base import Shape
from .sampling import GOLDEN, plane

EDGE = 0.5  # cycles per pixel: the largest frequency of a picture
MOST = 2**24  # points of a trajectory
FINE = 4096  # steps in which the length of a spiral is measured


def radial_trajectory(shape: Shape, spokes: int, samples: int | None = None, order: str = "golden") -> Tensor:
    """Spokes through k = 0, each from -1/2 to 1/2 cycles per pixel.

    Source: Glover & Pauly 1992; Winkelmann et al. 2007 (golden angle).
    Arguments: shape (H, W); spokes (int >= 1): full sampling takes max(H, W) pi / 2; samples per spoke, None: 2 max(H,
    W), the usual oversampling by two; order: "golden", rotated by 111.25 degrees each, or "uniform", evenly over half a
    turn.
    Returns: (spokes * samples, 2) float64, spoke by spoke; the first spoke runs along a row.
    Raises: TypeError or ValueError for numbers out of range and another order.
    """
    choice("radial: order", order, ("golden", "uniform"))
    spokes = count("radial: spokes", spokes, most=2**17)
    samples = 2 * max(plane(shape)) if samples is None else count("radial: samples", samples, most=MOST // spokes)
    step = GOLDEN if order == "golden" else math.pi / spokes
    angle = step * torch.arange(spokes, dtype=torch.float64)[:, None]
    radius = (torch.arange(samples, dtype=torch.float64) - samples // 2) / samples
    return torch.stack([radius * angle.sin(), radius * angle.cos()], -1).reshape(-1, 2)


def spiral_trajectory(shape: Shape, interleaves: int, turns: float | None = None, samples: int | None = None) -> Tensor:
    """Archimedean spirals from k = 0 to 1/2 cycles per pixel, each rotated by the golden angle of a whole turn.

    Formula: k = t / 2 at the angle 2 pi turns t, with t in [0, 1] at equal distances along the curve.
    Source: Ahn, Kim & Cho 1986; Kim et al. 2011 (golden angle).
    Arguments: shape (H, W); interleaves (int >= 1); turns of each: full sampling takes max(H, W) / 2 in all, None: that
    many divided by interleaves; samples per interleave, None: two per 1 / max(H, W) of its length.
    Returns: (interleaves * samples, 2) float64, one interleave after the other.
    Raises: TypeError or ValueError for numbers out of range.
    """
    interleaves = count("spiral: interleaves", interleaves, most=2**17)
    side = max(plane(shape))
    turns = side / (2 * interleaves) if turns is None else number("spiral: turns", turns, "(0, 100000]")
    share = np.linspace(0, 1, FINE)
    length = np.concatenate([[0], np.hypot(*np.diff(_spiral(share, turns), axis=0).T).cumsum()])
    needed = math.ceil(2 * side * length[-1])
    placed = needed if samples is None else count("spiral: samples", samples, most=MOST // interleaves)
    k = _spiral(np.interp(np.linspace(0, length[-1], placed, endpoint=False), length, share), turns)
    angle = 2 * GOLDEN * torch.arange(interleaves, dtype=torch.float64)[:, None]
    row, column = torch.from_numpy(k).unbind(-1)
    return torch.stack(
        [row * angle.cos() + column * angle.sin(), column * angle.cos() - row * angle.sin()], -1
    ).reshape(-1, 2)


def _spiral(share: np.ndarray, turns: float) -> np.ndarray:
    angle = 2 * math.pi * turns * share
    return EDGE * share[:, None] * np.stack([np.sin(angle), np.cos(angle)], -1)


def checked_trajectory(name: str, value: object) -> Tensor:
    """A trajectory (M, 2), float64 on the CPU.

    Raises: TypeError if it is not a tensor of numbers; ValueError for another shape, and for points beyond 1/2.
    """
    found = tensor(name, value).double().cpu()
    units = "cycles per pixel, rows first: (k_y, k_x) in [-0.5, 0.5]"
    if found.ndim != 2 or found.shape[1] != 2:
        moved = "; give its transpose" if found.ndim == 2 and found.shape[0] == 2 else "; reshape(-1, 2) joins readouts"
        raise ValueError(f"{name} of shape {tuple(found.shape)}: expected (M, 2), {units}{moved}")
    if len(found) > MOST:
        raise ValueError(f"{name} has {len(found)} points, at most {MOST} are supported: split it")
    largest = float(found.abs().max())
    if largest > EDGE * (1 + 1e-6):
        raise ValueError(
            f"{name} reaches {largest:.4g}: expected {units}; divide radians per pixel by 2 pi, and cycles per field "
            "of view by the number of pixels of that axis"
        )
    return found.clamp(-EDGE, EDGE)
