"""Photon counts."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import Noise, intensities, positive
from .quadrature import Center, tilted_moments

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
        """As `Noise.tilted`, without the terms of `log_prob` that do not depend on the rate."""
        peak = self.aligned("peak", y)
        k = peak * y
        return tilted_moments(
            lambda u: torch.special.xlogy(k, u) - peak * u, mean, variance, self.least, self.center(y, mean, variance)
        )

    def center(self, y: Tensor, mean: Tensor, variance: Tensor) -> Center:
        """The mode of u^k exp(-peak u) N(u; mean, variance), a quadratic equation, and the width there."""
        peak = self.aligned("peak", y)
        return mode_of_counts(peak * y, mean, variance, peak)

    def validate(self, y: Tensor, measurement_shape: tuple[int, ...]) -> None:
        super().validate(y, measurement_shape)
        if bool((y < 0).any()):
            raise ValueError(f"y: counts cannot be negative, given {y.min():.4g}; y = count / peak")


def mode_of_counts(k: Tensor, mean: Tensor, variance: Tensor, peak: Tensor) -> Center:
    """The mode of u^k exp(-peak u) N(u; mean, variance), a quadratic equation, and the width there."""
    b = mean - peak * variance
    root = (b**2 + 4 * k * variance).sqrt()
    mode = torch.where(b > 0, 0.5 * (root + b), 2 * k * variance / (root - b).clamp_min(1e-300))
    slope = torch.where(k > 0, 0.0, (mode - b) / variance)  # at the boundary, for no counts and b < 0
    curvature = 1 / variance + torch.where(k > 0, k / mode.clamp_min(1e-150) ** 2, 0.0)
    width = (curvature + slope**2).rsqrt()
    return Center(mode, width, 8 + 8 * (1 + k).rsqrt())


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
