"""Additive Gaussian noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import Noise, parameter


class GaussianNoise(Noise):
    """Additive Gaussian noise.

    y = clean + sigma_y z,  z ~ N(0, I).

    Arguments:
        sigma: standard deviation, in units of y. A number; or (B,), one per measurement; or, with `event_ndim`, a
            tensor whose last `event_ndim` axes broadcast to M (after a leading B, if it has one). 0 means noiseless:
            such an operator measures, but has no likelihood.
        event_ndim: how many axes of sigma belong to one measurement. Needed only if sigma varies between entries:
            a sigma of shape (m,) for measurements (N, m) would otherwise be read as one per measurement.

    Raises:
        ValueError: a sigma that is negative or not finite, or two axes and no `event_ndim`.
    """

    sigma: Tensor
    inferable = ("sigma",)

    def __init__(self, sigma: float | Tensor, event_ndim: int | None = None) -> None:
        super().__init__()
        sigma = parameter("GaussianNoise: sigma", sigma, event_ndim)
        if bool((sigma < 0).any()):
            raise ValueError(f"GaussianNoise: sigma must be >= 0, given {sigma.min():.4g}; it is a standard deviation")
        self.noiseless = bool((sigma == 0).any())
        self.batched_buffer("sigma", sigma, event_ndim or 0)

    @property
    def capabilities(self) -> frozenset[str]:
        """ "gaussian" and "numeric"; "density" for sigma > 0; "isotropic" if all entries of a measurement have the same
        sigma."""
        single = self.sigma.numel() == (len(self.sigma) if self._is_batched("sigma") else 1)
        density = set() if self.noiseless else {"density"}
        return frozenset({"gaussian", "numeric"} | density | ({"isotropic"} if single else set()))

    def tilted(self, y: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """In closed form; as `Noise.tilted`."""
        noise = self.aligned("sigma", y) ** 2
        gain = variance / (variance + noise)
        return mean + gain * (y - mean), gain * noise

    def sample(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        # One randn per batch element: in torch's vectorised path, values depend on the batch size.
        z = torch.stack([torch.randn(clean.shape[1:], generator=generator) for _ in range(len(clean))])
        return clean + self.aligned("sigma", clean) * z.to(clean)

    def log_prob(self, y: Tensor, clean: Tensor) -> Tensor:
        """log N(y; clean, sigma_y^2).

        Raises:
            ValueError: sigma = 0, which has no density.
        """
        if self.noiseless:
            raise ValueError(
                "GaussianNoise: sigma = 0 has no likelihood density; use a positive sigma (1e-3 is invisible in "
                "8-bit images), or choose a method that needs no likelihood"
            )
        sigma = self.aligned("sigma", clean)
        return -0.5 * ((y - clean) / sigma) ** 2 - sigma.log() - 0.5 * math.log(2 * math.pi)

    def variance(self, clean: Tensor) -> Tensor:
        return (self.aligned("sigma", clean) ** 2).expand_as(clean)
