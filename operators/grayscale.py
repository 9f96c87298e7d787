"""Colourisation: a weighted sum of the channels is measured."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .arguments import tensor
from .base import Shape
from .noise import Noise
from .registry import register
from .svd import SVDOperator


@register("grayscale")
class Grayscale(SVDOperator):
    """A weighted sum of the channels.

    y = sum_c w_c x_c, (N, 3, H, W) -> (N, 1, H, W). V^T is an orthogonal change of channels whose first axis is
    w / |w| (a Householder reflection), and S = (|w|, 0, 0). Song et al. 2021, appendix I.3.

    Arguments:
        noise: in units of y.
        weights: one per channel; ITU-R BT.601 luma is (0.299, 0.587, 0.114).

    Raises:
        ValueError: weights that are all zero or not finite, or events with another number of channels.
    """

    structure = SVDOperator.structure | {"orthogonal_rows"}
    weights: Tensor

    def __init__(self, noise: Noise | None = None, weights: Sequence[float] | Tensor = (1 / 3, 1 / 3, 1 / 3)) -> None:
        super().__init__(noise)
        w = tensor("Grayscale: weights", weights).float()
        if w.ndim != 1 or not bool(w.any()):
            raise ValueError(
                f"Grayscale: weights must be one finite number per channel, not all 0; given {weights!s:.60}"
            )
        self.register_buffer("weights", w)

    @property
    def singular_values(self) -> Tensor:
        return self._gains(self.weights)

    def spectrum(self, z: Tensor) -> Tensor:
        return self._gains(self.weights.to(z.dtype))

    def _gains(self, weights: Tensor) -> Tensor:
        first = torch.arange(len(weights), device=weights.device) == 0
        return (weights.norm() * first)[:, None, None]

    def Vt(self, x: Tensor) -> Tensor:
        weights = self.weights.to(x.dtype)
        return torch.einsum("ij,njhw->nihw", reflection(weights / weights.norm()), x)

    def V(self, z: Tensor) -> Tensor:
        return self.Vt(z)

    def U(self, z: Tensor) -> Tensor:
        return z[:, :1]

    def Ut(self, y: Tensor) -> Tensor:
        return torch.cat([y, y.new_zeros(len(y), len(self.weights) - 1, *y.shape[2:])], dim=1)

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        return (len(self.weights), *measurement_shape[1:])

    def check_event_shape(self, event_shape: Shape) -> None:
        if len(event_shape) != 3 or event_shape[0] != len(self.weights):
            raise ValueError(
                f"Grayscale: expected events ({len(self.weights)}, H, W), given {event_shape}; "
                "give as many weights as the picture has channels"
            )


def reflection(axis: Tensor) -> Tensor:
    """A symmetric orthogonal matrix (C, C) whose first row is a unit vector (C,): a Householder reflection."""
    first = torch.eye(len(axis), dtype=axis.dtype, device=axis.device)[0]
    sign = torch.where(axis[0] < 0, -1, 1)
    u = axis + sign * first  # the sign that avoids cancellation
    return sign * (2 * u.outer(u) / u.dot(u) - torch.diag(torch.ones_like(u)))
