"""Manifold-constrained gradients: a gradient step in the null space, replacement elsewhere."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverse.guidance.dps import DPSPosterior
from inverse.guidance.replacement import ReplacementPosterior
from inverse.protocols import RNG, Guidance, GuidedPosterior, Posterior
from inverse.types import Gaussian
from operators import Operator
from priors import Prior
from priors.arguments import settings


@dataclass(frozen=True)
class MCG(Guidance):
    """The gradient of the residual moves what was not measured; what was measured is replaced.

    Formula: score + (1 - V_s V_s') (rate / g^2) grad -|y - A D(x_t)|, then `Replacement`; V_s spans the measured
    coordinates. The gradient is `DPS`'s, a displacement per unit time.
    Source: Chung, Sim, Ryu, Ye 2022, algorithm 1 (there the squared residual and a displacement per step).
    Arguments: zeta (float > 0), as in `DPS`.
    Raises: ValueError for zeta <= 0.
    """

    zeta: float = 10.0

    needs = frozenset({"svd", "orthogonal_rows", "isotropic", "differentiable"})
    differentiates = True
    citation = (
        "Chung, Sim, Ryu, Ye: Improving Diffusion Models for Inverse Problems using Manifold Constraints, NeurIPS 2022"
    )

    def __post_init__(self) -> None:
        settings(self, zeta="(0, inf)")

    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        return MCGPosterior(prior, operator, y, self.zeta)


class MCGPosterior(GuidedPosterior):
    def __init__(self, prior: Prior, operator: Any, y: Any, zeta: float) -> None:
        super().__init__(prior, operator, y)
        self.residual, self.replacement = (
            DPSPosterior(prior, operator, y, zeta),
            ReplacementPosterior(prior, operator, y),
        )

    def guide(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        denoised, gradient = self.residual.guide(x, t)
        unknown = torch.where(self.replacement.known, 0.0, self.operator.Vt(gradient))
        return denoised, self.operator.V(unknown)

    def condition(self, q: Gaussian, x: Tensor, t: Tensor, s: Tensor) -> Gaussian:
        return self.replacement.condition(q, x, t, s)

    def finish(self, x: Tensor, t: Tensor, rng: RNG) -> Tensor:
        return self.replacement.settled(self.denoise(x, t), t, rng)
