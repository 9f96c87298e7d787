"""How many processes help: strong and weak scaling of `inverse batch`, and a model on paper for many devices."""

import os
import pickle
import shutil
import time
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from threading import Thread
from typing import Annotated

import h5py
import numpy as np
import torch
import typer

import operators
import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.provenance import RESULTS
from benchmarks.trained.batch_jobs import PRIOR, Command, undisturbed, write_measurements
from inverse.plan import span
from priors.terminal import say

WORK = Path("runs/scaling")
BLOCK, SAMPLES, STEPS = 2, 2, 3  # measurements in a unit, samples of each, steps of mmps
NOTES = (
    "Measurements of test images of Fashion-MNIST, half of the pixels missing, by `inverse batch`: {samples} samples "
    "of each by mmps, {steps} steps, in units of {block}. Strong: the same measurements by two processes; weak: twice "
    "as many by two. Wall: from the start of the command to its end, with imports; CPU: of all processes; load: that "
    "of the machine, averaged over a minute, before and after; it has {cores} cores, which other programs shared. "
    "Efficiency: strong, wall of one process / (2 wall); weak, wall of one process / wall."
)
LOCAL = 20  # how many more file operations per second a disk of one machine does
LOCKS, FILES = 3, 9  # file operations: to claim a unit and look at it; to record it and log its start and end
MACHINES_NOTES = (
    "Computed, not measured, from these numbers. Measured by this command, on one core and one thread: {unit:.2f} s "
    "for a unit of the batch and {start:.1f} s for the start of a process; {read:.0f} bytes read and {write:.0f} bytes "
    "written per unit; {mp:.2f} s for a megapixel of natural-grey in float32; {fft:.2f} s for the operator's six "
    "Fourier transforms on {small:,} pixels; {pipe:.2f} GB/s through a pipe, out and back. Assumed: a GPU is {gpu} "
    "cores; a shared file system does {meta:,} operations and {disk} GB a second, for all, a disk of one machine "
    "{local} times as many operations; a network of {net} GB/s a node and {latency:g} s a message. From the code: "
    "{locks} file operations of every process for every unit, to "
    "claim it, and {files} more to record one; a tile goes out and comes back with its margin.\n\n"
    "Batch: 10,000 measurements in units of two, of the same cost. Tiles: one evaluation of the network on "
    "8,192 x 8,192 pixels in tiles of 1,024 with a margin of {margin}, by pipes from the process that has the state. "
    "Split: the same with the state divided into square parts, one a device, which exchange margins with their eight "
    "neighbours, and transforms that redistribute the picture twice each; this is not built. Work: of the devices. "
    "Messages and bytes: of an evaluation, or of the batch."
)


@dataclass(frozen=True)
class Measured:
    """Seconds of one core: of a unit, of a process's start, of a megapixel of the network, of six transforms of a
    picture of ``small`` pixels; bytes of a unit; bytes per second through a pipe, out and back."""

    unit: float
    start: float
    read: float
    write: float
    mp: float
    fft: float
    small: int
    pipe: float
    margin: int


@dataclass(frozen=True)
class Machine:
    """Devices, each as fast as so many cores of this machine, on so many nodes."""

    name: str
    devices: int
    cores: int = 1
    nodes: int = 1


@dataclass(frozen=True)
class Assumed:
    """gpu: cores that a GPU is as fast as; meta: operations per second of a shared file system; disk, net: GB/s;
    latency: seconds of a message."""

    gpu: int = 100
    meta: int = 5_000
    disk: float = 1.0
    net: float = 25.0
    latency: float = 1e-5


UNITS, SIDE, TILE = 5_000, 8_192, 1_024


def batch_row(m: Measured, a: Assumed, machine: Machine) -> dict[str, str]:
    """The time of a batch: starts, work, and what the file system adds."""
    work = UNITS * m.unit / (machine.devices * machine.cores)
    operations = UNITS * (LOCKS * machine.devices + FILES)
    there = operations / a.meta if machine.nodes > 1 else operations / (LOCAL * a.meta)
    moved = UNITS * (m.read + m.write)
    return _row("batch", machine, work, operations, moved, {
        "start": m.start, "work": work, "operations of the file system": there,
        "reading and writing": moved / 1e9 / a.disk,
    })  # fmt: skip


def tiles_row(m: Measured, a: Assumed, machine: Machine) -> dict[str, str]:
    """One evaluation in tiles by pipes."""
    tiles = (SIDE // TILE) ** 2
    area = (TILE + 2 * m.margin) ** 2
    rounds = -(-tiles // machine.devices)
    sent = 2 * 4 * area * tiles * (1 - 1 / machine.devices)
    work = rounds * m.mp * area / 1e6 / machine.cores
    messages = 2 * round(tiles * (1 - 1 / machine.devices))
    rest = m.fft * SIDE**2 / m.small / machine.cores
    return _row("tiles", machine, work, messages, sent, {
        "network": work, "pipes": sent / m.pipe, "transforms by one device": rest,
    })  # fmt: skip


def split_row(m: Measured, a: Assumed, machine: Machine) -> dict[str, str]:
    """One evaluation with the state in square parts."""
    part = SIDE / machine.devices**0.5
    area = (part + 2 * m.margin) ** 2
    work = m.mp * area / 1e6 / machine.cores
    halo, messages = 4 * (area - part**2), 8
    rest = m.fft * SIDE**2 / m.small / machine.cores / machine.devices
    again = 6 * 2 * 4 * SIDE**2 / machine.nodes / 1e9 / a.net if machine.nodes > 1 else 0.0
    across = halo * machine.devices / machine.nodes / 1e9 / a.net + messages * a.latency
    return _row("split", machine, work, messages * machine.devices, halo * machine.devices, {
        f"network, of which margins {1 - part**2 / area:.0%}": work, "margins": across, "transforms": rest,
        "redistribution of transforms": again,
    })  # fmt: skip


def _row(what: str, machine: Machine, work: float, messages: float, moved: float, parts: dict[str, float]) -> dict:
    total = sum(parts.values())
    worst = max(parts, key=lambda name: parts[name])
    return {
        "what": what,
        "machine": machine.name,
        "total": _seconds(total),
        "work": _seconds(work),
        "messages": f"{messages:,.0f}",
        "GB": f"{moved / 1e9:.3g}",
        "parts": "; ".join(f"{name} {_seconds(value)}" for name, value in parts.items()),
        "largest": f"{worst}, {parts[worst] / total:.0%}",
    }


def _seconds(value: float) -> str:
    return span(value) if value >= 1 else f"{1000 * value:.3g} ms"


def machines(a: Assumed) -> list[Machine]:
    """Those of the table."""
    return [
        Machine("1 core", 1), Machine("2 cores", 2), Machine("8 GPUs", 8, a.gpu),
        Machine("64 nodes of 8 GPUs", 512, a.gpu, 64),
    ]  # fmt: skip


def model(m: Measured, a: Assumed) -> list[dict[str, str]]:
    """The rows of the model; tiles by pipes on one machine only."""
    every = machines(a)
    batch = [batch_row(m, a, machine) for machine in every]
    tiles = [tiles_row(m, a, machine) for machine in every if machine.nodes == 1]
    return [*batch, *tiles, *(split_row(m, a, machine) for machine in every[2:])]


def pipe_speed(megabytes: int = 8, times: int = 8) -> float:
    """Bytes per second of the processor's clock that a tile of so many megabytes takes through a pipe and back."""
    here, there = Pipe()

    def echo() -> None:
        for _ in range(times):
            there.send_bytes(there.recv_bytes())

    thread = Thread(target=echo)
    tile, start = np.zeros(megabytes * 2**18, np.float32), time.process_time()
    thread.start()
    for _ in range(times):
        here.send_bytes(pickle.dumps(tile))
        pickle.loads(here.recv_bytes())
    thread.join()
    # both ends are in this process: each does half of the work
    return 2 * times * tile.nbytes / ((time.process_time() - start) / 2)


def costs(side: int = 512) -> tuple[float, float, int, int]:
    """Seconds of a megapixel of the network and of six transforms, their pixels, and the margin of a tile."""
    prior = priors.load("natural-grey", event_shape=(1, side, side))
    blur, x = operators.Blur.gaussian(2.0), torch.rand(1, 1, side, side)
    found = []
    with torch.no_grad():
        for call in (lambda: prior.denoise(x, 0.5), lambda: [blur(x) for _ in range(3)]):
            call()
            start = time.process_time()
            call()
            found.append(time.process_time() - start)
    return 1e6 * found[0] / side**2, found[1], side**2, priors.Tiled(prior).margin


def run_scaling(
    measurements: Annotated[int, typer.Option(help="of one process; two get as many, then twice as many")] = 40,
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="folder of the results, which is emptied")] = WORK,
    out: Out = RESULTS,
) -> None:
    """Weak and strong scaling of `inverse batch` from one process to two, and a model for 8 GPUs and 64 nodes."""
    shutil.rmtree(work, ignore_errors=True)
    settings = ("--samples", str(SAMPLES), "--method", "mmps", "--steps", str(STEPS), "--block", str(BLOCK))
    rows, walls, ends = [], [], []
    for name, n, processes in (("one", measurements, 1), ("strong", measurements, 2), ("weak", 2 * measurements, 2)):
        file = work / f"{name}.h5"
        write_measurements(file, n, seed)
        command = Command(file, work / f"{name}-results.h5", processes, settings)
        start = time.monotonic()
        figures = undisturbed(command)
        walls.append(time.monotonic() - start)
        ends.append(command)
        efficiency = {"one": 1.0, "strong": walls[0] / (2 * walls[-1]), "weak": walls[0] / walls[-1]}[name]
        head = {"run": name, "processes": str(processes), "measurements": str(n)}
        rows.append(head | figures | {"efficiency": f"{efficiency:.2f}"})
        say(", ".join(f"{key} {value}" for key, value in rows[-1].items()))
    notes = NOTES.format(samples=SAMPLES, steps=STEPS, block=BLOCK, cores=os.cpu_count())
    finish("scaling", "Scaling of a batch", rows, notes, out, seed=seed, measurements=measurements)
    few, many = (float(row["CPU, s"]) for row in (rows[1], rows[2]))  # two processes each
    unit = (many - few) * BLOCK / measurements
    units = len(list(ends[0].parts.folder.glob("*.h5")))
    written = sum(path.stat().st_size for path in ends[0].parts.folder.glob("*.h5")) / units
    with h5py.File(work / "one.h5") as file:
        read = sum(int(file[name].nbytes) for name in ("y", "mask", "sigma")) / units  # type: ignore
    start = max(0.0, float(rows[0]["CPU, s"]) - unit * units)
    mp, fft, small, margin = costs()
    m, a = Measured(unit, start, read, written, mp, fft, small, pipe_speed(), margin), Assumed()
    facts = {**vars(m), "pipe": m.pipe / 1e9, **vars(a), "locks": LOCKS, "files": FILES, "local": LOCAL}
    finish("scaling-model", f"Scaling on paper, {PRIOR} and natural-grey", model(m, a), MACHINES_NOTES.format(**facts),
           out, seed=seed)  # fmt: skip
