"""Conjugate gradients on batches: every batch element is a system with its own step size and stopping time."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]
SINGLE = 100  # steps in single precision before switching to double: more indicate an ill-conditioned system
REMEDY = (
    "allow more steps (operator.cg_steps), accept this residual (operator.cg_rtol), or use a larger sigma: the "
    "smaller sigma_y^2 is relative to r2, the more steps are needed"
)


class NotConverged(UserWarning):
    """An iterative solve stopped above the requested residual."""


def column(value: Tensor | float, like: Tensor) -> Tensor:
    """A scalar or (N,) tensor, shaped to broadcast against rows `like` (N, ...)."""
    value = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    return value.reshape(-1, *[1] * (like.ndim - 1)) if value.ndim else value


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each batch element over all its axes, (N,)."""
    return (a * b).reshape(len(a), -1).sum(1)


def conjugate_gradients(
    apply: Map,
    b: Tensor,
    *,
    rtol: float = 1e-6,
    max_steps: int = 250,
    precondition: Map | None = None,
    what: str | None = None,
    remedy: str = "allow more steps, or a larger rtol",
) -> Tensor:
    """Solve A x = b, A symmetric positive semi-definite and b in its range (Hestenes & Stiefel 1952).

    Arguments:
        apply: A, mapping rows (N, ...) to rows of the same shape.
        b: (N, ...).
        rtol: a row stops once |b - A x| <= rtol |b|, in the norm of P where there is one.
        max_steps: applications of A at most.
        precondition: P, symmetric positive semi-definite and like the inverse of A.
        what: name of this solve in a `NotConverged` warning, issued if max_steps are not enough. None: no warning,
            for a solve that is meant to be approximate, such as a preconditioner.
        remedy: in that warning.
    """
    z = b if precondition is None else precondition(b)
    size = dot(b, z)
    x, r = _descend(apply, torch.zeros_like(b), b, rtol**2 * size, max_steps, precondition)
    if what is not None:
        left = dot(r, r if precondition is None else precondition(r))
        residuals = (left / torch.where(size > 0, size, 1)).clamp(min=0).sqrt()
        warn_of(residuals, rtol, max_steps, what, remedy)
    return x


def solve(apply: Map, b: Tensor, *, rtol: float, max_steps: int, what: str, precondition: Map | None = None) -> Tensor:
    """Solve A x = b, recompute the residual at the end, and issue a `NotConverged` warning if it is above rtol.

    Single precision reaches |b - A x| / |b| of about 1e-7 times the condition number of A. If this misses rtol, double
    precision continues from there. Arguments as `conjugate_gradients`; rtol is of |b| whatever P is; what: the name in
    the warning.
    """
    limit = rtol**2 * dot(b, b)
    first = min(SINGLE, max_steps) if b.dtype == torch.float32 else max_steps
    x, _ = _descend(apply, torch.zeros_like(b), b, limit, first, precondition, plain=True)
    r = b - apply(x)
    if bool((dot(r, r) > limit).any()):
        wide = widest(apply, b)
        x, rest = x.to(wide), b.to(wide)
        r, limit = rest - apply(x), rtol**2 * dot(rest, rest)
        x, _ = _descend(apply, x, r, limit, max_steps, precondition, plain=True)
        r = rest - apply(x)
    size = dot(b, b).to(r)
    warn_of((dot(r, r) / torch.where(size > 0, size, 1)).sqrt(), rtol, max_steps, what)
    return x.to(b.dtype)


def least_squares(
    forward: Map, adjoint: Map, y: Tensor, *, rtol: float = 1e-6, max_steps: int = 250, what: str | None = None
) -> Tensor:
    """The x of least |A x - y|, and of least |x| among those: CGLS started at 0, which never leaves range(A^T).

    Björck, Numerical Methods for Least Squares Problems, section 7.4. Arguments as in `conjugate_gradients`; a row
    stops once |A^T (y - A x)| <= rtol |A^T y|. With `what`, the gradient is recomputed at the end, double precision
    continues if single precision missed rtol, and `NotConverged` is issued if that misses it too.
    """
    s = adjoint(y)
    size = dot(s, s)
    first = min(SINGLE, max_steps) if what is not None and y.dtype == torch.float32 else max_steps
    x = _descend_squares(forward, adjoint, torch.zeros_like(s), y, rtol**2 * size, first)
    if what is None:
        return x
    s = adjoint(y - forward(x))
    if bool((dot(s, s) > rtol**2 * size).any()):
        wide = widest(lambda v: adjoint(forward(v)), x)
        x, rest = x.to(wide), y.to(wide)
        s = adjoint(rest)
        size = dot(s, s)
        x = _descend_squares(forward, adjoint, x, rest - forward(x), rtol**2 * size, max_steps)
        s = adjoint(rest - forward(x))
    warn_of((dot(s, s) / torch.where(size > 0, size, 1)).sqrt(), rtol, max_steps, what)
    return x.to(y.dtype)


def warn_of(residuals: Tensor, rtol: float, max_steps: int, what: str, remedy: str = REMEDY) -> None:
    """Issue `NotConverged` for relative residuals (N,) above rtol; what: the name of the solve."""
    worst = float(residuals.detach().max()) if len(residuals) else 0.0
    if not worst <= 1.01 * rtol:  # also true for nan
        warnings.warn(
            f"{what}: relative residual {worst:.1e} after {max_steps} steps, requested {rtol:.1e}; {remedy}",
            NotConverged,
            stacklevel=5,  # skips the frame of the wrapper that `operators.guards` puts around a method
        )


def _descend(
    apply: Map, x: Tensor, r: Tensor, limit: Tensor, max_steps: int, precondition: Map | None, plain: bool = False
) -> tuple[Tensor, Tensor]:
    """Steps from x, of residual r, until <r, P r>, or <r, r> if plain, is at most `limit` (N,): x and its residual."""
    x = x + column(0 * dot(r, r), x)  # keep nan in batch elements that have it
    p = z = r if precondition is None else precondition(r)
    rho = dot(r, z)
    for _ in range(max_steps):
        active = (dot(r, r) if plain and precondition is not None else rho) > limit
        if not active.any():
            break
        q = apply(p)
        step = _ratio(rho, dot(p, q), active)
        x, r = x + column(step, x) * p, r - column(step, r) * q
        z = r if precondition is None else precondition(r)
        rho, old = dot(r, z), rho
        p = z + column(_ratio(rho, old, active), p) * p
    return x, r


def _descend_squares(forward: Map, adjoint: Map, x: Tensor, r: Tensor, limit: Tensor, max_steps: int) -> Tensor:
    """Steps from x, of residual r = y - A x, until |A^T r|^2 is at most `limit` (N,)."""
    x = x + column(0 * dot(r, r), x)  # keep nan in batch elements that have it
    p = s = adjoint(r)
    rho = dot(s, s)
    for _ in range(max_steps):
        active = rho > limit
        if not active.any():
            break
        q = forward(p)
        step = _ratio(rho, dot(q, q), active)
        x, r = x + column(step, x) * p, r - column(step, r) * q
        s = adjoint(r)
        rho, old = dot(s, s), rho
        p = s + column(_ratio(rho, old, active), p) * p
    return x


def widest(apply: Map, b: Tensor) -> torch.dtype:
    """float64 if the map accepts and returns it, else b's dtype: some devices and networks lack float64."""
    try:
        with torch.no_grad():
            answer = apply(torch.zeros_like(b, dtype=torch.float64))
        return torch.float64 if answer.dtype == torch.float64 else b.dtype
    except (RuntimeError, TypeError):
        return b.dtype


def _ratio(a: Tensor, b: Tensor, where: Tensor) -> Tensor:
    where = where & (b > 0)
    return torch.where(where, a / torch.where(where, b, 1), 0)
