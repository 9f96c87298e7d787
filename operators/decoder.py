"""A decoder as an operator, and the derivative of an operator at a point as a linear one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .arguments import rows
from .base import Operator, Shape
from .capabilities import NOISE
from .linear_operator import LinearOperator
from .noise import Noise


class Decoder(Operator):
    """A decoder, or any differentiable map, as an operator without noise: ``operator @ Decoder(decode)`` measures the
    picture of a latent.

    Arguments:
        decode: latents (N, *E) -> pictures (N, *M), a module in evaluation mode or a function, in torch.
        event_shape: E, of one latent.

    Raises:
        TypeError: a decoder that is not callable.
    """

    def __init__(self, decode: Callable[[Tensor], Tensor], event_shape: Shape | None = None) -> None:
        super().__init__(event_shape=event_shape)
        if not callable(decode):
            raise TypeError(f"Decoder: decode = {decode!r:.60}: expected a module or function, latents -> pictures")
        self.decode = decode

    def forward(self, x: Tensor) -> Tensor:
        return rows("Decoder: the decoder's output", self.decode(x), "picture")


class Linearization(LinearOperator):
    """The derivative J of an operator at given events: v -> J v, with J^T y as its adjoint; noise and support as there.

    Products with J by forward differentiation, unless the operator is linear itself, with J^T by `Operator.vjp`.

    Arguments:
        operator: of N rows.
        point: (N, *E), the events.
    """

    def __init__(self, operator: Operator, point: Tensor) -> None:
        super().__init__(event_shape=tuple(point.shape[1:]))
        self.operator, self.point = operator.at(tuple(point.shape[1:])), point

    def _set_noise(self, noise: Noise | None) -> None:
        if noise is not None:  # otherwise that of the operator
            self.operator = self.operator.with_noise(noise)

    @property
    def capabilities(self) -> frozenset[str]:
        return self.structure | (self.operator.capabilities & NOISE)

    def _current_noise(self) -> Noise:
        return self.operator.noise

    @property
    def support(self) -> Tensor | None:
        return self.operator.support

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.operator, LinearOperator):  # its own derivative
            return self.operator(x)
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no forward derivative
            return torch.func.jvp(self.operator, (self.point,), (x,))[1]

    def adjoint(self, y: Tensor) -> Tensor:
        return self.operator.vjp(self.point, y)

    def known_shape(self, event_shape: Shape) -> Shape:
        return self.operator.known_shape(event_shape)
