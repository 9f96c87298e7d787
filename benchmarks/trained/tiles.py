"""A large picture deblurred in tiles by several processes: memory of each, time, and distance from the whole."""

import ctypes
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

import operators
import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.keys import code, key
from benchmarks.common.processes import apart, resident
from benchmarks.common.provenance import RESULTS
from benchmarks.common.records import Records
from inverse import plan, solve
from inverse.costs import work as costs
from inverse.plan import span
from inverse.quality import psnr
from operators import Blur, GaussianNoise
from priors import Prior
from priors.base import Wrapped
from priors.crew import denoised
from priors.heap import separate_blocks
from priors.tiling import Tile

PRIOR, WIDTH, SIGMA, METHOD = "natural-grey", 2.0, 0.02, "diffpir"
WORK, SIZES = Path("runs/tiles"), (1024, 2048)
CROP, LARGEST_TILE = 1024, 1024  # pixels of a side
WHOLE = 2048  # pixels of a side, up to which the picture is solved untiled too
NOTES = (
    "Scikit-image's astronaut in grey, repeated in mirror images to the size of the picture, blurred by a Gaussian of "
    "{width} pixels with a circular border, noise {sigma}; prior {prior}, one sample by {method}, {steps} steps, in "
    "float32. Every process computes in one thread. Predicted: by `inverse.plan`, before the solve, time by the "
    "processor's clock. CPU: of all processes. Wall: of the solve; load: that of the machine, averaged over a minute, "
    "before and after; it has {cores} cores, which other programs shared. Growth: of the resident set of the process "
    "that solves, at most; peak: the largest resident set during the solve, imports included, of the process that "
    "solves and of the other one. Crop: the network evaluated untiled on the central crop of {crop} pixels (or the "
    "picture, if that is smaller) with a margin, at every state of the solve: largest difference from the "
    "tiled evaluation there; it counts in growth and peak, of which it is the most where the crop is the picture. "
    "4 evaluated: the network evaluated only the four central tiles, which contain the crop, "
    "and the rest was denoised as white noise is; memory is that of all tiles, and CPU counts the network's seconds "
    "times all tiles over four. Whole: largest difference of the sample from that of the untiled solve. One process: "
    "the same from that of one process."
)


@dataclass(frozen=True)
class Cell:
    """A solve: side of the picture in pixels, steps, side of a tile in pixels (None: untiled), processes, seed, and
    whether only the four central tiles are evaluated by the network."""

    side: int
    steps: int
    tile: int | None
    processes: int
    seed: int
    central: bool = False


class Central(priors.Tiled):
    """Tiles of which the four around the centre are evaluated by the network; the rest of the picture is denoised as
    white noise of the prior's variance would be. Memory and the work besides the network are those of all tiles.

    Attributes: seconds: of the processor that the network took so far, in all processes.
    """

    seconds = 0.0

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        alpha, sigma = (float(curve(t)) for curve in (self.sde.alpha, self.sde.sigma))
        out = x * (alpha * self.variance / (alpha**2 * self.variance + sigma**2))

        def take(tile: Tile, found: Tensor) -> None:
            tile.own(tile.whole(out)).copy_(tile.own(found))

        before = _cpu(_pids(self))
        self._evaluate(denoised, x, t, None, take)
        self.seconds += _cpu(_pids(self)) - before
        return out

    def tiles(self, height: int, width: int) -> list[Tile]:
        found, across = super().tiles(height, width), len(list(self.spans(width)))
        middle = (len(found) // across // 2, across // 2)
        return [found[i * across + j] for i in range(middle[0] - 1, middle[0] + 1) for j in (middle[1] - 1, middle[1])]


@dataclass
class Watched(Wrapped):
    """A prior that compares its evaluations on the central crop with those of the network on that crop and a margin.

    Attributes: worst: largest difference so far, of data units; cpu, wall: seconds of the comparisons.
    """

    prior: Prior
    network: Prior
    margin: int
    worst: float = field(default=0.0, init=False)
    cpu: float = field(default=0.0, init=False)
    wall: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        super().__init__(self.prior)

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        found = self.prior.denoise(x, t)
        cpu, wall = time.process_time(), time.monotonic()
        side, m = x.shape[-1], self.margin
        first = (side - min(CROP, side)) // 2
        start, end = max(0, first - m), min(side, side - first + m)
        alone = self.network.denoise(x[..., start:end, start:end], t)
        inner = slice(first - start, side - first - start)
        there = found[..., first : side - first, first : side - first]
        self.worst = max(self.worst, float((alone[..., inner, inner] - there).abs().max()))
        self.cpu, self.wall = self.cpu + time.process_time() - cpu, self.wall + time.monotonic() - wall
        return found


def truth(side: int) -> Tensor:
    """A grey picture (1, 1, side, side) in [0, 1]."""
    from skimage.color import rgb2gray
    from skimage.data import astronaut

    grey = rgb2gray(astronaut()).astype(np.float32)
    return torch.from_numpy(np.pad(grey, (0, max(0, side - len(grey))), "symmetric")[:side, :side].copy())[None, None]


def blur() -> Blur:
    return operators.Blur.gaussian(WIDTH, "circular", GaussianNoise(SIGMA))


def _measure(side: int, seed: int, path: Path) -> None:
    torch.set_num_threads(1)
    np.save(path, blur().measure(truth(side), seed=seed).numpy())


def _solve(cell: Cell, measured: Path, out: Path) -> dict:
    """The record of a cell; its sample is written to ``out``."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    separate_blocks()  # as the command line
    costs.clock = time.process_time
    y = torch.from_numpy(np.load(measured))
    network = priors.load(PRIOR, event_shape=tuple(y.shape[1:]))
    tiled = network if cell.tile is None else priors.Tiled(network, cell.tile, cell.processes)
    predicted = plan(tiled, blur(), y, 1, METHOD, cell.steps, cell.seed)
    if cell.central and cell.tile is not None:
        tiled = Central(network, cell.tile, cell.processes)
    watched = tiled if not isinstance(tiled, priors.Tiled) else Watched(tiled, network, tiled.margin)
    if isinstance(tiled, priors.Tiled) and cell.processes > 1:  # the processes start before the clock does
        small = 2 * tiled.tile
        tiled.denoise(torch.zeros(1, 1, small, small), 0.5)
    if isinstance(tiled, Central):
        tiled.seconds = 0.0
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before would be used again, and not be seen
    pids = _pids(tiled)
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak so far is forgotten
    before, load, cpu, start = resident(), os.getloadavg()[0], _cpu(pids), time.monotonic()
    solution = solve(watched, blur(), y, 1, METHOD, cell.steps, cell.seed, progress=False)
    wall = time.monotonic() - start
    peaks = [_peak(pid) for pid in pids]
    used = _cpu(pids) - cpu
    if isinstance(tiled, Central):
        every, some = (len(kind.tiles(tiled, cell.side, cell.side)) for kind in (priors.Tiled, Central))
        used += tiled.seconds * (every / some - 1)
    if isinstance(watched, Watched):
        used, wall = used - watched.cpu, wall - watched.wall
    found = {
        "nfe": solution.nfe, "predicted": predicted.seconds, "predicted bytes": predicted.bytes,
        "wall": wall, "cpu": used, "load": [load, os.getloadavg()[0]],
        "growth": peaks[0] - before, "peaks": peaks,
        "crop": watched.worst if isinstance(watched, Watched) else None,
    }  # fmt: skip
    np.save(out, solution.samples[0, 0, 0].numpy())
    return found


def _pids(prior: Prior) -> list[str]:
    """This process, and the others that evaluate tiles."""
    crew = prior._crew if isinstance(prior, priors.Tiled) else None
    return ["self", *(str(process.pid) for process in ([] if crew is None else crew.processes))]


def _peak(pid: str) -> int:
    """The largest resident set of a process, bytes. Linux alone."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _cpu(pids: Sequence[str]) -> float:
    """Seconds of the processor that processes have used."""
    ticks = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in pids)
    return sum(int(user) + int(system) for user, system in ticks) / os.sysconf("SC_CLK_TCK")


def cells(side: int, steps: int, processes: Sequence[int], whole: int, seed: int, central: int) -> list[Cell]:
    """Those of a picture: untiled if it is small, and by each number of processes, in central tiles if it is large."""
    tile = min(LARGEST_TILE, side // 2)
    alone = [Cell(side, steps, None, 1, seed)] if side <= whole else []
    return alone + [Cell(side, steps, tile, n, seed, side >= central) for n in processes]


def run(chosen: Sequence[Cell], work: Path) -> list[tuple[Cell, dict]]:
    """Every cell with its record; those that lie in ``work`` are read."""
    work.mkdir(parents=True, exist_ok=True)
    kept, own, found = Records(work / "tiles.jsonl"), code(_solve, _measure, truth, blur, Watched), []
    for cell in chosen:
        name = key("tiles", cell=asdict(cell), code=own)
        if name not in kept.found:
            measured = work / f"y-{cell.side}-{cell.seed}.npy"
            if not measured.exists():
                apart(_measure, cell.side, cell.seed, measured)
            kept.add(name, apart(_solve, cell, measured, _sample(work, cell)))
        found.append((cell, kept.found[name]))
    return found


def _sample(work: Path, cell: Cell) -> Path:
    return work / f"x-{cell.side}-{cell.steps}-{cell.tile}-{cell.processes}-{cell.seed}.npy"


def _distance(work: Path, cell: Cell, others: Sequence[Cell]) -> str:
    """The largest difference of a pixel from the sample of the first of some cells, if there is one."""
    if not others or others[0] == cell:
        return "-"
    a, b = (np.load(_sample(work, c), mmap_mode="r") for c in (cell, others[0]))
    worst = max(float(np.abs(p - q).max()) for p, q in zip(np.array_split(a, 16), np.array_split(b, 16), strict=True))
    return "0" if worst == 0 else f"{worst:.1e}"


def table(found: Sequence[tuple[Cell, dict]], work: Path) -> list[dict[str, str]]:
    """A row per cell."""
    rows = []
    for cell, got in found:
        same = [c for c, _ in found if c.side == cell.side]
        pixels = torch.from_numpy(np.load(_sample(work, cell)))[None, None]
        away = slice(cell.side // 2 - min(CROP, cell.side) // 2, cell.side // 2 + min(CROP, cell.side) // 2)
        gain = psnr(pixels[..., away, away], truth(cell.side)[..., away, away]).item()
        rows.append(
            {
                "picture": f"{cell.side:,} x {cell.side:,}",
                "tiles": "none" if cell.tile is None else f"{cell.tile} px" + ", 4 evaluated" * cell.central,
                "processes": str(cell.processes),
                "NFE": str(got["nfe"]),
                "predicted": span(got["predicted"]),
                "wall": "-" if cell.central else span(got["wall"]),
                "CPU": span(got["cpu"]),
                "load": "{:.1f} to {:.1f}".format(*got["load"]),
                "predicted memory, GB": f"{got['predicted bytes'] / 1e9:.2f}",
                "growth, GB": f"{got['growth'] / 1e9:.2f}",
                "predicted / growth": f"{got['predicted bytes'] / got['growth']:.2f}",
                "peak, GB": ", ".join(f"{peak / 1e9:.2f}" for peak in got["peaks"]),
                "crop": "-" if got["crop"] is None else f"{got['crop']:.1e}",
                "whole": _distance(work, cell, [c for c in same if c.tile is None]),
                "one process": _distance(work, cell, [c for c in same if c.tile is not None and c.processes == 1]),
                "PSNR of the crop, dB": "-" if cell.central else f"{gain:.2f}",
            }
        )
    return rows


def run_tiles(
    size: Annotated[list[int] | None, typer.Option(help="side of a picture in pixels; repeat")] = None,
    steps: Annotated[int, typer.Option(min=1, help="of the method")] = 2,
    processes: Annotated[list[int] | None, typer.Option(help="that evaluate tiles; repeat; default: 1 and 2")] = None,
    whole: Annotated[int, typer.Option(help="side up to which the picture is solved untiled too")] = WHOLE,
    central: Annotated[int, typer.Option(help="side from which only four tiles are evaluated")] = 8192,
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="folder of the records; a killed run continues there")] = WORK,
    out: Out = RESULTS,
) -> None:
    """A large picture deblurred in tiles by one process and two: time, memory of each, and distance from the whole."""
    found = run(
        [c for side in size or SIZES for c in cells(side, steps, processes or (1, 2), whole, seed, central)], work
    )
    notes = NOTES.format(
        width=WIDTH, sigma=SIGMA, prior=PRIOR, method=METHOD, steps=steps, cores=os.cpu_count(), crop=f"{CROP:,}"
    )
    settings = {"size": size, "steps": steps, "processes": processes, "whole": whole, "seed": seed}
    finish("tiles", "A large picture in tiles", table(found, work), notes, out, **settings)
