"""solve_batch(prior, operator, y, out): the checks of its arguments, and the processes that do the work."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inverse.app.batch import on_ray, pool
from inverse.app.batch.job import Job, MakeOperator, Settings, block_of, check_one_each, operator_of
from inverse.app.batch.parts import Parts, results_path
from inverse.app.batch.results import BatchResults
from inverse.app.batch.sources import Source, source_of
from inverse.app.batch.work import launched, placed, work
from inverse.app.devices import moved
from inverse.methods import Sampler
from inverse.plan import decide
from inverse.solve.checks import check_prior, computes_in
from operators import Operator
from priors import Prior
from priors.arguments import choice, count, flag, number, sequence
from priors.claims import claimed
from priors.threads import one_thread

BACKENDS = {"processes": pool.spread, "ray": on_ray.spread}
QUANTILES = (0.05, 0.5, 0.95)


def solve_batch(
    prior: Prior,
    operator: Operator | MakeOperator,
    y: Tensor | str | Path | Source,
    out: str | Path,
    n_samples: int = 8,
    method: str | Sampler = "auto",
    n_steps: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
    budget: str | None = None,
    antithetic: bool = False,
    precision: str = "float32",
    block: int | None = None,
    quantiles: Sequence[float] = QUANTILES,
    keep_samples: bool = False,
    processes: int = 1,
    backend: str = "processes",
    device: str | None = None,
    retry_failed: bool = False,
    overwrite: bool = False,
) -> BatchResults:
    """Posteriors of any number of measurements, computed in units of some measurements each by any number of processes.

    Every finished unit is written to a file at once. After a kill, of a process or of all, the same call computes what
    is missing. A unit that raises is recorded with its error, and the others go on. Results do not depend on the number
    of processes, bit for bit: each computes in one thread, and sample k of measurement b has its own random stream.
    Under torchrun (RANK and WORLD_SIZE are set) every process calls this and takes its share; then processes take over
    units that nobody works at. Nodes must share the file system of ``out``.

    Arguments: prior; operator: for all measurements, or with parameters of each (B = n), or a function arrays ->
    operator that makes the one of a block from what the file has of its measurements: y (b, *M) and all other arrays
    with n entries, by name; y (n, *M), or the path of HDF5 or Zarr with a dataset "y", read block by block, or of an
    .npy file; out: OUT.h5, written at the end over the parts in OUT.parts beside it, or OUT.zarr, of which every unit
    writes chunks of its own, with notes in OUT.zarr.parts; without an ending, the format of y; n_samples, method,
    n_steps, seed, batch_size, budget, antithetic, precision: as `inverse.solve`, "auto" decided once by the first
    measurements; progress: of all processes, with the time left; block: measurements in a unit, default a batch
    of `solve`; quantiles: Q probabilities; keep_samples: whether all samples are stored, for `BatchResults.solution`;
    processes: on this machine, by spawn: a script must call this under ``if __name__ == "__main__"``; backend:
    "processes", or "ray" for a cluster; device: of the processes, default the prior's; "cuda" gives each its own GPU;
    retry_failed: compute failed units again; overwrite: replace results of another problem.
    Returns: `BatchResults`.
    Raises: TypeError and ValueError, as `inverse.solve` for the first measurements, before anything is computed; for
    results of another problem in ``out``; FileNotFoundError for y; RuntimeError if all processes were killed.
    """
    check_prior(prior)
    choice("backend", backend, BACKENDS)
    for name, value in {
        "progress": progress,
        "retry_failed": retry_failed,
        "overwrite": overwrite,
        "keep_samples": keep_samples,
    }.items():
        flag(name, value)
    count("processes", processes)
    levels = tuple(number("quantiles", q, "[0, 1]") for q in sequence("quantiles", quantiles))
    if not isinstance(operator, Operator) and not callable(operator):
        raise TypeError(
            f"operator of type {type(operator).__name__}: expected an operators.Operator, or a function of arrays"
        )
    source = source_of(y)
    path, measurements = results_path(out, source), getattr(source, "path", None)
    if measurements is not None and Path(measurements).resolve() == path.resolve():
        raise ValueError(f"out = {path}: this is the file of the measurements; expected a path of its own")
    check_one_each(operator, source)
    first = _first(prior, operator, source, 1 if block is None else min(count("block", block), len(source)))
    given = (n_samples, method, n_steps, seed, batch_size, budget, antithetic)
    decided = decide(prior, *first, *given)
    computes_in(prior, decided.method, precision)
    block = block or block_of(decided.method, tuple(prior.event_shape), n_samples, batch_size)
    settings = Settings(
        decided.method, decided.n_steps, decided.reason, int(n_samples), int(seed), antithetic, precision, batch_size,
        int(block), levels, keep_samples,
    )  # fmt: skip
    return run(
        Job(prior, operator, source, settings, device),
        Parts(path),
        processes,
        backend,
        progress,
        retry_failed,
        overwrite,
    )


def run(
    job: Job, parts: Parts, processes: int, backend: str, progress: bool, retry_failed: bool, overwrite: bool
) -> BatchResults:
    """Compute what is missing of a job, and gather the results; as `solve_batch`."""
    torchrun, units = launched(), job.units
    if torchrun is not None and (processes > 1 or backend != "processes" or overwrite):
        raise ValueError(
            "under torchrun every process takes its share: leave processes, backend and overwrite out (remove old "
            "results before)"
        )
    rank, world, local = torchrun or (0, 1, 0)
    job = placed(job, local) if processes == 1 and backend == "processes" else job
    parts.open(job, overwrite)
    own = units[rank::world]
    for unit in own:
        parts.check(job, unit)
    if retry_failed:
        parts.forgive(own)
    with pool.shown(parts, len(units), progress and rank == 0) as show:
        show()
        if processes == 1 and backend == "processes":
            with one_thread():
                work(job, parts, rank, world, show)
        elif not all(map(parts.ended, units)):
            BACKENDS[backend](job, parts, min(processes, len(units)), show)
    with claimed(parts.folder, "gather") as mine:  # one of several processes is enough
        if mine:
            parts.gather(units, len(job.source))
    return BatchResults(parts.out)


def _first(prior: Prior, operator: Operator | MakeOperator, source: Source, n: int) -> tuple[Any, Tensor]:
    """Operator and y of the first measurements, on the prior's device."""
    arrays = source.read(0, n)
    return moved(torch.device(prior.device), operator_of(operator, arrays, 0, n), arrays["y"])
