"""Overhead of the engine: time of solve against that of its evaluations and backward passes alone."""

import cProfile
import pstats
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

import inverse
import priors
from benchmarks.common.commands import Out, finish
from benchmarks.common.keys import fingerprint, key
from benchmarks.common.provenance import RESULTS
from benchmarks.common.records import Records
from benchmarks.trained.efficiency import SCENES, Scene, crops
from inverse import METHODS, Method, solve
from inverse.auto import serves
from inverse.methods import composition
from operators import Operator
from priors import Prior

ROOT = Path(inverse.__file__).parents[1]
WORK = Path("runs/speed")
OF = {  # label of a scene: measurement of it
    "natural, 64 px": ("motion blur, 9 px", "downsampling x4", "70 % of pixels missing"),
    "brain-mri": ("Cartesian MRI x4",),
    "fashion-mnist": ("50 % of pixels missing",),
}
PARTS = {  # where time outside the network goes, by the file that asks for it; the first that fits
    "operator": ("operators/",),
    "Gaussian of the moments": ("inverse/gaussian/", "priors/moments.py", "priors/spectrum.py"),
    "guidance": ("inverse/guidance/",),
    "random numbers": ("priors/rng.py",),
    "network": ("priors/",),
    "engine": ("inverse/",),
}


@dataclass(frozen=True)
class Cell:
    """One method on one measurement, and what it costs.

    Attributes: prior and measurement, as in tables; method; nfe and nvjp; ratios: engine over bare network, of each
    pair; seconds of the engine, median; shares: part -> share of the engine's time outside the network.
    """

    prior: str
    measurement: str
    method: str
    nfe: int
    nvjp: int
    ratios: Sequence[float]
    seconds: float
    shares: dict[str, float]


def cell(prior: Prior, operator: Operator, y: Tensor, name: str, rows: int, steps: int, repeats: int) -> dict[str, Any]:
    """The costs of a method, without its labels: engine and bare network run in turn."""
    run = partial(solve, prior, operator, y, rows, name, steps, batch_size=rows, progress=False)
    found = run()
    bare = partial(_with_vjps if found.nvjp else _forward, prior, rows, found.nfe, found.nvjp)
    bare()
    pairs = [(_seconds(run), _seconds(bare)) for _ in range(repeats)]  # in turn: a drifting clock affects both
    profile = cProfile.Profile()
    profile.runcall(run)
    return {
        "nfe": found.nfe,
        "nvjp": found.nvjp,
        "ratios": [a / b for a, b in pairs],
        "seconds": statistics.median(a for a, _ in pairs),
        "shares": shares(profile),
    }


def shares(profile: cProfile.Profile) -> dict[str, float]:
    """Part -> share of the profiled time, where a library's time is that of the functions of ours that call it."""
    stats: Any = pstats.Stats(profile)
    own: dict[Any, dict[str, float]] = {}

    def parts_of(function: Any, seen: frozenset[Any]) -> dict[str, float]:
        """How the time of a function is shared between parts, of sum 1."""
        if (found := part_of(function[0])) is not None:
            return {found: 1.0}
        if function in own:
            return own[function]
        callers = {c: times[3] for c, times in stats.stats[function][4].items() if c not in seen}
        total, out = sum(callers.values()), dict[str, float]()
        for caller, seconds in callers.items():
            for part, share in parts_of(caller, seen | {function}).items():
                out[part] = out.get(part, 0.0) + share * (seconds / total if total else 1 / len(callers))
        if not seen:
            own[function] = out
        return out

    times: dict[str, float] = {}
    for function, (_, _, seconds, _, _) in stats.stats.items():
        for part, share in parts_of(function, frozenset()).items():
            times[part] = times.get(part, 0.0) + share * seconds
    total = sum(times.values())
    return {part: times.get(part, 0.0) / total for part in PARTS}


def part_of(file: str) -> str | None:
    """The part that a file belongs to; None outside our packages."""
    path = Path(file)
    if not path.is_relative_to(ROOT):
        return None
    inside = path.relative_to(ROOT).as_posix()
    return next((part for part, starts in PARTS.items() if inside.startswith(starts)), None)


def run(
    scenes: Sequence[Scene], methods: Sequence[str] | None, rows: int, steps: int, repeats: int, work: Path
) -> list[Cell]:
    """Every method that serves a measurement, or those of ``methods``, on the measurements of the scenes; those that
    lie in ``work`` are read."""
    kept, cells = Records(work / "speed.jsonl"), []
    for scene in scenes:
        prior = priors.load(scene.prior)
        if scene.side is not None:
            prior = prior.resized((prior.event_shape[0], scene.side, scene.side))
        truth = crops(scene.prior, prior.event_shape[-1], 1)
        for title, make in scene.operators.items():
            operator = make(tuple(prior.event_shape))
            y = operator.measure(truth, seed=0)
            numbers = y[0].numel()
            for name, method in METHODS.items():
                served = isinstance(method, Method) and method.conditional and serves(method, operator, True, numbers)
                if not served or name not in (methods or METHODS):
                    continue
                facts = {"prior": fingerprint(prior), "task": title, "method": composition(method)}
                entry = key("speed", rows=rows, steps=steps, repeats=repeats, **facts)
                if entry not in kept.found:
                    kept.add(entry, cell(prior, operator, y, name, rows, steps, repeats))
                cells.append(Cell(scene.label, title, name, **kept.found[entry]))
    return cells


def table(cells: Sequence[Cell]) -> list[dict[str, str]]:
    """A row per cell, of texts."""
    return [
        {
            "prior": c.prior,
            "measurement": c.measurement,
            "method": c.method,
            "evaluations + passes": f"{c.nfe} + {c.nvjp}",
            "milliseconds an evaluation or pass": f"{1e3 * c.seconds / (c.nfe + c.nvjp):.1f}",
            "over the bare network": f"{statistics.median(c.ratios):.3f} [{min(c.ratios):.3f}, {max(c.ratios):.3f}]",
            **{f"{part}, %": f"{100 * share:.1f}" for part, share in c.shares.items()},
        }
        for c in cells
    ]


def _seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


@torch.no_grad()
def _forward(prior: Prior, rows: int, nfe: int, nvjp: int) -> None:
    """The network alone, as the engine calls it."""
    x = torch.randn(rows, *prior.event_shape, generator=torch.Generator().manual_seed(0))
    for t in torch.linspace(1, prior.sde.t_min, nfe, dtype=torch.float64):
        prior.denoise(x, t)


def _with_vjps(prior: Prior, rows: int, nfe: int, nvjp: int) -> None:
    """The network and as many backward passes to its input, spread evenly over the evaluations."""
    x = torch.randn(rows, *prior.event_shape, generator=torch.Generator().manual_seed(0))
    done = 0
    for i, t in enumerate(torch.linspace(1, prior.sde.t_min, nfe, dtype=torch.float64)):
        denoised, vjp = prior.denoise_vjp(x, t)
        while done < nvjp * (i + 1) // nfe:
            vjp(denoised)
            done += 1


def run_speed(
    method: Annotated[list[str] | None, typer.Option(help="default: all that serve; repeat")] = None,
    rows: Annotated[int, typer.Option(help="samples, drawn at once")] = 4,
    steps: int = 8,
    repeats: int = 5,
    work: Annotated[Path, typer.Option(help="folder of the records; a killed run continues there")] = WORK,
    out: Out = RESULTS,
) -> None:
    """Time of every method over that of the evaluations and backward passes it makes, and where the rest goes."""
    scenes = [
        Scene(s.prior, s.side, 1, rows, {title: s.operators[title] for title in OF[s.label]})
        for s in SCENES
        if s.label in OF
    ]
    notes = (
        f"{rows} samples at once, {steps} steps, float32; processor time, one thread. Over the bare network: the time "
        "of solve over that of as many evaluations of the network and backward passes, run in turn; the median of "
        f"{repeats} pairs [least, largest]. The other columns share the time of one solve, profiled, between the parts "
        "that ask for it; network includes its backward passes."
    )
    finish(
        "speed", "Overhead of the engine", table(run(scenes, method, rows, steps, repeats, work)), notes, out, rows=rows
    )
