"""Demosaicing: a sensor measures one colour per pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from .arguments import picture
from .base import Shape
from .linear_operator import LinearOperator
from .noise import Noise
from .registry import register
from .svd import SVDOperator


@register("bayer")
class Bayer(SVDOperator):
    """The colour filter array of a camera: one colour is measured per pixel.

    Formula: y[i, j] = x[c(i mod 2, j mod 2), i, j], (N, 3, H, W) -> (N, 1, H, W), of any size. V = 1, S = 1 where a
    colour is measured and 0 elsewhere.
    Source: Bayer 1976.
    Arguments: pattern (four letters, each of R, G, B at least once): the filters of the top left 2 x 2 pixels,
    row by row; noise, in units of y.
    Raises: ValueError for another pattern, or events that are not (3, H, W).
    """

    structure = SVDOperator.structure | {"orthogonal_rows"}
    filters: Tensor

    def __init__(self, pattern: str = "RGGB", noise: Noise | None = None) -> None:
        super().__init__(noise)
        if not isinstance(pattern, str):
            raise TypeError(f"Bayer: pattern = {pattern!r:.60}: expected a string of four letters, such as 'RGGB'")
        if len(pattern) != 4 or set(pattern) != set("RGB"):
            raise ValueError(
                f"Bayer: pattern = {pattern!r:.60}: expected four of the letters R, G, B, each at least once, such as "
                "RGGB; for a single colour use Masking"
            )
        self.pattern = pattern
        colours = torch.tensor(["RGB".index(letter) for letter in pattern]).reshape(2, 2)
        self.register_buffer("filters", torch.arange(3)[:, None, None] == colours)  # (3, 2, 2)

    @property
    def singular_values(self) -> Tensor:
        """1 where a colour is measured, (3, H, W); needs the event shape (see `Operator.at`)."""
        return self._seen(LinearOperator.event_shape_of(self, ())).float()

    def spectrum(self, z: Tensor) -> Tensor:
        return self._seen(z.shape).to(z.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(self._seen(x.shape), x, 0).sum(1, keepdim=True)

    def adjoint(self, y: Tensor) -> Tensor:
        return torch.where(self._seen(y.shape), y, 0)

    def pinv(self, y: Tensor) -> Tensor:
        return self.adjoint(y)

    def U(self, z: Tensor) -> Tensor:
        return self.forward(z)

    def Ut(self, y: Tensor) -> Tensor:
        return self.adjoint(y)

    def V(self, z: Tensor) -> Tensor:
        return z

    def Vt(self, x: Tensor) -> Tensor:
        return x

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        return (3, *picture("Bayer", measurement_shape)[1:])

    def check_event_shape(self, event_shape: Shape) -> None:
        if len(event_shape) != 3 or event_shape[0] != 3:
            raise ValueError(f"Bayer: expected events (3, H, W), given {event_shape}; for one channel use Masking")

    def _seen(self, shape: Shape) -> Tensor:
        """Which colours of which pixels are measured, bool (3, H, W)."""
        height, width = shape[-2:]
        return self.filters.repeat(1, -(-height // 2), -(-width // 2))[:, :height, :width]
