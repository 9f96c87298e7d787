"""Photon counts of a few pixels: every method that serves them against exact posteriors."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from benchmarks.common.provenance import RESULTS, provenance, write_table
from benchmarks.exact.metrics import sliced_wasserstein
from inverse import METHODS, solve
from inverse.methods import Sampler
from operators import GaussianNoise, LinearMap, Operator, PoissonNoise
from priors import VESDE, GaussianMixture, Moments, Prior

PEAKS = (0.1, 1.0, 10.0, 1000.0)  # counts of a pixel of value 1
DRAWS = 400_000  # of the prior, weighted by the likelihood, where the posterior has no formula
GRID = 1000  # values of x0 up to 5, for the denoiser of the gamma prior: half of the least noise level apart
SHAPE, RATE = 2.0, 3.0  # of the gamma prior
GAUSSIAN = "mmps, Gaussian noise"


class GammaPrior(Prior):
    """Independent pixels x ~ Gamma(2, rate 3), whose posterior given Poisson counts k of identity measurements is
    Gamma(2 + k, rate 3 + peak). The denoiser is a sum over a grid of values of x0."""

    def __init__(self, d: int):
        self.sde, self.event_shape, self.variance = VESDE(0.01, 50.0), (d,), SHAPE / RATE**2
        edges = torch.linspace(0, 5, GRID + 1, dtype=torch.float64)
        self.values = 0.5 * (edges[1:] + edges[:-1])
        self.log_p = torch.distributions.Gamma(SHAPE, RATE).log_prob(self.values)

    @property
    def moments(self) -> Moments:
        """Mean 2/3, variance 2/9."""
        return Moments(
            torch.full(self.event_shape, SHAPE / RATE), torch.zeros(self.event_shape[0], 0), torch.zeros(0),
            torch.tensor(self.variance),
        )  # fmt: skip

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        alpha, sigma = self.sde.alpha(t), self.sde.sigma(t)
        logits = self.log_p - 0.5 * ((x.double()[..., None] - alpha * self.values) / sigma) ** 2
        return (logits.softmax(-1) * self.values).sum(-1).to(x)

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """n draws, (n, d)."""
        generator = torch.Generator().manual_seed(seed)
        waits = -torch.rand(n, *self.event_shape, 2, generator=generator).clamp_min(1e-12).log()
        return waits.sum(-1) / RATE


def mixture(d: int, seed: int) -> GaussianMixture:
    """Five components with positive means of .3 to 1.3 and standard deviations of about .15."""
    generator = torch.Generator().manual_seed(seed)
    means, weights = 0.3 + torch.rand(5, d, generator=generator), 0.2 + torch.rand(5, generator=generator)
    factors = 0.12 * torch.randn(5, d, d, generator=generator)
    covariances = factors @ factors.mT + 0.003 * torch.eye(d)
    return GaussianMixture(means, covariances, weights / weights.sum(), sde=VESDE(0.01, 50.0))


@dataclass(frozen=True)
class Case:
    """A prior and a matrix, by name; ``make`` has them for an instance's number."""

    name: str
    make: Callable[[int], tuple[GammaPrior | GaussianMixture, Tensor]]


CASES = (
    Case("gamma, 1 pixel", lambda i: (GammaPrior(1), torch.eye(1))),
    Case("gamma, 4 pixels", lambda i: (GammaPrior(4), torch.eye(4))),
    Case("mixture, 1 pixel", lambda i: (mixture(1, i), torch.eye(1))),
    Case("mixture, 4 pixels", lambda i: (mixture(4, i), torch.eye(4))),
    Case("mixture of 4 pixels, 2 sums", lambda i: (mixture(4, i), _positive(2, 4, i))),
)


def exact(prior: GammaPrior | GaussianMixture, operator: LinearMap, y: Tensor, n: int, seed: int) -> Tensor:
    """n exact posterior draws, (n, d), up to the finite number of prior draws that they are resampled from."""
    if isinstance(prior, GammaPrior):
        peak = float(operator.noise.get_buffer("peak"))
        drawn = torch.distributions.Gamma(SHAPE + peak * y[0].double(), RATE + peak)
        with torch.random.fork_rng(devices=[]):  # distributions draw from the global state alone
            torch.manual_seed(seed)
            return drawn.sample((n,)).float()
    x = prior.sample(DRAWS, seed=seed)
    log_p = operator.log_likelihood(y, x).double()
    log_p[(operator(x) < 0).any(1)] = -math.inf
    generator = torch.Generator().manual_seed(seed + 1)
    return x[torch.multinomial(log_p.softmax(0), n, replacement=True, generator=generator)].float()


def candidates() -> dict[str, Sampler | str]:
    """Name -> method: all that serve counts, the default, and `mmps` for Gaussian noise of the counts' variance."""
    operator = LinearMap(torch.eye(1), PoissonNoise(1.0))
    found = {name: m for name, m in METHODS.items() if m.conditional and m.needs <= operator.capabilities and m.samples}
    return {"auto": "auto", **found, GAUSSIAN: METHODS["mmps"]}


def solved(method: Sampler | str, name: str, prior: Prior, operator: Operator, y: Tensor, n: int, seed: int) -> Tensor:
    """n samples, (n, d)."""
    if name == GAUSSIAN:  # the usual approximation: the variance of a count is the count, at least 1
        peak = operator.noise.get_buffer("peak")
        operator = operator.with_noise(GaussianNoise((peak * y[0]).clamp_min(1).sqrt() / peak, event_ndim=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return solve(prior, operator, y, n, method, seed=seed, progress=False).samples[0]


def run(names: Sequence[str] | None, instances: int, n: int) -> list[dict[str, str]]:
    """A row per case and method: distances relative to exact draws by number of counts, and coverage.

    Raises: ValueError for a name that is none of `candidates`.
    """
    known = candidates()
    if wrong := [name for name in names or () if name not in known]:
        raise ValueError(f"{wrong}: expected names among {sorted(known)}")
    chosen = {name: known[name] for name in names or known}
    rows = []
    for case in CASES:
        distances: dict[tuple[str, float], list[float]] = {}
        covered: dict[str, list[float]] = {}
        spreads: dict[str, list[float]] = {}
        for peak in PEAKS:
            for number in range(instances):
                prior, matrix = case.make(number)
                operator = LinearMap(matrix, PoissonNoise(peak))
                truth = prior.sample(1, seed=100 + number).clamp_min(0.01)
                y = operator.measure(truth, seed=number)
                reference, *others = (exact(prior, operator, y, n, 1000 * number + i) for i in range(4))
                floor = [sliced_wasserstein(reference, other, 1) for other in others]
                distances.setdefault(("exact", peak), []).append(sum(floor) / len(floor))
                for name, method in chosen.items():
                    x = solved(method, name, prior, operator, y, n, number)
                    distances.setdefault((name, peak), []).append(sliced_wasserstein(reference, x, 1))
                    low, high = x.quantile(0.025, 0), x.quantile(0.975, 0)
                    inside = torch.cat([reference, *others])
                    spreads.setdefault(name, []).append(float((x.std(0) / inside.std(0)).log().mean()))
                    covered.setdefault(name, []).append(float(((inside >= low) & (inside <= high)).float().mean()))
        rows += [_row(case.name, name, distances, covered[name], spreads[name]) for name in chosen]
        typer.echo(f"{case.name}: done")
    return rows


def _row(
    case: str, name: str, distances: dict[tuple[str, float], list[float]], covered: list[float], spreads: list[float]
) -> dict[str, str]:
    ratios = {p: sum(distances[name, p]) / sum(distances["exact", p]) for p in PEAKS}
    return (
        {"problem": case, "method": name}
        | {f"{p:g} counts": f"{ratio:.2f}" for p, ratio in ratios.items()}
        | {
            "95 % intervals hold": f"{100 * sum(covered) / len(covered):.1f} %",
            "standard deviation": f"{math.exp(min(spreads)):.2f} to {math.exp(max(spreads)):.2f}",
        }
    )


def _positive(m: int, d: int, seed: int) -> Tensor:
    return torch.rand(m, d, generator=torch.Generator().manual_seed(seed))


def run_photons(
    method: Annotated[list[str] | None, typer.Option(help="names; default: all that serve photon counts")] = None,
    instances: Annotated[int, typer.Option(help="measurements of each problem and number of counts")] = 6,
    samples: Annotated[int, typer.Option(help="per measurement")] = 250,
    out: Annotated[Path, typer.Option(help="folder of the tables")] = RESULTS,
) -> None:
    """Photon counts of 1 to 4 pixels: distance of samples to the exact posterior, and what their intervals hold."""
    rows = run(method, instances, samples)
    notes = (
        "Sliced 1-Wasserstein distance to exact draws of the posterior, relative to that between two sets of exact "
        "draws: 1 is exact. By expected counts of a pixel of value 1. Then the exact posterior's probability of the "
        "central 95 % interval of each pixel, of the samples, and least and largest standard deviation relative to the "
        "exact one (geometric mean over pixels). "
        f"{samples} samples, {instances} measurements of each, every method at its defaults, VE prior. The gamma prior "
        "has a conjugate posterior; the others are weighted draws of the prior. `mmps, Gaussian noise` takes counts "
        "for Gaussian, with their own number as variance, at least 1."
    )
    facts = provenance(samples=samples, instances=instances)
    typer.echo(write_table("photons", "Photon counts against exact posteriors", rows, facts, notes, out).read_text())
