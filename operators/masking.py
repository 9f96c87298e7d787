"""Inpainting: some pixels are measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from .arguments import choice, count, number, shape
from .arguments import mask as measured_mask
from .arguments import seed as seeded
from .base import Shape
from .noise import Noise
from .registry import register
from .solvers import column
from .svd import SVDOperator


@register("masking")
class Masking(SVDOperator):
    """Keeps the pixels of a mask.

    y = m * (x + noise): the image's shape, zero where nothing was measured. U = V = 1, S = m.

    Arguments:
        mask: bool or 0/1, 1 where measured. (d,), (H, W) or (C, H, W), broadcastable to E; (B, C or 1, H, W) for one
            mask per measurement.
        noise: on measured pixels only.
        event_ndim: how many axes of the mask belong to one measurement; default all, at most 3. Needed only for
            vectors with one mask per measurement: (B, d) and event_ndim=1.

    Raises:
        ValueError: a mask with entries other than 0 and 1, too many axes, or that does not broadcast to E.
    """

    structure = SVDOperator.structure | {"orthogonal_rows"}
    mask: Tensor

    def __init__(self, mask: Any, noise: Noise | None = None, event_ndim: int | None = None) -> None:
        super().__init__(noise)
        mask = measured_mask("Masking", mask)
        if mask.ndim == 0:
            raise ValueError("Masking: a mask with one entry: expected the picture's size; use mask.expand(H, W)")
        axes = min(mask.ndim, 3) if event_ndim is None else count("Masking: event_ndim", event_ndim, most=mask.ndim)
        self.batched_buffer("mask", mask, axes)

    @classmethod
    def random(cls, event_shape: Shape, keep: float = 0.5, seed: int = 0, noise: Noise | None = None) -> Self:
        """A random mask of round(keep * pixels) pixels, the same in every channel.

        Arguments:
            event_shape: (C, H, W), or (d,).
            keep: fraction of pixels measured, in [0, 1].

        Raises:
            ValueError: keep outside [0, 1].
        """
        keep = number("Masking.random: keep", keep, "[0, 1]", "it is the fraction measured")
        event_shape = shape("Masking.random: event_shape", event_shape)
        pixels = (1, *event_shape[1:]) if len(event_shape) == 3 else event_shape
        n = torch.Size(pixels).numel()
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seeded(seed)))
        return cls((order < round(keep * n)).reshape(pixels), noise=noise)

    @classmethod
    def box(
        cls,
        event_shape: Shape,
        size: int | tuple[int, int],
        corner: tuple[int, int] | None = None,
        noise: Noise | None = None,
    ) -> Self:
        """A mask that hides a box.

        Arguments:
            event_shape: (C, H, W).
            size: height and width of the hidden box, pixels.
            corner: its top left pixel (row, column); default centred.

        Raises:
            ValueError: a box that does not fit into the image.
        """
        height, width = _plane("Masking.box", event_shape)
        h, w = _pair("Masking.box: size", size)
        top, left = ((height - h) // 2, (width - w) // 2) if corner is None else _pair("Masking.box: corner", corner)
        if min(top, left) < 0 or top + h > height or left + w > width:
            raise ValueError(
                f"Masking.box: a box of {h} x {w} at ({top}, {left}) does not fit into {height} x {width} pixels; "
                "give a smaller size or another corner"
            )
        mask = torch.ones(1, height, width, dtype=torch.bool)
        mask[:, top : top + h, left : left + w] = False
        return cls(mask, noise=noise)

    @classmethod
    def half(  # type: ignore[override]  # not torch's `half`, float16, which an operator has no use for
        cls, event_shape: Shape, seen: str = "left", noise: Noise | None = None
    ) -> Self:
        """A mask that keeps one half of the image; the middle row or column of an odd number is hidden.

        Arguments:
            event_shape: (C, H, W).
            seen: "left", "right", "top" or "bottom".

        Raises:
            ValueError: another side.
        """
        choice("Masking.half: seen", seen, ("left", "right", "top", "bottom"))
        height, width = _plane("Masking.half", event_shape)
        sideways = seen in ("left", "right")
        size = width if sideways else height
        place = torch.arange(size) if sideways else torch.arange(size)[:, None]
        line = place < size // 2 if seen in ("left", "top") else place >= size - size // 2
        return cls(line.expand(1, height, width).clone(), noise=noise)

    @property
    def support(self) -> Tensor:
        return self.mask

    @property
    def singular_values(self) -> Tensor:
        return self.mask.float()

    # torch.where, not a product: values outside the mask must not matter, even nan.
    def forward(self, x: Tensor) -> Tensor:
        return torch.where(self.mask, x, 0)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.forward(y)

    def pinv(self, y: Tensor) -> Tensor:
        return self.forward(y)

    def U(self, z: Tensor) -> Tensor:
        return self.forward(z)

    def Ut(self, y: Tensor) -> Tensor:
        return self.forward(y)

    def V(self, z: Tensor) -> Tensor:
        return z

    def Vt(self, x: Tensor) -> Tensor:
        return x

    def solve_gram(self, y: Tensor, r2: Tensor | float) -> Tensor:
        """(r2 + sigma_y^2)^-1 y on the mask, for any sigma_y; arguments as in LinearOperator."""
        total = column(r2, y) + self._sigma_y(y) ** 2
        return torch.where(self.mask & (total > 0), y / torch.where(total > 0, total, 1), 0)

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        return measurement_shape

    def check_event_shape(self, event_shape: Shape) -> None:
        if self.mask.shape == event_shape and not self._is_batched("mask"):
            return
        mask = tuple(self.mask.shape[1:] if self._is_batched("mask") else self.mask.shape)
        full = len(mask) == len(event_shape) or (len(mask) < len(event_shape) and not self._is_batched("mask"))
        if not full or any(m not in (1, e) for m, e in zip(mask[::-1], event_shape[::-1], strict=False)):
            many = len(mask) == len(event_shape) == 3 and mask[1:] == tuple(event_shape[1:])
            raise ValueError(
                f"Masking: the mask {mask} does not broadcast to events {event_shape}; expected the picture's size"
                + (f", or, for one mask per measurement ({mask[0]}), mask[:, None], (B, 1, H, W)" if many else "")
            )


def _plane(name: str, event_shape: Any) -> tuple[int, int]:
    """(H, W) of events (C, H, W)."""
    found = shape(f"{name}: event_shape", event_shape)
    if len(found) < 2:
        raise ValueError(f"{name}: event_shape = {found}: expected pictures (C, H, W)")
    return found[-2], found[-1]


def _pair(name: str, value: Any) -> tuple[int, int]:
    """Two numbers of pixels, or one for both."""
    value = value.tolist() if isinstance(value, np.ndarray | Tensor) else value
    pair = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name} = {value!r:.60}: expected a number of pixels, or two: height and width")
    return count(name, pair[0], 0), count(name, pair[1], 0)
