"""Trials of operators that others wrote, before a solve: rows that mix, and adjoints that are none."""

from __future__ import annotations

import torch

from .base import Operator, Shape
from .exam import norm, ratio
from .linear_operator import LinearOperator
from .solvers import dot

ALIKE, ADJOINT = 1e-3, 1e-2  # relative differences: of a row alone and among others; of inner products
LARGEST = 2**22  # entries of an event, above which a trial would take long


class InexactAdjoint(UserWarning):
    """The adjoint of a linear operator is not that of its forward. Of a deepinv physics the derivative of A is used
    instead."""


def try_rows(operator: Operator, event_shape: Shape) -> str:
    """Apply an operator that others wrote to two events, together and alone, and test its adjoint.

    Operators of this package have tests of their own and are not tried, nor are very large events.

    Arguments:
        operator: with its event shape.
        event_shape: E.

    Returns:
        a message on an adjoint A' for which <v, A x> and <A' v, x> differ by more than a hundredth of their sizes, for
        random x, and v = A x or random; empty if it is right.

    Raises:
        ValueError: a row of the measurements depends on the other rows of events, or is missing.
    """
    if not _of_others(operator) or torch.Size(event_shape).numel() > LARGEST:
        return ""
    operator = operator.rows(torch.zeros(2, dtype=torch.long))
    rng, like = torch.Generator().manual_seed(0), operator._zeros(event_shape)
    x = torch.rand(2, *event_shape, generator=rng).to(like)
    with torch.no_grad():
        y, alone = operator(x), operator.rows(torch.tensor([1]))(x[1:])
        name = type(operator).__name__
        if len(y) != 2 or alone.shape != y[1:].shape:
            raise ValueError(
                f"{name}.forward makes {len(y)} measurements of two events {tuple(x.shape)}: expected one of each; the "
                "first axis is the batch, as in `x.flatten(1) @ A.T` (operators.check tests an operator)"
            )
        if not y.is_floating_point():
            return ""
        if not bool(ratio(norm(alone - y[1:]), norm(y[1:])) <= ALIKE):
            raise ValueError(
                f"{name}.forward: the measurement of an event depends on the other events of a batch; measure each row "
                "by itself (operators.check tests an operator)"
            )
        if not isinstance(operator, LinearOperator):
            return ""
        noise, off = torch.randn(y.shape, generator=rng).to(y), 0.0
        for v, size in ((y, norm(y) ** 2), (noise, norm(y))):  # <noise, A x> is of the size of |A x|
            there, here = dot(v.double(), y.double()), dot(operator.adjoint(v).double(), x.double())
            off = max(off, float(ratio((there - here).abs(), size).max()))
            if not off <= ADJOINT:
                break
        else:
            return ""
    return (
        f"{name}.adjoint is not the adjoint of forward: for some x and y, <y, A x> = {float(there[0]):.4g} and "
        f"<A' y, x> = {float(here[0]):.4g}; leave adjoint out, so that it is derived from forward, or correct its "
        "scale, sign or conjugation (operators.check tests an operator)"
    )


def _of_others(operator: Operator) -> bool:
    parts = (part for part in operator.modules() if isinstance(part, Operator))
    return any(type(part).__module__.partition(".")[0] != __package__ for part in parts)
