"""Operators that are often stated in place of the right one: a kernel in another orientation, ..."""

from __future__ import annotations

from functools import singledispatch

from torch import Tensor

from .base import Operator
from .batching import device_of
from .bayer import Bayer
from .blur import Blur

DISTINCT = 0.1  # relative distance of two kernels from which they count as different


@singledispatch
def variants(operator: Operator) -> dict[str, Operator]:
    """Operators that are often meant where this one is stated, by a description of the difference.

    Of a `Blur`: its kernel turned, transposed and mirrored, if that changes it (none for kernels per measurement); of a
    `Bayer` pattern: those of a sensor that starts one row or column further. Others have none;
    ``@operators.variants.register`` adds a function for a class of your own.
    Arguments: operator.
    Returns: description -> operator, with the same noise.
    Raises: TypeError for what is no operator.
    """
    if not isinstance(operator, Operator):
        raise TypeError(f"operator of type {type(operator).__name__}: expected an operators.Operator")
    return {}


@variants.register
def _(operator: Blur) -> dict[str, Operator]:
    k = operator.kernel
    if len(k) > 1:
        return {}
    made = {
        "kernel turned by 180 degrees": k.flip(-2, -1),
        "kernel transposed": k.mT,
        "kernel transposed and turned by 180 degrees": k.mT.flip(-2, -1),
        "kernel mirrored left to right": k.flip(-1),
        "kernel mirrored top to bottom": k.flip(-2),
    }
    found: dict[str, Tensor] = {}
    for name, other in made.items():
        if all(_distinct(other, one) for one in (k, *found.values())):
            found[name] = other
    return {name: Blur(other[0], operator.boundary, operator.noise) for name, other in found.items()}


@variants.register
def _(operator: Bayer) -> dict[str, Operator]:
    a, b, c, d = operator.pattern
    # not both shifts at once: red and blue are exchanged, and the greens, by which a pattern is known, stay in place
    shifted = sorted({b + a + d + c, c + d + a + b} - {operator.pattern})
    there = device_of(operator)
    return {f"pattern {pattern}": Bayer(pattern, operator.noise).to(there) for pattern in shifted}


def _distinct(a: Tensor, b: Tensor) -> bool:
    return a.shape != b.shape or float((a - b).norm()) > DISTINCT * float(b.norm())
