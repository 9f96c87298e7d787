"""Overhead of the engine: time of solve against that of its evaluations and backward passes alone."""

import cProfile
import pstats
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
from inverse import METHODS, Solution, solve
from inverse.auto import serves
from inverse.methods import composition
from operators import Operator
from priors import Prior
from priors.base import VJP, Wrapped

ROOT = Path(inverse.__file__).parents[1]
WORK = Path("runs/speed")
OF = {  # label of a scene: measurement of it
    "natural, 128 px": ("motion blur, 9 px", "downsampling x4", "70 % of pixels missing"),
    "brain-mri": ("Cartesian MRI x4",),
    "fashion-mnist": ("50 % of pixels missing",),
}
SOLVER, CHECKS = "inverse/solve/__init__.py", ("inverse/quality/", "inverse/solve/checks.py")
GOAL = 1.05
PARTS = {  # where time outside the network goes, by the file that asks for it; the first that fits
    "operator": ("operators/",),
    "Gaussian of the moments": ("inverse/gaussian/", "priors/moments.py", "priors/spectrum.py"),
    "guidance": ("inverse/guidance/",),
    "random numbers": ("priors/rng.py",),
    "network": ("priors/",),
    "checks": CHECKS,
    "engine": ("inverse/",),
}


@dataclass(frozen=True)
class Cell:
    """One method on one measurement, and what it costs.

    Attributes: prior and measurement, as in tables; method; nfe and nvjp; of each repeat, the processor time of a solve
    over that of the network inside it (ratios) and over that of the same calls alone (replays); seconds of a sample;
    shares: part -> share of the time of a solve.
    """

    prior: str
    measurement: str
    method: str
    nfe: int
    nvjp: int
    ratios: Sequence[float]
    replays: Sequence[float]
    seconds: float
    shares: dict[str, float]


class Metered(Wrapped):
    """A prior that adds up the processor time of its evaluations and backward passes, and of freeing their graphs,
    which it holds until the next evaluation, as `priors.Evaluations` does.

    Attributes: seconds so far; calls: for each evaluation its x and t, and the vectors of its backward passes, or None
    for one without; kept if ``keep``.
    """

    def __init__(self, prior: Prior, keep: bool = False) -> None:
        super().__init__(prior)
        self.seconds, self.keep = 0.0, keep
        self.calls: list[tuple[Tensor, Tensor | float, list[Tensor] | None]] = []
        self._last: list[VJP] = []

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        if self.keep:
            self.calls.append((x, t, None))
        self._timed(self._last.clear)
        return self._timed(partial(self.prior.denoise, x, t))

    def denoise_vjp(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, VJP]:
        vectors: list[Tensor] = []
        if self.keep:
            self.calls.append((x, t, vectors))
        self._timed(self._last.clear)
        denoised, vjp = self._timed(partial(self.prior.denoise_vjp, x, t))
        self._last = last = [vjp]
        del vjp

        def metered(v: Tensor) -> Tensor:
            if self.keep:
                vectors.append(v)
            return self._timed(partial(last[0], v))

        return denoised, metered

    def close(self) -> None:
        """Free the last graph."""
        self._timed(self._last.clear)

    def _timed(self, call: Callable[[], Any]) -> Any:
        start = time.process_time()
        try:
            return call()
        finally:
            self.seconds += time.process_time() - start


def replayed(prior: Prior, calls: Sequence[tuple[Tensor, Tensor | float, list[Tensor] | None]]) -> None:
    """The calls of a solve (`Metered.calls`) and nothing else, in their order."""
    for x, t, vectors in calls:
        if vectors is None:
            with torch.no_grad():
                prior.denoise(x, t)
        else:
            _, vjp = prior.denoise_vjp(x, t)
            for v in vectors:
                vjp(v)
            del vjp  # its graph, before the next


def cell(prior: Prior, operator: Operator, y: Tensor, name: str, rows: int, steps: int, repeats: int) -> dict[str, Any]:
    """The costs of a method, without its labels: solves and replays of their calls of the network in turn."""

    def one(prior: Prior) -> Solution:
        return solve(prior, operator, y, rows, name, steps, progress=False)

    metered = Metered(prior, keep=True)
    found, pairs = one(metered), []
    for _ in range(repeats):  # in turn: a drifting clock affects both
        inside = Metered(prior)
        total = _seconds(partial(one, inside)) + _seconds(inside.close)
        pairs.append((total, inside.seconds, _seconds(partial(replayed, prior, metered.calls))))
    profile = cProfile.Profile(time.process_time)
    profile.runcall(one, Metered(prior))
    return {
        "nfe": found.nfe,
        "nvjp": found.nvjp,
        "ratios": [total / inside for total, inside, _ in pairs],
        "replays": [total / bare for total, _, bare in pairs],
        "seconds": statistics.median(total for total, *_ in pairs) / rows,
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
    checks = 0.0
    for function, (_, _, seconds, _, callers) in stats.stats.items():
        for part, share in parts_of(function, frozenset()).items():
            times[part] = times.get(part, 0.0) + share * seconds
        if part_of(function[0]) == "checks":  # those of the solve, with all that they call
            checks += sum(called[3] for caller, called in callers.items() if _inside(caller[0]) == SOLVER)
    times["network"] -= checks - times.get("checks", 0.0)  # most of a check is an evaluation
    total = sum(times.values()) - times.get("checks", 0.0) + checks
    return {part: (checks if part == "checks" else times.get(part, 0.0)) / total for part in PARTS}


def _inside(file: str) -> str:
    """The path of a file in our packages; "" outside."""
    path = Path(file)
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""


def part_of(file: str) -> str | None:
    """The part that a file belongs to; None outside our packages."""
    inside = _inside(file)
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
                if name not in (methods or names()) or not serves(method, operator, True, numbers):
                    continue
                facts = {"prior": fingerprint(prior), "task": title, "method": composition(method)}
                entry = key("speed", rows=rows, steps=steps, repeats=repeats, **facts)
                if entry not in kept.found:
                    kept.add(entry, cell(prior, operator, y, name, rows, min(steps, method.n_steps), repeats))
                cells.append(Cell(scene.label, title, name, **kept.found[entry]))
    return cells


def names() -> list[str]:
    """Methods whose number of steps is a choice."""
    return [name for name in METHODS if name != "exact"]


def table(cells: Sequence[Cell]) -> list[dict[str, str]]:
    """A row per cell, of texts."""
    return [
        {
            "prior": c.prior,
            "measurement": c.measurement,
            "method": c.method,
            "evaluations + passes": f"{c.nfe} + {c.nvjp}",
            "seconds a sample": f"{c.seconds:.2f}",
            "over the network inside": _spread(c.ratios),
            "over its calls alone": _spread(c.replays),
            **{f"{part}, %": f"{100 * share:.1f}" for part, share in c.shares.items()},
        }
        for c in cells
    ]


def _spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]"


def _seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def run_speed(
    method: Annotated[list[str] | None, typer.Option(help="default: all that serve; repeat")] = None,
    prior: Annotated[list[str] | None, typer.Option(help="label of a scene; default: all; repeat")] = None,
    samples: int = 4,
    steps: Annotated[int, typer.Option(help="at most")] = 16,
    repeats: int = 3,
    work: Annotated[Path, typer.Option(help="folder of the records; a killed run continues there")] = WORK,
    out: Out = RESULTS,
) -> None:
    """Time of every method over that of the evaluations and backward passes it makes, and where the rest goes."""
    scenes = [
        replace(s, images=1, samples=samples, operators={title: s.operators[title] for title in OF[s.label]})
        for s in SCENES
        if s.label in OF and s.label in (prior or OF)
    ]
    cells = run(scenes, method, samples, steps, repeats, work)
    over = sum(statistics.median(cell.ratios) > GOAL for cell in cells)
    notes = (
        f"{samples} samples, at most {steps} steps, float32; processor time, one thread. Over the network inside: the "
        "time of solve over that of its evaluations of the network and backward passes. Over its calls alone: over "
        "that of the same calls on the same states, run after it, whose memory and caches no other work disturbs. "
        f"Each the median of {repeats} [least, largest]; of the first, {over} of {len(cells)} are above {GOAL}. The "
        "other columns share the time of one solve, profiled, which makes much Python code seem slower than it is, "
        "between the parts that ask for it; network includes its backward passes, and checks, of y before and of the "
        "samples after, those that they make."
    )
    finish("speed", "Overhead of the engine", table(cells), notes, out, samples=samples)
