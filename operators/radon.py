"""Computed tomography: line integrals of an image along parallel rays."""

from __future__ import annotations

import math
import warnings
from typing import Literal

import torch
from torch import Tensor

from .arguments import count, rows
from .backprojection import back_project, filtered, ramp, shares
from .base import Shape
from .geometries import LARGEST, Angles, Geometries
from .noise import Noise
from .registry import register
from .tomography import Size, Tomography

UNEVEN = 5.0  # ratio of the variation of sums along the two axes above which a sinogram looks transposed


class TransposedSinogram(UserWarning):
    """A sinogram whose axes look swapped: its sums over the first axis, not over the second, are nearly equal."""


@register("radon")
class Radon(Geometries, Tomography):
    """The parallel-beam X-ray transform of square images: a sinogram.

    y[a, j] = p integral of x along the ray at s_j of view a; (N, C, n, n) -> (N, C, views, detectors). With columns u
    to the right and rows v upwards, both from the origin and in pixels, that ray is u cos a + v sin a = s_j,
    s_j = j - centre: view 0 sums over columns, and views turn as in skimage.transform.radon. `Radon.skimage`,
    `Radon.astra` and `Radon.tigre` follow the angles and axes of rotation of these toolkits. Every ray steps along the
    axis nearest to it and interpolates linearly between two pixels (Joseph 1982). The system matrix is sparse, computed
    at the first use of a size and cached for two sizes; the adjoint is its transpose.

    `pinv` is the least-squares solution, exact and slow; `fbp` approximates it in one pass, accurately for many views
    and little noise. `solve_gram` takes more iterations for smaller sigma_y^2 / r2; a larger `cg_rtol` makes it faster.

    Arguments:
        angles: (views,), in `unit`; or the number of views, evenly spaced over half a turn.
        size: n, pixels; None: any.
        detectors: their number, one pixel apart; None: as many as cover the image in every view
            if `centre` is their middle.
        noise: in units of y.
        pixel: p, the line integral through one pixel of value 1: 1 for y in [image unit x pixel]; the pixel's length
            for [image unit x length]; that times the attenuation of value 1 for a dimensionless y (see `attenuation`).
        centre: the projection of the axis of rotation on the detectors, in pixels from the centre of the first, as in
            tomopy; None: (detectors - 1) / 2. For detectors offset by d subtract d.
        origin: (row, column) of the axis of rotation in the image, in pixels from the centre of the top left pixel;
            None: the image centre, ((n - 1) / 2, (n - 1) / 2).
        unit: of the angles, "degrees" or "radians"; None: degrees, and angles that look like radians are refused.

    Raises:
        ValueError: no view, an angle that is not finite, three or more different angles within 2 pi and no unit, an
            unknown unit, a size or number of detectors below 1, a pixel that is not positive, a centre or an origin
            that is not finite; events that are not (C, n, n).
    """

    turn = 180.0
    size: int | None

    def __init__(
        self,
        angles: Angles,
        size: int | None = None,
        detectors: int | None = None,
        noise: Noise | None = None,
        pixel: float = 1.0,
        centre: float | None = None,
        origin: tuple[float, float] | None = None,
        unit: Literal["degrees", "radians"] | None = None,
    ) -> None:
        if size is not None:
            count("Radon: size", size, most=LARGEST, hint="omit it to take it from the picture")
        super().__init__(angles, detectors, noise, pixel, centre, origin, unit)
        self.size = size

    def rays(self, size: Size) -> tuple[Tensor, Tensor]:
        s = torch.arange(self._detectors(size), dtype=torch.float64) - self._axis(size)[0]
        angles = self.angles.double().deg2rad()[:, None].expand(-1, len(s))
        return angles, s.expand_as(angles)

    def fbp(self, y: Tensor, filter: str = "ramp") -> Tensor:
        """Filtered back-projection, (N, C, views, detectors) -> (N, C, n, n), in the units of x.

        x = sum over views of (angular weight) x (y convolved with the ramp filter), interpolated at every pixel. The
        ramp is band-limited and sampled in space, which preserves the mean; Kak & Slaney 1988, section 3.3. A missing
        wedge is not filled.

        Arguments:
            y: a sinogram.
            filter: "ramp"; "shepp-logan", "cosine", "hamming" and "hann" smooth in this order.

        Raises:
            ValueError: an unknown filter, or a y of another shape.
        """
        rows("Radon.fbp: y", y, "measurement")
        size = self._size_of(y)
        centre, (u, v) = self._axis(size)[0], self._from_axis(size)
        share = (shares(self.angles) / self.pixel).to(y)
        angles = self.angles.double().deg2rad().tolist()
        places = ((u * math.cos(angle) + v * math.sin(angle) + centre, 1.0) for angle in angles)
        return back_project(filtered(y, ramp(2 * y.shape[-1], filter)) * share[:, None], places, size)

    def detectors_for(self, size: int) -> int:
        """The number of detectors for an image of size x size pixels: as given, or its diagonal, odd if size is odd."""
        diagonal = math.ceil(size * math.sqrt(2))
        return diagonal + (diagonal - size) % 2 if self.detectors is None else self.detectors

    def _detectors(self, size: Size) -> int:
        return self.detectors_for(size[-1])

    def check_event_shape(self, event_shape: Shape) -> None:
        n = self.size or event_shape[-1]
        if len(event_shape) != 3 or tuple(event_shape[1:]) != (n, n):
            raise ValueError(
                f"Radon: expected events (C, {n}, {n}), given {tuple(event_shape)}; pad or crop the picture to a square"
                + (" of the operator's size" if self.size else "")
            )

    def _size_behind(self, seen: int) -> Size | None:
        size = super()._size_behind(seen)
        if size is None and self.detectors is None:  # the default depends on the size
            size = next(((n, n) for n in range(1, seen + 1) if self.detectors_for(n) == seen), None)
        return size

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        """(C, n, n) for sinograms (C, views, detectors): n is `size`, or the size with this default number of
        detectors.

        Raises:
            ValueError: detectors were given without size, or no size has this default number of detectors.
        """
        return super().event_shape_of(measurement_shape)

    def validate_y(self, y: Tensor, event_shape: Shape) -> None:
        """Refuse a y (B, C, views, detectors) that this operator cannot have measured, and suggest a fix.

        Warns:
            TransposedSinogram: views and detectors are as many, and y looks transposed.

        Raises:
            TypeError or ValueError: as of `Operator`.
        """
        super().validate_y(y, event_shape)
        if y.shape[-2] == y.shape[-1] > 2 and _uneven(y.sum(-1)) > max(UNEVEN * _uneven(y.sum(-2)), 0.02):
            warnings.warn(
                "the sums of all columns of this sinogram are similar and those of its rows are not, but the sum of "
                "every view is that of the picture: if y is transposed, use y.transpose(-1, -2)",
                TransposedSinogram,
                stacklevel=2,
            )


def _uneven(sums: Tensor) -> float:
    """The coefficient of variation of sums (B, C, n): standard deviation over absolute mean."""
    return float(sums.double().std(-1).mean() / sums.double().mean(-1).abs().mean().clamp_min(1e-30))
