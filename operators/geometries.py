"""Constructors of `Radon`: angular sampling, and the geometries of other toolkits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import torch
from torch import Tensor

from .arguments import count, flag, number, tensor
from .noise import Noise

LARGEST, MOST_VIEWS = 2**14, 2**17  # pixels of a side or detectors, and views: larger values are mistakes
Angles = int | Sequence[float] | Tensor


class Geometries:
    """Constructors of `Radon`. Further keywords are arguments of `Radon` and override those that the constructor
    sets."""

    @classmethod
    def _made(cls, angles: Angles, size: int, **kwargs: Any) -> Self:
        radon: Any = cls
        return radon(angles, size, **kwargs)

    @classmethod
    def skimage(
        cls, size: int, angles: Angles = 180, circle: bool = True, noise: Noise | None = None, **kwargs: Any
    ) -> Self:
        """The geometry of skimage.transform.radon, whose axis of rotation is pixel n // 2 of every axis.

        For even n the default geometry differs from it by half a pixel. A sinogram of skimage (detectors, views)
        becomes a measurement by `torch.from_numpy(sinogram.T)[None, None].float()`.

        Arguments:
            size: n, pixels.
            angles: skimage's theta, degrees.
            circle: as skimage's: n detectors, else ceil(sqrt(2) n).
            noise, kwargs: as of `Radon`.
        """
        size, circle = count("Radon.skimage: size", size, most=LARGEST), flag("Radon.skimage: circle", circle)
        detectors = size if circle else math.ceil(math.sqrt(2) * size)
        geometry = {"detectors": detectors, "centre": detectors // 2, "origin": (size // 2, size // 2)}
        return cls._made(angles, size, noise=noise, **(geometry | kwargs))

    @classmethod
    def astra(cls, size: int, angles: Angles, detectors: int, noise: Noise | None = None, **kwargs: Any) -> Self:
        """The geometry of ASTRA's create_proj_geom('parallel', 1.0, detectors, angles), angles in radians.

        As in the default geometry here, the axis of rotation is the centre of the image and of the detectors; only the
        unit of the angles differs. A sinogram (views, detectors) becomes a measurement by
        `torch.from_numpy(sinogram)[None, None].float()`. ASTRA's projector 'linear' is Joseph's, equal up to rounding.

        Arguments:
            size: n, pixels, of create_vol_geom(n, n).
            angles: (views,), radians; or their number, spread evenly over half a turn.
            detectors: det_count. Their spacing must be a pixel's side.
            noise, kwargs: as in `Radon`; if the volume's pixels have a side other than 1, give it as `pixel`.
        """
        return cls._made(angles, size, detectors=detectors, noise=noise, **({"unit": "radians"} | kwargs))

    @classmethod
    def tigre(
        cls,
        size: int,
        angles: Angles,
        detectors: int,
        noise: Noise | None = None,
        cor: float = 0.0,
        off_origin: tuple[float, float] = (0.0, 0.0),
        **kwargs: Any,
    ) -> Self:
        """The geometry of one slice of TIGRE's parallel beam (Python, geo.mode = "parallel").

        TIGRE's source lies on the column axis at angle 0 and turns towards increasing rows, so view 0 sums over the
        columns of every row; its angle alpha is -90 degrees - alpha here. The measurement of slice k of its projections
        (views, nDetector[0], nDetector[1]) is `torch.from_numpy(projections[:, k])[None, None]`, if the detector's rows
        are those of the volume.

        Arguments:
            size: n, pixels: nVoxel[1] and nVoxel[2].
            angles: (views,), radians; or their number, spread evenly over half a turn.
            detectors: nDetector[1]. dDetector must be dVoxel, one pixel's side.
            noise, kwargs: as of `Radon`; lengths in y are pixels, or those of `pixel`, which is dVoxel.
            cor: geo.COR in pixels.
            off_origin: geo.offOrigin of (rows, columns), in pixels. geo.offDetector tilts TIGRE's rays, and has no
                counterpart here.

        Raises:
            ValueError: `unit` other than "radians".
        """
        detectors = count("Radon.tigre: detectors", detectors, most=LARGEST)
        size, cor = count("Radon.tigre: size", size, most=LARGEST), number("Radon.tigre: cor", cor, hint="in pixels")
        if kwargs.pop("unit", "radians") != "radians":
            raise ValueError("Radon.tigre: TIGRE's angles are radians; omit unit, and give np.deg2rad(angles)")
        down, across = (number("Radon.tigre: off_origin, an entry", part, hint="in pixels") for part in off_origin)
        if isinstance(angles, Integral):
            views = count("Radon.tigre: angles", angles, most=MOST_VIEWS)
            angles = torch.arange(views, dtype=torch.float64) * (math.pi / views)
        turned = -90.0 - tensor("Radon.tigre: angles", angles).double().rad2deg()
        middle = (size - 1) / 2
        axis = {"centre": (detectors - 1) / 2 - cor, "origin": (middle - down, middle - across)}
        return cls._made(turned, size, detectors=detectors, noise=noise, unit="degrees", **(axis | kwargs))

    @classmethod
    def sparse_view(cls, size: int, views: int, noise: Noise | None = None, **kwargs: Any) -> Self:
        """Sparse-view CT: few views, evenly spaced over [0, 180) degrees.

        Arguments:
            size: n, pixels.
            views: how many.
            noise, kwargs: as of `Radon`.
        """
        return cls._made(count("Radon.sparse_view: views", views, most=MOST_VIEWS), size, noise=noise, **kwargs)

    @classmethod
    def limited_angle(
        cls, size: int, degrees: float, views: int, noise: Noise | None = None, start: float = 0.0, **kwargs: Any
    ) -> Self:
        """Limited-angle CT: the views cover only a part of [0, 180) degrees.

        Arguments:
            size: n, pixels.
            degrees: the angular range, in (0, 180].
            views: how many, evenly spaced over [start, start + degrees).
            noise, kwargs: as of `Radon`.
            start: the first view, degrees.

        Raises:
            ValueError: degrees outside (0, 180], or below 2 pi and no `unit` ("degrees": they are meant); `unit` other
                than "degrees".
        """
        degrees = number("Radon.limited_angle: degrees", degrees, "(0, 180]", "180 is a full scan")
        views = count("Radon.limited_angle: views", views, most=MOST_VIEWS)
        start = number("Radon.limited_angle: start", start)
        if kwargs.get("unit", "degrees") not in (None, "degrees"):
            raise ValueError("Radon.limited_angle: its angles are degrees; omit unit, and convert to degrees")
        return cls._made(start + torch.arange(views) * (degrees / views), size, noise=noise, **kwargs)
