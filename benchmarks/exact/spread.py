"""Standard deviation of samples against the exact posterior, for every method at many noise levels."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.common.keys import code_behind, key
from benchmarks.common.provenance import RESULTS, provenance, write_table
from benchmarks.common.records import Records
from benchmarks.exact.exactness import SDES
from benchmarks.exact.oracle_problems import Instance
from benchmarks.exact.problems import image_mixture, smooth_covariance
from inverse import METHODS, solve
from inverse.auto import resolve
from operators import GaussianNoise, LinearMap, Masking
from priors import SDE, Gaussian

NOISES = (0.001, 0.01, 0.1)
SHAPE = (1, 8, 8)


def smooth_gaussian(sde: SDE) -> Gaussian:
    """Smooth random pictures of 8 x 8 pixels, mean .5 and standard deviation .25."""
    covariance = smooth_covariance(SHAPE[1], 1.5, 0.25)
    return Gaussian(torch.full((64,), 0.5, dtype=torch.float64), covariance, sde=sde, event_shape=SHAPE)


PRIORS = {"Gaussian": smooth_gaussian, "mixture": image_mixture}
OPERATORS = {
    "all pixels": lambda noise: Masking(torch.ones(SHAPE[1:]), noise=noise),
    "half of the pixels": lambda noise: Masking.random(SHAPE, keep=0.5, seed=0, noise=noise),
    "12 combinations": lambda noise: LinearMap(_matrix(), noise=noise, event_shape=SHAPE),
}


def _matrix() -> torch.Tensor:
    return torch.randn(12, 64, generator=torch.Generator().manual_seed(1)) / 8


@dataclass(frozen=True)
class Cell:
    """One problem: names of the prior, the SDE and the operator, and sigma_y (data units)."""

    prior: str
    sde: str
    operator: str
    sigma_y: float

    def problem(self, number: int) -> Instance:
        """One instance."""
        prior = PRIORS[self.prior](SDES[self.sde])
        operator = OPERATORS[self.operator](GaussianNoise(self.sigma_y))
        name = f"{self.prior}, {self.operator}"
        return Instance.of(name, prior, operator, prior.sample(1, seed=100 + number), 200 + number)


def cells() -> list[Cell]:
    """All problems."""
    return [Cell(*names, sigma_y) for names in product(PRIORS, SDES, OPERATORS) for sigma_y in NOISES]


def ratio(cell: Cell, method: str, n_samples: int, instances: int, n_steps: int | None = None) -> float | None:
    """The samples' standard deviation over the exact posterior's: the geometric mean over pixels.

    Arguments: cell; method (a name in `inverse.METHODS`, or "auto"); n_samples K per measurement; instances:
    measurements; n_steps (default: the method's).
    Returns: the ratio, nan where the method diverged, None where it does not support the operator.
    """
    logs = []
    for number in range(instances):
        problem = cell.problem(number)
        try:
            resolve(method, problem.operator, SHAPE, n_samples)
        except ValueError:
            return None
        exact = problem.posterior.covariance.diagonal(dim1=-2, dim2=-1).sqrt().flatten()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                given = (problem.prior, problem.operator, problem.y, n_samples, method, n_steps)
                solution = solve(*given, seed=number, progress=False)
            except ArithmeticError:
                return math.nan
            logs.append((solution.std.double().flatten().clamp_min(1e-12) / exact).log().mean())
    return float(torch.stack(logs).mean().exp())


def run(
    methods: Sequence[str], work: Path, n_samples: int = 100, instances: int = 1, limit: int | None = None
) -> list[dict[str, str]]:
    """A row per method: the range of its ratios over problems, by prior and sigma_y.

    Arguments: methods (names); work (folder): finished ratios are stored there and reused; n_samples, instances: as
    `ratio`; limit: the most problems to compute now; unfinished methods are left out.
    """
    records, rows, done = Records(work / "spread.jsonl"), [], 0
    for method in methods:
        chosen = METHODS["mmps" if method == "auto" else method]
        version = code_behind((type(chosen.parts[0]), solve), ("inverse", "priors", "operators"))
        found: dict[Cell, float] = {}
        for cell in cells():
            facts = {"method": method, "samples": n_samples, "instances": instances}
            name = key("spread", code=version, cell=vars(cell), **facts)
            if name not in records.found:
                if limit is not None and done >= limit:
                    break
                value = ratio(cell, method, n_samples, instances)
                records.add(name, {"ratio": "refused" if value is None else str(value)})
                done += 1
            if (text := records.found[name]["ratio"]) != "refused":
                found[cell] = float(text)
        else:
            if found:
                rows.append(_row(method, found))
    return rows


def _row(method: str, ratios: dict[Cell, float]) -> dict[str, str]:
    row = {"method": method, "problems": str(len(ratios))}
    for prior, sigma_y in product(PRIORS, NOISES):
        some = [r for cell, r in ratios.items() if (cell.prior, cell.sigma_y) == (prior, sigma_y)]
        finite = [r for r in some if math.isfinite(r)]
        text = f"{min(finite):.2f} to {max(finite):.2f}" if finite else "-"
        more = f", {len(some) - len(finite)} diverged" if len(some) > len(finite) else ""
        row[f"{prior}, sigma_y {sigma_y:g}"] = text + more
    return row


def run_spread(
    method: Annotated[list[str] | None, typer.Option(help="names in METHODS, or auto; default: all")] = None,
    samples: Annotated[int, typer.Option(help="per measurement")] = 100,
    instances: Annotated[int, typer.Option(help="measurements of each problem")] = 1,
    limit: Annotated[int | None, typer.Option(help="the most problems to run now")] = None,
    work: Annotated[Path, typer.Option(help="finished problems are stored here and reused")] = Path("runs/spread"),
    out: Annotated[Path, typer.Option(help="folder of the tables")] = RESULTS,
) -> None:
    """Standard deviation of samples relative to that of the exact posterior, for noise from .001 to .1."""
    names = method or ["auto", *(name for name, m in METHODS.items() if m.conditional and name != "classifier")]
    rows = run(names, work, samples, instances, limit)
    notes = (
        "The standard deviation of the samples over that of the exact posterior, geometric mean over pixels: least and "
        f"largest over {', '.join(SDES)} and over measurements of {', '.join(OPERATORS)}; 1 is right. Priors of 8 x 8 "
        "pixels: smooth Gaussian pictures and a mixture of 20 such laws. The last noise level of VE and VP is .01. "
        f"{samples} samples, {instances} measurement(s) of each problem, every method at its defaults."
    )
    facts = provenance(samples=samples, instances=instances)
    path = write_table("spread", "The spread of samples against exact posteriors", rows, facts, notes, out)
    typer.echo(path.read_text())
