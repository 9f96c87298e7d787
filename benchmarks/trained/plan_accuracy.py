"""Time and memory predicted by `inverse.plan`, against those of the solve."""

import ctypes
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

import priors
from benchmarks.common.keys import code, key
from benchmarks.common.problems import Problem
from benchmarks.common.processes import apart, resident
from benchmarks.common.provenance import RESULTS, provenance, write_table
from benchmarks.common.records import Records
from benchmarks.trained.large import photograph
from inverse import Plan, plan, solve
from inverse.app.operator_text import read_operator
from inverse.costs import work
from inverse.costs.rehearsal import StandIn
from inverse.plan import span
from operators import Operator
from priors import Prior
from priors.base import Wrapped
from priors.heap import separate_blocks

SIGMA, HALFWAY = 0.03, torch.tensor(0.5)
NOTES = (
    "Scikit-image's astronaut, resized and measured with sigma .03; method auto unless one is named. A process of its "
    "own for each job, one thread. Times are the processor's, of plan and solve alike, because other work shares the "
    "machine. Plan: what `inverse.plan` takes after the imports; before and after the solve. Memory is the peak "
    "resident set less what it is after the plan. How: solve, all of it; or, where that takes long, its parts: a "
    "solve of one step with a dummy prior, one evaluation of the prior and one backward pass at full size, "
    "times their numbers; its memory is the sum of both parts'."
)


@dataclass(frozen=True)
class Job:
    """A solve: shipped prior, size (H, W) in pixels, operator as on the command line, samples, method, tile (pixels),
    and whether it is measured by its parts."""

    prior: str
    size: tuple[int, int]
    operator: str
    samples: int = 1
    method: str = "auto"
    tile: int | None = None
    parts: bool = False


JOBS = (
    Job("natural-grey", (64, 64), "masking:keep=0.3", 4),
    Job("natural", (64, 64), "blur:sigma=1.5", 2),
    Job("natural", (64, 96), "downsampling:factor=2", 4, "ddrm"),
    Job("natural", (128, 128), "grayscale", 2),
    Job("natural-grey", (192, 256), "blur:motion=9,boundary=circular"),
    Job("natural", (256, 256), "masking:box=64"),
    Job("natural", (384, 512), "resize:factor=2"),
    Job("natural", (512, 768), "blur:sigma=2"),
    Job("natural", (750, 1000), "masking:keep=0.5", 1, "auto", 512, True),
    Job("natural", (1500, 2000), "resize:factor=2", 1, "ddrm", 512, True),
    Job("natural", (1500, 2000), "masking:keep=0.3", 1, "auto", 512, True),
)


def pose(job: Job) -> Problem:
    """The problem of a job: one photograph."""
    truth = photograph(job.size)
    prior = priors.load(job.prior)
    if prior.event_shape[0] == 1:
        truth = truth.mean(1, keepdim=True)
    sized = prior.resized(tuple(truth.shape[1:]))
    operator = read_operator(job.operator, SIGMA, tuple(truth.shape[1:]))
    prior = sized if job.tile is None else priors.Tiled(sized, job.tile)
    return Problem(job.operator, prior, operator, operator.measure(truth, seed=0), truth)


def measure(job: Job) -> dict:
    """Plan and solve of a job, in a process of its own."""
    return apart(_measure, job)


def _measure(job: Job) -> dict:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    separate_blocks()  # as the command line
    work.clock = time.process_time
    x = torch.ones(2, requires_grad=True)
    torch.autograd.grad(x.square(), x, torch.ones(2))  # torch's first derivative of all imports a library
    problem = pose(job)
    given = (problem.prior, problem.operator, problem.y, job.samples, job.method)
    start = time.process_time()
    predicted = plan(*given)
    took = time.process_time() - start
    if job.parts:
        seconds, memory = _by_parts(*given[:3], predicted)
    else:
        with Growth() as growth:
            start = time.process_time()
            solve(*given[:4], predicted.method, predicted.n_steps, progress=False)
            seconds = time.process_time() - start
        memory = growth.bytes
    start = time.process_time()
    again = plan(*given)
    return {
        "method": f"{predicted.method.name}, {predicted.n_steps} steps", "nfe": predicted.nfe, "nvjp": predicted.nvjp,
        "plan": took, "plan again": time.process_time() - start, "predicted": [predicted.seconds, again.seconds],
        "seconds": seconds,
        "predicted bytes": predicted.bytes, "bytes": memory,
    }  # fmt: skip


def _by_parts(prior: Prior, operator: Operator, y: Tensor, predicted: Plan) -> tuple[float, int]:
    """Seconds of a whole solve, and bytes, from those of a walk of one step and of one evaluation and backward pass."""
    calls: list[float] = []
    stand_in = StandIn(prior, lambda: calls.append(time.process_time()))
    with Growth() as walk:
        start = time.process_time()
        nfe = solve(stand_in, operator, y, 1, predicted.method, 1, progress=False).nfe
        first, each = calls[0] - start, (time.process_time() - calls[0]) / nfe
    x = torch.randn(1, *prior.event_shape, generator=torch.Generator().manual_seed(0))
    once = Timed(prior)
    with Growth() as network, torch.no_grad():
        if predicted.nvjp:
            denoised, vjp = once.denoise_vjp(x, HALFWAY)
            vjp(denoised)
        else:
            once.denoise(x, HALFWAY)
    seconds = first + predicted.nfe * (each + once.forward) + predicted.nvjp * once.backward
    return seconds, walk.bytes + network.bytes


class Growth:
    """A context that measures by how much the resident set of this process grows at most. Linux with glibc alone."""

    def __enter__(self):
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before would be used again, and not be seen
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        self.before = resident()
        return self

    def __exit__(self, *error):
        status = Path("/proc/self/status").read_text()
        peak = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
        self.bytes = 1024 * peak - self.before


class Timed(Wrapped):
    """A prior that keeps the seconds of its last evaluation and backward pass, of the processor."""

    forward = backward = 0.0

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        start = time.process_time()
        found = self.prior.denoise(x, t)
        self.forward = time.process_time() - start
        return found

    def denoise_vjp(self, x: Tensor, t: Tensor | float):
        start = time.process_time()
        denoised, vjp = self.prior.denoise_vjp(x, t)
        self.forward = time.process_time() - start

        def timed(v: Tensor) -> Tensor:
            begun = time.process_time()
            found = vjp(v)
            self.backward = time.process_time() - begun
            return found

        return denoised, timed


def rows(records: Records, jobs: tuple[Job, ...] = JOBS) -> list[dict[str, str]]:
    """The table, a line a job; what is in the records already is not measured again."""
    own, found = code(_measure, _by_parts, Growth, Timed, pose), []
    for job in jobs:
        name = key("plan", job=asdict(job), code=own)
        if name not in records.found:
            records.add(name, measure(job))
        found.append(_row(job, records.found[name]))
    return found


def _row(job: Job, got: dict) -> dict[str, str]:
    height, width = job.size
    ratios = [predicted / got["seconds"] for predicted in got["predicted"]]
    return {
        "picture": f"{width} x {height}" + (f", tiles of {job.tile}" if job.tile else ""),
        "problem": f"{job.operator}, {job.prior}, {job.samples} samples",
        "method": f"{got['method']}; {got['nfe']} + {got['nvjp']}",
        "how": "parts" if job.parts else "solve",
        "plan, s": f"{got['plan']:.1f}, {got['plan again']:.1f}",
        "predicted time": span(got["predicted"][0]),
        "measured time": span(got["seconds"]),
        "time, predicted / measured": ", ".join(f"{ratio:.2f}" for ratio in ratios),
        "predicted memory, GB": f"{got['predicted bytes'] / 1e9:.3g}",
        "measured memory, GB": f"{got['bytes'] / 1e9:.3g}",
        "memory, predicted / measured": f"{got['predicted bytes'] / got['bytes']:.2f}",
    }


def run_plan(
    only: Annotated[list[int] | None, typer.Option(help="these jobs, by their number from 0; default: all")] = None,
    records: Annotated[Path, typer.Option(help="finished jobs are stored here and reused")] = Path("runs/plan.jsonl"),
    out: Annotated[Path, typer.Option(help="folder of the table")] = RESULTS,
) -> None:
    """Cost predicted by `inverse.plan` and measured, for eleven solves from 64 x 64 to 2000 x 1500 pixels."""
    jobs = JOBS if only is None else tuple(JOBS[i] for i in only)
    path = write_table("plan", "Plan and solve", rows(Records(records), jobs), provenance(sigma=SIGMA), NOTES, out)
    typer.echo(path.read_text())
