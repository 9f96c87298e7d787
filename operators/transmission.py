"""X-rays that pass: photons that are left behind an object, and the line integrals that they tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arguments import number, rows, tensor
from .base import Operator, Shape
from .noise import GaussianNoise, Noise, PoissonNoise
from .registry import register

WATER = 0.0193  # attenuation of water per mm at 70 keV, about the mean energy of a scan at 120 kV


@register("transmission")
class Transmission(Operator):
    """The part of the photons that passes, of line integrals l of the attenuation (the law of Beer and Lambert).

    y = exp(-(l + offset)), (N, *M) -> (N, *M), l without a unit. `Transmission(PoissonNoise(1e4)) @ Radon(60)` counts
    photons, y = counts / 1e4, of which 1e4 are sent along every ray. It is not linear: `line_integrals` makes Gaussian
    measurements of l for methods that need them.

    Arguments:
        noise: PoissonNoise(photons sent along a ray), or another noise in units of y.
        offset: line integrals of what is not in the picture, such as the attenuation of pixels of value 0;
            broadcastable to M, after a leading B for one per measurement.

    Raises:
        ValueError: an offset that is not finite.
    """

    offset: Tensor

    def __init__(self, noise: Noise | None = None, offset: float | Tensor = 0.0) -> None:
        super().__init__(noise)
        offset = tensor("Transmission: offset", offset)
        self.batched_buffer("offset", offset, min(offset.ndim, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(-x - self.aligned("offset", x))

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return -self(x) * v

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        return measurement_shape

    def line_integrals(self, y: Tensor) -> tuple[Tensor, GaussianNoise]:
        """Counts as line integrals l with Gaussian noise of their own, entry by entry: a linear problem.

        Formula: l = -log((k + 1/2) / peak) - offset and sigma^2 = 1 / (k + 1/2), k = peak y the counts. The half makes
        the bias O(1 / k^2) and keeps rays that nothing passed finite (Haldane 1956, Anscombe 1956). Fair from some ten
        counts on; below, l is biased low.

        Arguments:
            y: (N, *M), counts / peak.

        Returns:
            (l, noise): l (N, *M), and the noise that an operator with measurements l is to have.

        Raises:
            ValueError: the noise is not that of photons.
        """
        if not isinstance(self.noise, PoissonNoise):
            raise ValueError(
                f"Transmission.line_integrals: expected PoissonNoise, given {type(self.noise).__name__}, which counts "
                "nothing; take -log(y) where y is far above its noise"
            )
        rows("Transmission.line_integrals: y", y, "measurement")
        if y.is_meta or not bool(((y >= 0) & y.isfinite()).all()):
            raise ValueError("Transmission.line_integrals: y has nan or negative entries: expected counts / peak")
        counts = self.noise.aligned("peak", y) * y + 0.5
        line = torch.log(self.noise.aligned("peak", y) / counts) - self.aligned("offset", y)
        return line, GaussianNoise(counts.rsqrt(), event_ndim=y.ndim - 1)


def attenuation(hu: Any, water: float = WATER) -> Any:
    """Linear attenuation mu of Hounsfield units: mu = water (1 + HU / 1000), so air, -1000, has none.

    Of pictures with 0 standing for HU a and 1 for HU b, mu = mu_a + (mu_b - mu_a) x: line integrals of mu are those of
    `Radon(..., pixel=(mu_b - mu_a) * length)` and an offset of mu_a * length per pixel, length a pixel's in mm.

    Arguments:
        hu: a number or a tensor of any shape, Hounsfield units.
        water: attenuation of water, per mm unless you give another; the default is for 70 keV.

    Returns:
        mu, in the unit of `water`, of hu's shape.
    """
    water = number("attenuation: water", water, "(0, inf)")
    if not isinstance(hu, Tensor | np.ndarray):
        hu = number("attenuation: hu", hu, hint="or a tensor, in Hounsfield units")
    return water * (1 + hu / 1000)
