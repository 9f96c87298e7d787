"""Computed tomography: line integrals of an image along parallel rays."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .arguments import choice, count, number, rows, shape, tensor
from .backprojection import back_project, ramp, shares
from .base import Shape
from .geometries import LARGEST, MOST_VIEWS, Angles, Geometries
from .kept import Kept
from .linear_operator import LinearOperator
from .noise import Noise
from .projection import Product, as_torch, joseph
from .registry import register

MIDDLE = "in pixels; omit it if the axis of rotation is in the middle"

UNEVEN = 5.0  # ratio of the variation of sums along the two axes above which a sinogram looks transposed


class TransposedSinogram(UserWarning):
    """A sinogram whose axes look swapped: its sums over the first axis, not over the second, are nearly equal."""


@register("radon")
class Radon(Geometries, LinearOperator):
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
        detectors: their number, one pixel apart; None: as many as cover the image in every view.
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
        for name, n in (("size", size), ("detectors", detectors)):
            if n is not None:
                count(f"Radon: {name}", n, most=LARGEST, hint="omit it to take it from the picture")
        super().__init__(noise)
        if unit is not None:
            choice("Radon: unit", unit, ("degrees", "radians"))
        if isinstance(angles, Integral):
            views = count("Radon: angles", angles, most=MOST_VIEWS, hint="an integer is the number of views")
            angles, unit = torch.arange(views, dtype=torch.float64) * (180 / views), "degrees"
        angles = tensor("Radon: angles", angles).double()
        if angles.ndim != 1:
            raise ValueError(
                f"Radon: expected at least one finite angle (views,), given shape {tuple(angles.shape)}; angles are in "
                "degrees, and a number of views is an int"
            )
        self.pixel = number("Radon: pixel", pixel, "(0, inf)", "it is a length")
        self.size, self.detectors = size, detectors
        self.centre = None if centre is None else number("Radon: centre", centre, hint=MIDDLE)
        self.origin = None if origin is None else _place(origin)
        self.angles = _degrees(angles.cpu(), unit)  # on the CPU, where they are used
        self._matrices = Kept()

    def forward(self, x: Tensor) -> Tensor:
        matrix, transpose = self._matrix(x)
        y = Product.apply(x.reshape(-1, matrix.shape[1]), matrix, transpose)
        return y.view(*x.shape[:2], len(self.angles), -1)

    def adjoint(self, y: Tensor) -> Tensor:
        size = self._size_of(y)
        matrix, transpose = self._matrix(y.new_empty(0, 1, size, size))
        x = Product.apply(y.reshape(-1, matrix.shape[0]), transpose, matrix)
        return x.view(*y.shape[:2], size, size)

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
        size, n = self._size_of(y), y.shape[-1]
        length = 2 * n  # zero padding, so that the convolution does not wrap around
        filtered = torch.fft.irfft(torch.fft.rfft(y, n=length) * ramp(length, filter).to(y), n=length)[..., :n]
        share = (shares(self.angles) / self.pixel).to(y)
        return back_project(filtered * share[:, None], self.angles, size, *self._axis(size))

    def detectors_for(self, size: int) -> int:
        """The number of detectors for an image of size x size pixels: as given, or its diagonal, odd if size is odd."""
        diagonal = math.ceil(size * math.sqrt(2))
        return diagonal + (diagonal - size) % 2 if self.detectors is None else self.detectors

    def _axis(self, size: int) -> tuple[float, tuple[float, float]]:
        """The axis of rotation, on the detectors and in the image."""
        middle = (size - 1) / 2
        centre = (self.detectors_for(size) - 1) / 2 if self.centre is None else float(self.centre)
        return centre, (middle, middle) if self.origin is None else self.origin

    def check_event_shape(self, event_shape: Shape) -> None:
        n = self.size or event_shape[-1]
        if len(event_shape) != 3 or tuple(event_shape[1:]) != (n, n):
            raise ValueError(
                f"Radon: expected events (C, {n}, {n}), given {tuple(event_shape)}; pad or crop the picture to a square"
                + (" of the operator's size" if self.size else "")
            )

    def measurement_shape(self, event_shape: Shape) -> Shape:
        """(C, views, detectors)."""
        event_shape = shape("event_shape", event_shape)
        self.check_event_shape(event_shape)
        return (event_shape[0], len(self.angles), self.detectors_for(event_shape[-1]))

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        """(C, n, n) for sinograms (C, views, detectors): n is `size`, or the size with this default number of
        detectors.

        Raises:
            ValueError: detectors were given without size, or no size has this default number of detectors.
        """
        if len(measurement_shape) != 3 or measurement_shape[1] != len(self.angles):
            raise ValueError(
                f"Radon: expected sinograms (C, {len(self.angles)}, detectors), given {tuple(measurement_shape)}; "
                + self._remedy((1, *measurement_shape), None)
            )
        channels, _, seen = measurement_shape
        size = self.size if self.event_shape is None else self.event_shape[-1]
        if size is None and self.detectors is None:  # the default depends on the size
            size = next((n for n in range(1, seen + 1) if self.detectors_for(n) == seen), None)
        if size is None:
            raise ValueError(
                f"Radon: {seen} detectors do not determine the size of the picture; use "
                "Radon(..., size=n), or operator.at((C, n, n))"
            )
        if seen != self.detectors_for(size):
            raise ValueError(
                f"Radon: expected sinograms (C, {len(self.angles)}, {self.detectors_for(size)}) of pictures of {size} "
                f"pixels, given {tuple(measurement_shape)}; {self._remedy((1, *measurement_shape), size)}"
            )
        return (channels, size, size)

    def validate_y(self, y: Tensor, event_shape: Shape) -> None:
        """Refuse a y (B, C, views, detectors) that this operator cannot have measured, and suggest a fix.

        Warns:
            TransposedSinogram: views and detectors are as many, and y looks transposed.

        Raises:
            TypeError or ValueError: as of `Operator`.
        """
        expected = self.measurement_shape(event_shape)
        fits = not isinstance(y, Tensor) or y.ndim < 2 or expected[-1] in y.shape[-2:]  # possibly with permuted axes
        if not fits and len(self.angles) in y.shape[-2:]:
            raise ValueError(
                f"y: expected a sinogram of shape (B, {', '.join(map(str, expected))}), that is (measurements, "
                f"channels, views, detectors), given {tuple(y.shape)}; {self._remedy(tuple(y.shape), event_shape[-1])}"
            )
        super().validate_y(y, event_shape)
        if y.shape[-2] == y.shape[-1] > 2 and _uneven(y.sum(-1)) > max(UNEVEN * _uneven(y.sum(-2)), 0.02):
            warnings.warn(
                "the sums of all columns of this sinogram are similar and those of its rows are not, but the sum of "
                "every view is that of the picture: if y is transposed, use y.transpose(-1, -2)",
                TransposedSinogram,
                stacklevel=2,
            )

    def _remedy(self, given: Shape, size: int | None) -> str:
        """A suggestion that makes a sinogram (..., views, detectors) of the wrong shape fit images of a size, or of
        any."""
        views, seen = given[-2:]
        swapped = views != len(self.angles)
        if swapped and seen != len(self.angles):
            return "give one angle for each view"
        seen, missing = views if swapped else seen, "[None]" * (4 - len(given))
        moved = f"y{'.transpose(-1, -2)' if swapped else ''}{missing}"
        remedies = [f"it looks transposed: give {moved}" if swapped else f"give {moved}"] * (moved != "y")
        if size is not None and seen != self.detectors_for(size):
            remedies.append(
                f"give Radon(..., detectors={seen}), or operator.at((C, n, n)) with the size of the pictures"
            )
        return ", and ".join(remedies)

    def _size_of(self, y: Tensor) -> int:
        return self.event_shape_of(tuple(y.shape[1:]))[-1]

    def _matrix(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The weights for images like x, sparse (views * detectors, n * n), and their transpose."""
        size = x.shape[-1]

        def make() -> tuple[Tensor, Tensor]:
            with torch.inference_mode(False):
                weights = joseph(self.angles, size, self.detectors_for(size), self.pixel, *self._axis(size))
                # Both are cached: a product with the transpose of a CSR matrix would convert it every time.
                return as_torch(weights, x), as_torch(weights.T.tocsr(), x)

        return self._matrices.get((size, x.dtype, x.device), make)


def _place(origin: Any) -> tuple[float, float]:
    """A position (row, column) in an image, in pixels."""
    origin = origin.tolist() if isinstance(origin, np.ndarray | Tensor) else origin
    if isinstance(origin, str) or not isinstance(origin, Sequence) or len(origin) != 2:
        raise ValueError(f"Radon: origin = {origin!r:.60}: expected a place (row, column) {MIDDLE}")
    row, column = (number("Radon: origin, an entry", part, hint=MIDDLE) for part in origin)
    return row, column


def _degrees(angles: Tensor, unit: str | None) -> Tensor:
    """Angles in degrees; those that look like radians are refused where no unit is given."""
    if unit == "radians":
        return angles.rad2deg()
    largest = float(angles.abs().max())
    if unit is None and len(angles.unique()) >= 3 and largest <= 2 * math.pi * (1 + 1e-6):
        raise ValueError(
            f"Radon: {len(angles)} angles of up to {largest:.4g} look like radians, expected degrees; give "
            'unit="radians", or np.rad2deg(angles), or unit="degrees" if they are degrees'
        )
    return angles


def _uneven(sums: Tensor) -> float:
    """The coefficient of variation of sums (B, C, n): standard deviation over absolute mean."""
    return float(sums.double().std(-1).mean() / sums.double().mean(-1).abs().mean().clamp_min(1e-30))
