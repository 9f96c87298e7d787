"""A linear map given by its matrix."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .arguments import tensor
from .base import Shape
from .noise import Noise
from .registry import register
from .svd import SVDOperator


@register("linear")
class LinearMap(SVDOperator):
    """A matrix on flattened events.

    y = A vec(x), (N, *E) -> (N, m).

    The SVD is computed once, in float64, and stores a d x d matrix: use it for events of at most a few thousand
        numbers.

    Arguments:
        matrix: (m, d), or (B, m, d), one per measurement.
        noise: in units of y.
        event_shape: E, of d numbers; default (d,).

    Raises:
        ValueError: a matrix of other than 2 or 3 axes or with entries not finite; events of other than d numbers.
    """

    matrix: Tensor
    left: Tensor  # (m, r), r = min(m, d)
    right: Tensor  # (d, d), rows are right singular vectors
    values: Tensor  # (d,), 0 beyond the rank

    def __init__(self, matrix: Tensor, noise: Noise | None = None, event_shape: Shape | None = None) -> None:
        matrix = tensor("LinearMap: matrix", matrix)
        if matrix.ndim not in (2, 3):
            raise ValueError(
                f"LinearMap: expected a finite matrix (m, d) or (B, m, d), given shape {tuple(matrix.shape)}; "
                "write matrix[None] for a single row"
            )
        matrix = matrix.to(torch.promote_types(matrix.dtype, torch.float32))  # half precision rounds singular vectors
        m, d = matrix.shape[-2:]
        super().__init__(noise, event_shape=(d,) if event_shape is None else event_shape)
        left, values, right = torch.linalg.svd(matrix.double(), full_matrices=m < d)
        noise_floor = max(m, d) * torch.finfo(matrix.dtype).eps * values.amax(-1, keepdim=True)
        values = torch.where(values > noise_floor, values, 0)
        top = values.amax(-1, keepdim=True)
        if bool(((values == 0) | (values > top * (1 - 1e-5))).all()):
            self.structure = self.structure | {"orthogonal_rows"}
        self.batched_buffer("matrix", matrix, 2)
        self.batched_buffer("left", left.to(matrix.dtype), 2)
        self.batched_buffer("right", right.to(matrix.dtype), 2)
        self.batched_buffer("values", F.pad(values, (0, d - values.shape[-1])).to(matrix.dtype), 1)
        self.check_event_shape(self._shape)

    @property
    def _shape(self) -> Shape:
        assert self.event_shape is not None  # set by __init__
        return self.event_shape

    @property
    def singular_values(self) -> Tensor:
        return self.values.reshape(*self.values.shape[:-1], *self._shape)

    def forward(self, x: Tensor) -> Tensor:
        return _times(self.matrix, x.flatten(1))

    def adjoint(self, y: Tensor) -> Tensor:
        return _times(self.matrix.mT, y).reshape(-1, *self._shape)

    def Vt(self, x: Tensor) -> Tensor:
        return _times(self.right, x.flatten(1)).reshape(x.shape)

    def V(self, z: Tensor) -> Tensor:
        return _times(self.right.mT, z.flatten(1)).reshape(z.shape)

    def Ut(self, y: Tensor) -> Tensor:
        z = _times(self.left.mT, y)
        z = F.pad(z, (0, self.values.shape[-1] - z.shape[-1]))
        return torch.where(self.values > 0, z, 0).reshape(-1, *self._shape)

    def U(self, z: Tensor) -> Tensor:
        z = torch.where(self.values > 0, z.flatten(1), 0)
        return _times(self.left, z[:, : self.left.shape[-1]])

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        return self._shape

    def check_event_shape(self, event_shape: Shape) -> None:
        if event_shape != self._shape or torch.Size(event_shape).numel() != self.matrix.shape[-1]:
            raise ValueError(
                f"LinearMap: a matrix of {self.matrix.shape[-1]} columns for events {self._shape}, given events "
                f"{event_shape}; set LinearMap(matrix, event_shape=...), whose product is the number of columns"
            )


def _times(matrix: Tensor, x: Tensor) -> Tensor:
    """Each row of x (N, d) by the matrix (m, d), or by its own (N, m, d)."""
    return torch.einsum("...md,...d->...m", matrix.to(x.dtype), x)
