"""Denoising: the image is measured with noise."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Shape
from .registry import register
from .solvers import column
from .svd import SVDOperator, divide


@register("identity")
class Identity(SVDOperator):
    """Denoising: the image itself plus noise.

    Formula: y = x + noise. U = V = 1, S = 1.
    Arguments: noise, in units of the image; events of any shape.
    Raises: TypeError for a noise that is not a `Noise`.
    """

    structure = SVDOperator.structure | {"orthogonal_rows"}

    @property
    def singular_values(self) -> Tensor:
        return torch.ones(())

    def spectrum(self, z: Tensor) -> Tensor:
        return z.new_ones(())

    def forward(self, x: Tensor) -> Tensor:
        return x.clone()  # in-place changes of y must not change x

    def adjoint(self, y: Tensor) -> Tensor:
        return y.clone()

    def pinv(self, y: Tensor) -> Tensor:
        return y.clone()

    def Vt(self, x: Tensor) -> Tensor:
        return x

    def V(self, z: Tensor) -> Tensor:
        return z

    def Ut(self, y: Tensor) -> Tensor:
        return y

    def U(self, z: Tensor) -> Tensor:
        return z

    def solve_gram(self, y: Tensor, r2: Tensor | float) -> Tensor:
        """(r2 + sigma_y^2)^-1 y, of y (N, *M), for any sigma_y; arguments as in LinearOperator."""
        return divide(y, column(r2, y) + self._sigma_y(y) ** 2)

    def cosine_power(self, variances: Tensor) -> Tensor | None:
        return variances

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        return measurement_shape
