"""Computed tomography with a fan beam: line integrals of an image along rays from a source that turns about it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, Self

import torch
from torch import Tensor

from .arguments import count, flag, number, rows
from .arguments import shape as checked_shape
from .backprojection import back_project, filtered, ramp, redundancy, shares
from .base import Shape
from .geometries import LARGEST, Angles
from .noise import Noise
from .registry import register
from .tomography import Size, Tomography

LENGTH = "a length in pixels: divide one in mm by a pixel's side in mm"


@register("fan_beam")
class FanBeam(Tomography):
    """The fan-beam X-ray transform of images, square or not: a sinogram.

    y[a, j] = p integral of x along the ray from the source to detector j of view a; (N, C, H, W) -> (N, C, views,
    detectors). With columns u to the right and rows v upwards, from the axis of rotation and in pixels, and view angle
    a: the source is at -source (-sin a, cos a), below the picture in view 0, and the detectors beyond it, at distance
    `detector` from the axis, from left to right: along (cos a, sin a). Both turn counterclockwise. For a distant source
    this is `Radon` with the same angles. `FanBeam.astra` follows ASTRA. The weights are Joseph's (1982), in a sparse
    matrix as that of `Radon`; rays do not end at the detectors.

    Formula: the ray at angle g from the central one is u cos(a - g) + v sin(a - g) = source sin g + offset cos g.

    Arguments:
        angles: (views,), in `unit`; or the number of views, evenly spaced over a whole turn.
        source: distance from the source to the axis of rotation, pixels. The source must be outside the picture.
        detector: distance from the axis to the detectors, pixels; 0: detectors and spacing are as seen at the axis.
        size: n or (H, W), pixels; None: any, and `adjoint` needs `operator.at`.
        detectors: their number; None: as many as cover the image in every view
            if `centre` is their middle.
        spacing: between detectors, pixels, along the arc if curved; None: one pixel at the axis, (source + detector) /
            source.
        noise: in units of y.
        pixel: p, as of `Radon`: lengths of the geometry are in pixels whatever p is.
        centre: where the central ray, at a right angle to the detectors, meets them, in detectors from the centre of
            the first; None: (detectors - 1) / 2. For detectors shifted by d detectors along (cos a, sin a) subtract d.
        origin: (row, column) of the axis of rotation in the image; None: the image centre, ((H - 1) / 2, (W - 1) / 2).
        offset: distance from the axis of rotation to the central ray, pixels along (cos a, sin a): of a scanner whose
            source and detectors are displaced together (the centre of rotation is off the central ray).
        curved: False: detectors on a line. True: on an arc about the source, at equal angles.
        unit: of the angles, "degrees" or "radians"; None: degrees, and angles that look like radians are refused.

    Raises:
        ValueError: as `Radon`; distances or a spacing that are not positive (detector: negative); detectors that span
            half a turn about the source or more; images that reach the source.
    """

    turn = 360.0
    size: int | Size | None

    def __init__(
        self,
        angles: Angles,
        source: float,
        detector: float = 0.0,
        size: int | tuple[int, int] | None = None,
        detectors: int | None = None,
        spacing: float | None = None,
        noise: Noise | None = None,
        pixel: float = 1.0,
        centre: float | None = None,
        origin: tuple[float, float] | None = None,
        offset: float = 0.0,
        curved: bool = False,
        unit: Literal["degrees", "radians"] | None = None,
    ) -> None:
        super().__init__(angles, detectors, noise, pixel, centre, origin, unit)
        name = self._called
        self.source = number(f"{name}: source", source, "(0, inf)", LENGTH)
        self.detector = number(f"{name}: detector", detector, "[0, inf)", LENGTH)
        self.spacing = None if spacing is None else number(f"{name}: spacing", spacing, "(0, inf)", LENGTH)
        self.offset = number(f"{name}: offset", offset, hint="in pixels")
        self.curved = flag(f"{name}: curved", curved)
        self.size = None if size is None else _size(size)
        if self.size is not None:
            height, width = (self.size, self.size) if isinstance(self.size, int) else self.size
            self.check_event_shape((1, height, width))

    @classmethod
    def astra(
        cls,
        size: int | tuple[int, int],
        angles: Angles,
        source: float,
        detector: float,
        detectors: int,
        spacing: float = 1.0,
        noise: Noise | None = None,
        pixel: float = 1.0,
    ) -> Self:
        """The geometry of ASTRA's create_proj_geom('fanflat', spacing, detectors, angles, source, detector).

        The default geometry here is ASTRA's; only the unit of the angles differs. A sinogram (views, detectors) becomes
        a measurement by `torch.from_numpy(sinogram)[None, None].float()`.

        Arguments:
            size: n or (H, W), of create_vol_geom(H, W).
            angles: (views,), radians; or their number, spread evenly over a whole turn.
            source, detector: source_origin and origin_det, in pixels.
            detectors, spacing: det_count and det_width, the latter in pixels.
            noise, pixel: as of `FanBeam`.
        """
        return cls(angles, source, detector, size, detectors, spacing, noise, pixel, unit="radians")

    @property
    def pitch(self) -> float:
        """The distance between detectors as seen from the source: at the axis in pixels, or in radians if curved."""
        ahead = self.source + self.detector
        spacing = ahead / self.source if self.spacing is None else self.spacing
        return spacing / ahead if self.curved else spacing * self.source / ahead

    def _fan(self, size: Size) -> Tensor:
        """The angle of every detector's ray to the central one, (detectors,), radians."""
        place = self.pitch * (torch.arange(self._detectors(size), dtype=torch.float64) - self._axis(size)[0])
        return place if self.curved else (place / self.source).atan()

    def rays(self, size: Size) -> tuple[Tensor, Tensor]:
        gamma = self._fan(size)
        angles = self.angles.double().deg2rad()[:, None] - gamma
        return angles, (self.source * gamma.sin() + self.offset * gamma.cos()).expand_as(angles)

    def fbp(self, y: Tensor, filter: str = "ramp") -> Tensor:
        """Filtered back-projection with the weights of a fan beam, (N, C, views, detectors) -> (N, C, H, W), in the
        units of x.

        Formula: x = sum over views of (angular weight) / U^2 x ((w (cos g - offset / source sin g) y) convolved with
        the ramp filter), interpolated at every pixel; U: the pixel's depth from the source over `source`, or its
        distance if curved. w counts lines that are measured twice once (`operators.backprojection.redundancy`): scans
        of a whole turn, or of half a turn and the fan's angle, are complete. Lines that are not measured are not
        filled.
        Source: Kak & Slaney 1988, section 3.4, for detectors on a line and at equal angles.

        Arguments:
            y: a sinogram.
            filter: "ramp"; "shepp-logan", "cosine", "hamming" and "hann" smooth in this order.

        Raises:
            ValueError: an unknown filter, or a y of another shape.
        """
        rows("FanBeam.fbp: y", y, "measurement")
        size, n = self._size_of(y), y.shape[-1]
        pitch, response = self.pitch, ramp(2 * n, filter)
        if self.curved:
            lag = torch.arange(2 * n, dtype=torch.float64)
            lag = pitch * torch.minimum(lag, 2 * n - lag)
            response = torch.fft.rfft(torch.fft.irfft(response, n=2 * n) * torch.sinc(lag / math.pi) ** -2).real
        return back_project(filtered(y * self.weights(size).to(y), response), self._places(size), size)

    def weights(self, size: Size) -> Tensor:
        """What a sinogram of images (H, W) is multiplied by before it is filtered, (views, detectors)."""
        gamma = self._fan(size)
        weight = gamma.cos() - self.offset / self.source * gamma.sin()
        weight = weight * (self.source if self.curved else 1.0) / (self.pitch * self.pixel)
        axis = math.atan2(self.offset, self.source)  # from the central ray to that through the axis
        share = shares(self.angles, self.turn)[:, None] * redundancy(self.angles - math.degrees(axis), gamma + axis)
        return share * weight

    def seen(self, size: Size) -> Iterator[tuple[Tensor, Tensor]]:
        """Of every view, the depth of the pixels from the source along the central ray, and their distance to that ray
        along (cos a, sin a); both (H, W)."""
        u, v = self._from_axis(size)
        for angle in self.angles.double().deg2rad().tolist():
            depth = self.source - u * math.sin(angle) + v * math.cos(angle)
            yield depth, u * math.cos(angle) + v * math.sin(angle) - self.offset

    def _places(self, size: Size) -> Iterator[tuple[Tensor, Tensor]]:
        """Of every view, the position of the pixels on the detectors, and their weight."""
        centre = self._axis(size)[0]
        for depth, across in self.seen(size):
            if self.curved:
                yield torch.atan2(across, depth) / self.pitch + centre, 1 / (depth**2 + across**2)
            else:
                yield self.source * across / depth / self.pitch + centre, (self.source / depth) ** 2

    def detectors_for(self, size: int | Size) -> int:
        """The number of detectors for images of n x n or (H, W) pixels: as given, or as many as see the circle round
        them."""
        return self._detectors((size, size) if isinstance(size, int) else size)

    def _detectors(self, size: Size) -> int:
        if self.detectors is not None:
            return self.detectors
        half = math.asin(min(math.hypot(*size) / 2 / math.hypot(self.source, self.offset), 1.0))
        half += abs(math.atan2(self.offset, self.source))
        return math.ceil(2 * (half if self.curved else self.source * math.tan(half)) / self.pitch)

    def check_event_shape(self, event_shape: Shape) -> None:
        given = self.size if self.size is None or isinstance(self.size, tuple) else (self.size, self.size)
        if len(event_shape) != 3 or given not in (None, tuple(event_shape[1:])):
            height, width = given or ("H", "W")
            raise ValueError(f"FanBeam: expected events (C, {height}, {width}), given {tuple(event_shape)}")
        size = event_shape[1], event_shape[2]
        corners = ((size[0] - 1) / 2, (size[1] - 1) / 2) if self.origin is None else self.origin
        reach = math.hypot(*(max(at, n - 1 - at) + 0.5 for at, n in zip(corners, size, strict=True)))
        if reach >= (distance := math.hypot(self.source, self.offset)):
            raise ValueError(
                f"{self._called}: source = {self.source:g}: the source is {distance:g} pixels from the axis of "
                f"rotation, and corners of a picture {size[0]} x {size[1]} are {reach:.4g} from it; {LENGTH}"
            )
        span = self.pitch * self._detectors(size)
        if self.curved and span >= math.pi:
            raise ValueError(f"FanBeam: the detectors span {math.degrees(span):.0f} degrees, expected less than 180")


def _size(size: int | Size) -> int | Size:
    if isinstance(size, tuple | list | torch.Size):
        height, width = checked_shape("FanBeam: size", size) if len(size) == 2 else (0, 0)
        if max(height, width) > LARGEST or not height:
            raise ValueError(f"FanBeam: size = {tuple(size)}: expected n or (H, W), at most {LARGEST} pixels each")
        return height, width
    return count("FanBeam: size", size, most=LARGEST, hint="or (H, W); omit it to take it from the picture")
