"""The noise of what an entrywise function is applied to."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .base import Noise


class LinkedNoise(Noise):
    """p(y | u) with y ~ noise(link(u)) and link a function of single entries, such as exp(-u) of `Transmission`: an
    operator link(A x) measures the entries of A x with this noise. Source: Nelder & Wedderburn 1972, whose generalized
    linear models these are.

    Arguments:
        link: an entrywise operator, (N, *M) -> (N, *M), with its noise.
    """

    def __init__(self, link: Any) -> None:
        super().__init__()
        self.link = link

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({"numeric", "density"}) & self.link.noise.capabilities

    def sample(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        return self.link.noise.sample(self.link(clean), generator)

    def log_prob(self, y: Tensor, clean: Tensor) -> Tensor:
        return self.link.noise.log_prob(y, self.link(clean))

    def log_density(self, y: Tensor, clean: Tensor) -> Tensor:
        return self.link.noise.log_density(y, self.link(clean))

    def mean(self, clean: Tensor) -> Tensor:
        return self.link.noise.mean(self.link(clean))

    def variance(self, clean: Tensor) -> Tensor:
        return self.link.noise.variance(self.link(clean))

    def validate(self, y: Tensor, measurement_shape: tuple[int, ...]) -> None:
        self.link.noise.validate(y, measurement_shape)
