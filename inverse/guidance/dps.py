"""Diffusion posterior sampling: the residual's gradient, normalised."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverse.guidance.residual import relative_residual
from inverse.protocols import RNG, Guidance, GuidedPosterior, Posterior
from operators import Operator
from priors import Prior
from priors.arguments import settings
from priors.base import expand


@dataclass(frozen=True)
class DPS(Guidance):
    """A step along -grad |y - A(D(x_t))|, any differentiable operator and any noise with a variance.

    Formula: grad log p_t(y | x_t) ~ -rate / (alpha v sqrt(1 + r^2) beta) grad_x |y - A(D)|, |.| per row, with v the
    prior's variance, r = sigma / (alpha sqrt v) and beta = sqrt(.01 + 39.8 log(1 + r^2)). Under the paper's VP and
    v = 1 that is rate / g^2, so a reverse step of length h moves by rate * h: the paper's zeta per step, restated per
    unit of VP time, which makes it independent of the grid; taken at the same r, it is independent of the SDE.
    rate = zeta sqrt(v m) with m measured numbers: the norm's gradient has length about 1 whatever the image's size,
    while distances grow with sqrt(m), so zeta needs no change with size or units. Of other noise than Gaussian, such as
    photon counts, the residual's entries are weighted by the inverse of their variance at A(D), relative to its mean.
    Source: Chung et al. 2023, algorithm 1 (there zeta_i per step, 1000 steps).
    Arguments: zeta (float > 0): prior standard deviations per unit of VP time.
    Raises: ValueError for zeta <= 0.
    """

    zeta: float = 10.0

    needs = frozenset({"differentiable", "numeric"})
    differentiates = True
    citation = (
        "Chung, Kim, McCann, Klasky, Ye: Diffusion Posterior Sampling for General Noisy Inverse Problems, ICLR 2023"
    )

    def __post_init__(self) -> None:
        settings(self, zeta="(0, inf)")

    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        return DPSPosterior(prior, operator, y, self.zeta)


class DPSPosterior(GuidedPosterior):
    def __init__(self, prior: Prior, operator: Any, y: Any, zeta: float) -> None:
        super().__init__(prior, operator, y)
        support = operator.support
        measured = y[0].numel() if support is None else support.expand_as(y).flatten(1).sum(1).to(y)
        self.rate = expand((zeta * (self.variance * measured) ** 0.5) * y.new_ones(len(y)), y)

    def guide(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        denoised, vjp = self.prior.denoise_vjp(x, t)
        direction = vjp(self.descent(denoised))
        alpha, ratio2 = self.sde.alpha(t), (self.sde.sigma(t) / self.sde.alpha(t)) ** 2 / self.variance
        beta = torch.sqrt(0.01 + 39.8 * torch.log1p(ratio2))
        damping = alpha * self.variance * torch.sqrt(1 + ratio2) * beta
        return denoised, self.rate.view(-1, *[1] * (x.ndim - 1)) / expand(damping, x) * direction

    def descent(self, x0: Tensor) -> Tensor:
        """-grad |y - A(x0)| by x0, (N, *E)."""
        residual, weighted = relative_residual(self.operator, self.y, self.operator(x0))
        norm = residual.flatten(1).norm(dim=1).clamp_min(1e-12)
        return self.operator.vjp(x0, weighted / expand(norm, residual))
