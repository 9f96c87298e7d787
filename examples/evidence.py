"""Estimate the noise level or the blur width from a measurement, by the evidence log p(y) of `method="exact"`.

Run: uv run python examples/evidence.py
"""

import torch

from inverse import solve
from operators import Blur, GaussianNoise, Operator
from priors import VPSDE, GaussianMixture

SIDE = 6
NOISES = (0.05, 0.1, 0.2, 0.4, 0.8)
WIDTHS = (0.4, 0.6, 0.8, 1.0, 1.4)  # standard deviations, pixels


def smooth_images(n_modes: int = 3) -> GaussianMixture:
    """Smooth random pictures of 6 x 6 pixels; the modes differ in texture."""
    at = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).double()
    distance = torch.cdist(at, at)
    lengths = torch.linspace(0.8, 2.4, n_modes).tolist()
    covariances = torch.stack([0.3 * torch.exp(-0.5 * (distance / length) ** 2) for length in lengths])
    covariances = covariances + 1e-3 * torch.eye(SIDE**2, dtype=torch.float64)
    means = torch.linspace(-0.5, 0.5, n_modes).double()[:, None].expand(-1, SIDE**2)
    return GaussianMixture(means, covariances, torch.ones(n_modes), VPSDE(), (1, SIDE, SIDE))


def blur(width: float, sigma_y: float) -> Operator:
    """Gaussian blur of a standard deviation in pixels, with Gaussian noise."""
    return Blur.gaussian(width, noise=GaussianNoise(sigma_y), truncate=2 / width)  # 5 x 5 pixels


def ladder(prior: GaussianMixture, candidates: dict[float, Operator], y: torch.Tensor, n: int = 200) -> dict:
    """(log p(y), its standard error, the closed form) per candidate, in nats; networks have no closed form."""
    found = {}
    for value, operator in candidates.items():
        solution = solve(prior, operator, y, n_samples=n, method="exact", n_steps=20, progress=False)
        assert solution.log_evidence is not None and solution.log_evidence_std is not None
        figures = solution.log_evidence, solution.log_evidence_std
        found[value] = (*(float(figure) for figure in figures), prior.log_evidence(operator, y))
    return found


def main() -> None:
    prior = smooth_images()
    x = prior.sample(1, seed=3)
    for what, candidates, true in (
        ("noise sigma_y", {s: blur(0.8, s) for s in NOISES}, 0.2),
        ("blur width, pixels", {w: blur(w, 0.05) for w in WIDTHS}, 0.8),
    ):
        y = candidates[true].measure(x, seed=7)
        found = ladder(prior, candidates, y)
        best = max(found, key=lambda value: found[value][0])
        print(f"\n{what}: log p(y) by the exact mode (closed form); truth {true}, most probable {best}")
        for value, (log_z, error, truth) in found.items():
            print(f"  {value:5} {log_z:9.2f} +- {error:.2f}  ({truth:.2f})")


if __name__ == "__main__":
    main()
