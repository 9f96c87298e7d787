"""DAPS: decoupled annealing. Each level draws an image anew and noises it to the next."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverse.guidance.residual import largest
from inverse.protocols import RNG, Guidance, Posterior, StatefulPosterior
from inverse.types import Gaussian, Memory
from operators import LinearOperator, Operator
from priors import Prior
from priors.arguments import settings
from priors.base import expand
from priors.ode import shoot


@dataclass(frozen=True)
class DAPS(Guidance):
    """x0 ~ p(y | x0) N(x0; D_ode(x_t), r^2) by Langevin steps, r = sigma / alpha; then x_s ~ N(alpha_s x0, sigma_s^2).

    Formula: D_ode follows the prior's probability flow from x_t to the data in a few Euler steps of Karras' grid.
    Langevin steps x0 <- x0 + h grad + sqrt(2 h) z on -|y - A(x0)|^2 / (2 sigma_y^2) - |x0 - D_ode|^2 / (2 r^2) have
    h = lr / (c / sigma_y^2 + 1 / r^2) with c the largest eigenvalue of A'A, found by power iteration: the paper's lr
    has the units of a squared image, this one has none. A sigma_y below tau standard deviations of the prior counts as
    that. No gradient of the prior. Other noise than Gaussian enters by the derivative of its quasi-log-likelihood
    (`Noise.quasi_score`), with variances of at least (tau standard deviations of the prior)^2.
    Source: Zhang et al. 2025, algorithm 1. Their code drops the factor 1/2 of the data term, lets the Langevin step
    fall on the way, and returns the last D_ode without Langevin steps; here the factor stands, the step has units of
    its own, and the last level has Langevin steps, too.
    Arguments: ode_steps (int >= 1), langevin_steps (int >= 1), lr (float in (0, 2)), tau (float > 0).
    Raises: ValueError for numbers out of range.
    """

    ode_steps: int = 5
    langevin_steps: int = 100
    lr: float = 0.2
    tau: float = 0.01

    needs = frozenset({"differentiable", "numeric"})
    citation = (
        "Zhang, Chu, Berner, Meng, Anandkumar, Song: Improving Diffusion Inverse Problem Solving with Decoupled Noise "
        "Annealing, CVPR 2025"
    )

    def __post_init__(self) -> None:
        settings(self, ode_steps=1, langevin_steps=1, lr="(0, 2)", tau="(0, inf)")

    def caution(self, operator: Operator) -> str:
        """Of linear operators that measure fewer numbers than the picture has: N(D_ode, r^2) adds variance that D_ode
        already has, and only y removes it."""
        shape = operator.event_shape
        if not isinstance(operator, LinearOperator) or shape is None:
            return ""
        if operator.measured_numbers(shape) >= math.prod(shape):
            return ""
        return (
            "daps draws too widely where a linear operator does not determine the picture: 1.3 times for a Gaussian "
            "prior, up to several times for networks, so that the mean of a few samples can be worse than the "
            "pseudo-inverse; for Gaussian noise use 'mmps', or 'diffpir' for a denoiser without a derivative"
        )

    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        return DAPSPosterior(prior, operator, y, self, rng)


class DAPSPosterior(StatefulPosterior):
    def __init__(self, prior: Prior, operator: Any, y: Any, settings: DAPS, rng: RNG | None) -> None:
        super().__init__(prior, operator, y)
        self.settings, self.rng = settings, rng
        self.floor = settings.tau**2 * prior.variance

    def edit(self, q: Gaussian, x: Tensor, t: Tensor, s: Tensor, memory: Memory) -> tuple[Gaussian, Memory]:
        """As `StatefulPosterior.edit`; the memory: the last draw, x0."""
        centre = shoot(self.prior, x, t, self.settings.ode_steps)
        x0 = self._langevin(centre, (self.sde.sigma(t) / self.sde.alpha(t)).item())
        return Gaussian(self.sde.alpha(s).to(x) * x0, self.sde.sigma(s)), {"x0": x0}

    def result(self, x: Tensor, t: Tensor, rng: RNG, memory: Memory) -> Tensor:
        return memory["x0"] if memory else self.finish(x, t, rng)

    def _langevin(self, centre: Tensor, r: float) -> Tensor:
        assert self.rng is not None
        operator, n = self.operator, self.settings.langevin_steps
        least = operator.noise.variance(operator(centre)).clamp_min(self.floor).flatten(1).amin(1)
        steepest = self.curvature(centre) / least + 1 / r**2
        step = expand(self.settings.lr / steepest, centre)
        noise = self.rng.normal(
            (len(centre), n, *centre.shape[1:])
        )  # at once: a call per step costs more than the step
        x0 = centre
        for i in range(n):
            score = operator.noise.quasi_score(self.y, operator(x0), self.floor)
            score = score if operator.support is None else torch.where(operator.support, score, 0.0)
            pull = operator.vjp(x0, score) + (centre - x0) / r**2
            x0 = x0 + step * pull + torch.sqrt(2 * step) * noise[:, i]
        return x0

    def curvature(self, x0: Tensor) -> Tensor:
        """A little more than the largest eigenvalue of J'J, with J the operator's Jacobian at x0 (N, *E); (N,)."""
        return 1.2 * largest(self.operator, x0, self.variance)
