"""Photon counts with the read noise of a camera."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import Noise, positive
from .poisson import LEAST_RATE, counts, given_count, log_negative_binomial, log_rate
from .quadrature import nonnegative_mean

TERMS = 33  # of the sum over counts
REACH = 8.0  # standard deviations of the count given y and the rate on each side of its mode
NEWTON = 6
SINGLE = 8  # terms of one count each


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

    def tilted(self, y: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """As `PoissonNoise.tilted`, with the mean of the count given y in place of the count.

        Formula: with that mean E_k and the variance V_k, by a sum over counts, those of u are E = g (a + E_k) and g E +
        g^2 V_k, g = 1 / (b + peak).
        """
        peak, m = self.aligned("peak", y), nonnegative_mean(mean, variance)
        k, log_p = self._mixed(y, m, variance)
        p = log_p.softmax(0)
        number = (p * k).sum(0)
        found, gain = given_count(number, m, variance, peak)
        return found, gain * found + gain**2 * (p * (k - number) ** 2).sum(0)

    def log_marginal(self, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """As `Noise.log_marginal`, with the gamma law of `tilted`."""
        return self._mixed(y, nonnegative_mean(mean, variance), variance)[1].logsumexp(0)

    def _mixed(self, y: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Counts k and log p(y, k), (n, N, *M) each, where u has a gamma law of this mean and variance. The counts are
        0, then 8 in a row, where p may be steep, and 33 that each stand for those around them."""
        peak, sigma = self.aligned("peak", y), self.aligned("sigma", y)
        rate, wide, value, spread = peak * mean, peak**2 * variance, peak * y, peak * sigma
        mode, width, above = _likeliest_mixed(value, rate, wide, spread)
        first = (mode - REACH * width).floor().clamp(min=1)
        stride = ((mode + above * width + 1 - first - SINGLE) / (TERMS - 1)).clamp(min=1).ceil()
        middle = first + SINGLE + 0.5 * (stride - 1)
        counts = [torch.zeros_like(first), *(first + i for i in range(SINGLE))]
        log_p = [log_negative_binomial(k, rate, wide) for k in counts]
        for i in range(TERMS):
            counts.append(middle + i * stride)
            log_p.append(log_negative_binomial(counts[-1], rate, wide) + stride.log())
        k = torch.stack(counts)
        gauss = -0.5 * ((value - k) / spread) ** 2 - sigma.log() - 0.5 * math.log(2 * math.pi)
        return k, torch.stack(log_p) + gauss

    def variance(self, clean: Tensor) -> Tensor:
        return clean / self.aligned("peak", clean) + self.aligned("sigma", clean) ** 2

    def information(self, clean: Tensor) -> Tensor:
        """About the Fisher information, entry by entry, (N, *M); that of mean and variance alone is too small where
        single photons stand out from the read noise.

        Formula: peak^2 / (r + c), with r = peak clean, s = peak sigma and c between 1 / (exp(1 / s^2) - 1), for which
        it is exact at r = 0, and s^2, for which it is exact for large r: c = c_0 + (s^2 - c_0) r / (r + .2). Within
        10 % of numerical integration from r = .1 on, within a factor of 1.6 at r = .01.
        """
        peak = self.aligned("peak", clean)
        rate, read = (peak * clean).clamp(min=LEAST_RATE), (peak * self.aligned("sigma", clean)) ** 2
        dark = 1 / torch.expm1(1 / read)
        return peak**2 / (rate + dark + (read - dark) * rate / (rate + 0.2))


def _likeliest(value: Tensor, rate: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """About the mode and standard deviation of the count k given y (value, in counts), for N(value; k, spread^2) and
    Poisson(k; rate): the root of (value - k) / spread^2 = log(k / rate)."""
    k = torch.maximum((value * rate + spread**2 * rate) / (rate + spread**2), 0.5 * torch.ones_like(value))
    for _ in range(NEWTON):
        slope = 1 / spread**2 + 1 / k
        step = ((value - k) / spread**2 - (k / rate).log()) / slope
        k = torch.maximum(k + step, 0.2 * k)  # never to 0, where the logarithm ends
    return k, (1 / spread**2 + 1 / (k + 0.25)).rsqrt()


def _likeliest_mixed(value: Tensor, rate: Tensor, wide: Tensor, spread: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `_likeliest`, of counts >= 1 for a rate with a gamma law of mean ``rate`` and variance ``wide``; and how many
    widths above the mode are likely.

    A shape a below 1 counts as 1, for which k is geometric: below 1 its probability falls faster.
    """
    a, log_p = (rate * (rate / wide)).clamp(min=1), -torch.log1p(rate / wide)

    def slope(k: Tensor) -> Tensor:
        return (value - k) / spread**2 + log_p + torch.log((a + k - 0.5) / (k + 0.5))

    def curvature(k: Tensor) -> Tensor:
        return 1 / spread**2 + (a - 1) / ((k + 0.5) * (a + k - 0.5))

    total = rate + wide
    k = ((value * total + spread**2 * rate) / (total + spread**2)).clamp(min=1)
    for _ in range(NEWTON):
        k = torch.maximum(k + slope(k) / curvature(k), (0.2 * k).clamp(min=1))
    falling = torch.where(k > 1, 0.0, slope(k).clamp(max=0))  # at the boundary
    return k, (curvature(k) + falling**2).rsqrt(), torch.where(k > 1, REACH, 2 * REACH)
