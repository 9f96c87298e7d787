"""Score-MRI: measured coordinates are pulled towards the noised measurement before every update."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverse.guidance.spectral import SpectralPosterior
from inverse.protocols import RNG, Guidance, Posterior
from inverse.types import Gaussian
from operators import Operator
from priors import Prior
from priors.arguments import settings


@dataclass(frozen=True)
class ScoreMRI(Guidance):
    """x <- T'[l L y_t + (1 - l L) T x] before every update, with y_t the measurement noised to the state's level.

    Formula: L marks the measured coordinates of T = V', y_t = alpha u + sigma z with u = U'y / s, of whose noise the
    measurement supplies (alpha sigma_y / s)^2. An update's Gaussian followed by the pull is one Gaussian, of mean
    (1 - l) m + l alpha u and variance (1 - l)^2 v + l^2 (sigma^2 - (alpha sigma_y / s)^2). The last denoising is
    pulled likewise. Where the measurement's noise n = sigma_y / s is above the state's, sigma / alpha, y_t does not
    exist: there l is at most v / (alpha n)^2, the share of a measurement of variance n^2 beside a step of variance v,
    and (sigma / (alpha n))^2 at the end. The noise of y is the same at every step: a stronger pull would add it up.
    Source: Song, Shen, Xing, Ermon 2022, equation 8 and algorithm 2. Their T is any invertible map; ours is the
    singular basis.
    Arguments: weight l (float in (0, 1]): 1 for noise-free measurements, where it is replacement.
    Raises: ValueError for a weight out of range.
    """

    weight: float = 0.9

    needs = frozenset({"svd", "isotropic"})
    citation = (
        "Song, Shen, Xing, Ermon: Solving Inverse Problems in Medical Imaging with Score-Based Generative Models, "
        "ICLR 2022"
    )

    def __post_init__(self) -> None:
        settings(self, weight="(0, 1]")

    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        return ScoreMRIPosterior(prior, operator, y, self.weight)


class ScoreMRIPosterior(SpectralPosterior):
    def __init__(self, prior: Prior, operator: Any, y: Any, weight: float) -> None:
        super().__init__(prior, operator, y)
        self.weight = weight

    def condition(self, q: Gaussian, x: Tensor, t: Tensor, s: Tensor) -> Gaussian:
        alpha, sigma = self.sde.alpha(s), self.sde.sigma(s)
        q = q.within(self.operator)
        std = q.std.to(self.u)
        pull = self.pull(s, std**2 / sigma**2)
        added = (sigma**2 - (alpha * self.noise) ** 2).clamp_min(0.0)
        std = torch.sqrt((1 - pull) ** 2 * std**2 + pull**2 * added)
        return Gaussian((1 - pull) * q.mean + pull * alpha * self.u, std, q.basis)

    def pull(self, s: Tensor, share: Tensor | float) -> Tensor:
        """l, (N, *E) in coordinates; share: v / sigma^2, of the state's variance that a step makes anew."""
        noise = self.sde.alpha(s) * self.noise / self.sde.sigma(s)
        least = torch.where(noise > 1, share / noise.clamp_min(1.0) ** 2, 1.0)
        return torch.where(self.known, least.clamp_max(self.weight), 0.0).to(self.u)

    def finish(self, x: Tensor, t: Tensor, rng: RNG) -> Tensor:
        return self.rectified(self.denoise(x, t), self.pull(t, 1.0))
