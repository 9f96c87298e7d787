"""Estimate the mode probabilities of an ambiguous posterior, by guided samplers and by the exact mode.

Run: uv run python examples/mode_weights.py
"""

import torch

from inverse import solve
from operators import GaussianNoise, LinearMap
from priors import VESDE, GaussianMixture

METHODS = ("pigdm", "dps", "mmps", "exact")


def problem(seed: int = 2) -> tuple[GaussianMixture, LinearMap, torch.Tensor]:
    """Nine clusters in 8 dimensions; a measurement of one value is compatible with several of them."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.tensor([[8.0 * i, 8.0 * j] for i in (-1, 0, 1) for j in (-1, 0, 1)]).repeat(1, 4)
    weights = torch.rand(9, generator=generator) + 0.1
    prior = GaussianMixture(means, torch.eye(8).expand(9, 8, 8), weights, VESDE(sigma_min=0.02, sigma_max=300.0))
    direction = torch.randn(1, 8, generator=generator)
    operator = LinearMap(direction / direction.norm(), GaussianNoise(2.0))
    return prior, operator, operator.measure(prior.sample(1, seed=seed), seed=seed)


def shares(n: int = 2000, seed: int = 0) -> dict[str, torch.Tensor]:
    """The probability of each mode: exact, and from the (weighted) samples of each method, (9,) each."""
    prior, operator, y = problem()
    exact = prior.posterior(operator, y)
    found = {"closed form": exact.weights}
    for method in METHODS:
        solution = solve(prior, operator, y, n_samples=n, method=method, seed=seed, progress=False)
        w = torch.softmax(solution.log_weights[0].double(), 0)
        found[method] = w @ exact.responsibilities(solution.samples[0].double())
    return found


def main() -> None:
    found = shares()
    print("probability of each mode, %, and total variation distance to the closed form")
    for name, share in found.items():
        far = 0.5 * (share - found["closed form"]).abs().sum()
        print(f"{name:12}" + "".join(f"{100 * s:6.1f}" for s in share.tolist()) + f"   {100 * far:5.1f}")


if __name__ == "__main__":
    main()
