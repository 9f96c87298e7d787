"""Measurements of volumes: slice by slice, and along one axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor

from .arguments import count, number, rows, tensor
from .base import Operator, Shape
from .kept import Kept
from .linear_operator import LinearOperator
from .noise import GaussianNoise, Noise
from .registry import register
from .solvers import column

AXIS = "0, 1 or 2 for D, H or W of volumes (C, D, H, W)"


class Slicewise(Operator):
    """An operator of pictures, applied to every slice of a volume.

    y_d = operator(x_d) + noise; (N, C, D, H, W) -> (N, D, *M) for slices along axis 0. Linear, with an adjoint and a
    pseudo-inverse, if the operator is.

    Arguments:
        operator: of the slices (C, H, W). Its noise is that of every slice.
        axis: that slices are stacked along, 0, 1 or 2 for D, H or W.

    Raises:
        TypeError: not an operator.
        ValueError: an axis out of range; events that are not volumes, or whose slices the operator does not support.
    """

    def __new__(cls, operator: Any = None, axis: int = 0) -> Self:
        return super().__new__(cls._fitting(LinearSlicewise) if isinstance(operator, LinearOperator) else cls)

    def __init__(self, operator: Operator, axis: int = 0) -> None:
        if not isinstance(operator, Operator):
            raise TypeError(f"Slicewise: operator of type {type(operator).__name__}: expected an operators.Operator")
        super().__init__(operator.noise)
        self.axis = count("Slicewise: axis", axis, 0, 2, AXIS)
        self.operator = operator.with_noise(GaussianNoise(0.0))  # the noise is stored once
        self.structure = operator.structure & {"differentiable", "linear"}

    def _facts(self) -> dict[str, Any]:
        return {"operator": self.operator.with_noise(self.noise), "axis": self.axis}

    @property
    def support(self) -> Tensor | None:
        found = self.operator.support
        if found is None or self.operator.batch is None:
            return found
        return found.unsqueeze(1)

    def forward(self, x: Tensor) -> Tensor:
        return self._each(self._of(x.shape[2 + self.axis]), self._slices(x), len(x))

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        op = self._of(v.shape[1])
        return self._volumes(op.vjp(self._slices(x), v.flatten(0, 1)), len(v))

    def at(self, event_shape: Shape) -> Self:
        twin = super().at(event_shape)
        if twin is not self:
            twin.operator = self.operator.at(self._slice_shape(tuple(event_shape)))
        return twin

    def measurement_shape(self, event_shape: Shape) -> Shape:
        """(D, *M)."""
        self.check_event_shape(tuple(event_shape))
        return (event_shape[1 + self.axis], *self.operator.measurement_shape(self._slice_shape(tuple(event_shape))))

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        """(C, D, H, W) for measurements (D, *M).

        Raises:
            ValueError: the operator cannot have measured a slice, or its event shape is unknown.
        """
        if self.event_shape is not None:
            return self.event_shape
        depth, *measured = measurement_shape
        slices = list(self.operator.event_shape_of(tuple(measured)))
        return (*slices[: 1 + self.axis], depth, *slices[1 + self.axis :])

    def check_event_shape(self, event_shape: Shape) -> None:
        if len(event_shape) != 4:
            raise ValueError(
                f"Slicewise: expected volumes (C, D, H, W), given {tuple(event_shape)}; x[:, :, None] makes volumes of "
                "one slice of pictures"
            )
        self.operator.check_event_shape(self._slice_shape(event_shape))

    def _slice_shape(self, event_shape: Shape) -> Shape:
        return (*event_shape[: 1 + self.axis], *event_shape[2 + self.axis :])

    def _of(self, depth: int) -> Any:
        """The operator of the slices of all volumes, in order."""
        batch = self.operator.batch
        return self.operator if batch is None else self.operator.rows(torch.arange(batch).repeat_interleave(depth))

    def _slices(self, x: Tensor) -> Tensor:
        return x.movedim(2 + self.axis, 1).flatten(0, 1)

    def _volumes(self, slices: Tensor, n: int) -> Tensor:
        return slices.unflatten(0, (n, -1)).movedim(1, 2 + self.axis)

    @staticmethod
    def _each(of_slices: Callable[[Tensor], Tensor], slices: Tensor, n: int) -> Tensor:
        return of_slices(slices).unflatten(0, (n, -1))


class LinearSlicewise(Slicewise, LinearOperator):
    """A linear operator of pictures, applied to every slice."""

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return LinearOperator.vjp(self, x, v)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._volumes(self._of(y.shape[1]).adjoint(y.flatten(0, 1)), len(y))

    def pinv(self, y: Tensor) -> Tensor:
        return self._volumes(self._of(y.shape[1]).pinv(y.flatten(0, 1)), len(y))

    def solve_gram(self, y: Tensor, r2: Tensor | float) -> Tensor:
        """Solve (r2 A A^T + Sigma_y) v = y, (N, D, *M), slice by slice where all entries have the same noise; otherwise
        by `LinearOperator`. Arguments as there."""
        if "isotropic" not in self.capabilities or self.noise.sigma.ndim:
            return super().solve_gram(y, r2)
        each = r2.repeat_interleave(y.shape[1]) if isinstance(r2, Tensor) and r2.ndim else r2
        op = self._of(y.shape[1]).with_noise(self.noise)
        return self._each(lambda v: op.solve_gram(v, each), y.flatten(0, 1), len(y))


@register("along_axis", volumes=True)
class AlongAxis(LinearOperator):
    """A matrix along one axis of volumes: thick slices, gaps, and blur across slices.

    y = sum_d matrix[i, d] x[:, d] along axis 0; (N, C, D, H, W) -> (N, C, m, H, W). `Slicewise(inner) @ AlongAxis(...)`
    measures the slices that result, for instance a Gaussian blur in three dimensions.

    Arguments:
        matrix: (m, D).
        axis: 0, 1 or 2 for D, H or W.
        noise: in units of y.

    Raises:
        ValueError: a matrix of another number of axes or not finite, an axis out of range, events of another size along
            the axis.
    """

    matrix: Tensor

    def __init__(self, matrix: Any, axis: int = 0, noise: Noise | None = None) -> None:
        super().__init__(noise)
        matrix = tensor("AlongAxis: matrix", matrix)
        if matrix.ndim != 2:
            raise ValueError(f"AlongAxis: matrix of shape {tuple(matrix.shape)}: expected (m, D)")
        self.axis = count("AlongAxis: axis", axis, 0, 2, AXIS)
        self.batched_buffer("matrix", matrix, 2)
        self._svd = Kept()

    @classmethod
    def gaussian(cls, depth: int, sigma: float, every: int = 1, axis: int = 0, noise: Noise | None = None) -> Self:
        """Slices of a Gaussian profile: blur along an axis, and every n-th slice of the result.

        Arguments:
            depth: D, slices.
            sigma: of the profile, in slices; 0: none. Its values are divided by their sum, also at the ends.
            every: distance of the measured slices; 1: all.
            axis, noise: as of `AlongAxis`.
        """
        depth, every = count("AlongAxis.gaussian: depth", depth), count("AlongAxis.gaussian: every", every)
        sigma = number("AlongAxis.gaussian: sigma", sigma, "[0, inf)", "in slices")
        place = torch.arange(depth, dtype=torch.float64)
        away = place[::every, None] - place
        profile = (away == 0).double() if sigma == 0 else torch.exp(-(away**2) / (2 * sigma**2))
        return cls((profile / profile.sum(1, keepdim=True)).float(), axis, noise)

    def forward(self, x: Tensor) -> Tensor:
        return self._along(self.matrix, x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._along(self.matrix.mT, y)

    def pinv(self, y: Tensor) -> Tensor:
        return self._along(torch.linalg.pinv(self.matrix.double()), y)

    def solve_gram(self, y: Tensor, r2: Tensor | float) -> Tensor:
        """Solve (r2 A A^T + Sigma_y) v = y, in closed form where all entries have the same noise. Arguments as of
        `LinearOperator`."""
        if "isotropic" not in self.capabilities or self.noise.sigma.ndim or self.noise.noiseless:
            return super().solve_gram(y, r2)
        values, basis = self._svd.get(None, self._spectrum, of=self.matrix)
        scale = 1 / (column(r2, y) * values.to(y).view(-1, *[1] * (2 - self.axis)) + self._sigma_y(y) ** 2)
        return self._along(basis, scale * self._along(basis.mT, y))

    def _spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues and eigenvectors of matrix matrix'."""
        wide = self.matrix.double()
        values, basis = torch.linalg.eigh(wide @ wide.mT)
        return values.clamp_min(0.0), basis

    def measurement_shape(self, event_shape: Shape) -> Shape:
        """(C, m, H, W)."""
        self.check_event_shape(tuple(event_shape))
        return (*event_shape[: 1 + self.axis], len(self.matrix), *event_shape[2 + self.axis :])

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        """(C, D, H, W) for measurements (C, m, H, W).

        Raises:
            ValueError: measurements of another shape.
        """
        if len(measurement_shape) != 4 or measurement_shape[1 + self.axis] != len(self.matrix):
            raise ValueError(
                f"AlongAxis: expected measurements of four axes, {len(self.matrix)} entries along axis {self.axis} "
                f"after the channels, given {tuple(measurement_shape)}"
            )
        head, tail = measurement_shape[: 1 + self.axis], measurement_shape[2 + self.axis :]
        return (*head, self.matrix.shape[1], *tail)

    def check_event_shape(self, event_shape: Shape) -> None:
        if len(event_shape) != 4 or event_shape[1 + self.axis] != self.matrix.shape[1]:
            raise ValueError(
                f"AlongAxis: expected volumes (C, D, H, W) of {self.matrix.shape[1]} entries along axis {self.axis} of "
                f"D, H, W, given {tuple(event_shape)}"
            )

    def _along(self, matrix: Tensor, x: Tensor) -> Tensor:
        rows("AlongAxis: x", x, "event")
        dim = 2 + self.axis
        return (x.movedim(dim, -1) @ matrix.mT.to(x)).movedim(-1, dim)
