"""Noise of magnitudes of complex numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import Noise, positive
from .quadrature import gamma_moments, nonnegative_mean


class RicianNoise(Noise):
    """The magnitude of a complex value with Gaussian noise in both parts, as in magnitude images of MRI.

    y = |clean + sigma (z_1 + i z_2)|,  z_1, z_2 ~ N(0, 1), clean >= 0.

    log p(y | clean) = log(y / sigma^2) - (y^2 + clean^2) / (2 sigma^2) + log I_0(y clean / sigma^2).
    Source: Rice 1945; Gudbjartsson & Patz 1995.

    Arguments:
        sigma: standard deviation of each part, in units of y; a number, (B,), or entry by entry with `event_ndim` (see
            GaussianNoise).

    Raises:
        ValueError: a sigma that is not positive and finite.
    """

    sigma: Tensor
    inferable = ("sigma",)
    least = 0.0

    def __init__(self, sigma: float | Tensor, event_ndim: int | None = None) -> None:
        super().__init__()
        sigma = positive("RicianNoise: sigma", sigma, event_ndim, "it is the noise of each part of a complex value")
        self.batched_buffer("sigma", sigma, event_ndim or 0)

    def sample(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        shape = clean.shape[1:]
        z = torch.stack([torch.randn((2, *shape), generator=generator) for _ in range(len(clean))]).to(clean)
        sigma = self.aligned("sigma", clean)
        return torch.hypot(clean + sigma * z[:, 0], sigma * z[:, 1])

    def log_prob(self, y: Tensor, clean: Tensor) -> Tensor:
        variance = self.aligned("sigma", clean) ** 2
        bessel = torch.special.i0e(y * clean / variance).log()  # of I_0, times exp(-y |clean| / sigma^2)
        size = y.clamp_min(torch.finfo(y.dtype).tiny)
        return (size / variance).log() - 0.5 * (y - clean.abs()) ** 2 / variance + bessel

    def mean(self, clean: Tensor) -> Tensor:
        sigma = self.aligned("sigma", clean)
        z = 0.25 * (clean / sigma) ** 2
        return sigma * math.sqrt(math.pi / 2) * ((1 + 2 * z) * torch.special.i0e(z) + 2 * z * torch.special.i1e(z))

    def variance(self, clean: Tensor) -> Tensor:
        wide = clean.double()
        return (2 * self.aligned("sigma", wide) ** 2 + wide**2 - self.mean(wide) ** 2).to(clean)

    def tilted(self, y: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """As `Noise.tilted`, with a gamma law of u (`PoissonNoise.tilted` has the reason)."""
        found, around, _ = gamma_moments(lambda u: self.log_prob(y, u), nonnegative_mean(mean, variance), variance)
        return found, around

    def log_marginal(self, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """As `Noise.log_marginal`, with the gamma law of `tilted`."""
        return gamma_moments(lambda u: self.log_prob(y, u), nonnegative_mean(mean, variance), variance)[2]

    def validate(self, y: Tensor, measurement_shape: tuple[int, ...]) -> None:
        super().validate(y, measurement_shape)
        if bool((y < 0).any()):
            raise ValueError(f"y: magnitudes cannot be negative, given {y.min():.4g}")
