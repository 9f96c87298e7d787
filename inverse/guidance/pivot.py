"""Moment matching whose modes are decided at one noise level, by weights that need no path to it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from inverse.guidance.mmps import MMPS, MMPSPosterior
from inverse.guidance.tweedie import TweediePosterior
from priors.arguments import settings


@dataclass(frozen=True)
class Pivot(MMPS):
    """`MMPS`, and at the pivot of `inverse.population.Renoised` the likelihood of `Tweedie`, for few measured numbers.

    Formula: p_t(y | x_t) = N(y; A D, Sigma_y + A C A'), C = (sigma^2 / alpha) J'. Of a part of each measurement's rows
    the covariance is computed, a backward pass per measured number; the others take that of the nearest, by D. Those
    are chosen one by one, each the furthest from the chosen: every mode has one.
    Source: Rozet et al. 2024 (the guidance); Gonzalez 1985 (the choice); weighing at a pivot is ours.
    Arguments: steps, tolerance: as `MMPS`; most (int >= 0): the largest measurement, in numbers, unmeasured ones
    included; share (float in (0, 1]) of the rows whose covariance is computed.
    Raises: ValueError for values out of range, and, before the prior is evaluated, for larger measurements.
    """

    most: int = 64
    share: float = 1.0

    citation = MMPS.citation + "; weighed at a pivot level (this toolkit)"
    likelihood = True

    def __post_init__(self):
        super().__post_init__()
        settings(self, most=0, share="(0, 1]")

    @property
    def largest(self) -> float:
        """The most numbers that a measurement may have."""
        return self.most

    def posterior(self, prior, operator, y, rng=None):
        assert y is not None
        if (size := y[0].numel()) > self.most:
            raise ValueError(
                f"a measurement of {size} numbers: expected at most {self.most}, for each costs a backward pass; take "
                "method 'mmps', or raise most"
            )
        return PivotPosterior(prior, operator, y, self)


class PivotPosterior(MMPSPosterior):
    settings: Pivot

    def refined(self, x: Tensor, t: Tensor, rows: int) -> Tensor:
        whole = TweediePosterior(self.prior, self.operator, self.y)
        n = math.ceil(self.settings.share * rows)
        if n == rows:
            return whole.log_likelihood(x, t)
        denoised = self.prior.denoise(x, t)
        first = rows * torch.arange(len(x) // rows, device=x.device)[:, None]
        chosen, nearest = spread(denoised.reshape(-1, rows, denoised[0].numel()), n)
        index = (first + chosen).flatten()
        some = TweediePosterior(self.prior, self.operator.rows(index), self.y[index])
        covariance = some.covariance(x[index], t)
        taken = n * torch.arange(len(nearest), device=x.device)[:, None] + nearest
        return whole.log_normal(whole.residual(denoised), covariance[taken.flatten()])


def spread(x: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """n points of each set that cover it, each the furthest from those before, and for each point the nearest of them.

    Source: Gonzalez 1985 (within a factor 2 of the least possible radius).
    Arguments: x (B, K, d); n (int in 1 to K).
    Returns: indices of the chosen ones (B, n), and which of those is nearest (B, K).
    """
    sets = torch.arange(len(x), device=x.device)
    chosen = [torch.zeros_like(sets)]
    distance = (x - x[:, :1]).square().sum(2)
    nearest = torch.zeros_like(distance, dtype=torch.long)
    for k in range(1, n):
        chosen.append(distance.argmax(1))
        new = (x - x[sets, chosen[-1]][:, None]).square().sum(2)
        nearest = torch.where(new < distance, k, nearest)
        distance = torch.minimum(distance, new)
    return torch.stack(chosen, 1), nearest
