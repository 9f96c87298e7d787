"""X-ray transmission: photon counts behind an object, and line integrals from counts."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arguments import number, rows, tensor
from .base import Shape
from .entrywise import Entrywise
from .noise import GaussianNoise, Noise, PoissonNoise
from .registry import register

FEW = 10  # counts, below which the logarithm is biased
WATER = 0.0193  # attenuation of water per mm at 70 keV, about the mean energy of a scan at 120 kV


class FewPhotons(UserWarning):
    """Rays with so few counts that their logarithm is no Gaussian measurement of the line integral."""


@register("transmission")
class Transmission(Entrywise):
    """The transmitted fraction of photons for line integrals l of the attenuation (Beer-Lambert law).

    y = exp(-(l + offset)), (N, *M) -> (N, *M), l without a unit. `Transmission(PoissonNoise(1e4)) @ Radon(60)` counts
    photons, y = counts / 1e4, with 1e4 sent along every ray. The operator is not linear: `line_integrals` converts
    counts to Gaussian measurements of l for linear methods.

    Arguments:
        noise: PoissonNoise(photons sent along a ray), or another noise in units of y.
        offset: line integrals of attenuation that is not in x, such as that of pixels of value 0; broadcastable to M,
            after a leading B for one per measurement.

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

    def validate_y(self, y: Tensor, event_shape: Shape) -> None:
        """Refuse a y that is not a fraction of the photons sent, such as raw counts.

        Raises:
            TypeError or ValueError: as of `Operator`; and a mean above 2, where a ray without attenuation has 1.
        """
        super().validate_y(y, event_shape)
        check_fractions(self, y)

    def line_integrals(self, y: Tensor) -> tuple[Tensor, GaussianNoise]:
        """Convert counts to line integrals l with entrywise Gaussian noise: a linear problem.

        Formula: l = -log((k + 1/2) / peak) - offset and sigma^2 = 1 / (k + 1/2), k = peak y the counts. Adding 1/2
        makes the bias O(1 / k^2) and keeps rays without counts finite (Haldane 1956, Anscombe 1956). Accurate from
        about ten counts; below, l is biased low.

        Arguments:
            y: (N, *M), counts / peak.

        Returns:
            (l, noise): l (N, *M), and the noise for an operator that measures l.

        Raises:
            ValueError: the noise is not `PoissonNoise`.

        Warns:
            FewPhotons: rays with fewer than ten counts.
        """
        if not isinstance(self.noise, PoissonNoise):
            raise ValueError(
                f"Transmission.line_integrals: expected PoissonNoise, given {type(self.noise).__name__}, which has no "
                "counts; use -log(y) where y is far above its noise"
            )
        rows("Transmission.line_integrals: y", y, "measurement")
        if y.is_meta or not bool(((y >= 0) & y.isfinite()).all()):
            raise ValueError("Transmission.line_integrals: y has nan or negative entries: expected counts / peak")
        counts = self.noise.aligned("peak", y) * y + 0.5
        few = int((counts < FEW + 0.5).sum())
        if few:
            warnings.warn(
                f"Transmission.line_integrals: {few} of {y.numel()} rays have fewer than {FEW} counts, "
                f"{int((counts < 1).sum())} of them none: their line integrals are biased low; use the likelihood of "
                "the counts, solve(prior, Transmission(PoissonNoise(photons), offset) @ radon, counts / photons)",
                FewPhotons,
                stacklevel=3,
            )
        line = torch.log(self.noise.aligned("peak", y) / counts) - self.aligned("offset", y)
        return line, GaussianNoise(counts.rsqrt(), event_ndim=y.ndim - 1)


def check_fractions(operator: Transmission, y: Tensor) -> None:
    """Refuse raw counts (B, *M) in place of counts / photons, by a ValueError."""
    if not isinstance(operator.noise, PoissonNoise) or bool((operator.offset < -1).any()):
        return
    peak = float(operator.noise.peak.double().mean())
    if (mean := float(y.double().mean())) > 2 + 10 / (peak * y.numel()) ** 0.5:
        raise ValueError(
            f"y: mean {mean:.4g}, up to {float(y.max()):.4g}: expected counts as a fraction of the {peak:.4g} photons "
            "sent along a ray, at most about 1; divide the counts by them, y = counts / photons"
        )


def attenuation(hu: Any, water: float = WATER) -> Any:
    """Linear attenuation mu of Hounsfield units: mu = water (1 + HU / 1000), so air, -1000, has 0.

    For images where 0 is HU a and 1 is HU b, mu = mu_a + (mu_b - mu_a) x: line integrals of mu are those of `Radon(...,
    pixel=(mu_b - mu_a) * length)` plus an offset of mu_a * length per pixel, with length the side of a pixel in mm.

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
