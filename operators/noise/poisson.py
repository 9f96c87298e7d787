"""Photon counts."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import Noise, intensities, positive
from .quadrature import beyond_stirling, nonnegative_mean

LEAST_RATE = 1e-6  # counts


class PoissonNoise(Noise):
    """Photon counting, scaled back to the units of the image.

    y = k / peak,  k ~ Poisson(peak clean); so E[y] = clean and Var[y] = clean / peak.

    Arguments:
        peak: expected count where clean = 1; a number, (B,), or entry by entry with `event_ndim` (see GaussianNoise).

    Raises:
        ValueError: a peak that is not positive and finite; `sample` on a clean measurement below 0.
    """

    peak: Tensor
    inferable = ("peak",)
    least = 0.0

    def __init__(self, peak: float | Tensor, event_ndim: int | None = None) -> None:
        super().__init__()
        peak = positive("PoissonNoise: peak", peak, event_ndim, "it is the photon count of a white pixel")
        self.batched_buffer("peak", peak, event_ndim or 0)

    def sample(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        peak = self.aligned("peak", clean)
        return counts("PoissonNoise", peak, clean, generator) / peak

    def log_prob(self, y: Tensor, clean: Tensor) -> Tensor:
        """log of the probability of the count: k log(rate) - rate - log k!.

        Below a rate of 1e-6, log(rate) is continued by its tangent and the rate is taken as 1e-6: the result is finite,
        and its gradient points to larger rates where there are counts.
        """
        # Intermediate estimates of clean may be below 0; -inf there would make gradients nan.
        peak = self.aligned("peak", clean)
        rate, k = peak * clean, peak * y
        return k * log_rate(rate) - rate.clamp(min=LEAST_RATE) - torch.lgamma(k + 1)

    def log_density(self, y: Tensor, clean: Tensor) -> Tensor:
        """As `Noise.log_density`: y = count / peak has the density peak * P(count)."""
        return self.log_prob(y, clean) + self.aligned("peak", clean).log()

    def variance(self, clean: Tensor) -> Tensor:
        return clean / self.aligned("peak", clean)

    def tilted(self, y: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """In closed form; as `Noise.tilted`, with a gamma law of u in place of a Gaussian one, which counts below 0.

        Formula: u ~ Gamma(a, rate b) with mean m = a / b and variance v = a / b^2, given k counts, is Gamma(a + k,
        b + peak), of mean E = (m^2 + v k) / (m + peak v) and variance v E / (m + peak v). See `nonnegative_mean` for m.
        Cutting the Gaussian at 0 would count u >= 0 as measured, once more for every entry: the sum of many entries
        with few counts would be too large.
        """
        peak, m = self.aligned("peak", y), nonnegative_mean(mean, variance)
        found, gain = given_count(peak * y, m, variance, peak)
        return found, gain * found

    def log_marginal(self, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """In closed form, the negative binomial distribution of the counts; as `Noise.log_marginal`, with the gamma law
        of `tilted`."""
        peak, m = self.aligned("peak", y), nonnegative_mean(mean, variance)
        return log_negative_binomial(peak * y, peak * m, peak**2 * variance)

    def validate(self, y: Tensor, measurement_shape: tuple[int, ...]) -> None:
        super().validate(y, measurement_shape)
        if bool((y < 0).any()):
            raise ValueError(f"y: counts cannot be negative, given {y.min():.4g}; y = count / peak")


def given_count(k: Tensor, mean: Tensor, variance: Tensor, peak: Tensor) -> tuple[Tensor, Tensor]:
    """g (a + k) and g = 1 / (b + peak), the mean given k counts of a u with the law Gamma(a, rate b) of this mean and
    variance, and its slope in k."""
    total = mean + peak * variance
    gain = variance / total
    return mean * (mean / total) + gain * k, gain


def log_negative_binomial(k: Tensor, rate: Tensor, variance: Tensor) -> Tensor:
    """log of the probability of k counts whose rate has a gamma law of this mean and variance.

    Formula: log Gamma(a + k) / (Gamma(a) k!) + a log(b / (b + 1)) - k log(b + 1), a = rate^2 / variance and b = rate /
    variance, with Stirling's formula for both gamma functions: their difference is small for large a.
    """
    variance = torch.maximum(variance, 1e-20 * rate**2)
    a = rate * (rate / variance)
    found = given_count(k, rate, variance, torch.ones_like(rate))[0].log()  # of (a + k) / (b + 1)
    leading = (a - 0.5) * torch.log1p(k / a) - a * torch.log1p(variance / rate)
    return leading + k * found - k - torch.lgamma(k + 1) + beyond_stirling(a + k) - beyond_stirling(a)


def log_rate(rate: Tensor) -> Tensor:
    """log(rate) above 1e-6, and its tangent there below."""
    # not the sum of a clamped logarithm and a slope: their derivatives, a million times larger, would cancel
    tangent = math.log(LEAST_RATE) + (rate - LEAST_RATE) / LEAST_RATE
    return torch.where(rate > LEAST_RATE, rate.clamp(min=LEAST_RATE).log(), tangent)


def counts(name: str, peak: Tensor, clean: Tensor, generator: torch.Generator) -> Tensor:
    """Poisson draws of rate peak * clean (N, *M), in clean's dtype and on its device, row by row.

    Raises: ValueError for a clean measurement below 0, beyond rounding; name: of the noise, in the message.
    """
    rate = (peak * intensities(name, clean, "; if the operator has negative outputs, use GaussianNoise")).cpu()
    return torch.stack([torch.poisson(row, generator=generator) for row in rate]).to(clean)
