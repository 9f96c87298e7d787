"""Overhead of the engine: wall time of solve against that of its evaluations alone."""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch

import operators
import priors
from benchmarks.common.commands import Out, finish
from benchmarks.common.provenance import RESULTS
from inverse import METHODS, sample, solve
from operators import GaussianNoise
from priors import Prior


def run(prior_name: str, rows: int, n_steps: int, repeats: int) -> list[dict[str, str]]:
    """Overhead of PC and MMPS per evaluation: wall time over the time of the evaluations that the method made.

    Arguments: prior_name; rows solved at once; n_steps; repeats: engine and bare network alternate, medians are given.
    Returns: rows of texts: method, NFE, milliseconds per step of engine and of the bare network, ratio, peak memory.
    """
    prior = priors.load(prior_name)
    operator = operators.Masking.random(prior.event_shape, keep=0.5, noise=GaussianNoise(0.05))
    y = operator.measure(priors.samples(prior_name).floats(slice(0, 1)), seed=0)
    pc = replace(METHODS["pc"], n_steps=n_steps)
    mmps = replace(METHODS["mmps"], n_steps=n_steps)
    counted = solve(prior, operator, y, rows, mmps, progress=False)
    cases: dict[str, tuple[Callable, Callable, str]] = {
        "pc": (
            lambda: sample(prior, rows, pc, batch_size=rows, progress=False),
            lambda: _forward(prior, rows, 2 * n_steps + 1),
            f"{2 * n_steps + 1}",
        ),
        "mmps": (
            lambda: solve(prior, operator, y, rows, mmps, batch_size=rows, progress=False),
            lambda: _with_vjps(prior, rows, counted.nfe, counted.nvjp),
            f"{counted.nfe} + {counted.nvjp} vjp",
        ),
    }
    return [_row(name, *case, n_steps, repeats) for name, case in cases.items()]


def _row(name: str, engine: Callable, bare: Callable, nfe: str, n_steps: int, repeats: int) -> dict[str, str]:
    engine()  # warm up
    bare()
    pairs = [(_seconds(engine), _seconds(bare)) for _ in range(repeats)]  # in turn: a drifting clock hits both
    ratios = [a / b for a, b in pairs]
    return {
        "method": name,
        "NFE": nfe,
        "engine, ms per step": f"{1e3 * statistics.median(a for a, _ in pairs) / n_steps:.1f}",
        "bare network, ms per step": f"{1e3 * statistics.median(b for _, b in pairs) / n_steps:.1f}",
        "ratio": f"{statistics.median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]",
        "peak memory of the process, MB": f"{_peak_megabytes():.0f}",
    }


def _seconds(call: Callable) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@torch.no_grad()
def _forward(prior: Prior, rows: int, n: int) -> None:
    """The network alone, as the engine calls it."""
    x = torch.randn(rows, *prior.event_shape, generator=torch.Generator().manual_seed(0))
    for t in torch.linspace(1, prior.sde.t_min, n, dtype=torch.float64):
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


def _peak_megabytes() -> float:
    """The largest memory used so far: by tensors on an accelerator, by the whole process on a CPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / 2**10 / (2**10 if sys.platform == "darwin" else 1)


def run_speed(
    prior: str = "fashion-mnist", rows: int = 16, steps: int = 10, repeats: int = 5, out: Out = RESULTS
) -> None:
    """Wall time of the engine over that of the evaluations it makes, and peak memory."""
    table = run(prior, rows, steps, repeats)
    notes = f"{rows} rows, {steps} steps; medians of {repeats} pairs run in turn, the ratio with its least and largest."
    finish("speed", "Overhead of the engine", table, notes, out, rows=rows, steps=steps)
