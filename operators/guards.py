"""Input checks around the methods of every operator.

`Operator.__init_subclass__` wraps the methods that a class defines. They run at every step of a solve, so only types
and shapes are checked; `pinv`, which no method calls, also checks values.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .arguments import rows, variance

Method = Callable[..., Tensor]


def _of_y(method: Method) -> Method:
    @functools.wraps(method)
    def checked(self: Any, y: Tensor) -> Tensor:
        self._check_measured("y", y)
        return method(self, y)

    return checked


def _of_finite_y(method: Method) -> Method:
    @functools.wraps(method)
    def checked(self: Any, y: Tensor) -> Tensor:
        self._check_measured("y", y)
        measured = y if self.support is None else torch.where(self.support, y, 0)
        if not bool(measured.isfinite().all()):  # the iteration would stop immediately and return 0
            raise ValueError(
                f"{type(self).__name__}.{method.__name__}: y has nan or infinite entries where measured; set them to "
                "0 and exclude them from the operator's mask"
            )
        return method(self, y)

    return checked


def _of_y_and_r2(method: Method) -> Method:
    @functools.wraps(method)
    def checked(self: Any, y: Tensor, r2: Tensor | float) -> Tensor:
        self._check_measured("y", y)
        return method(self, y, variance(f"{type(self).__name__}.{method.__name__}: r2", r2, len(y)))

    return checked


def _of_x_and_v(method: Method) -> Method:
    @functools.wraps(method)
    def checked(self: Any, x: Tensor, v: Tensor) -> Tensor:
        self.validate(x)
        name = f"{type(self).__name__}.{method.__name__}: v"
        rows(name, v, "measurement")
        expected = (len(x), *self.known_shape(tuple(x.shape[1:])))
        if tuple(v.shape) != expected:
            raise ValueError(f"{name} of shape {tuple(v.shape)}: expected {expected}, the shape of forward(x)")
        return method(self, x, v)

    return checked


GUARDS: dict[str, Callable[[Method], Method]] = {
    "adjoint": _of_y,
    "pinv": _of_finite_y,
    "solve_gram": _of_y_and_r2,
    "vjp": _of_x_and_v,
}
