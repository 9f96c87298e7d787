"""Moment matching for nonlinear operators, linearized where the posterior mean is."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverse.guidance.covariance import draw
from inverse.guidance.mmps import MMPS, MMPSPosterior
from inverse.protocols import RNG, Guidance, Posterior
from operators import Linearization, Operator
from priors import Prior
from priors.arguments import settings
from priors.base import VJP


@dataclass(frozen=True)
class Linearized(Guidance):
    """`MMPS` of a nonlinear operator A, such as a measurement of decoded latents (`priors.Latent`).

    Formula: with C = Cov[x0 | x_t] by Tweedie's formula and J_k the derivative of A at m_k, m_0 = D(x_t),

        m_{k+1} = D + C J_k' (Sigma_y + J_k C J_k')^-1 (y - A(m_k) - J_k (D - m_k)),

    the Gauss-Newton steps to the mode of N(x0; D, C) N(y; A(x0), Sigma_y). Of a linear or affine A one step is exact,
    given C. Where noise is large A is linearized far from the truth: an operator with several solutions, such as
    `operators.PhaseRetrieval`, keeps the one that it meets first.
    Few steps leave the standard deviation too large: of the audit's Gaussian problem 1.02 of the exact one in 32, 1.01
    in 64.
    Source: Rozet et al. 2024 (C, and the solve by conjugate gradients); Bell & Cathey 1993 (iterated Kalman filter).
    Arguments: passes (int >= 1): Gauss-Newton steps; steps (int >= 1): conjugate gradients of each, a backward pass
    through the prior every one. Their preconditioner costs up to 20 products with J and as many with J' each, which a
    large decoder makes slow.
    Raises: ValueError for numbers below 1.
    """

    passes: int = 1
    steps: int = 2

    needs = frozenset({"differentiable", "gaussian"})
    differentiates = True
    citation = (
        "Rozet, Andry, Lanusse, Louppe: Learning Diffusion Priors from Observations by EM, NeurIPS 2024; Bell, Cathey: "
        "The Iterated Kalman Filter Update as a Gauss-Newton Method, IEEE Transactions on Automatic Control 1993"
    )

    def __post_init__(self) -> None:
        settings(self, passes=1, steps=1)

    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        assert operator is not None and y is not None
        return LinearizedPosterior(prior, operator, y, self)


class LinearizedPosterior(Posterior):
    def __init__(self, prior: Prior, operator: Any, y: Any, settings: Linearized) -> None:
        super().__init__(prior, operator, y)
        self.passes, self.linear = settings.passes, MMPS(settings.steps)
        # a linear operator is its own derivative, and may have closed forms that a derivative at a point has not
        self.local = MMPSPosterior(prior, operator, y, self.linear) if "linear" in operator.capabilities else None

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        denoised, vjp = self.prior.denoise_vjp(x, t)
        return self._given(self.y, denoised, denoised, vjp, t, self.passes)

    def finish(self, x: Tensor, t: Tensor, rng: RNG) -> Tensor:
        """A draw of the Gaussian p(x0 | x_t, y) of the operator linearized at its mean, (N, *E), by Matheron's rule."""
        mean = self.denoise(x, t)
        drawn, vjp = draw(self.prior, x, t, rng)
        noise = self.operator.noise.aligned("sigma", self.y) * rng.normal(tuple(self.y.shape))
        return self._given(self.y - noise, drawn, mean, vjp, t, 1)

    def _given(self, y: Tensor, start: Tensor, point: Tensor, vjp: VJP, t: Tensor | float, passes: int) -> Tensor:
        """start + C J'(...)^-1 (y - A(point) - J (start - point)), from one point to the next; all (N, *E)."""
        for _ in range(passes):
            local = self.local or MMPSPosterior(self.prior, Linearization(self.operator, point), y, self.linear)
            if self.local is not None:  # A(point) + A(start - point)
                residual = y - self.operator(start)
            elif point is start:
                residual = y - self.operator(point)
            else:
                residual = y - self.operator(point) - local.operator(start - point)
            if self.operator.support is not None:
                residual = torch.where(self.operator.support, residual, 0.0)
            point = start + local.correction(residual, vjp, t)
        return point
