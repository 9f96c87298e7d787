"""The derivative of a forward, by automatic differentiation."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from .batching import Batched
from .guards import GUARDS


class Differentiated(Batched):
    """A forward and its vector-Jacobian product; the base of `Operator`."""

    structure: frozenset[str]

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """The noiseless measurement, (N, *E) -> (N, *M)."""

    @abstractmethod
    def _zeros(self, event_shape: tuple[int, ...]) -> Tensor: ...

    @GUARDS["vjp"]
    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        """J(x)^T v, with J the Jacobian of `forward` at x (N, *E), v (N, *M) -> (N, *E)."""
        with torch.inference_mode(False), torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            return torch.autograd.grad((self._recorded(x) * v.clone()).sum(), x)[0]

    def check_derivative(self, event_shape: tuple[int, ...]) -> None:
        """Try `vjp`, and the adjoint of a linear operator, on zeros of shape E.

        Raises:
            ValueError: `forward` is not differentiable and the class defines no derivative.
        """
        with torch.inference_mode(False), torch.no_grad():
            x = self._zeros(event_shape)
            self.vjp(x, self(x))

    def _recorded(self, x: Tensor) -> Tensor:
        """`forward` of an x that requires a gradient, with its graph."""
        try:
            clean = self(x)
        except (RuntimeError, TypeError) as error:
            with torch.no_grad():
                self(x.detach())  # raises errors unrelated to derivatives
            raise self._no_derivative() from error
        if not clean.requires_grad:
            raise self._no_derivative()
        return clean

    def _no_derivative(self) -> ValueError:
        name, linear = type(self).__name__, "linear" in self.structure
        return ValueError(
            f"{name}.forward has no gradient (numpy, detach or torch.no_grad inside?): write it in torch, or "
            + ("implement adjoint(y)" if linear else "implement vjp(x, v)")
            + "; if it has no gradient, remove 'differentiable' from its `structure`"
        )
