"""What parallel and divergent beams share: views and detectors, a sparse matrix of line integrals, and checks."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .arguments import choice, count, number, shape, tensor
from .base import Shape
from .geometries import LARGEST, MOST_VIEWS, Angles
from .kept import Kept
from .linear_operator import LinearOperator
from .noise import Noise
from .projection import Product, as_torch, joseph, times

MIDDLE = "in pixels; omit it if the axis of rotation is in the middle"

Place = tuple[float, float]
Size = tuple[int, int]
Unit = Literal["degrees", "radians"]


class Tomography(LinearOperator):
    """Line integrals of images, (N, C, H, W) -> (N, C, views, detectors), by a sparse matrix. A subclass has `rays`,
    and calls this constructor.

    Arguments: as of `Radon`.
    """

    turn: float  # degrees that a number of views is spread over
    size: Any  # n, or (H, W) where a subclass takes it; None: any

    def __init__(
        self,
        angles: Angles,
        detectors: int | None,
        noise: Noise | None,
        pixel: float,
        centre: float | None,
        origin: Place | None,
        unit: Unit | None,
    ) -> None:
        name = self._called
        if detectors is not None:
            count(f"{name}: detectors", detectors, most=LARGEST, hint="omit it to take it from the picture")
        super().__init__(noise)
        if unit is not None:
            choice(f"{name}: unit", unit, ("degrees", "radians"))
        if isinstance(angles, Integral):
            views = count(f"{name}: angles", angles, most=MOST_VIEWS, hint="an integer is the number of views")
            angles, unit = torch.arange(views, dtype=torch.float64) * (self.turn / views), "degrees"
        angles = tensor(f"{name}: angles", angles).double()
        if angles.ndim != 1:
            raise ValueError(
                f"{name}: expected at least one finite angle (views,), given shape {tuple(angles.shape)}; angles are "
                "in degrees, and a number of views is an int"
            )
        self.pixel = number(f"{name}: pixel", pixel, "(0, inf)", "it is a length")
        self.detectors = detectors
        self.centre = None if centre is None else number(f"{name}: centre", centre, hint=MIDDLE)
        self.origin = None if origin is None else _place(name, origin)
        self.angles = _degrees(name, angles.cpu(), unit)  # on the CPU, where they are used
        self._matrices = Kept()

    @property
    def _called(self) -> str:
        """The name in messages: that of the operator which the user made."""
        return type(self).__name__

    @abstractmethod
    def rays(self, size: Size) -> tuple[Tensor, Tensor]:
        """The lines u cos(angle) + v sin(angle) = s that are integrated: angle, radians, and s, pixels; both (views,
        detectors). Arguments: size, (H, W) of the image."""

    @abstractmethod
    def _detectors(self, size: Size) -> int:
        """The number of detectors for images (H, W)."""

    def _size_behind(self, seen: int) -> Size | None:
        """(H, W) of the images that are measured by so many detectors; None: unknown."""
        if self.event_shape is not None:
            return self.event_shape[-2], self.event_shape[-1]
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def forward(self, x: Tensor) -> Tensor:
        matrix, transpose = self._matrix(x)
        y = Product.apply(x.reshape(-1, matrix.shape[1]), times(matrix), times(transpose))
        return y.view(*x.shape[:2], len(self.angles), -1)

    def adjoint(self, y: Tensor) -> Tensor:
        size = self._size_of(y)
        matrix, transpose = self._matrix(y.new_empty(0, 1, *size))
        x = Product.apply(y.reshape(-1, matrix.shape[0]), times(transpose), times(matrix))
        return x.view(*y.shape[:2], *size)

    def measurement_shape(self, event_shape: Shape) -> Shape:
        """(C, views, detectors)."""
        event_shape = shape("event_shape", event_shape)
        self.check_event_shape(event_shape)
        return (event_shape[0], len(self.angles), self._detectors((event_shape[1], event_shape[2])))

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        """(C, H, W) for sinograms (C, views, detectors).

        Raises:
            ValueError: another number of views or detectors, or the size of the images is unknown.
        """
        name = self._called
        if len(measurement_shape) != 3 or measurement_shape[1] != len(self.angles):
            raise ValueError(
                f"{name}: expected sinograms (C, {len(self.angles)}, detectors), given {tuple(measurement_shape)}; "
                + self._remedy((1, *measurement_shape), None)
            )
        channels, _, seen = measurement_shape
        size = self._size_behind(seen)
        if size is None:
            raise ValueError(
                f"{name}: {seen} detectors do not determine the size of the picture; use "
                f"{name}(..., size=n), or operator.at((C, n, n))"
            )
        if seen != (expected := self._detectors(size)):
            raise ValueError(
                f"{name}: expected sinograms (C, {len(self.angles)}, {expected}) of pictures of "
                f"{' x '.join(map(str, dict.fromkeys(size)))} pixels, given {tuple(measurement_shape)}; "
                + self._remedy((1, *measurement_shape), size)
            )
        return (channels, *size)

    def validate_y(self, y: Tensor, event_shape: Shape) -> None:
        """Refuse a y (B, C, views, detectors) that this operator cannot have measured, and suggest a fix.

        Raises:
            TypeError or ValueError: as of `Operator`.
        """
        expected = self.measurement_shape(event_shape)
        fits = not isinstance(y, Tensor) or y.ndim < 2 or expected[-1] in y.shape[-2:]  # possibly with permuted axes
        if not fits and len(self.angles) in y.shape[-2:]:
            remedy = self._remedy(tuple(y.shape), (event_shape[1], event_shape[2]))
            raise ValueError(
                f"y: expected a sinogram of shape (B, {', '.join(map(str, expected))}), that is (measurements, "
                f"channels, views, detectors), given {tuple(y.shape)}; {remedy}"
            )
        super().validate_y(y, event_shape)

    def _remedy(self, given: Shape, size: Size | None) -> str:
        """A suggestion that makes a sinogram (..., views, detectors) of the wrong shape fit images of a size, or of
        any."""
        views, seen = given[-2:]
        swapped = views != len(self.angles)
        if swapped and seen != len(self.angles):
            return "give one angle for each view"
        seen, missing = views if swapped else seen, "[None]" * (4 - len(given))
        moved = f"y{'.transpose(-1, -2)' if swapped else ''}{missing}"
        remedies = [f"it looks transposed: give {moved}" if swapped else f"give {moved}"] * (moved != "y")
        if size is not None and seen != self._detectors(size):
            name = self._called
            remedies.append(
                f"give {name}(..., detectors={seen}), or operator.at((C, n, n)) with the size of the pictures"
            )
        return ", and ".join(remedies)

    def _size_of(self, y: Tensor) -> Size:
        height, width = self.event_shape_of(tuple(y.shape[1:]))[-2:]
        return height, width

    def _axis(self, size: Size) -> tuple[float, Place]:
        """`centre` and `origin` for images (H, W)."""
        centre = (self._detectors(size) - 1) / 2 if self.centre is None else float(self.centre)
        return centre, ((size[0] - 1) / 2, (size[1] - 1) / 2) if self.origin is None else self.origin

    def _from_axis(self, size: Size) -> tuple[Tensor, Tensor]:
        """u (W,) and v (H, 1) of the pixels: to the right and up from the axis of rotation."""
        _, (row, column) = self._axis(size)
        height, width = (torch.arange(n, dtype=torch.float64) for n in size)
        return width - column, (row - height)[:, None]

    def _matrix(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The weights for images like x, sparse (views * detectors, H * W), and their transpose."""
        size = (x.shape[-2], x.shape[-1])

        def make() -> tuple[Tensor, Tensor]:
            with torch.inference_mode(False):
                weights = joseph(*self.rays(size), size, self.pixel, self._axis(size)[1])
                # Both are cached: a product with the transpose of a CSR matrix would convert it every time.
                return as_torch(weights, x), as_torch(weights.T.tocsr(), x)

        return self._matrices.get((size, x.dtype, x.device), make)


def _place(name: str, origin: Any) -> Place:
    """A position (row, column) in an image, in pixels."""
    origin = origin.tolist() if isinstance(origin, np.ndarray | Tensor) else origin
    if isinstance(origin, str) or not isinstance(origin, Sequence) or len(origin) != 2:
        raise ValueError(f"{name}: origin = {origin!r:.60}: expected a place (row, column) {MIDDLE}")
    row, column = (number(f"{name}: origin, an entry", part, hint=MIDDLE) for part in origin)
    return row, column


def _degrees(name: str, angles: Tensor, unit: str | None) -> Tensor:
    """Angles in degrees; those that look like radians are refused where no unit is given."""
    if unit == "radians":
        return angles.rad2deg()
    largest = float(angles.abs().max())
    if unit is None and len(angles.unique()) >= 3 and largest <= 2 * math.pi * (1 + 1e-6):
        raise ValueError(
            f"{name}: {len(angles)} angles of up to {largest:.4g} look like radians, expected degrees; give "
            'unit="radians", or np.rad2deg(angles), or unit="degrees" if they are degrees'
        )
    return angles
