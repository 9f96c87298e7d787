"""RED-diff: the mode of a variational fit, found by an optimiser on the way down the noise levels."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverse.guidance.residual import relative_residual
from inverse.protocols import RNG, Guidance, Posterior, StatefulPosterior
from inverse.types import Gaussian, Memory
from operators import Operator
from priors import Prior
from priors.arguments import settings
from priors.base import expand


@dataclass(frozen=True)
class REDDiff(Guidance):
    """Adam on mu: 1/2 |y - A(mu)|^2 + weight (sigma / alpha) (eps_hat - eps)' mu, a step per noise level. Other noise
    than Gaussian weights the residual by the inverse variances of its entries, as in `DPS`.

    Formula: x_t = alpha mu + sigma eps with new noise eps at every time, eps_hat = (x_t - alpha D) / sigma, which is
    held fixed under the gradient: it needs none of the prior. An optimiser, not a sampler: its draws differ by the
    noise of the way alone.
    Source: Mardani, Song, Kautz, Vahdat 2024, algorithm 1. Their code takes means where this takes sums, so that a
    weight w of theirs is w m / d here (m numbers in y, d in an image), and starts at A^+ y instead of at E[x0 | x_1].
    Arguments: weight (float > 0), the paper's lambda, .25; lr (float > 0): Adam's step in standard deviations of the
    prior.
    Raises: ValueError for numbers <= 0.
    """

    weight: float = 0.25
    lr: float = 0.2

    needs = frozenset({"differentiable", "numeric"})
    citation = "Mardani, Song, Kautz, Vahdat: A Variational Perspective on Solving Inverse Problems, ICLR 2024"
    samples = False

    def __post_init__(self) -> None:
        settings(self, weight="(0, inf)", lr="(0, inf)")

    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        return REDDiffPosterior(prior, operator, y, self.weight, self.lr)


class REDDiffPosterior(StatefulPosterior):
    def __init__(self, prior: Prior, operator: Any, y: Any, weight: float, lr: float) -> None:
        super().__init__(prior, operator, y)
        self.weight, self.lr = weight, lr * prior.variance**0.5

    def edit(self, q: Gaussian, x: Tensor, t: Tensor, s: Tensor, memory: Memory) -> tuple[Gaussian, Memory]:
        """As `StatefulPosterior.edit`; the memory: mu, Adam's moments and its number of steps."""
        alpha, sigma = self.sde.alpha(t).to(x), self.sde.sigma(t).to(x)
        if not memory:
            zero, none = torch.zeros_like(x), x.new_zeros(len(x), dtype=torch.float64)
            memory = {"mu": self.prior.denoise(x, t), "first": zero, "second": zero, "steps": none}
        mu = memory["mu"]
        eps, eps_hat = (x - alpha * mu) / sigma, (x - alpha * self.prior.denoise(x, t)) / sigma
        _, weighted = relative_residual(self.operator, self.y, self.operator(mu))
        gradient = self.weight * sigma / alpha * (eps_hat - eps) - self.operator.vjp(mu, weighted)
        memory = adam(memory, gradient, self.lr)
        return Gaussian(self.sde.alpha(s).to(x) * memory["mu"], self.sde.sigma(s)), memory

    def result(self, x: Tensor, t: Tensor, rng: RNG, memory: Memory) -> Tensor:
        return memory["mu"] if memory else self.finish(x, t, rng)


def adam(memory: Memory, gradient: Tensor, lr: float, beta1: float = 0.9, beta2: float = 0.99) -> Memory:
    """A step of Kingma & Ba 2015, per coordinate; the decays are those of the authors' code.

    Arguments: memory: mu, first, second (N, *E) and steps (N,); gradient (N, *E); lr, in units of mu.
    """
    steps = memory["steps"] + 1
    first = beta1 * memory["first"] + (1 - beta1) * gradient
    second = beta2 * memory["second"] + (1 - beta2) * gradient**2
    mean, square = (m / expand((1 - beta**steps).to(m), m) for m, beta in ((first, beta1), (second, beta2)))
    mu = memory["mu"] - lr * mean / (square.sqrt() + 1e-12)
    return {"mu": mu, "first": first, "second": second, "steps": steps}
