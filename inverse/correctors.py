"""Langevin moves that leave the distribution at time t invariant: x <- x + e score + sqrt(2 e) z."""

from dataclasses import dataclass

import torch
from torch import Tensor

from inverse.protocols import RNG, Kernel
from inverse.types import Gaussian
from priors import Prior
from priors.arguments import settings
from priors.base import expand


@dataclass(frozen=True)
class Langevin(Kernel):
    """Langevin step whose size is scaled by the score's norm: e = 2 (snr |z| / |score|)^2.

    Norms are per sample (the paper's code averages them over the batch, which couples samples). |z| is replaced by its
    expectation sqrt(d), so that the step size does not depend on the noise, and e is at most twice that of
    `AnnealedLangevin`: in few dimensions, or if the data vary much more in some directions than in others, a score is
    small and e would overshoot. The factor 1 - beta_i of the discrete VP tends to 1 and is omitted.
    A step size that depends on the state preserves p_t |score|^2 instead of p_t: without the bound, the variance of a
    Gaussian is too large by a factor (d + 2) / d. That is 1.003 for 28 x 28; in few dimensions use `AnnealedLangevin`.
    Source: Song et al. 2021, algorithms 4 and 5.
    Arguments: snr (float in (0, 0.5)): .16 for VE, .01 to .04 for VP in the paper.
    Raises: ValueError for snr out of range, where the step overshoots.
    """

    snr: float = 0.16

    def __post_init__(self) -> None:
        settings(self, snr="(0, 0.5)")

    def transition(self, field: Prior, x: Tensor, t: Tensor, s: Tensor, rng: RNG) -> Gaussian:
        score = field.score(x, t)
        square = score.flatten(1).square().sum(1).clamp_min(1e-20)
        longest = 4 * (self.snr * field.sde.sigma(t).item()) ** 2
        step = expand((2 * self.snr**2 * x[0].numel() / square).clamp_max(longest), x)
        return Gaussian(x + step * score, torch.sqrt(2 * step))


@dataclass(frozen=True)
class AnnealedLangevin(Kernel):
    """Langevin step whose size is scaled by the noise level: e = 2 (snr sigma)^2.

    Source: Song & Ermon 2019, algorithm 1; Song et al. 2021, appendix G.
    Arguments: snr (float in (0, 1/sqrt 2)).
    Raises: ValueError for snr out of range, where the step overshoots.
    """

    snr: float = 0.16

    def __post_init__(self) -> None:
        settings(self, snr=f"(0, {0.5**0.5})")

    def transition(self, field: Prior, x: Tensor, t: Tensor, s: Tensor, rng: RNG) -> Gaussian:
        step = 2 * (self.snr * field.sde.sigma(t)) ** 2
        return Gaussian(x + step * field.score(x, t), torch.sqrt(2 * step))


CORRECTORS = {"langevin": Langevin, "annealed_langevin": AnnealedLangevin}
