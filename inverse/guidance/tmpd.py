"""TMPD: moment matching with a diagonal in place of the system."""

import torch
from torch import Tensor

from inverse.guidance.bounds import limited
from inverse.guidance.covariance import draw, measured_draw
from inverse.protocols import RNG, Guidance, GuidedPosterior, Posterior
from operators import Operator
from priors import Prior
from priors.base import VJP


class TMPD(Guidance):
    """grad log p_t(y | x_t) ~ J'A' ((y - A D) / (Sigma_y + diag)), diag the row sums of A C A'.

    Formula: C = (sigma^2 / alpha) J', the covariance of x0 given x_t, J = dD/dx_t. Row sums
    stand for the diagonal, exact where A C A' is diagonal; where they are negative (C is a covariance, whose entries
    may be) they count as 0. Two backward passes through the prior.
    Source: Boys, Girolami, Pidstrigach, Reich, Mosca, Akyildiz 2024, equation 9 and section 3.2.
    """

    needs = frozenset({"linear", "gaussian"})
    differentiates = True
    citation = "Boys, Girolami, Pidstrigach, Reich, Mosca, Akyildiz: Tweedie Moment Projected Diffusions, TMLR 2024"

    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        return TMPDPosterior(prior, operator, y)


class TMPDPosterior(GuidedPosterior):
    def guide(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        denoised, vjp = self.prior.denoise_vjp(x, t)
        return denoised, self._gradient(self.y - self.operator(denoised), vjp, t)

    def finish(self, x: Tensor, t: Tensor, rng: RNG) -> Tensor:
        """A draw of p(x0 | x_t), brought to y by the diagonal system."""
        drawn, vjp = draw(self.prior, x, t, rng)
        residual = self.y - measured_draw(self.operator, drawn, self.y, rng)
        return drawn + (self.sde.sigma(t) ** 2 / self.sde.alpha(t)).item() * self._gradient(residual, vjp, t)

    def _gradient(self, residual: Tensor, vjp: VJP, t: Tensor | float) -> Tensor:
        """J'A' (r / (Sigma_y + diag)) of a residual r (N, *M); (N, *E)."""
        operator = self.operator
        scale = (self.sde.sigma(t) ** 2 / self.sde.alpha(t)).item()
        sums = operator(scale * vjp(operator.adjoint(torch.ones_like(self.y)))).clamp_min(0.0)
        total = sums + operator.noise.aligned("sigma", self.y) ** 2
        p = torch.where(total > 0, residual / torch.where(total > 0, total, 1.0), 0.0)
        return limited(operator, residual, p, vjp(operator.adjoint(p)), self.sde, t)
