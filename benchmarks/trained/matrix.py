"""Every method on every shipped prior with every supported operator: does it finish, fit y, beat the pseudo-inverse, or
warn?"""

import inspect
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

import inverse
import operators
import priors
from benchmarks.common.keys import code_behind, key
from benchmarks.common.problems import Problem
from benchmarks.common.provenance import RESULTS, provenance, write_table
from benchmarks.common.records import Records
from inverse import METHODS, PoorFit, solve
from inverse.auto import serves
from inverse.methods import composition
from inverse.quality import POOR, residual_chi2
from operators import GaussianNoise, LinearOperator, Operator, PoissonNoise
from priors import ScorePrior

SIZE = 16  # pixels of the pictures of priors that serve any size
SAMPLES = 2
MORE, PICTURES = 16, 8  # samples, and pictures at most, where two samples of one picture are silent and wrong
# exact differentiates the network once per value of a small picture in every step, and by probes above 256 values
DEAR = {"exact": (18, 4)}  # name -> pixels, steps; not run on priors of a fixed size
OUTCOMES = ("right", "warned of", "stopped", "refused", "silent and wrong")
Shape = tuple[int, ...]

# one of each registered operator; None where pictures of a shape cannot be measured so
OPERATORS: dict[str, Callable[[Shape], Operator | None]] = {
    "masking": lambda shape: operators.Masking.random(shape, 0.5, seed=0, noise=GaussianNoise(0.05)),
    "blur": lambda shape: operators.Blur.gaussian(1.5, noise=GaussianNoise(0.02)),
    "motion blur": lambda shape: operators.Blur.motion(9, seed=1, boundary="reflect", noise=GaussianNoise(0.02)),
    "photons": lambda shape: operators.Masking(torch.ones(shape), noise=PoissonNoise(30.0)),
    "downsampling": lambda shape: operators.Downsampling(2, noise=GaussianNoise(0.02)),
    "resize": lambda shape: operators.Resize(2, noise=GaussianNoise(0.02)),
    "identity": lambda shape: operators.Identity(GaussianNoise(0.1)),
    "grayscale": lambda shape: operators.Grayscale(noise=GaussianNoise(0.02)) if shape[0] == 3 else None,
    "bayer": lambda shape: operators.Bayer(noise=GaussianNoise(0.02)) if shape[0] == 3 else None,
    "fourier": lambda shape: (
        operators.Fourier.cartesian(shape, 2, noise=GaussianNoise(0.02)) if shape[0] == 1 else None
    ),
    "noncartesian": lambda shape: (
        operators.NonCartesian.radial(shape, 2 * max(shape), noise=GaussianNoise(0.02)) if shape[0] == 1 else None
    ),
    "fan_beam": lambda shape: operators.FanBeam(20, 2.0 * max(shape), noise=GaussianNoise(0.1)),
    "radon": lambda shape: operators.Radon(20, noise=GaussianNoise(0.1)) if shape[1] == shape[2] else None,
    "transmission": lambda shape: operators.Transmission(PoissonNoise(1000.0)),
    "compressed_sensing": lambda shape: operators.CompressedSensing(0.3, noise=GaussianNoise(0.02)),
    "linear": lambda shape: operators.LinearMap(_random(60, math.prod(shape)), GaussianNoise(0.1), event_shape=shape),
    "varying_blur": lambda shape: operators.VaryingBlur.defocus(shape, bottom=1.5, noise=GaussianNoise(0.02)),
    "jpeg": lambda shape: operators.JPEG(30, noise=GaussianNoise(0.05)),
    "phase_retrieval": lambda shape: operators.PhaseRetrieval(noise=GaussianNoise(0.05)),
    "saturation": lambda shape: operators.Saturation(2.0, noise=GaussianNoise(0.02)),
    "classifier": lambda shape: operators.Classifier(priors.load_classifier("fashion-mnist-classifier")),
}


@dataclass(frozen=True)
class Cell:
    """One solve: names of a shipped prior, of `OPERATORS` and of a method."""

    prior: str
    operator: str
    method: str

    @property
    def key(self) -> str:
        """Of all that its outcome depends on: how the operator is made, the method's parts and their code."""
        method = METHODS[self.method]
        parts = tuple(part if hasattr(part, "__name__") else type(part) for part in method.parts)
        return key(
            "matrix",
            cell=vars(self),
            operator=inspect.getsource(OPERATORS[self.operator]),
            method=composition(method),
            code=code_behind(parts, ("inverse.guidance",)),
            size=DEAR.get(self.method, SIZE),
            samples=SAMPLES,
        )


def cells(
    names: Sequence[str] | None = None, kinds: Sequence[str] | None = None, methods: Sequence[str] | None = None
) -> Iterator[Cell]:
    """All of them, cheap methods first; arguments: priors, operators and methods, default all.

    Raises: ValueError for a name that is none.
    """
    chosen = []
    for given, known in ((names, priors.available()), (kinds, list(OPERATORS)), (methods, list(METHODS))):
        if wrong := [name for name in given or () if name not in known]:
            raise ValueError(f"{wrong}: expected names among {sorted(known)}")
        chosen.append(list(given or known))
    for method in sorted(chosen[2], key=lambda name: (name in DEAR, METHODS[name].n_steps)):
        if METHODS[method].conditional:
            yield from (Cell(name, kind, method) for kind in chosen[1] for name in chosen[0])


def affordable(cell: Cell) -> bool:
    """Whether the pictures of its prior can be as small as its method needs."""
    prior = priors.load(cell.prior)
    return cell.method not in DEAR or (isinstance(prior, ScorePrior) and prior.least_size is not None)


def posed(cell: Cell, picture: int = 0) -> Problem | None:
    """The problem of one picture, or None where pictures of this prior cannot be measured so."""
    prior = priors.load(cell.prior)
    truth = priors.samples(cell.prior).floats(slice(picture, picture + 1))
    if isinstance(prior, ScorePrior) and prior.least_size is not None:
        size, _ = DEAR.get(cell.method, (SIZE, None))
        prior = prior.resized((truth.shape[1], size, size))
        top, left = ((n - size) // 2 for n in truth.shape[2:])
        truth = truth[..., top : top + size, left : left + size].contiguous()
    if cell.operator == "classifier" and cell.prior != "fashion-mnist":
        return None
    operator = OPERATORS[cell.operator](tuple(prior.event_shape))
    if operator is None:
        return None
    operator = operator.at(tuple(prior.event_shape))  # a measurement does not always give the picture's size
    return Problem(f"{cell.prior}, {cell.operator}", prior, operator, operator.measure(truth, seed=picture), truth)


def execute(cell: Cell) -> dict:
    """The record of a cell: its outcome and what it rests on, as plain data.

    Where it is silent and wrong it is judged again by more samples of more pictures, as two samples of one may be
    unlucky.
    """
    record = attempt(cell, SAMPLES, 1)
    return attempt(cell, MORE, PICTURES) if record["outcome"] == OUTCOMES[-1] else record


def attempt(cell: Cell, n: int, pictures: int) -> dict:
    """The record by n samples of each of the first pictures, at most as many as are shipped.

    The mean of n samples of a posterior has (1 + 1 / n) times the squared error of the posterior's mean, which is what
    the pseudo-inverse is compared with. A mean squared error of d Gaussian residuals has a relative standard error of
    sqrt(2 / d), by which the pseudo-inverse may be better. Squared errors, chi^2 and seconds are means over pictures.
    """
    if not affordable(cell):
        return {"outcome": "not run"}
    found = []
    for picture in range(min(pictures, len(priors.samples(cell.prior)))):
        problem = posed(cell, picture)
        if problem is None:
            return {"outcome": "no problem"}
        if not serves(METHODS[cell.method], problem.operator):
            return {"outcome": "not served"}
        try:
            found.append(_solved(cell, problem, n))
        except (ValueError, TypeError) as error:
            return {"outcome": "refused", "text": str(error)}
        except inverse.NonFiniteState as error:
            return {"outcome": "stopped", "text": str(error)}
    facts = {name: sum(one[name] for one in found) / len(found) for name in ("error", "plain", "chi2", "seconds")}
    psnr, pinv = (-10 * math.log10(facts[name]) if facts[name] > 0 else math.inf for name in ("error", "plain"))
    chance = 10 * math.log10(1 + (2 / (len(found) * found[0]["values"])) ** 0.5)
    unfit = any(not POOR[0] <= one["chi2"] <= POOR[1] for one in found if math.isfinite(one["chi2"]))
    wrong = not math.isfinite(facts["error"]) or unfit or psnr < pinv - chance
    texts = [text for one in found for text in one["texts"]]
    return {
        "outcome": "warned of" if texts else "silent and wrong" if wrong else "right",
        "chi2": round(facts["chi2"], 4) if math.isfinite(facts["chi2"]) else None,
        "psnr": round(psnr, 2),
        "pinv": round(pinv, 2) if math.isfinite(pinv) else None,
        "seconds": round(facts["seconds"], 1),
        "poor fit": any(one["poor fit"] for one in found),
        "text": "; ".join(texts)[:120],
    }


def _solved(cell: Cell, problem: Problem, n: int) -> dict:
    """What n samples of one picture show: mean squared errors of their mean, corrected for n, and of the pseudo-inverse
    (inf where there is none), chi^2 (nan where the noise is not Gaussian), warnings.

    Raises: as `solve`.
    """
    operator, y, truth = problem.operator, problem.y, problem.truth
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        steps = DEAR[cell.method][1] if cell.method in DEAR else None
        solution = solve(problem.prior, operator, y, n, cell.method, steps, progress=False)
    of = [w for w in caught if issubclass(w.category, UserWarning)]
    linear = isinstance(operator, LinearOperator)
    return {
        "error": (solution.mean - truth).square().mean().item() / (1 + 1 / n),
        "plain": (operator.pinv(y) - truth).square().mean().item() if linear else math.inf,
        "chi2": _chi2(operator, y, solution.samples, solution.log_weights),
        "seconds": solution.seconds,
        "values": truth.numel(),
        "poor fit": any(issubclass(w.category, PoorFit) for w in of),
        "texts": [str(w.message) for w in of],
    }


def run(chosen: Sequence[Cell], work: Path, progress: bool = True, limit: int | None = None) -> list[tuple[Cell, dict]]:
    """Records of cells; those that lie in ``work`` are read, at most ``limit`` others done and kept there."""
    kept, done = Records(work / "matrix.jsonl"), 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not progress, transient=True) as bar:
        task = bar.add_task("matrix", total=len(chosen))
        for cell in chosen:
            if cell.key not in kept.found and (limit is None or done < limit):
                kept.add(cell.key, execute(cell))
                done += 1
            bar.advance(task)
    return [(cell, kept.found[cell.key]) for cell in chosen if cell.key in kept.found]


def table(found: Sequence[tuple[Cell, dict]]) -> list[dict[str, str]]:
    """A row per method and one of all: how many runs ended how; what is silent and wrong is named."""
    solved = [(cell, record) for cell, record in found if record["outcome"] in OUTCOMES]
    rows = []
    for method in [*dict.fromkeys(cell.method for cell, _ in solved), "all"]:
        of = [(cell, record) for cell, record in solved if method in (cell.method, "all")]
        count = Counter(record["outcome"] for _, record in of)
        wrong = [
            f"{cell.prior}, {cell.operator}: chi^2 {record['chi2']}, {record['psnr']} dB ({record['pinv']})"
            for cell, record in of
            if record["outcome"] == OUTCOMES[-1] and method != "all"
        ]
        rows.append(
            {"method": method, "runs": str(len(of))}
            | {outcome: str(count[outcome]) for outcome in OUTCOMES}
            | {"which (pseudo-inverse)": "; ".join(wrong) or "-"}
        )
    return rows


def _chi2(operator: Operator, y: Tensor, samples: Tensor, log_weights: Tensor) -> float:
    """Weighted mean over samples, of Gaussian noise; nan for another."""
    if "gaussian" not in operator.noise.capabilities:
        return math.nan
    each = torch.stack([residual_chi2(operator, y, x) for x in samples.unbind(1)], 1)
    return float((each * torch.softmax(log_weights.double(), 1).to(each)).sum(1))


def _random(m: int, d: int) -> Tensor:
    return torch.randn(m, d, generator=torch.Generator().manual_seed(0)) / math.sqrt(d)


def run_matrix(
    prior: Annotated[list[str] | None, typer.Option(help="shipped names; default: all; repeat, as of the next")] = None,
    operator: Annotated[list[str] | None, typer.Option(help=f"of {', '.join(OPERATORS)}")] = None,
    method: Annotated[list[str] | None, typer.Option(help="names in METHODS; default: all")] = None,
    limit: Annotated[int | None, typer.Option(help="the most runs to do now; all finished ones are shown")] = None,
    work: Annotated[Path, typer.Option(help="finished work is stored here and reused")] = RESULTS / "matrix",
    out: Annotated[Path, typer.Option(help="folder of the tables")] = RESULTS,
) -> None:
    """Every method x prior x operator at default settings: how many succeed, warn, or fail silently."""
    chosen = list(cells(prior, operator, method))
    found = run(chosen, work, True, limit)
    notes = (
        f"One picture of each shipped prior ({SIZE} pixels a side where any size is served), one measurement, "
        f"{SAMPLES} samples ({MORE} of each of up to {PICTURES} pictures where these are silent and wrong), every "
        f"method at its defaults, but `exact` in {DEAR['exact'][1]} steps on pictures of {DEAR['exact'][0]} pixels, "
        f"and not on priors of a fixed size. Right: finite, chi^2 in {POOR[0]:g} to {POOR[1]:g} where the noise is "
        "Gaussian, and PSNR of the mean, corrected for the number of samples, at least the pseudo-inverse's (in "
        "brackets), up to its standard error. "
        "Warned of: by `PoorFit`, `UnreliableWeights` or `UncalibratedSpread`; stopped: `NonFiniteState`. "
        f"Finished: {len(found)} of {len(chosen)} cells, those without a problem or not served included."
    )
    path = write_table("matrix", "Every method on every prior and operator", table(found), provenance(), notes, out)
    typer.echo(path.read_text())
