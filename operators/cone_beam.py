"""Computed tomography with a cone beam: line integrals of a volume from a source that turns about it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, Self

import torch
from torch import Tensor

from .arguments import rows
from .arguments import shape as checked_shape
from .backprojection import filtered, ramp
from .base import Shape
from .extents import Size, counts, last, numbers, twice, volume, whole
from .fan_beam import FanBeam
from .geometries import LARGEST, Angles
from .kept import Kept
from .linear_operator import LinearOperator
from .noise import Noise
from .projection import Product, as_torch, joseph
from .registry import register
from .sheets import Sheets, back_project, project, spread
from .tomography import MIDDLE

EACH = "(rows, columns)"
PLACE = f"(slice, row, column) {MIDDLE}"


class MiddlePlane(FanBeam):
    """The fan beam in the plane of the source's circle."""

    @property
    def _called(self) -> str:
        return "ConeBeam"


@register("cone_beam", volumes=True)
class ConeBeam(LinearOperator):
    """The cone-beam X-ray transform of volumes: projections on a flat detector, from a source on a circle.

    y[a, i, j] = p integral of x along the ray from the source to the detector in row i and column j of view a;
    (N, C, D, H, W) -> (N, C, views, rows, columns). Slices, and the circle's plane, are as the picture of `FanBeam`.
    The detector's columns are parallel to the axis of rotation; later rows are on the side of later slices.
    `ConeBeam.astra` follows ASTRA. Rays do not end at the detectors.

    The rays to a row of detectors lie in a plane through the source. On it x is interpolated between slices, and
    integrated with the weights of `FanBeam`, which are Joseph's (1982). The middle row is a fan beam. The sparse matrix
    is that of the fan beam; all else is computed in blocks, and the adjoint is exact.

    Arguments:
        angles: (views,), in `unit`; or the number of views, evenly spaced over a whole turn.
        source: distance from the source to the axis of rotation, in pixels: the side of a voxel. The source must be
            outside the volume.
        detector: distance from the axis to the detector, pixels; 0: detector and spacing are as seen at the axis.
        size: n or (D, H, W), pixels; None: any, and `adjoint` needs `operator.at`.
        detectors: (rows, columns), or n for both; None: as many as cover the volume in every view if `centre` is the
            middle.
        spacing: between detectors, pixels, or (between rows, between columns); None: one pixel at the axis, (source +
            detector) / source.
        noise: in units of y.
        pixel: p, as of `Radon`: lengths of the geometry are in pixels whatever p is.
        centre: (row, column) where the central ray, at a right angle to the detector, meets it, in detectors from the
            first; None: the middle. For a detector shifted along its rows or columns by d detectors subtract d.
        origin: (slice, row, column) of the point where the axis of rotation meets the plane of the circle; None: the
            middle of the volume.
        offset: distance from the axis of rotation to the central ray, as of `FanBeam`.
        unit: of the angles, "degrees" or "radians"; None: degrees, and angles that look like radians are refused.

    Raises:
        ValueError: as `FanBeam`; events that are not (C, D, H, W).
    """

    size: int | Size | None

    def __init__(
        self,
        angles: Angles,
        source: float,
        detector: float = 0.0,
        size: int | tuple[int, int, int] | None = None,
        detectors: int | tuple[int, int] | None = None,
        spacing: float | tuple[float, float] | None = None,
        noise: Noise | None = None,
        pixel: float = 1.0,
        centre: tuple[float, float] | None = None,
        origin: tuple[float, float, float] | None = None,
        offset: float = 0.0,
        unit: Literal["degrees", "radians"] | None = None,
    ) -> None:
        super().__init__(noise)
        self.detectors = None if detectors is None else counts("ConeBeam: detectors", detectors, 2, EACH)
        self.spacing = None if spacing is None else numbers("ConeBeam: spacing", twice(spacing), 2, EACH, "(0, inf)")
        self.centre = None if centre is None else numbers("ConeBeam: centre", centre, 2, f"(row, column) {MIDDLE}")
        self.origin = None if origin is None else numbers("ConeBeam: origin", origin, 3, PLACE)
        self.plane = MiddlePlane(
            angles,
            source,
            detector,
            detectors=None if self.detectors is None else self.detectors[1],
            spacing=None if self.spacing is None else self.spacing[1],
            pixel=pixel,
            centre=None if self.centre is None else self.centre[1],
            origin=None if self.origin is None else (self.origin[1], self.origin[2]),
            offset=offset,
            unit=unit,
        )
        self.angles, self.pixel, self.offset = self.plane.angles, self.plane.pixel, self.plane.offset
        self.source, self.detector = self.plane.source, self.plane.detector
        self._matrices = Kept()
        self.size = None if size is None else volume("ConeBeam: size", size)
        if self.size is not None:
            self.check_event_shape((1, *whole(self.size)))

    @classmethod
    def astra(
        cls,
        size: int | tuple[int, int, int],
        angles: Angles,
        source: float,
        detector: float,
        detectors: int | tuple[int, int],
        spacing: float | tuple[float, float] = 1.0,
        noise: Noise | None = None,
        pixel: float = 1.0,
    ) -> Self:
        """The geometry of ASTRA's create_proj_geom('cone', spacing_x, spacing_y, rows, columns, angles, source,
        detector).

        Rows of ASTRA's volumes, unlike those of its pictures, go along +y, so that it turns the other way: its angle a
        is 180 degrees - a here, and the columns of its detector are reversed. Its projections (rows, views, columns)
        become a measurement by `torch.from_numpy(projections).movedim(1, 0).flip(-1)[None, None]`.

        Arguments:
            size: n or (D, H, W), of create_vol_geom(H, W, D).
            angles: (views,), radians; or their number, spread evenly over a whole turn.
            source, detector: source_origin and origin_det, in pixels.
            detectors: (det_row_count, det_col_count).
            spacing: (det_spacing_y, det_spacing_x), in pixels.
            noise, pixel: as of `ConeBeam`.
        """
        theirs = FanBeam(angles, source, unit="radians").angles
        return cls(180.0 - theirs, source, detector, size, detectors, spacing, noise, pixel, unit="degrees")

    def forward(self, x: Tensor) -> Tensor:
        batch, size = x.shape[:2], last(x.shape)
        y = Product.apply(x.flatten(0, 1), *self._maps(x, size))
        return y.unflatten(0, batch)

    def adjoint(self, y: Tensor) -> Tensor:
        there, back = self._maps(y, size := last(self.event_shape_of(tuple(y.shape[1:]))))
        return Product.apply(y.flatten(0, 1), back, there).view(*y.shape[:2], *size)

    def fdk(self, y: Tensor, filter: str = "ramp") -> Tensor:
        """The reconstruction of Feldkamp, Davis & Kress, (N, C, views, rows, columns) -> (N, C, D, H, W), in the units
        of x.

        The filtered back-projection of `FanBeam` in the plane of every row of detectors: exact in the plane of the
        circle and approximate away from it, where a source on a circle does not measure all that is needed. Lines of
        short scans are counted once, by the weights of that plane. Rows must not end within the volume's shadow.
        Source: Feldkamp, Davis & Kress 1984.

        Arguments:
            y: projections.
            filter: "ramp"; "shepp-logan", "cosine", "hamming" and "hann" smooth in this order.

        Raises:
            ValueError: an unknown filter, or a y of another shape.
        """
        rows("ConeBeam.fdk: y", y, "measurement")
        size = last(self.event_shape_of(tuple(y.shape[1:])))
        weight = self.plane.weights(size[1:])[:, None] / self._stretch(size)
        q = filtered(y.flatten(0, 1) * weight.to(y), ramp(2 * y.shape[-1], filter))
        x = back_project(q, self._places(size), size[0])
        return x.permute(1, 2, 0).reshape(*y.shape[:2], *size)

    def _places(self, size: Size) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Of every view, what `sheets.back_project` needs."""
        row, column = self._centre(size)
        for depth, across in self.plane.seen(size[1:]):
            nearer = (self.source / depth).flatten()
            step = nearer / self._pitch
            place = across.flatten() * nearer / self.plane.pitch + column
            yield place, row - step * self._middle(size), step, nearer.square()

    def measurement_shape(self, event_shape: Shape) -> Shape:
        """(C, views, rows, columns)."""
        event_shape = checked_shape("event_shape", event_shape)
        self.check_event_shape(event_shape)
        return (event_shape[0], len(self.angles), *self.detectors_for(last(event_shape)))

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        """(C, D, H, W) for projections (C, views, rows, columns).

        Raises:
            ValueError: another number of views or detectors, or the size of the volumes is unknown.
        """
        given = tuple(measurement_shape)
        if len(given) != 4 or given[1] != len(self.angles):
            raise ValueError(
                f"ConeBeam: expected projections (C, {len(self.angles)}, rows, columns), given {given}; give one angle "
                "for each view, and the views before the rows: y.movedim"
            )
        size = self.size if self.event_shape is None else last(self.event_shape)
        if size is None:
            raise ValueError(
                "ConeBeam: the size of the volumes is unknown; give ConeBeam(..., size=(D, H, W)), or use "
                "operator.at((C, D, H, W))"
            )
        size = whole(size)
        if given[2:] != (expected := self.detectors_for(size)):
            raise ValueError(
                f"ConeBeam: expected projections (C, {len(self.angles)}, {expected[0]}, {expected[1]}) of volumes "
                f"{size}, given {given}; give ConeBeam(..., detectors={given[2:]})"
            )
        return (given[0], *size)

    def detectors_for(self, size: int | tuple[int, int, int]) -> tuple[int, int]:
        """(rows, columns) for volumes of n or (D, H, W) pixels: as given, or as many as see the cylinder round them."""
        depth, *plane = whole(size)
        columns = self.plane.detectors_for((plane[0], plane[1]))
        if self.detectors is not None:
            return self.detectors[0], columns
        radius = math.hypot(*plane) / 2
        nearest = max(self.source - radius, radius / 8)
        return min(math.ceil(depth * self.source / nearest / self._pitch), LARGEST), columns

    def check_event_shape(self, event_shape: Shape) -> None:
        given = None if self.size is None else whole(self.size)
        if len(event_shape) != 4 or given not in (None, tuple(event_shape[1:])):
            expected = ", ".join(map(str, given or ("D", "H", "W")))
            raise ValueError(f"ConeBeam: expected volumes (C, {expected}), given {tuple(event_shape)}")
        self.plane.check_event_shape((event_shape[0], *event_shape[2:]))

    @property
    def _pitch(self) -> float:
        """The distance between rows as seen at the axis, pixels."""
        return 1.0 if self.spacing is None else self.spacing[0] * self.source / (self.source + self.detector)

    def _centre(self, size: Size) -> tuple[float, float]:
        seen, columns = self.detectors_for(size)
        return ((seen - 1) / 2, (columns - 1) / 2) if self.centre is None else (self.centre[0], self.centre[1])

    def _middle(self, size: Size) -> float:
        """The slice of the circle."""
        return (size[0] - 1) / 2 if self.origin is None else self.origin[0]

    def _stretch(self, size: Size) -> Tensor:
        """The length of every ray over that of its shadow on the plane of the circle, (rows, columns)."""
        height = torch.arange(self.detectors_for(size)[0], dtype=torch.float64) - self._centre(size)[0]
        slope = self._pitch * height[:, None] / self.source * self.plane._fan(size[1:]).cos()
        return (1 + slope**2).sqrt()

    def _maps(self, like: Tensor, size: Size) -> tuple[Any, Any]:
        """The maps of rows (B, D, H, W) and (B, views, rows, columns), of like's dtype and device."""
        seen, stretch = self.detectors_for(size)[0], self._stretch(size).to(like)

        def there(x: Tensor) -> Tensor:
            return stretch * project(x, self._sheets(x, size), seen)

        def back(y: Tensor) -> Tensor:
            return spread(stretch * y, self._sheets(y, size), size)

        return there, back

    def _sheets(self, like: Tensor, size: Size) -> Iterator[Sheets]:
        def make() -> list[tuple[Tensor, Tensor]]:
            with torch.inference_mode(False):
                angles, s = self.plane.rays(size[1:])
                origin = self.plane._axis(size[1:])[1]
                each = [
                    joseph(*ray, size[1:], self.pixel, origin) for ray in zip(angles.split(1), s.split(1), strict=True)
                ]
                return [(as_torch(m, like), as_torch(m.T.tocsr(), like)) for m in each]

        matrices = self._matrices.get((size, like.dtype, like.device), make)
        exact = torch.promote_types(like.dtype, torch.float32)  # places need it, whatever the values have
        for pair, (depth, _) in zip(matrices, self.plane.seen(size[1:]), strict=True):
            step = self._pitch / self.source * depth.flatten()
            start = self._middle(size) - self._centre(size)[0] * step
            yield Sheets(*pair, start.to(like.device, exact), step.to(like.device, exact))
