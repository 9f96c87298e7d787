"""Compositions and stacks of operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from .base import Operator, Shape
from .capabilities import modelled
from .linear_operator import LinearOperator
from .noise import GaussianNoise, LinkedNoise, Noise


class Composition(Operator):
    """outer @ inner.

    y = outer(inner(x)) + the outer's noise. Linear, with an adjoint and a pseudo-inverse, if both parts are.

    Arguments:
        outer: applied last; its noise and its support are those of the composition. Assigning `noise` replaces the
            outer by a copy with that noise.
        inner: applied first; its noise is not used.

    Raises:
        TypeError: a part that is not an operator.
    """

    def __new__(cls, outer: Any = None, inner: Any = None) -> Self:
        linear = isinstance(outer, LinearOperator) and isinstance(inner, LinearOperator)
        return super().__new__(cls._fitting(LinearComposition) if linear else cls)

    def __init__(self, outer: Operator, inner: Operator) -> None:
        super().__init__()
        for name, part in (("outer", outer), ("inner", inner)):
            if not isinstance(part, Operator):
                raise TypeError(f"Composition: {name} of type {type(part).__name__}: expected an operators.Operator")
        self.outer, self.inner = outer, inner
        self.complex_axis = outer.complex_axis
        self.structure = outer.structure & inner.structure & {"differentiable", "linear"}

    def __repr__(self) -> str:
        return f"{self.outer!r} @ {self.inner!r}"

    def _set_noise(self, noise: Noise | None) -> None:
        if noise is not None:  # not stored here: the outer operator may be moved or indexed later
            self.outer = self.outer.with_noise(noise)

    @property
    def capabilities(self) -> frozenset[str]:
        linked = self.inner.structure if "entrywise" in self.outer.structure else self.structure
        return modelled(self.structure, self.outer.capabilities, linked)

    def linear_part(self) -> tuple[LinearOperator, Noise]:
        if isinstance(self.inner, LinearOperator) and "entrywise" in self.outer.structure:
            return self.inner, LinkedNoise(self.outer)
        return super().linear_part()

    def _current_noise(self) -> Noise:
        return self.outer.noise

    @property
    def support(self) -> Tensor | None:
        return self.outer.support

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.inner.vjp(x, self.outer.vjp(self.inner(x), v))

    def at(self, event_shape: Shape) -> Self:
        twin = super().at(event_shape)
        if twin is not self:
            twin.inner = self.inner.at(event_shape)
            twin.outer = self.outer.at(twin.inner.measurement_shape(tuple(event_shape)))
        return twin

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        if self.event_shape is not None:
            return self.event_shape
        return self.inner.event_shape_of(self.outer.event_shape_of(measurement_shape))

    def check_event_shape(self, event_shape: Shape) -> None:
        self.inner.check_event_shape(event_shape)

    def validate_y(self, y: Tensor, event_shape: Shape) -> None:
        """As of `Operator`, and as the outer operator refuses a y (B, *M)."""
        super().validate_y(y, event_shape)
        self.outer.validate_y(y, self.inner.at(event_shape).measurement_shape(tuple(event_shape)))


class LinearComposition(Composition, LinearOperator):
    """outer @ inner of two linear operators: A^T = inner^T outer^T."""

    def adjoint(self, y: Tensor) -> Tensor:
        inner, outer = self.inner, self.outer
        if not (isinstance(inner, LinearOperator) and isinstance(outer, LinearOperator)):
            raise TypeError(f"LinearComposition: {self!r:.200}: expected two operators.LinearOperator")
        return inner.adjoint(outer.adjoint(y))


class Stack(Operator):
    """Several measurements of one image as a single operator. y = [y_1, ..., y_n], flattened and concatenated along the
    last axis: (N, m_1 + ... + m_n).

    The likelihood is the product of the likelihoods of the parts. Linear if all parts are.

    Arguments:
        operators: the parts, each with Gaussian noise.

    Raises:
        ValueError: no parts, or a part whose noise is not Gaussian; `noise`, `support` and `adjoint` of a stack without
            an `event_shape` (see `Operator.at`).
    """

    parts: Any  # an nn.ModuleList of Operators, which its type cannot express

    def __new__(cls, operators: Sequence[Operator] = ()) -> Self:
        if not isinstance(operators, Sequence):
            raise TypeError(f"Stack: operators of type {type(operators).__name__}: expected a list of operators")
        linear = bool(operators) and all(isinstance(op, LinearOperator) for op in operators)
        return super().__new__(cls._fitting(LinearStack) if linear else cls)

    def __init__(self, operators: Sequence[Operator]) -> None:
        super().__init__()
        self._shapes: list[Shape] | None = None
        for i, op in enumerate(operators):
            if not isinstance(op, Operator):
                raise TypeError(f"Stack: part {i} of type {type(op).__name__}: expected an operators.Operator")
        self.parts = nn.ModuleList(operators)
        for i, op in enumerate(operators):
            if "gaussian" not in op.capabilities:
                raise ValueError(
                    f"Stack: part {i} ({type(op).__name__}) has {type(op.noise).__name__}, expected GaussianNoise; "
                    "solve for it separately"
                )
        if not operators:
            raise ValueError("Stack: expected at least one operator, given none")
        self.structure = frozenset.intersection(*(op.structure for op in operators)) & {"differentiable", "linear"}

    def __repr__(self) -> str:
        return f"{type(self).__name__}([{', '.join(map(repr, self.parts))}])"

    def _set_noise(self, noise: Noise | None) -> None:
        if noise is not None:  # derived from the parts (below), which may be moved or indexed later
            raise ValueError(
                f"{type(self).__name__}.noise is that of its parts: assign theirs, such as stack.parts[0].noise = "
                "GaussianNoise(0.05), or make another stack"
            )

    @property
    def capabilities(self) -> frozenset[str]:
        noise = frozenset.intersection(*(op.noise.capabilities for op in self.parts)) - {"isotropic"}
        return self.structure | noise | ({"isotropic"} if self._common_sigma() is not None else set())

    def _current_noise(self) -> GaussianNoise:
        """The joint noise: sigma (m,) or (B, m), or a number where all parts have the same."""
        sigma = self._common_sigma()
        if sigma is not None:
            return GaussianNoise(sigma)
        sigmas = [
            op.noise.aligned("sigma", op.noise.sigma.new_empty(op.noise.batch or 1, *shape))
            .expand(op.noise.batch or 1, *shape)
            .flatten(1)
            for op, shape in zip(self.parts, self.part_shapes(), strict=True)
        ]
        return GaussianNoise(_side_by_side(sigmas), event_ndim=1)

    @property
    def support(self) -> Tensor | None:
        supports = [op.support for op in self.parts]
        if all(s is None for s in supports):
            return None
        device = next(s.device for s in supports if s is not None)
        parts = []
        for s, shape in zip(supports, self.part_shapes(), strict=True):
            s = torch.ones((), dtype=torch.bool, device=device) if s is None else s
            rows = s.shape[0] if s.ndim == 1 + len(shape) else 1
            parts.append(s.expand(rows, *shape).flatten(1))
        return _side_by_side(parts)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([op(x).flatten(1) for op in self.parts], dim=1)

    def at(self, event_shape: Shape) -> Self:
        twin = super().at(event_shape)
        if twin is not self:
            twin.parts = nn.ModuleList(op.at(event_shape) for op in self.parts)
            twin._shapes = [op.measurement_shape(tuple(event_shape)) for op in self.parts]
        return twin

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        parts = self.at(tuple(x.shape[1:])).split(v)
        pulled = [op.vjp(x, part) for op, part in zip(self.parts, parts, strict=True)]
        return torch.stack(pulled).sum(0)

    def split(self, y: Tensor) -> list[Tensor]:
        """The measurements of the parts, [(N, *M_1), ..., (N, *M_n)], from y (N, m)."""
        shapes = self.part_shapes()
        sizes = [torch.Size(shape).numel() for shape in shapes]
        return [part.reshape(-1, *shape) for part, shape in zip(y.split(sizes, dim=1), shapes, strict=True)]

    def part_shapes(self) -> list[Shape]:
        """[M_1, ..., M_n].

        Raises:
            ValueError: `event_shape` is None.
        """
        event_shape = self.event_shape_of(())
        return self._shapes or [op.measurement_shape(event_shape) for op in self.parts]

    def check_event_shape(self, event_shape: Shape) -> None:
        for op in self.parts:
            op.check_event_shape(event_shape)

    def _common_sigma(self) -> Tensor | None:
        if not all("isotropic" in op.capabilities for op in self.parts):
            return None
        sigmas = [op.noise.sigma for op in self.parts]
        return sigmas[0] if all(s.ndim == 0 and s == sigmas[0] for s in sigmas) else None


class LinearStack(Stack, LinearOperator):
    """Several linear measurements: A^T y = sum of A_i^T y_i."""

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return LinearOperator.vjp(self, x, v)

    def adjoint(self, y: Tensor) -> Tensor:
        pulled = [op.adjoint(part) for op, part in zip(self.parts, self.split(y), strict=True)]
        return torch.stack(pulled).sum(0)


def _side_by_side(parts: list[Tensor]) -> Tensor:
    rows = max(len(part) for part in parts)
    return torch.cat([part.expand(rows, -1) for part in parts], dim=1)


Operator.compose = staticmethod(Composition)
