"""Operators that are linear: adjoint, pseudo-inverse, and the solves that guidances need."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Operator, Shape
from .noise import GaussianNoise, Noise
from .solvers import Map, column, least_squares, solve


class LinearOperator(Operator):
    """A linear forward. `adjoint`, `pinv` and `solve_gram` have defaults from `forward` alone; override for speed.

    Attributes:
        cg_rtol: relative residual at which the iterations of `pinv` and `solve_gram` stop.
        cg_steps: their largest number. If it is not enough, a `NotConverged` warning reports the residual.
    """

    structure = frozenset({"differentiable", "linear"})
    cg_rtol: float = 1e-6
    cg_steps: int = 2500

    def linear_part(self) -> tuple[LinearOperator, Noise]:
        return self, self.noise

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.at(tuple(x.shape[1:])).adjoint(v)

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y, (N, *M) -> (N, *E), by differentiating `forward` at 0.

        Raises:
            ValueError: the event shape is unknown (see `event_shape_of`), or y is not a measurement of such events.
        """
        create_graph = torch.is_grad_enabled() and y.requires_grad
        event_shape = self.event_shape_of(tuple(y.shape[1:]))
        with torch.inference_mode(False), torch.enable_grad():
            zeros = torch.zeros(len(y), *event_shape, dtype=y.dtype, device=y.device, requires_grad=True)
            clean = self._recorded(zeros)
            # of a scalar: torch imports sympy, for seconds, to check the shape of grad_outputs
            return torch.autograd.grad(
                (clean * (y if create_graph else y.clone())).sum(), zeros, create_graph=create_graph
            )[0]

    def pinv(self, y: Tensor) -> Tensor:
        """A^+ y, the least-squares x of minimum norm, (N, *M) -> (N, *E); by conjugate gradients (CGLS).

        Stops at |A^T (y - A x)| <= cg_rtol |A^T y|; issues `NotConverged` if cg_steps do not reach it.
        """
        what = f"{type(self).__name__}.pinv"
        return least_squares(self, self.adjoint, y, rtol=self.cg_rtol, max_steps=self.cg_steps, what=what)

    def solve_gram(self, y: Tensor, r2: Tensor | float) -> Tensor:
        """Solve (r2 A A^T + Sigma_y) v = y on the support; v is 0 elsewhere. By conjugate gradients.

        Stops at a residual of cg_rtol |y|, in double precision if single precision does not reach it; issues
        `NotConverged` if cg_steps do not reach it either.

        Arguments:
            y: (N, *M).
            r2: variance of x0 - D(x_t), scalar or (N,), in squared image units.

        Raises:
            ValueError: the noise is not Gaussian.
        """
        support, variance, r2 = self.support, self._sigma_y(y) ** 2, column(r2, y)

        def restrict(v: Tensor) -> Tensor:
            return v if support is None else torch.where(support, v, 0)

        def gram(v: Tensor) -> Tensor:
            return restrict(r2 * self(self.adjoint(v)) + variance * v)

        precondition = None if self.noise.noiseless else self.gram_preconditioner(y, r2)
        return solve(
            gram,
            restrict(y),
            rtol=self.cg_rtol,
            max_steps=self.cg_steps,
            what=f"{type(self).__name__}.solve_gram",
            precondition=None if precondition is None else lambda v: restrict(precondition(v)),
        )

    def gram_preconditioner(self, y: Tensor, r2: Tensor) -> Map | None:
        """A preconditioner for `solve_gram`: an approximate inverse of r2 A A^T + Sigma_y, symmetric and positive;
        None: none.

        Arguments:
            y: (N, *M), whose shape it is for; the map is applied to rows like it, in single and double precision.
            r2: as of `solve_gram`, broadcastable to y.
        """
        return None

    def transfer(self, event_shape: Shape, dtype: torch.dtype) -> Tensor | None:
        """The factors of A at rfft2's frequencies, complex (1, H, W // 2 + 1), where A is the same circular convolution
        of every channel and row of events (C, H, W); None: it is none."""
        return None

    def cosine_power(self, variances: Tensor) -> Tensor | None:
        """The variances of the coordinates of A x in the orthonormal cosine transform, (C, h, w), for x of independent
        cosines of these variances, (*E) = (C, H, W), where A treats all channels alike and A x has independent cosines
        again; None: it has not."""
        return None

    def _mean_variance(self, y: Tensor) -> Tensor:
        """The geometric mean of sigma_y^2 over the entries of every measurement, broadcastable to y; sigma_y > 0."""
        sigma = self._sigma_y(y)
        rows = sigma if sigma.ndim == y.ndim else sigma.expand(1, *y.shape[1:])
        return rows.log().flatten(1).mean(1).mul(2).exp().reshape(-1, *[1] * (y.ndim - 1))

    def _sigma_y(self, y: Tensor) -> Tensor:
        if not isinstance(self.noise, GaussianNoise):
            raise ValueError(
                f"{type(self).__name__}.solve_gram: expected Gaussian noise, given {type(self.noise).__name__}; "
                "approximate it by GaussianNoise, or use a method that only needs log_likelihood"
            )
        return self.noise.aligned("sigma", y)
