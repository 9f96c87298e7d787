"""RED-diff: the mode of a variational fit, found by an optimiser on the way down the noise levels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from inverse.protocols import Guidance, Posterior
from inverse.types import Gaussian
from priors.arguments import settings


@dataclass(frozen=True)
class REDDiff(Guidance):
    """Adam on mu: 1/2 |y - A(mu)|^2 + weight (sigma / alpha) (eps_hat - eps)' mu, a step per noise level.

    Formula: x_t = alpha mu + sigma eps with new noise eps at every time, eps_hat = (x_t - alpha D) / sigma, which is
    held fixed under the gradient: it needs none of the prior. An optimiser, not a sampler: its draws differ by the
    noise of the way alone.
    Source: Mardani, Song, Kautz, Vahdat 2024, algorithm 1.
    Arguments: weight (float > 0), the paper's lambda, .25; lr (float > 0): Adam's step in standard deviations of the
    prior.
    Raises: ValueError for numbers <= 0.
    """

    weight: float = 0.25
    lr: float = 0.2

    needs = frozenset({"differentiable", "gaussian"})
    citation = "Mardani, Song, Kautz, Vahdat: A Variational Perspective on Solving Inverse Problems, ICLR 2024"
    samples = False

    def __post_init__(self):
        settings(self, weight="(0, inf)", lr="(0, inf)")

    def posterior(self, prior, operator, y, rng=None):
        return REDDiffPosterior(prior, operator, y, self.weight, self.lr)


class REDDiffPosterior(Posterior):
    def __init__(self, prior, operator, y, weight: float, lr: float):
        super().__init__(prior, operator, y)
        self.weight, self.lr = weight, lr * prior.variance**0.5
        self.mu: Tensor | None = None  # with Adam's moments, it is what a row carries besides its state
        self.steps = 0

    def condition(self, q: Gaussian, x: Tensor, t: Tensor, s: Tensor) -> Gaussian:
        alpha, sigma = self.sde.alpha(t).to(x), self.sde.sigma(t).to(x)
        if self.mu is None:
            self.mu = self.prior.denoise(x, t)
            self.first, self.second = torch.zeros_like(x), torch.zeros_like(x)
        eps, eps_hat = (x - alpha * self.mu) / sigma, (x - alpha * self.prior.denoise(x, t)) / sigma
        residual = self.operator(self.mu) - self.y
        self._adam(self.operator.vjp(self.mu, residual) + self.weight * sigma / alpha * (eps_hat - eps))
        return Gaussian(self.sde.alpha(s).to(x) * self.mu, self.sde.sigma(s))

    def _adam(self, gradient: Tensor, beta1: float = 0.9, beta2: float = 0.99) -> None:
        """A step of Kingma & Ba 2015, per coordinate; the decays are those of the authors' code."""
        self.steps += 1
        self.first = beta1 * self.first + (1 - beta1) * gradient
        self.second = beta2 * self.second + (1 - beta2) * gradient**2
        first, second = self.first / (1 - beta1**self.steps), self.second / (1 - beta2**self.steps)
        assert self.mu is not None
        self.mu = self.mu - self.lr * first / (second.sqrt() + 1e-12)

    def finish(self, x: Tensor, t: Tensor, rng) -> Tensor:
        return self.prior.denoise(x, t) if self.mu is None else self.mu
