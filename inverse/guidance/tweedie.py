"""Moment matching solved exactly, with its likelihood and its derivative: for few measured numbers."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverse.guidance.covariance import draw
from inverse.guidance.tds import TDSPosterior
from inverse.protocols import RNG, Guidance, Posterior
from operators import Operator
from priors import Prior
from priors.arguments import settings
from priors.base import VJP, expand

RIDGE = 1e-6  # of r^2 A A': keeps a noise-free measurement of what is known already from a division by 0


@dataclass(frozen=True)
class Tweedie(Guidance):
    """Gaussian p(x0 | x_t) with Tweedie's covariance C, and p_t(y | x_t) = N(y; A D, S) with S = Sigma_y + A C A'.

    Formula: E[x0 | x_t, y] = D + K (y - A D), K = C A' S^-1, C = (sigma^2 / alpha) J', J = dD / dx_t: `MMPS` without
    conjugate gradients, since the columns of C A' are found by one backward pass each. Its derivative is
    (1 - K A) d(D + C w) with w = A' S^-1 (y - A D) kept fixed, because dS^-1 = -S^-1 A dC A' S^-1: a recorded backward
    pass whatever the number of columns.
    Source: Rozet et al. 2024, section 4; Boys et al. 2023 (TMPD).
    Arguments: most (int >= 0): measurements of more numbers, unmeasured ones included, are given the isotropic
    covariance of `PiGDM`, as `TDS` has it, which needs an operator with singular values and one noise level.
    Raises: ValueError for most < 0, and, before the prior is evaluated, for larger measurements by other operators.
    """

    most: int = 64

    needs = frozenset({"linear", "gaussian"})
    differentiates = True
    citation = (
        "Rozet, Andry, Lanusse, Louppe: Learning Diffusion Priors from Observations by EM, NeurIPS 2024; Song, "
        "Sohl-Dickstein, Kingma, Kumar, Ermon, Poole: Score-Based Generative Modeling through SDEs, ICLR 2021"
    )
    calibrated = likelihood = evidence = True

    def __post_init__(self) -> None:
        settings(self, most=0)

    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        assert operator is not None and y is not None
        if (size := y[0].numel()) <= self.most:
            return TweediePosterior(prior, operator, y)
        if not {"svd", "isotropic"} <= operator.capabilities:
            raise ValueError(
                f"{type(operator).__name__} measures {size} numbers: expected at most {self.most} for a covariance by "
                f"one backward pass each, or an operator with singular values and one noise level; raise most"
            )
        return TDSPosterior(prior, operator, y)


class TweediePosterior(Posterior):
    def __init__(self, prior: Prior, operator: Any, y: Any) -> None:
        super().__init__(prior, operator, y)
        support = operator.support
        seen = torch.ones_like(y, dtype=torch.bool) if support is None else support.expand_as(y)
        seen = seen.flatten(1)
        self.width = int(seen.sum(1).max())
        # the numbers of each row that were measured, padded by others where rows have fewer
        order = (~seen).to(torch.uint8).argsort(dim=1, stable=True)[:, : self.width]
        self.index, self.seen = order, seen.gather(1, order)
        self.variance_y = torch.where(self.seen, self._at(operator.noise.aligned("sigma", y).expand_as(y) ** 2), 1.0)
        units = torch.zeros(self.width, *y.flatten(1).shape, dtype=y.dtype, device=y.device)
        units.scatter_(2, order.T[:, :, None], self.seen.to(y).T[:, :, None])
        self.axes = torch.stack([operator.adjoint(unit.view_as(y)) for unit in units], 1)  # rows of A, (N, m, *E)

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        denoised, vjp = self.prior.denoise_vjp(x, t)
        blurred, factor, residual = self._system(denoised, vjp, t)
        w = torch.linalg.solve(factor, residual)
        if not (torch.is_grad_enabled() and denoised.requires_grad):
            return denoised + combine(blurred, w.to(x))
        curve = self._curve(x, t)
        guided = denoised + curve * vjp(combine(self.axes, w.to(x)))
        moved = self._project(guided - guided.detach())  # 0, with a derivative
        return guided - combine(blurred, torch.linalg.solve(factor, moved.to(factor)).to(x))

    def finish(self, x: Tensor, t: Tensor, rng: RNG) -> Tensor:
        """A draw of the Gaussian p(x0 | x_t, y), (N, *E), by Matheron's rule."""
        drawn, vjp = draw(self.prior, x, t, rng)
        blurred, factor, _ = self._system(drawn, vjp, t)
        noise = self.operator.noise.aligned("sigma", self.y) * rng.normal(tuple(self.y.shape))
        residual = self.residual(drawn) - self._at(noise) * self.seen
        return drawn + combine(blurred, torch.linalg.solve(factor, residual).to(x))

    def log_likelihood(self, x: Tensor, t: Tensor) -> Tensor:
        """log N(y; A D, S), (N,), over the measured entries; x (N, *E)."""
        covariance = self.covariance(x, t)
        return self.log_normal(self.residual(self.prior.denoise_vjp(x, t)[0]), covariance)

    def covariance(self, x: Tensor, t: Tensor) -> Tensor:
        """S = Sigma_y + A C A' over the measured entries, (N, m, m) in double precision; x (N, *E)."""
        return self._system(*self.prior.denoise_vjp(x, t), t)[1]

    def residual(self, denoised: Tensor) -> Tensor:
        """y - A D at the measured entries, (N, m) in double precision."""
        return (self._at(self.y) - self._project(denoised)).double() * self.seen

    def log_normal(self, residual: Tensor, covariance: Tensor) -> Tensor:
        """log N(residual; 0, S), (N,), over the measured entries; residual (N, m), covariance S (N, m, m)."""
        quadratic = (residual * torch.linalg.solve(covariance, residual)).sum(1)
        constant = self.seen.sum(1) * math.log(2 * math.pi)
        return -0.5 * (quadratic + torch.linalg.slogdet(covariance).logabsdet + constant)

    def _system(self, denoised: Tensor, vjp: VJP, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        """C A' (N, m, *E), S (N, m, m) and y - A D (N, m), the last two in double precision; no derivatives."""
        with torch.no_grad():
            curve = self._curve(denoised, t)
            blurred = torch.stack([curve * vjp(axis) for axis in self.axes.unbind(1)], 1)
            flat, axes = blurred.flatten(2).double(), self.axes.flatten(2).double()
            gram = axes @ flat.mT
            ridge = RIDGE * self.r2(t) * axes.square().sum(2)
            return blurred, gram + torch.diag_embed(self.variance_y.double() + ridge), self.residual(denoised)

    def _curve(self, x: Tensor, t: Tensor | float) -> Tensor:
        return expand(self.sde.sigma(t) ** 2 / self.sde.alpha(t), x)

    def _at(self, y: Tensor) -> Tensor:
        return y.flatten(1).gather(1, self.index)

    def _project(self, x: Tensor) -> Tensor:
        """A x at the measured numbers, (N, *E) -> (N, m)."""
        return (self.axes.flatten(2) @ x.flatten(1)[:, :, None].to(self.axes))[:, :, 0]


def combine(vectors: Tensor, weights: Tensor) -> Tensor:
    """sum_k w_k v_k; vectors (N, m, *E), weights (N, m) -> (N, *E)."""
    return (vectors.flatten(2).mT @ weights[:, :, None])[:, :, 0].view(len(weights), *vectors.shape[2:])
