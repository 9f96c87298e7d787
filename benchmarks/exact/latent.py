"""Posteriors through a decoder, against exact ones: latents of a Gaussian and of a mixture, a PCA decoder."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import Annotated

import torch
import typer
from torch import Tensor

from benchmarks.common.commands import Out, finish
from benchmarks.common.provenance import RESULTS
from benchmarks.exact.metrics import equally_weighted, wasserstein2
from inverse import solve
from operators import GaussianNoise, LinearMap
from priors import SDE, VESDE, VPSDE, GaussianMixture, Latent, RectifiedFlowSDE

PIXELS, LATENTS = 16, 5
SDES: dict[str, SDE] = {"VE": VESDE(), "VP": VPSDE(), "flow": RectifiedFlowSDE()}
SETTINGS = ((4, 0.1), (2, 0.1), (1, 0.3), (2, 0.5))  # measured numbers, sigma_y
METHODS = ("auto", "linearized", "dps", "psld", "resample")
F64 = torch.float64


def normal(*shape: int, seed: int) -> Tensor:
    """Standard normal numbers, always the same. Arguments: shape; seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


BASIS = torch.linalg.qr(normal(PIXELS, LATENTS, seed=1)).Q * torch.linspace(1.5, 0.5, LATENTS, dtype=F64)
OFFSET = normal(PIXELS, seed=2)


def decode(z: Tensor) -> Tensor:
    """Principal components: the picture of latents (N, 5), (N, 16). Arguments: z."""
    return OFFSET.to(z) + z @ BASIS.to(z).mT


def encode(x: Tensor) -> Tensor:
    """The latents (N, 5) nearest to pictures (N, 16). Arguments: x."""
    return (x - OFFSET.to(x)) @ torch.linalg.pinv(BASIS).mT.to(x)


def law(modes: int, sde: SDE) -> GaussianMixture:
    """Latents: modes 3 standard deviations apart, of unequal weights and shapes of their own. Arguments: modes, 1 or 2;
    sde."""
    means = torch.stack([torch.full((LATENTS,), c, dtype=F64) for c in (-0.5, 0.5)])
    axes = [torch.linalg.qr(normal(LATENTS, LATENTS, seed=k)).Q for k in range(2)]
    shapes = torch.stack([a * torch.logspace(-1.5, -0.3, LATENTS, dtype=F64) @ a.mT for a in axes])
    return GaussianMixture(means[:modes], shapes[:modes], torch.tensor([0.3, 0.7])[:modes] / (0.3, 1.0)[modes - 1], sde)


@dataclass(frozen=True)
class Posed:
    """A measurement through the decoder.

    Attributes: prior, of latents; operator, of pictures; y (1, m); posterior, of latents.
    """

    prior: GaussianMixture
    operator: LinearMap
    y: Tensor
    posterior: GaussianMixture


def posed(modes: int, sde: SDE, numbers: int, sigma: float, instance: int) -> Posed:
    """Random combinations of the picture of a draw of latents. Arguments: modes; sde; numbers, measured; sigma, of
    their noise; instance."""
    prior = law(modes, sde)
    operator = LinearMap(normal(numbers, PIXELS, seed=100 + instance).float(), noise=GaussianNoise(sigma))
    y = operator.measure(decode(prior.sample(1, seed=200 + instance)).float(), seed=300 + instance)
    within = LinearMap((operator.matrix.double() @ BASIS).float(), noise=GaussianNoise(sigma))
    return Posed(prior, operator, y, prior.posterior(within, y - operator(OFFSET[None].float())))


def rows_of(modes: int, name: str, methods: list[str], n: int, instances: int) -> list[dict[str, str]]:
    """A row for every method. Arguments: modes; name, of the SDE; methods; n samples; instances of each setting."""
    ratios: dict[str, list[float]] = {method: [] for method in methods}
    costs: dict[str, set[str]] = {method: set() for method in methods}
    for k, (numbers, sigma) in enumerate(SETTINGS):
        for i in range(instances):
            problem = posed(modes, SDES[name], numbers, sigma, 10 * k + i)
            exact = problem.posterior.sample(n, seed=1)
            floor = wasserstein2(problem.posterior.sample(n, seed=2), exact)
            for method in methods:
                prior = Latent(problem.prior, encode, decode)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of samples that fit y too well, which the distance tells
                    found = solve(prior, problem.operator, problem.y, n, method, seed=i, progress=False)
                drawn = equally_weighted(encode(found.samples[0].double()), found.log_weights[0], 0)
                ratios[method].append(wasserstein2(drawn, exact) / floor)
                costs[method].add(f"{found.method}, {found.nfe} + {found.nvjp}")
    return [
        {
            "latents": "Gaussian" if modes == 1 else "mixture",
            "SDE": name,
            "method": method,
            "ratio": f"{geometric_mean(ratios[method]):.2f}",
            "worst": f"{max(ratios[method]):.2f}",
            "evaluations + backward passes": sorted(costs[method])[0],
        }
        for method in methods
    ]


def run_latent(
    method: Annotated[list[str] | None, typer.Option(help="default: five; repeat for several")] = None,
    samples: Annotated[int, typer.Option(min=2, help="per set")] = 400,
    instances: Annotated[int, typer.Option(min=1, help="measurements of each of four kinds")] = 4,
    out: Out = RESULTS,
) -> None:
    """Distance to exact posteriors through a PCA decoder, of a Gaussian and of a mixture of latents."""
    methods: list[str] = [*(METHODS if method is None else method)]
    rows = [row for modes in (1, 2) for name in SDES for row in rows_of(modes, name, methods, samples, instances)]
    notes = (
        f"`solve` with `priors.Latent`: {LATENTS} latents, a decoder of principal components to {PIXELS} pixels, given "
        "as a function, and "
        + ", ".join(f"{m} random combinations with sigma {s:g}" for m, s in SETTINGS)
        + f"; {instances} measurements of each, {samples} samples. Ratio: the 2-Wasserstein distance of latents to "
        "exact draws over that between two exact sets, the geometric mean over measurements; worst: the largest."
    )
    finish("latent", "Posteriors through a decoder", rows, notes, Path(out), samples=samples, instances=instances)
