"""Operators that know their own noisy likelihood, such as a classifier trained on x_t."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverse.protocols import RNG, Guidance, GuidedPosterior, Posterior
from operators import Operator
from priors import Prior
from priors.arguments import settings


@dataclass(frozen=True)
class NoisyLikelihood(Guidance):
    """score + weight grad_x log p_t(y | x_t), with p_t(y | x_t) from the operator itself.

    Source: Song et al. 2021, section 5 and equation 14 (weight 1); Dhariwal & Nichol 2021 (weights above 1 trade
    variety for agreement with the label, and no longer sample p(x | y)).
    Arguments: weight (float > 0).
    Raises: ValueError for weight <= 0.
    """

    weight: float = 1.0

    needs = frozenset({"noisy_likelihood"})
    citation = (
        "Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole: Score-Based Generative Modeling through SDEs, ICLR 2021"
    )
    likelihood = True

    def __post_init__(self) -> None:
        settings(self, weight="(0, inf)")

    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        return NoisyLikelihoodPosterior(prior, operator, y, self.weight)


class NoisyLikelihoodPosterior(GuidedPosterior):
    def __init__(self, prior: Prior, operator: Any, y: Any, weight: float) -> None:
        super().__init__(prior, operator, y)
        self.weight = weight

    def guide(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            log_likelihood = self.operator.noisy_log_likelihood(self.y, leaf, t).sum()
            if not log_likelihood.requires_grad:
                raise ValueError(
                    f"{type(self.operator).__name__}.noisy_log_likelihood has no derivative by x (torch.no_grad, "
                    "detach or numpy inside?), and guiding by it needs one: let it record gradients"
                )
            gradient = torch.autograd.grad(log_likelihood, leaf)[0]
        return self.prior.denoise(x, t), self.weight * gradient

    def log_likelihood(self, x: Tensor, t: Tensor) -> Tensor:
        return self.operator.noisy_log_likelihood(self.y, x, t)
