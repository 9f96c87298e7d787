"""ReSample: latents that agree with y, by an optimiser, noised again."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverse.guidance.coding import Coding
from inverse.guidance.residual import largest, relative_residual
from inverse.protocols import RNG, Guidance, Posterior, StatefulPosterior
from inverse.types import Gaussian, Memory
from operators import Operator
from priors import Prior
from priors.arguments import settings
from priors.base import expand

FREE, PIXELS = 2 / 3, 1 / 3  # times above which y is ignored, and above which pictures are optimised


@dataclass(frozen=True)
class ReSample(Guidance):
    """Every few steps z0* = argmin |y - A(G(z))|^2 from E[z0 | z_t], and z_s from it and the unconditional step.

    Formula: with the unconditional step z' to s and gamma times the variance of an ancestral step to s,

        z_s ~ N((w alpha_s z0* + sigma_s^2 z') / (w + sigma_s^2), w sigma_s^2 / (w + sigma_s^2)),
        w = gamma (sigma_s / sigma_t)^2 (sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2),

    as in the authors' code. Above t = 2/3 y is ignored; above 1/3 a picture is optimised from G(E[z0 | z_t]) and
    encoded, where there is an encoder; below, latents are, and once more at the end. The optimiser is Nesterov's, in
    steps of 1 / L with L the largest eigenvalue of J'J; each row stops at a mean square residual of the noise's
    variance. No gradient of the prior. It is not calibrated: z0* fits y, whatever the prior's spread. The authors' code
    takes a step of DPS besides, which their algorithm 1 has not, nor has this.
    Source: Song, Kwon, Zhang, Hu, Qu, Shen 2024, algorithm 1; Nesterov 1983.
    Arguments: gamma (float > 0), the paper's 40; every (int >= 1): steps from one optimisation to the next;
    iterations (int >= 1): of each at most.
    Raises: ValueError for numbers out of range.
    """

    gamma: float = 40.0
    every: int = 10
    iterations: int = 200

    needs = frozenset({"differentiable", "numeric"})
    citation = (
        "Song, Kwon, Zhang, Hu, Qu, Shen: Solving Inverse Problems with Latent Diffusion Models via Hard Data "
        "Consistency, ICLR 2024"
    )

    def __post_init__(self) -> None:
        settings(self, gamma="(0, inf)", every=1, iterations=1)

    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        return ReSamplePosterior(prior, operator, y, self)


class ReSamplePosterior(StatefulPosterior):
    def __init__(self, prior: Prior, operator: Any, y: Any, settings: ReSample) -> None:
        super().__init__(prior, operator, y)
        self.settings, self.coding = settings, Coding.of(prior, operator)

    def edit(self, q: Gaussian, x: Tensor, t: Tensor, s: Tensor, memory: Memory) -> tuple[Gaussian, Memory]:
        """As `StatefulPosterior.edit`; the memory: the number of steps."""
        steps = memory.get("steps", x.new_zeros(len(x), dtype=torch.float64)) + 1
        memory = {"steps": steps}
        if float(t) > FREE or int(steps[0]) % self.settings.every:
            return q, memory
        z0 = self._consistent(self.prior.denoise(x, t), float(t) > PIXELS)
        alpha, variance = self.sde.alpha(s).to(x), self.sde.sigma(s).to(x) ** 2
        w = self.settings.gamma * variance * (self.sde.bridge(t, s)[1] / self.sde.sigma(t) ** 2).to(x)
        total = (w + variance).clamp_min(torch.finfo(x.dtype).tiny)
        mean = (w * alpha * z0 + variance * q.mean) / total
        return Gaussian(mean, (w * variance / total).sqrt()), memory

    def result(self, x: Tensor, t: Tensor, rng: RNG, memory: Memory) -> Tensor:
        return self._consistent(self.prior.denoise(x, t), False)

    def _consistent(self, z0: Tensor, pixels: bool) -> Tensor:
        """Latents (N, *E) near z0 whose pictures agree with y to its noise."""
        coding = self.coding
        if pixels and coding.latents is not None:
            return coding.latents(self._fitted(coding.operator, coding.pictures(z0), 1.0))
        return self._fitted(self.operator, z0, self.variance)

    def _fitted(self, operator: Operator, start: Tensor, variance: float) -> Tensor:
        """x (N, ...) of less |y - A(x)|^2 than at the start."""
        size = expand(1.2 * largest(operator, start, variance, 20).clamp_min(1e-12), start)
        x = ahead = start
        for k in range(self.settings.iterations):
            clean = operator(ahead)
            residual, weighted = relative_residual(operator, self.y, clean)
            if operator.support is not None:
                residual = torch.where(operator.support, residual, 0.0)
                weighted = torch.where(operator.support, weighted, 0.0)
            axes = tuple(range(1, residual.ndim))
            going = residual.square().mean(axes) > operator.noise.variance(clean).expand_as(residual).mean(axes)
            if not bool(going.any()):
                break
            going = going.view(-1, *[1] * (x.ndim - 1))
            after = ahead + operator.vjp(ahead, weighted) / size
            moved = after + k / (k + 3) * (after - x)
            x = torch.where(going, after, ahead)
            ahead = torch.where(going, moved, ahead)
        return x
