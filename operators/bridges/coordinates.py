"""Where the spectral coordinates of a deepinv DecomposablePhysics are, as coordinates of the event's shape."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from operators.grayscale import reflection
from operators.transforms import hartley

from .packing import Shape


class Basis:
    """Coordinates of the event's shape: deepinv's V and U as they are."""

    def values(self, physics: Any, event_shape: Shape) -> Tensor:
        """The singular values, broadcastable to (N, *E), with as many axes."""
        mask = torch.as_tensor(physics.mask)
        return mask.reshape((1,) * (1 + len(event_shape) - mask.ndim) + tuple(mask.shape))

    def Vt(self, physics: Any, x: Tensor) -> Tensor:
        """Events to coordinates, (N, *E) -> (N, *E)."""
        return physics.V_adjoint(x)

    def V(self, physics: Any, z: Tensor) -> Tensor:
        """Coordinates to events, (N, *E) -> (N, *E)."""
        return physics.V(z)

    def Ut(self, physics: Any, y: Tensor) -> Tensor:
        """Measurements to coordinates, (N, *M) -> (N, *E)."""
        return physics.U_adjoint(y)

    def U(self, physics: Any, z: Tensor) -> Tensor:
        """Coordinates to measurements, (N, *E) -> (N, *M)."""
        return physics.U(z)


class HalfSpectrum(Basis):
    """Coordinates are the half spectrum of a real image, (N, C, H, W // 2 + 1, 2): ours are its Hartley transform."""

    def values(self, physics: Any, event_shape: Shape) -> Tensor:
        half, width = physics.mask[..., 0], event_shape[-1]
        rest = half[..., 1 : width - half.shape[-1] + 1].flip(-1)  # S(-k) = S(k)
        rest = torch.cat([rest[..., :1, :], rest[..., 1:, :].flip(-2)], -2)
        return torch.cat([half, rest], -1)

    def Vt(self, physics: Any, x: Tensor) -> Tensor:
        return hartley(x)

    def V(self, physics: Any, z: Tensor) -> Tensor:
        return hartley(z)

    def Ut(self, physics: Any, y: Tensor) -> Tensor:
        return hartley(physics.V(physics.U_adjoint(y)))

    def U(self, physics: Any, z: Tensor) -> Tensor:
        return physics.U(physics.V_adjoint(hartley(z)))


class FirstChannel(Basis):
    """One coordinate per pixel, a weighted sum of its channels: ours are this and a basis of the rest."""

    def values(self, physics: Any, event_shape: Shape) -> Tensor:
        first = super().values(physics, event_shape)
        return torch.cat([first, first.new_zeros(first.shape).expand(-1, event_shape[0] - 1, *first.shape[2:])], 1)

    def Vt(self, physics: Any, x: Tensor) -> Tensor:
        axis = physics.V(x.new_ones(1, 1, *[1] * (x.ndim - 2))).flatten()
        return torch.einsum("ij,nj...->ni...", reflection(axis), x)

    def V(self, physics: Any, z: Tensor) -> Tensor:
        return self.Vt(physics, z)

    def Ut(self, physics: Any, y: Tensor) -> Tensor:
        z = physics.U_adjoint(y)
        channels = physics.V(z[:1]).shape[1]
        return torch.cat([z, z.new_zeros(len(z), channels - 1, *z.shape[2:])], 1)

    def U(self, physics: Any, z: Tensor) -> Tensor:
        return physics.U(z[:, :1])


BASES = (Basis(), HalfSpectrum(), FirstChannel())
