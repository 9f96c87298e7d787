"""Moment matching: Gaussian p(x0 | x_t) with the covariance that Tweedie's formula gives."""

from dataclasses import dataclass

import torch
from torch import Tensor

from inverse.protocols import Guidance, Posterior
from priors.base import expand


@dataclass(frozen=True)
class MMPS(Guidance):
    """E[x0 | x_t, y] ~ D + C A' (Sigma_y + A C A')^-1 (y - A D) with C = (sigma^2 / alpha) J', J = dD/dx_t.

    C is Cov[x0 | x_t] (second-order Tweedie formula), so on a Gaussian prior this is exact. The system is solved by
    conjugate gradients, one backward pass through the prior each; the correction is summed on the way and costs no pass
    of its own. Where the operator has a singular basis and one noise level, the closed-form solution for an isotropic
    C preconditions.
    Source: Rozet et al. 2024, algorithm 2.
    Arguments: steps (int >= 1) of conjugate gradients: 5 for exact priors; 2 did better on a few images with the
    shipped trained one, whose Jacobian is a covariance only nearly (`inverse-bench run reconstruction --cg` compares);
    tolerance: a row stops when its residual fell below this fraction of the start.
    Raises: ValueError for steps < 1.
    """

    steps: int = 5
    tolerance: float = 1e-3

    needs = frozenset({"linear", "gaussian"})
    citation = "Rozet, Andry, Lanusse, Louppe: Learning Diffusion Priors from Observations by EM, NeurIPS 2024"

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps = {self.steps}: expected at least 1")

    def posterior(self, prior, operator, y):
        return MMPSPosterior(prior, operator, y, self.steps, self.tolerance)


class MMPSPosterior(Posterior):
    def __init__(self, prior, operator, y, steps: int, tolerance: float):
        super().__init__(prior, operator, y)
        self.steps, self.tolerance = steps, tolerance
        self.preconditioned = {"svd", "isotropic"} <= operator.capabilities

    def denoise(self, x: Tensor, t):
        denoised, vjp = self.prior.denoise_vjp(x, t)
        alpha, sigma2 = self.sde.alpha(t).item(), self.sde.sigma(t).item() ** 2
        r2 = self.variance * sigma2 / (sigma2 + alpha**2 * self.variance)
        operator = self.operator

        def condition(r: Tensor) -> Tensor:
            return operator.solve_gram(r, r2) if self.preconditioned else r

        # conjugate gradients per row on (Sigma_y + A C A') v = r; `correction` accumulates C A' v
        r = self.y - operator(denoised)
        z = condition(r)
        p, rz = z, _dot(r, z)
        start, target = rz, self.tolerance**2 * rz
        correction = torch.zeros_like(denoised)
        for step in range(self.steps):
            w = sigma2 / alpha * vjp(operator.adjoint(p))
            ap = operator(w) + operator.noise.aligned("sigma", p) ** 2 * p
            pap = _dot(p, ap)
            going = (rz > target) & (pap > 0)
            if not bool(going.any()):
                break
            a = torch.where(going, rz / torch.where(going, pap, 1.0), 0.0)
            correction = correction + expand(a, w) * w
            if step + 1 == self.steps:
                break
            r = r - expand(a, ap) * ap
            z = condition(r)
            before, rz = rz, torch.where(going, _dot(r, z), 0.0)
            # A trained J is only nearly symmetric and positive: where the residual exceeds the first, a row keeps what
            # it has. That it exceeds the last means nothing: conjugate gradients lower the error, not the residual.
            rz = torch.where(rz < start, rz, 0.0)
            p = z + expand(rz / before.clamp_min(1e-30), p) * p
        return denoised + correction


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product per row over everything but the row, (N,)."""
    return (a * b).flatten(1).sum(1)
