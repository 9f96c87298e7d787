"""Many measurements by `inverse batch`: one process against two, and killed at random moments."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import h5py
import numpy as np
import torch
import typer

import operators
import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.provenance import RESULTS
from inverse import BatchResults
from inverse.app.batch.parts import Parts
from operators import GaussianNoise
from priors.terminal import say

PRIOR, KEEP, SIGMA = "fashion-mnist", 0.5, 0.05
WORK = Path("runs/batch")
NAMES = ("mean", "std", "quantiles", "ess")  # what is compared, bit for bit
NOTES = (
    "{n:,} measurements of {truths} test images of Fashion-MNIST, half of the pixels missing, a mask of each "
    "measurement's own, noise .05; {samples} samples of each by {method}, {steps} steps, in units of {block} "
    "measurements. Wall: from the start of the command to its end, with imports. CPU: of all its processes. Load: that "
    "of the machine, averaged over a minute, before and after; it has {cores} cores, which other programs shared. "
    "Killed: SIGKILL, in turn of one of the two processes (the other goes on until the next kill) and of all at once, "
    "at moments drawn uniformly from the first {span:.1f} s after a process started a unit; then the same command "
    "again. Started twice: units that were in flight at a kill, computed again. Finished twice: units whose work was "
    "lost after they were finished. Same: all means, standard deviations, quantiles and effective sizes equal those of "
    "the first line, bit for bit."
)


def write_measurements(path: Path, n: int, seed: int) -> int:
    """y, mask and sigma of n measurements, in HDF5; the number of different images among them."""
    truths = priors.samples(PRIOR).floats()
    rows = torch.arange(n) % len(truths)
    masks = torch.rand(n, 1, *truths.shape[2:], generator=torch.Generator().manual_seed(seed)) < KEEP
    y = operators.Masking(masks, noise=GaussianNoise(SIGMA)).measure(truths[rows], seed=seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["y"], file["mask"], file["sigma"] = y.numpy(), masks.numpy(), np.full(n, SIGMA, np.float32)
    return len(rows.unique())


class Command:
    """`inverse batch` on a file of measurements.

    Arguments: measurements; out; processes; settings: further words of the command line.
    """

    def __init__(self, measurements: Path, out: Path, processes: int, settings: tuple[str, ...]):
        self.out, self.parts = out, Parts(out)
        words = ["batch", str(measurements), "--out", str(out), "--operator", "masking", "--prior", PRIOR]
        self.words = [sys.executable, "-m", "inverse.app.cli", *words, "--processes", str(processes), *settings]

    def start(self) -> subprocess.Popen:
        return subprocess.Popen(
            self.words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def workers(self) -> set[int]:
        """The processes, of now and before, that have started a unit."""
        return {int(path.stem.rpartition("-")[2]) for path in self.parts.folder.glob("log-*.jsonl")}

    def units(self) -> int:
        """How many units are finished."""
        return len(list(self.parts.folder.glob("*.h5")))


def undisturbed(command: Command) -> dict[str, str]:
    """Wall and CPU seconds of a run to its end.

    Raises: RuntimeError if it fails.
    """
    load, start, before = os.getloadavg()[0], time.monotonic(), _used()
    if command.start().wait() != 0:
        raise RuntimeError(f"{' '.join(command.words)} failed: run it to see why")
    wall, cpu = time.monotonic() - start, _used() - before
    return {"wall, s": f"{wall:.0f}", "CPU, s": f"{cpu:.0f}", "load": f"{load:.1f} to {os.getloadavg()[0]:.1f}"}


def killed(command: Command, kills: int, span: float, seed: int) -> tuple[int, float]:
    """Kill and start again, up to ``kills`` times; then to the end. Returns: kills, and wall seconds.

    Arguments: span: seconds after the start of a unit from which moments are drawn; seed: of the moments.
    """
    moments, done, start = np.random.default_rng(seed).uniform(0, span, 2 * kills), 0, time.monotonic()
    while done < kills:
        known = command.workers()
        job = command.start()
        try:
            while job.poll() is None and not command.workers() - known:
                time.sleep(0.02)
            time.sleep(moments[2 * done])
            if job.poll() is None and done % 2 == 0:
                for worker in sorted(command.workers() - known)[:1]:
                    os.kill(worker, signal.SIGKILL)
                    done += 1
                time.sleep(moments[2 * done - 1])
            if job.poll() is None and done < kills:
                os.killpg(job.pid, signal.SIGKILL)
                done += 1
        finally:
            job.wait()
        if job.returncode == 0:  # nothing is left to be killed
            break
    command.start().wait()
    return done, time.monotonic() - start


def counted(out: Path) -> dict[str, str]:
    """How many units were started and finished more than once."""
    events = Counter((entry["event"], entry["unit"]) for entry in Parts(out).logged())
    twice = {kind: sum(n - 1 for (event, _), n in events.items() if event == kind) for kind in ("start", "done")}
    units = len({unit for _, unit in events})
    return {"units": str(units), "started twice": str(twice["start"]), "finished twice": str(twice["done"])}


def same(a: BatchResults, b: BatchResults) -> bool:
    """Whether all results are equal, bit for bit; nan equals nan."""
    finished = bool((a.status == 1).all()) and bool((b.status == 1).all())
    pairs = ((getattr(a, name)[:].numpy(), getattr(b, name)[:].numpy()) for name in NAMES)
    return finished and all(x.tobytes() == y.tobytes() for x, y in pairs)


def run_batch(
    measurements: Annotated[int, typer.Option(help="number of measurements")] = 2000,
    samples: Annotated[int, typer.Option(help="of each measurement")] = 2,
    method: str = "mmps",
    steps: int = 4,
    block: Annotated[int, typer.Option(help="measurements in a unit")] = 8,
    kills: Annotated[int, typer.Option(help="of one process or all, before the last run")] = 20,
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="folder of the results, which is emptied")] = WORK,
    out: Out = RESULTS,
) -> None:
    """Many measurements: wall time of one process and of two, and what kills at random moments cost."""
    shutil.rmtree(work, ignore_errors=True)
    file = work / "measurements.h5"
    truths = write_measurements(file, measurements, seed)
    words = ("--samples", str(samples), "--method", method, "--steps", str(steps), "--block", str(block))
    settings = (*words, "--seed", str(seed))
    rows: list[dict[str, str]] = []
    for processes in (1, 2):
        command = Command(file, work / f"by-{processes}.h5", processes, settings)
        figures = undisturbed(command)
        rows.append({"run": f"{processes} process{'es' * (processes > 1)}", **figures, **_checked(command, work)})
        say(", ".join(f"{name} {value}" for name, value in rows[-1].items()))
    units = int(rows[0]["units"])
    span = 4 * float(rows[1]["wall, s"]) / units  # about two units of a process
    command = Command(file, work / "killed.h5", 2, settings)
    load = os.getloadavg()[0]
    done, wall = killed(command, kills, span, seed)
    figures = {"wall, s": f"{wall:.0f}", "CPU, s": "-", "load": f"{load:.1f} to {os.getloadavg()[0]:.1f}"}
    rows.append({"run": f"2 processes, {done} kills", **figures, **_checked(command, work)})
    facts = {"n": measurements, "truths": truths, "samples": samples, "method": method, "steps": steps, "block": block}
    notes = NOTES.format(**facts, span=span, cores=os.cpu_count())
    ratio = float(rows[1]["wall, s"]) / float(rows[0]["wall, s"])
    notes += f" Two processes took {ratio:.2f} of the wall time of one."
    finish("batch", "Many measurements", rows, notes, out, kills=done, seed=seed, **facts)


def _checked(command: Command, work: Path) -> dict[str, str]:
    equal = same(BatchResults(command.out), BatchResults(work / "by-1.h5"))
    return counted(command.out) | {"same": "yes" if equal else "no"}


def _used() -> float:
    """CPU seconds of the processes that have ended."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime
