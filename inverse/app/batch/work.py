"""The work of one process: unit by unit, each recorded when it is finished."""

import json
import multiprocessing
import os
import time
import traceback
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from inverse.app.batch.job import Job, Unit
from inverse.app.batch.parts import Parts
from inverse.solution import RECORDED, Solution
from priors.claims import claimed
from priors.devices import usable

WAIT = 0.2  # seconds between looks at units that other processes work at
OPTIONAL = ("log_evidence", "log_evidence_std", "lineages")


def work(
    job: Job,
    parts: Parts,
    rank: int = 0,
    world: int = 1,
    on_end: Callable[[], None] = lambda: None,
    wait: bool = True,
) -> None:
    """Compute units until all of the batch have ended, here or in other processes.

    A process takes first those of its own share, every ``world``-th unit, then any that nobody works at: units of a
    process that is slower, or was killed. A unit is claimed by a lock, which the system releases when its process ends.
    Arguments: job; parts; rank, world: number of this process, and of all; on_end: called when a unit ended, and while
    waiting; wait: for units that other processes work at.
    """
    units = job.units
    pending = [unit for k in range(world) for unit in units[(rank + k) % world :: world]]
    while pending := [unit for unit in pending if not parts.ended(unit)]:
        idle = True
        for unit in pending:
            if _abandoned():
                return
            with claimed(parts.folder, unit.name) as mine:
                if mine and not parts.ended(unit):
                    do(job, parts, unit)
                    idle = False
            on_end()
        if idle:
            if not wait:
                return
            time.sleep(WAIT)


def do(job: Job, parts: Parts, unit: Unit) -> None:
    """Compute a unit and record it, or record its error."""
    parts.log("start", unit)
    try:
        arrays = job.source.read(unit.start, unit.end)
        key = job.key(unit, arrays)
        solution, told = job.solve(unit, arrays)
        kept = summary(solution, job.settings.quantiles, job.settings.keep_samples)
    except Exception as error:  # whatever it is, other units go on
        parts.fail(unit, error, traceback.format_exc())
        parts.log("failed", unit)
        return
    facts = {name: getattr(solution, name) for name in RECORDED}
    facts |= {"key": key, "quantiles": list(job.settings.quantiles), "cautions": json.dumps(told)}
    parts.write(unit, kept, facts)
    parts.log("done", unit)


def summary(solution: Solution, quantiles: Sequence[float], keep_samples: bool) -> dict[str, np.ndarray]:
    """What is stored of a solution, each with a leading axis of its measurements: numbers, mean, std (nan for a single
    sample), quantiles (B, Q, *E), ess, what the method estimates besides, and the samples if they are kept."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of spread: `BatchResults` warns
        many = solution.samples.shape[1] > 1
        found: dict[str, Tensor] = {
            "mean": solution.mean,
            "std": solution.std if many else torch.full_like(solution.mean, torch.nan),
            "quantiles": solution.quantiles(list(quantiles)).transpose(0, 1),
            "ess": solution.ess,
        }
    found |= {} if solution.numbers is None else {"numbers": solution.numbers}
    found |= {name: value for name in OPTIONAL if (value := getattr(solution, name)) is not None}
    if keep_samples:
        found |= {"samples": solution.samples, "log_weights": solution.log_weights}
    return {name: value.cpu().contiguous().numpy() for name, value in found.items()}


def placed(job: Job, local: int) -> Job:
    """The job on the device of a process: the one that was asked for, a GPU of its own if that is "cuda".

    Raises: ValueError for a device that this machine does not have.
    """
    if job.device is None:
        return job
    found = usable(job.device)
    if found.type == "cuda" and found.index is None:
        found = torch.device("cuda", local % torch.cuda.device_count())
    return job.on(found)


def launched() -> tuple[int, int, int] | None:
    """Rank, number of processes and rank on this machine, as torchrun tells them; None without it."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world < 2 or "RANK" not in os.environ:
        return None
    return int(os.environ["RANK"]), world, int(os.environ.get("LOCAL_RANK", "0"))


def _abandoned() -> bool:
    """Whether the process that started this one is gone: its work is wanted no longer."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()
