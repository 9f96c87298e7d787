"""Test of the installed package: a solve with a known posterior; define, check, register and use an operator."""

from pathlib import Path

import torch

import inverse
import operators
import priors
from operators import GaussianNoise, LinearOperator, register


@register("rows")
class Rows(LinearOperator):
    """Every second row of a picture."""

    def forward(self, x):
        return x[..., ::2, :]


def known_posterior() -> None:
    """The mean of samples beside the exact one."""
    means = torch.tensor([[-1.0, 0.5, 0.2, 0.0], [1.0, -0.5, 0.3, 0.4]])
    covariances = 0.04 * torch.eye(4).expand(2, 4, 4)
    prior = priors.GaussianMixture(means, covariances, torch.tensor([0.3, 0.7]), sde=priors.VPSDE())
    operator = operators.Masking(torch.tensor([1.0, 0.0, 1.0, 0.0]), noise=GaussianNoise(0.1))
    y = operator.measure(prior.sample(1, seed=0), seed=1)
    solution = inverse.solve(prior, operator, y, n_samples=256, seed=0, progress=False)
    off = (solution.mean[0] - prior.posterior(operator, y).mean).abs().max()
    assert off < 0.05, off  # four standard errors of 256 samples whose standard deviation is at most .2
    print(solution.method, float(off))


def plugin() -> None:
    prior = priors.load("fashion-mnist")
    operator = operators.make("rows", noise=GaussianNoise(0.05))
    operators.check(operator, prior.event_shape)
    y = operator.measure(priors.samples("fashion-mnist").floats(slice(0, 1)), seed=0)
    solution = inverse.solve(prior, operator, y, n_samples=2, n_steps=4, seed=0, progress=False)
    assert solution.samples.shape == (1, 2, 1, 28, 28)
    print(solution.method, float(solution.std.mean()))


if __name__ == "__main__":
    assert "site-packages" in Path(inverse.__file__).parts, inverse.__file__
    known_posterior()
    plugin()
