"""Photon counts with the read noise of a camera."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import Noise, positive
from .poisson import LEAST_RATE, counts, log_rate, mode_of_counts
from .quadrature import Center

TERMS = 33  # of the sum over counts
REACH = 8.0  # standard deviations of the count given y and the rate on each side of its mode
NEWTON = 6


class PoissonGaussianNoise(Noise):
    """Photon counting and read noise, scaled to the units of the image.

    y = k / peak + sigma z,  k ~ Poisson(peak clean), z ~ N(0, 1); so E[y] = clean and Var[y] = clean / peak + sigma^2.

    A camera's raw value v = gain k + offset + N(0, read^2) is y = (v - offset) / (gain peak), with sigma = read /
    (gain peak): see `from_camera`. The likelihood is the sum over k, of 33 terms around the largest; above about 250
    likely counts these are some of all, as a quadrature of the smooth summand.
    Source: Snyder, Hammoud & White 1993; Foi, Trimeche, Katkovnik & Egiazarian 2008.

    Arguments:
        peak: expected count where clean = 1; a number, (B,), or entry by entry with `event_ndim` (see GaussianNoise).
        sigma: standard deviation of the read noise, in units of y; a number, (B,), or entry by entry as well.

    Raises:
        ValueError: a peak or sigma that is not positive and finite; `sample` on a clean measurement below 0.
    """

    peak: Tensor
    sigma: Tensor
    inferable = ("peak", "sigma")
    least = 0.0

    def __init__(self, peak: float | Tensor, sigma: float | Tensor, event_ndim: int | None = None) -> None:
        super().__init__()
        for name, value in (("peak", peak), ("sigma", sigma)):
            hint = "without read noise use PoissonNoise(peak)"
            value = positive(f"PoissonGaussianNoise: {name}", value, event_ndim, hint)
            self.batched_buffer(name, value, event_ndim or 0)

    @classmethod
    def from_camera(cls, gain: float, read: float, white: float, offset: float = 0.0) -> PoissonGaussianNoise:
        """Of a camera that reports gain k + offset + N(0, read^2), for y = (reported - offset) / (white - offset).

        Arguments: gain (float > 0): reported units per photon; read (float > 0): standard deviation of the read noise,
        reported units; white: the reported value of a picture's 1; offset: that of no light.
        Raises: ValueError for a gain or read noise that is not positive, or white at or below the offset.
        """
        if not (gain > 0 and read > 0 and white > offset):
            raise ValueError(
                f"PoissonGaussianNoise.from_camera: gain = {gain}, read = {read}, white = {white}, offset = {offset}: "
                "expected gain > 0, read > 0 and white > offset"
            )
        return cls((white - offset) / gain, read / (white - offset))

    def sample(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        peak = self.aligned("peak", clean)
        rows = []
        for i, row in enumerate(clean):
            of = peak[i] if peak.ndim == clean.ndim and len(peak) > 1 else peak
            k = counts("PoissonGaussianNoise", of, row[None], generator)[0]
            rows.append((k, torch.randn(row.shape, generator=generator).to(clean)))
        k, z = (torch.stack(parts) for parts in zip(*rows, strict=True))
        return k / peak + self.aligned("sigma", clean) * z

    def log_prob(self, y: Tensor, clean: Tensor) -> Tensor:
        """log sum_k Poisson(k; peak clean) N(y; k / peak, sigma^2). Rates below 1e-6 count as 1e-6, with a slope."""
        peak, sigma = self.aligned("peak", clean), self.aligned("sigma", clean)
        rate, value, spread = peak * clean, peak * y, peak * sigma  # all in counts
        floored, log_floored = rate.clamp(min=LEAST_RATE), log_rate(rate)
        mode, width = _likeliest(value.detach(), floored.detach(), spread)
        first = (mode - REACH * width).floor().clamp(min=0)
        stride = ((mode + REACH * width + 1 - first) / (TERMS - 1)).clamp(min=1).ceil()
        terms = []
        for i in range(TERMS):
            k = first + i * stride
            gauss = -0.5 * ((value - k) / spread) ** 2
            terms.append(k * log_floored - torch.lgamma(k + 1) + gauss)
        log_sum = torch.logsumexp(torch.stack(terms), 0) + stride.log() - floored
        return log_sum - sigma.log() - 0.5 * math.log(2 * math.pi)

    def center(self, y: Tensor, mean: Tensor, variance: Tensor) -> Center:
        """That of counts without read noise whose rate and number are larger by (peak sigma)^2, of the same mean and
        variance (Snyder, Hammoud & White 1993)."""
        peak = self.aligned("peak", y)
        more = (peak * self.aligned("sigma", y)) ** 2
        moved, above = mean + more / peak, (peak * y + more).clamp_min(0)
        found = mode_of_counts(above, moved, variance, peak)
        return Center((found.mode - more / peak).clamp_min(0), found.width, found.above)

    def variance(self, clean: Tensor) -> Tensor:
        return clean / self.aligned("peak", clean) + self.aligned("sigma", clean) ** 2


def _likeliest(value: Tensor, rate: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """About the mode and standard deviation of the count k given y (value, in counts), for N(value; k, spread^2) and
    Poisson(k; rate): the root of (value - k) / spread^2 = log(k / rate)."""
    k = torch.maximum((value * rate + spread**2 * rate) / (rate + spread**2), 0.5 * torch.ones_like(value))
    for _ in range(NEWTON):
        slope = 1 / spread**2 + 1 / k
        step = ((value - k) / spread**2 - (k / rate).log()) / slope
        k = torch.maximum(k + step, 0.2 * k)  # never to 0, where the logarithm ends
    return k, (1 / spread**2 + 1 / (k + 0.25)).rsqrt()
