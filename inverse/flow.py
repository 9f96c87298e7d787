"""Steps without noise that know their density."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from inverse.predictors import ProbabilityFlow
from inverse.protocols import Kernel
from inverse.types import Gaussian
from priors import Prior
from priors.arguments import function, settings
from priors.density import EXACT_UP_TO, middle, step_with_log_det


@dataclass(frozen=True)
class Flow:
    """A predictor without noise and the log-determinant of its step, for `inverse.population.Importance`.

    Formula: x_s = F(x_t), log q_s(x_s) = log q_t(x_t) - log |det dF/dx_t|. The determinant is that of the step itself,
    so that q is the samples' own density at any number of steps; only its distance from the posterior depends on them.
    Source: Song et al. 2021, section 4.3, and Chen et al. 2018, whose continuous flow it replaces; the estimator of
    Behrmann et al. 2019 in many dimensions.
    Arguments: predictor (Kernel) whose steps have no noise; probes (int >= 1) of the estimator; exact_up_to (int >= 0)
    dimensions: up to so many the determinant is exact, by one backward pass through the step each.
    Raises: ValueError for numbers out of range, and at the first step for a predictor with noise.
    """

    predictor: Kernel = field(default_factory=ProbabilityFlow)
    probes: int = 2
    exact_up_to: int = EXACT_UP_TO

    differentiates: ClassVar[bool] = True

    def __post_init__(self):
        settings(self, probes=1, exact_up_to=0)
        function("predictor", self.predictor, "transition")

    def transition(self, field: Prior, x: Tensor, t: Tensor, s: Tensor, rng) -> Gaussian:
        def step(z: Tensor) -> Tensor:
            q = self.predictor.transition(field, z, t, s, rng)
            if bool((q.std != 0).any()):
                name = type(self.predictor).__name__
                raise ValueError(f"Flow({name}): its steps have noise; take ProbabilityFlow() or DDIM(0)")
            return q.mean

        probes = None if x[0].numel() <= self.exact_up_to else self.probes
        mean, log_det = step_with_log_det(step, x, middle(field, t, s), probes, rng)
        return Gaussian(mean, torch.zeros((), dtype=torch.float64), log_det=log_det)
