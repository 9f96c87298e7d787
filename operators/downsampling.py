"""Super-resolution: block averages are measured."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from .arguments import count, picture
from .base import Shape
from .linear_operator import LinearOperator
from .noise import Noise
from .registry import register
from .svd import SVDOperator
from .transforms import dct_matrix


@register("downsampling")
class Downsampling(SVDOperator):
    """The mean of every block of factor x factor pixels, channel by channel (a box filter, then every factor-th pixel).

    Formula: y = mean over the block, (N, C, H, W) -> (N, C, H / f, W / f). V^T is, in each block, the Householder
    reflection H = 2 u u' / u'u - 1 with u = 1 / f + e_1, whose first row is constant; S = 1 / f at the block's first
    pixel and 0 at the others.
    Arguments: factor (int >= 1), the side f of a block in pixels; noise, in units of y.
    Raises: TypeError for a factor that is not an integer; ValueError for one below 1, or for events that are not (C, H,
    W) with H and W multiples of the factor.
    """

    structure = SVDOperator.structure | {"orthogonal_rows"}

    def __init__(self, factor: int = 2, noise: Noise | None = None) -> None:
        super().__init__(noise)
        self.factor = count("Downsampling: factor", factor, hint="it is the side of a block")

    @property
    def singular_values(self) -> Tensor:
        """1 / f at the first pixel of every block, (1, H, W); needs the event shape (see `Operator.at`)."""
        return self._singular_values(LinearOperator.event_shape_of(self, ()))

    def spectrum(self, z: Tensor) -> Tensor:
        return self._singular_values(tuple(z.shape[1:]), z.dtype).to(z)

    def forward(self, x: Tensor) -> Tensor:
        return avg_pool2d(x, self.factor)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.pinv(y) / self.factor**2

    def pinv(self, y: Tensor) -> Tensor:
        return interpolate(y, scale_factor=self.factor, mode="nearest")

    def Vt(self, x: Tensor) -> Tensor:
        f = self.factor
        first = x[:, :, ::f, ::f]
        product = f * avg_pool2d(x, f) + first  # u'x of every block; u'u = 2 (f + 1) / f
        along = product * (f / (f + 1))
        reflected = interpolate(along / f, scale_factor=f, mode="nearest") - x
        return reflected + self._at_first(along)

    def V(self, z: Tensor) -> Tensor:
        return self.Vt(z)

    def U(self, z: Tensor) -> Tensor:
        return z[:, :, :: self.factor, :: self.factor]

    def Ut(self, y: Tensor) -> Tensor:
        return self._at_first(y)

    def cosine_power(self, variances: Tensor) -> Tensor | None:
        """The mean over a block turns a cosine into a cosine on the coarser grid, or into that of an alias."""
        rows, columns = (self._aliased(n).to(variances) for n in variances.shape[-2:])
        return rows @ variances @ columns.mT

    def _aliased(self, n: int) -> Tensor:
        """The squares of the factors with which cosines of n pixels become those of n / f, (n / f, n)."""
        fine, coarse = (dct_matrix(m, torch.float64) for m in (n, n // self.factor))
        return (coarse @ fine.unflatten(1, (-1, self.factor)).mean(2).mT).square()

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        channels, height, width = picture("Downsampling", measurement_shape)
        return (channels, height * self.factor, width * self.factor)

    def check_event_shape(self, event_shape: Shape) -> None:
        f = self.factor
        if len(event_shape) != 3:
            raise ValueError(f"Downsampling: expected events (C, H, W), given {event_shape}; x[:, None] adds a channel")
        if any(size % f for size in event_shape[1:]):
            height, width = (size // f * f for size in event_shape[1:])
            raise ValueError(
                f"Downsampling: pictures of {event_shape[1]} x {event_shape[2]} pixels do not divide into blocks of "
                f"{f} x {f}; crop them to {height} x {width}, or choose a factor that divides both sizes"
            )

    def _singular_values(self, event_shape: Shape, dtype: torch.dtype | None = None) -> Tensor:
        s = torch.zeros(1, *event_shape[1:], dtype=dtype)
        s[:, :: self.factor, :: self.factor] = 1 / self.factor
        return s

    def _at_first(self, y: Tensor) -> Tensor:
        """y at the first pixel of every block, 0 elsewhere: (N, C, h, w) -> (N, C, f h, f w)."""
        f, (n, c, h, w) = self.factor, y.shape
        blocks = pad(y.reshape(n, c, h, 1, w, 1), (0, f - 1, 0, 0, 0, f - 1))
        return blocks.reshape(n, c, f * h, f * w)
