"""Compressed sensing: fewer random projections than pixels."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .arguments import choice, number
from .arguments import seed as seeded
from .base import Shape
from .kept import Kept
from .linear_operator import LinearOperator
from .noise import Noise
from .registry import register
from .svd import SVDOperator
from .transforms import dct, hadamard, hartley, idct

# name: transform and inverse
TRANSFORMS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "dct": (dct, idct),
    "hartley": (hartley, hartley),
    "hadamard": (hadamard, hadamard),
}


@register("compressed_sensing")
class CompressedSensing(SVDOperator):
    """Subsampled randomised transform: random coefficients of an orthonormal transform of the image times random signs.

    Formula: y = R T D x, with D random signs per pixel, T an orthonormal transform of every channel and R a random
    selection of round(keep d) of the d coefficients; (N, *E) -> (N, m). V' = T D, S = 1 on the selected coefficients, 0
    elsewhere. Source: Do, Gan, Nguyen & Tran 2012 (structurally random matrices; recovery as with Gaussian matrices,
    without storing a matrix).
    Arguments: keep (float in (0, 1]): m / d; transform: "dct", "hartley" (the real form of Fourier's) or "hadamard",
    which needs a power of 2 of pixels; seed of the signs and the selection: the same seed and event shape give the same
    operator; noise, in units of y; event_shape (E): (C, H, W), (H, W) or (d,); `adjoint`, `pinv` and `singular_values`
    need it, here or by `at`.
    Raises: ValueError for keep out of range, an unknown transform, and events that the transform does not support.
    """

    structure = SVDOperator.structure | {"orthogonal_rows"}

    def __init__(
        self,
        keep: float = 0.25,
        transform: str = "dct",
        seed: int = 0,
        noise: Noise | None = None,
        event_shape: Shape | None = None,
    ) -> None:
        super().__init__(noise, event_shape)
        self.keep = number("CompressedSensing: keep", keep, "(0, 1]", "it is the fraction measured")
        self.transform = choice("CompressedSensing: transform", transform, TRANSFORMS)
        self.seed = seeded(seed)
        self._drawn = Kept()

    @property
    def singular_values(self) -> Tensor:
        """1 where a coefficient is measured, E; needs the event shape (see `Operator.at`)."""
        return self.spectrum(torch.empty(1, *LinearOperator.event_shape_of(self, ())))

    def spectrum(self, z: Tensor) -> Tensor:
        chosen = self._draw(z, z.shape[1:])[1]
        return z.new_zeros(math.prod(z.shape[1:])).index_fill(0, chosen, 1).reshape(z.shape[1:])

    def forward(self, x: Tensor) -> Tensor:
        return self.U(self.Vt(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.V(self.Ut(y))

    def pinv(self, y: Tensor) -> Tensor:
        return self.adjoint(y)

    def Vt(self, x: Tensor) -> Tensor:
        signs = self._draw(x, x.shape[1:])[0]
        return TRANSFORMS[self.transform][0](_planes(signs * x)).reshape(x.shape)

    def V(self, z: Tensor) -> Tensor:
        signs = self._draw(z, z.shape[1:])[0]
        return signs * TRANSFORMS[self.transform][1](_planes(z)).reshape(z.shape)

    def U(self, z: Tensor) -> Tensor:
        return z.flatten(1)[:, self._draw(z, z.shape[1:])[1]]

    def Ut(self, y: Tensor) -> Tensor:
        event_shape = self.event_shape_of(tuple(y.shape[1:]))
        chosen = self._draw(y, event_shape)[1]
        return y.new_zeros(len(y), math.prod(event_shape)).index_copy(1, chosen, y).reshape(-1, *event_shape)

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        event_shape = super().event_shape_of(measurement_shape)
        expected = (self._measured(event_shape),)
        if tuple(measurement_shape) != expected:
            raise ValueError(
                f"CompressedSensing: expected measurements {expected} of events {event_shape}, given "
                f"{tuple(measurement_shape)}; use operator.at(event_shape) with another shape"
            )
        return event_shape

    def check_event_shape(self, event_shape: Shape) -> None:
        pixels = math.prod(event_shape[-2:])
        if len(event_shape) > 3:
            raise ValueError(
                f"CompressedSensing: expected events (C, H, W), (H, W) or (d,), given {event_shape}; flatten them"
            )
        if self.transform == "hadamard" and pixels & (pixels - 1):
            raise ValueError(
                f"CompressedSensing: transform='hadamard' needs a power of 2 of pixels, given {pixels} in events "
                f"{event_shape}; choose transform='dct' or 'hartley', or crop the picture"
            )

    def _draw(self, like: Tensor, event_shape: Shape) -> tuple[Tensor, Tensor]:
        """Signs (E) and indices of the selected coefficients (m,)."""
        event_shape = tuple(event_shape)

        def make() -> tuple[Tensor, Tensor]:
            generator, d = torch.Generator().manual_seed(self.seed), math.prod(event_shape)
            with torch.inference_mode(False):
                signs = 2 * torch.randint(2, event_shape, generator=generator) - 1
                chosen = torch.randperm(d, generator=generator)[: self._measured(event_shape)].sort().values
                return signs.to(like), chosen.to(like.device)

        return self._drawn.get((event_shape, like.dtype, like.device), make)

    def _measured(self, event_shape: Shape) -> int:
        return max(1, round(self.keep * math.prod(event_shape)))


def _planes(x: Tensor) -> Tensor:
    """(N, *E) as (N, C, H, W)."""
    return x.reshape(len(x), *(1,) * (4 - x.ndim), *x.shape[1:])
