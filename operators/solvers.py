"""Conjugate gradients on rows: every row is its own system, with its own step and its own end."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]


def column(value: Tensor | float, like: Tensor) -> Tensor:
    """A scalar or (N,) tensor, shaped to broadcast against rows `like` (N, ...)."""
    value = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    return value.reshape(-1, *[1] * (like.ndim - 1)) if value.ndim else value


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each row over all its axes, (N,)."""
    return (a * b).reshape(len(a), -1).sum(1)


def conjugate_gradients(
    apply: Map, b: Tensor, *, rtol: float = 1e-6, max_steps: int = 250, precondition: Map | None = None
) -> Tensor:
    """Solve A x = b, A symmetric positive semi-definite and b in its range (Hestenes & Stiefel 1952).

    Arguments:
        apply: A, mapping rows (N, ...) to rows of the same shape.
        b: (N, ...).
        rtol: a row stops once |b - A x| <= rtol |b|, in the norm of P where there is one.
        max_steps: applications of A at most.
        precondition: P, symmetric positive semi-definite and like the inverse of A.
    """
    x, r = torch.zeros_like(b) + column(0 * dot(b, b), b), b  # a row with nan has no solution, and no end
    p = z = b if precondition is None else precondition(b)
    rho = dot(r, z)
    stop = rtol**2 * rho
    for _ in range(max_steps):
        active = rho > stop
        if not active.any():
            break
        q = apply(p)
        step = _ratio(rho, dot(p, q), active)
        x, r = x + column(step, b) * p, r - column(step, b) * q
        z = r if precondition is None else precondition(r)
        rho, old = dot(r, z), rho
        p = z + column(_ratio(rho, old, active), b) * p
    return x


def least_squares(forward: Map, adjoint: Map, y: Tensor, *, rtol: float = 1e-6, max_steps: int = 250) -> Tensor:
    """The x of least |A x - y|, and of least |x| among those: CGLS started at 0, which never leaves range(A^T).

    Björck, Numerical Methods for Least Squares Problems, section 7.4. Arguments as in `conjugate_gradients`; a row
    stops once |A^T (y - A x)| <= rtol |A^T y|.
    """
    r, s = y, adjoint(y)
    x, p = torch.zeros_like(s), s
    rho = dot(s, s)
    stop = rtol**2 * rho
    for _ in range(max_steps):
        active = rho > stop
        if not active.any():
            break
        q = forward(p)
        step = _ratio(rho, dot(q, q), active)
        x, r = x + column(step, x) * p, r - column(step, r) * q
        s = adjoint(r)
        rho, old = dot(s, s), rho
        p = s + column(_ratio(rho, old, active), p) * p
    return x


def _ratio(a: Tensor, b: Tensor, where: Tensor) -> Tensor:
    where = where & (b > 0)
    return torch.where(where, a / torch.where(where, b, 1), 0)
