"""Super-resolution with the degradation of the usual data sets: antialiased resizing by any factor."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .arguments import choice, flag, number, picture
from .base import Shape
from .linear_operator import LinearOperator
from .noise import Noise
from .registry import register
from .svd import SVDOperator


def _nearest(u: Tensor) -> Tensor:
    return (u <= 0.5).to(u)


def _bilinear(u: Tensor) -> Tensor:
    return (1 - u).clamp(min=0)


def _bicubic(u: Tensor) -> Tensor:
    near, far = 1.5 * u**3 - 2.5 * u**2 + 1, -0.5 * u**3 + 2.5 * u**2 - 4 * u + 2
    return torch.where(u <= 1, near, torch.where(u < 2, far, 0))


def _lanczos(u: Tensor) -> Tensor:
    return torch.where(u < 3, torch.sinc(u) * torch.sinc(u / 3), 0)


# name: the kernel as a function of |u| >= 0, and its support
KERNELS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "nearest": (_nearest, 1),
    "bilinear": (_bilinear, 1),
    "bicubic": (_bicubic, 2),
    "lanczos": (_lanczos, 3),
}


@register("resize")
class Resize(SVDOperator):
    """Downsampling by any factor, antialiased and bicubic by default: MATLAB's imresize(x, 1 / factor).

    Formula: y = A_h x A_w', channel by channel, with A[i, j] ~ k(|j - f i - offset| / w), w = f with antialiasing and 1
    without, rows of sum 1, and mirrored borders (scipy "reflect"); (N, C, H, W) -> (N, C, ceil(H / f), ceil(W /
    f)). The singular values of A are the products of those of A_h and A_w, and U and V are products of theirs: two SVDs
    of the size of a side suffice, for images of any size.
    Source: Keys 1981, the cubic with a = -1/2; Dong et al. 2014 for the use as a benchmark of super-resolution.
    Arguments: factor (float >= 1): f, pixels of x per pixel of y; kernel: "bicubic", "bilinear", "lanczos" (three
    lobes) or "nearest", one pixel (of two that are as near, the second); noise, in units of y; antialias: whether the
    kernel is widened by f, as in MATLAB and Pillow. Without, fine structure is folded into coarser one, as by OpenCV
    and `torch.nn.functional.interpolate`; offset: the place of y's first pixel in x, in pixels from the middle of x's
    first one, 0 to f - 1; None: (f - 1) / 2, with which both pictures cover the same field, as in MATLAB and Pillow.
    x[::f], and "nearest" of OpenCV and torch, have 0; another offset moves the picture, which no measurement shows. For
    block averages see `Downsampling`.
    Raises: TypeError for an antialias that is not a bool; ValueError for a factor below 1, another kernel or an offset
    out of range, or for events that are not (C, H, W).
    """

    def __init__(
        self,
        factor: float = 4,
        kernel: str = "bicubic",
        noise: Noise | None = None,
        antialias: bool = True,
        offset: float | None = None,
    ) -> None:
        super().__init__(noise)
        self.factor = number("Resize: factor", factor, "[1, 16384]", "pixels of x per pixel of y, along each axis")
        self.kernel = choice("Resize: kernel", kernel, KERNELS)
        self.antialias = flag("Resize: antialias", antialias)
        most, hint = self.factor - 1, "pixels of x to the first one of y"
        self.offset = most / 2 if offset is None else number("Resize: offset", offset, f"[0, {most:.17g}]", hint)

    @property
    def singular_values(self) -> Tensor:
        """Products of those of the two sides, (H, W); needs the event shape (see `Operator.at`)."""
        return self.spectrum(torch.empty(1, *LinearOperator.event_shape_of(self, ())))

    def spectrum(self, z: Tensor) -> Tensor:
        rows, columns = self._sides(z, z.shape)
        return rows.values[:, None] * columns.values

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self._sides(x, x.shape)
        return rows.matrix @ x @ columns.matrix.mT

    def adjoint(self, y: Tensor) -> Tensor:
        rows, columns = self._sides(y, self.event_shape_of(tuple(y.shape[1:])))
        return rows.matrix.mT @ y @ columns.matrix

    def Vt(self, x: Tensor) -> Tensor:
        rows, columns = self._sides(x, x.shape)
        return rows.right @ x @ columns.right.mT

    def V(self, z: Tensor) -> Tensor:
        rows, columns = self._sides(z, z.shape)
        return rows.right.mT @ z @ columns.right

    def U(self, z: Tensor) -> Tensor:
        rows, columns = self._sides(z, z.shape)
        h, w = len(rows.left), len(columns.left)
        return rows.left @ z[..., :h, :w] @ columns.left.mT

    def Ut(self, y: Tensor) -> Tensor:
        rows, columns = self._sides(y, self.event_shape_of(tuple(y.shape[1:])))
        z = rows.left.mT @ y @ columns.left
        return F.pad(z, (0, len(columns.right) - z.shape[-1], 0, len(rows.right) - z.shape[-2]))

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        """E for measurements of shape M. Several image sizes have the same M, unless f is near 1.

        Raises:
            ValueError: M does not determine E and `event_shape` is None, or M does not match `event_shape`.
        """
        channels, h, w = picture("Resize", measurement_shape)
        if self.event_shape is not None:
            expected = tuple(_length(n, self.factor) for n in self.event_shape[-2:])
            if expected != (h, w):
                raise ValueError(
                    f"Resize: expected measurements (C, {expected[0]}, {expected[1]}) of events {self.event_shape}, "
                    f"given {tuple(measurement_shape)}; use operator.at(event_shape) with another shape"
                )
            return (channels, *self.event_shape[-2:])
        largest = self.largest(measurement_shape)
        if any(_length(n - 1, self.factor) == m for n, m in zip(largest[-2:], (h, w), strict=True)):
            raise ValueError(
                f"Resize: several picture sizes, {tuple(largest)} at most, give measurements {measurement_shape}; "
                f"use operator.at(event_shape), e.g. operator.at({tuple(largest)})"
            )
        return largest

    def largest(self, measurement_shape: Shape) -> Shape:
        """The largest event shape (C, H, W) with measurements (C, h, w)."""
        channels, h, w = picture("Resize", measurement_shape)
        return (channels, int(h * self.factor), int(w * self.factor))

    def check_event_shape(self, event_shape: Shape) -> None:
        if len(event_shape) != 3:
            raise ValueError(f"Resize: expected events (C, H, W), given {event_shape}; x[:, None] adds a channel")

    def _sides(self, like: Tensor, shape: Shape) -> tuple[_Side, _Side]:
        height, width = (
            _side(n, self.factor, self.offset, self.kernel, self.antialias, like.dtype, like.device) for n in shape[-2:]
        )
        return height, width


class _Side(NamedTuple):
    """One axis: its matrix (m, n) and that one's SVD, left (m, m), values (n,) with zeros at the end, right (n, n)."""

    matrix: Tensor
    left: Tensor
    values: Tensor
    right: Tensor


def _length(n: int, factor: float) -> int:
    return math.ceil(n / factor)


@lru_cache(maxsize=8)
def _side(
    n: int, factor: float, offset: float, kernel: str, antialias: bool, dtype: torch.dtype, device: torch.device
) -> _Side:
    weight, reach = KERNELS[kernel]
    width = factor if antialias and kernel != "nearest" else 1.0
    m, reach = _length(n, factor), math.ceil(reach * width) + 1
    with torch.inference_mode(False), torch.no_grad():
        centre = torch.arange(m, dtype=torch.float64)[:, None] * factor + offset
        place = centre.floor() + torch.arange(-reach, reach + 1)
        if kernel == "nearest":
            centre = (centre + 0.5).floor()  # of two pixels that are as near, the second
        weights = weight((place - centre).abs() / width)
        mirrored = place.long() % (2 * n)
        mirrored = torch.minimum(mirrored, 2 * n - 1 - mirrored)
        matrix = torch.zeros(m, n, dtype=torch.float64).scatter_add_(
            1, mirrored, weights / weights.sum(1, keepdim=True)
        )
        left, values, right = torch.linalg.svd(matrix)
        return _Side(*(part.to(device, dtype) for part in (matrix, left, F.pad(values, (0, n - m)), right)))
