"""Linear operators with a known singular value decomposition."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from .linear_operator import LinearOperator
from .solvers import Map, column


class SVDOperator(LinearOperator):
    """A = U S V^T with U and V as functions, never as matrices of the image's size.

    Spectral coordinates have the event's shape. `V` and `Vt` are orthogonal and inverse to each other; `Ut` places the
    coordinates of U^T y at the positions of their singular values, and 0 where these are 0; `U` ignores its input
    there.
    """

    structure = frozenset({"differentiable", "linear", "svd"})

    @property
    @abstractmethod
    def singular_values(self) -> Tensor:
        """S >= 0, broadcastable to (N, *E); 0 on the null space."""

    @abstractmethod
    def Vt(self, x: Tensor) -> Tensor:
        """Events to spectral coordinates, (N, *E) -> (N, *E)."""

    @abstractmethod
    def V(self, z: Tensor) -> Tensor:
        """Spectral coordinates to events, (N, *E) -> (N, *E)."""

    @abstractmethod
    def Ut(self, y: Tensor) -> Tensor:
        """Measurements to spectral coordinates, (N, *M) -> (N, *E)."""

    @abstractmethod
    def U(self, z: Tensor) -> Tensor:
        """Spectral coordinates to measurements, (N, *E) -> (N, *M)."""

    def spectrum(self, z: Tensor) -> Tensor:
        """The singular values that go with coordinates z (N, *E), in z's dtype and broadcastable to z."""
        return self.singular_values.to(z.dtype)

    def forward(self, x: Tensor) -> Tensor:
        z = self.Vt(x)
        return self.U(self.spectrum(z) * z)

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y = V S U^T y, (N, *M) -> (N, *E)."""
        z = self.Ut(y)
        return self.V(self.spectrum(z) * z)

    def pinv(self, y: Tensor) -> Tensor:
        """A^+ y = V S^+ U^T y, (N, *M) -> (N, *E)."""
        z = self.Ut(y)
        return self.V(divide(z, self.spectrum(z)))

    def solve_gram(self, y: Tensor, r2: Tensor | float) -> Tensor:
        """Solve (r2 A A^T + sigma_y^2) v = y (N, *M) on the support.

        v = U (r2 S^2 + sigma_y^2)^-1 U^T y + (1 - U U^T) y / sigma_y^2.

        Where both r2 S^2 and sigma_y^2 are 0 the minimum-norm v is returned. Arguments as in LinearOperator; falls back
        to its conjugate gradients where sigma_y varies between entries.
        """
        if "isotropic" not in self.capabilities:
            return super().solve_gram(y, r2)
        return self._solve_isotropic(y, r2, self._sigma_y(y) ** 2)

    def gram_preconditioner(self, y: Tensor, r2: Tensor) -> Map:
        """The closed form for the mean variance, on rows (N, *M): the preconditioned system has a condition number of
        at most max sigma_y^2 / min sigma_y^2. Arguments as in LinearOperator."""
        variance = self._mean_variance(y)
        return lambda v: self._solve_isotropic(v, r2, variance)

    def _solve_isotropic(self, y: Tensor, r2: Tensor | float, variance: Tensor) -> Tensor:
        if self.support is not None:
            y = torch.where(self.support, y, 0)
        variance, z = variance.to(y), self.Ut(y)
        # U U^T y is subtracted twice: one pass leaves rounding errors of size |y|, which 1 / sigma_y^2 would amplify.
        rest = y - self.U(z)
        rest = rest - self.U(self.Ut(rest))
        r2 = column(r2, z)
        inside = self.U(divide(z, r2 * self.spectrum(z) ** 2 + column(variance.reshape(-1), z)))
        return inside + divide(rest, variance)


def divide(a: Tensor, b: Any) -> Tensor:
    """a / b where b > 0, and 0 elsewhere."""
    return torch.where(b > 0, a / torch.where(b > 0, b, 1), 0)
