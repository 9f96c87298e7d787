"""Multiplicative noise of coherent imaging."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .base import Noise, intensities, positive

LEAST = 1e-6  # intensity


class SpeckleNoise(Noise):
    """Multiplicative speckle of intensities averaged over several looks, as in SAR, ultrasound and OCT.

    y = clean g,  g ~ Gamma(shape looks, mean 1); so E[y] = clean and Var[y] = clean^2 / looks.

    log p(y | clean) = looks log(looks / clean) + (looks - 1) log y - looks y / clean - log Gamma(looks).
    Source: Goodman 1976.

    Arguments:
        looks: number of averaged intensities, may be fractional; a number, (B,), or entry by entry with `event_ndim`
            (see GaussianNoise).

    Raises:
        ValueError: looks that are not positive and finite; `sample` on a clean measurement below 0.
    """

    looks: Tensor
    inferable = ("looks",)
    least = LEAST

    def __init__(self, looks: float | Tensor, event_ndim: int | None = None) -> None:
        super().__init__()
        looks = positive("SpeckleNoise: looks", looks, event_ndim, "1 is fully developed speckle")
        self.batched_buffer("looks", looks, event_ndim or 0)

    def sample(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        clean = intensities("SpeckleNoise", clean)
        looks = self.aligned("looks", clean).expand_as(clean).double().cpu().numpy()
        drawn = []
        for row in looks:  # torch draws gamma variables from the global random state alone
            seed = int(torch.randint(2**62, (), generator=generator))
            drawn.append(torch.from_numpy(np.random.default_rng(seed).gamma(row) / row))
        return clean * torch.stack(drawn).to(clean)

    def log_prob(self, y: Tensor, clean: Tensor) -> Tensor:
        """Clean values below 1e-6 count as 1e-6, and y below the smallest normal number as that."""
        looks, clean = self.aligned("looks", clean), clean.clamp(min=LEAST)
        size = y.clamp_min(torch.finfo(y.dtype).tiny)
        return looks * (looks / clean).log() + (looks - 1) * size.log() - looks * y / clean - torch.lgamma(looks)

    def variance(self, clean: Tensor) -> Tensor:
        return clean**2 / self.aligned("looks", clean)

    def validate(self, y: Tensor, measurement_shape: tuple[int, ...]) -> None:
        super().validate(y, measurement_shape)
        if bool((y < 0).any()):
            raise ValueError(f"y: intensities cannot be negative, given {y.min():.4g}")
