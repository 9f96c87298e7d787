"""A small batch for the tests, which other processes can make too: `python -m tests.inverse.app.batch_jobs OUT N`.

Where a file "pause" lies beside OUT, with a number in it, the processes wait at the start of a unit once so many units
are finished: a test can kill them there, however slow the machine is.
"""

import sys
import time
from pathlib import Path

import torch

from inverse import BatchResults, solve_batch
from inverse.app.batch.job import Unit
from inverse.app.batch.parts import Parts
from operators import GaussianNoise, Masking
from priors import VPSDE
from tests.cases import picture

N, HOW = 24, {"n_samples": 3, "method": "mmps", "n_steps": 4, "block": 2, "keep_samples": True, "progress": False}


def problem(n: int = N):
    """A Gaussian prior over 8 x 8 pictures, a mask of each measurement's own, y (n, 1, 8, 8)."""
    prior = picture(VPSDE())
    masks = torch.stack([Masking.random((1, 8, 8), 0.5, seed=k).mask for k in range(n)])
    operator = Masking(masks, noise=GaussianNoise(0.1))
    return prior, operator, operator.measure(prior.sample(n, seed=3), seed=1)


def run(out: Path | str, processes: int = 1, **other) -> BatchResults:
    return solve_batch(*problem(), out, **(HOW | {"processes": processes} | other))


def pausing(parts: Parts, event: str, unit: Unit, log=Parts.log) -> None:
    log(parts, event, unit)
    pause = parts.out.with_name("pause")
    while event == "start" and pause.exists() and parts.counted()[0] >= int(pause.read_text()):
        time.sleep(0.02)


if __name__ in ("__main__", "__mp_main__"):  # this process, and those it starts
    Parts.log = pausing  # type: ignore[method-assign]

if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]))
