"""Accuracy of `--sigma auto` on 40 image files of six formats, and the cost of its errors."""

import math
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

import priors
from benchmarks.common.keys import code_behind, key
from benchmarks.common.provenance import RESULTS, provenance, write_table
from benchmarks.common.records import Records
from inverse import METHODS, solve
from inverse.app.operator_text import read_operator
from inverse.app.photo import Problem, pose
from inverse.quality import psnr

SIZE, SAMPLES, BUDGET = 64, 2, "fast"
LEVELS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032)  # of the fixed sigmas
LOSS = 0.3  # dB, the most that an estimate may cost against the best of them
NOISE = 0.01  # of every second picture, before it is saved
OPERATORS = {
    "Gaussian blur": "blur:sigma=1.5,boundary=circular",
    "motion blur": "blur:motion=9,seed=1,boundary=circular",
    "downsampling": "downsampling:factor=2",
}
FORMATS = ("JPEG 70", "JPEG 75", "JPEG 80", "JPEG 85", "JPEG 90", "JPEG 95", "PNG", "PNG", "TIFF 16", "TIFF 16")
COLOUR = ("astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field", "immunohistochemistry", "retina")
GREY = ("camera", "coins", "brick", "grass", "moon", "gravel", "stereo_motorcycle")  # the last one: of colour
NATURAL = 6  # pictures beside the prior "natural", which it was not trained on


@dataclass(frozen=True)
class Cell:
    """One measurement: a picture and the number of a crop, names of `OPERATORS` and `FORMATS`, noise before saving."""

    picture: str
    crop: int
    operator: str
    kind: str
    noise: float


def cells() -> list[Cell]:
    """The 40: two crops of each picture, so that formats, operators and noise meet in all ways."""
    names = [*(f"natural {i}" for i in range(NATURAL)), *COLOUR, *GREY]
    operators = list(OPERATORS)
    return [
        Cell(name, crop, operators[(i // len(FORMATS) + i) % 3], FORMATS[i % len(FORMATS)], NOISE * (i % 4 > 1))
        for i, (crop, name) in enumerate((crop, name) for crop in range(2) for name in names)
    ]


def truth(cell: Cell) -> Tensor:
    """The crop, (1, C, `SIZE`, `SIZE`) in image units: at a third and at two thirds of the picture."""
    if cell.picture.startswith("natural"):
        found = priors.samples("natural").floats()[int(cell.picture.split()[1])]
    else:
        from skimage import data

        pixels = getattr(data, cell.picture)()
        pixels = np.atleast_3d(pixels[0] if isinstance(pixels, tuple) else pixels)
        found = torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float() / 255
    top, left = ((n - SIZE) * (cell.crop + 1) // 3 for n in found.shape[1:])
    return found[None, :, top : top + SIZE, left : left + SIZE].contiguous()


def save(y: Tensor, kind: str, path: Path) -> None:
    """A measurement (1, C, H, W) as a picture file of one of `FORMATS`, clipped and rounded."""
    import tifffile
    from PIL import Image

    pixels = y[0].clamp(0, 1).permute(1, 2, 0).numpy().astype(np.float64)
    pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    if kind == "TIFF 16":
        tifffile.imwrite(path, np.rint(65535 * pixels).astype(np.uint16))
        return
    name, _, quality = kind.partition(" ")
    given = {"quality": int(quality)} if quality else {}
    Image.fromarray(np.rint(255 * pixels).astype(np.uint8)).save(path, name, **given)


def posed(cell: Cell, sigma: str, folder: Path) -> tuple[Problem, float]:
    """The problem that the command line states of the cell's file, and the true error of the file (rms)."""
    x = truth(cell)
    clean = read_operator(OPERATORS[cell.operator], NOISE, tuple(x.shape[1:]))(x)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(cell.crop))
    path = folder / f"y.{cell.kind[:4].strip().lower()}"
    save(clean + cell.noise * noise, cell.kind, path)
    problem = pose(path, OPERATORS[cell.operator], sigma, measured=True)
    return problem, (problem.y - clean).square().mean().sqrt().item()


class Solved:
    """PSNR of the posterior mean of a cell at a sigma; what is finished is kept in a file and reused."""

    def __init__(self, work: Path, limit: int | None = None):
        self.records, self.left = Records(work / "noise_level.jsonl"), math.inf if limit is None else limit
        self.version = code_behind((type(METHODS["mmps"].parts[0]), solve), ("inverse.guidance", "inverse.engine"))

    def psnr(self, cell: Cell, problem: Problem) -> float | None:
        """In dB; None where the limit of new solves is reached."""
        facts = {"sigma": problem.sigma, "size": SIZE, "samples": SAMPLES, "budget": BUDGET}
        name = key("noise level", code=self.version, cell=vars(cell), **facts)
        if name not in self.records.found:
            if self.left <= 0:
                return None
            self.left -= 1
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                given = (problem.prior, problem.operator, problem.y, SAMPLES)
                solution = solve(*given, budget=BUDGET, progress=False)
            self.records.add(name, {"psnr": round(psnr(solution.mean, truth(cell)).item(), 3), "sigma": problem.sigma})
        return self.records.found[name]["psnr"]

    def best(self, cell: Cell, error: float, folder: Path) -> tuple[float, float] | None:
        """(sigma, PSNR) of the best of `LEVELS`: from the one nearest to the error upwards and downwards, until PSNR
        falls; None where the limit is reached."""
        found: dict[int, float] = {}
        place = min(range(len(LEVELS)), key=lambda i: abs(math.log(LEVELS[i] / max(error, 1e-9))))
        while True:
            for i in (place, place - 1, place + 1):
                if 0 <= i < len(LEVELS) and i not in found:
                    value = self.psnr(cell, posed(cell, str(LEVELS[i]), folder)[0])
                    if value is None:
                        return None
                    found[i] = value
            top = max(found, key=lambda i: found[i])
            if top == place:
                return LEVELS[top], found[top]
            place = top


def run(chosen: list[Cell], work: Path, limit: int | None = None) -> Iterator[dict[str, str]]:
    """A row per cell that is finished; at most ``limit`` new solves."""
    solved = Solved(work, limit)
    with tempfile.TemporaryDirectory() as name:
        for cell in chosen:
            folder = Path(name)
            _, error = posed(cell, "0.01", folder)
            best = solved.best(cell, error, folder)
            if best is None:
                continue
            problem, _ = posed(cell, "auto", folder)
            value = solved.psnr(cell, problem)
            if value is not None:
                yield _row(cell, error, problem, best, value)


def _row(cell: Cell, error: float, problem: Problem, best: tuple[float, float], value: float) -> dict[str, str]:
    return {
        "picture": f"{cell.picture}, crop {cell.crop}",
        "operator": cell.operator,
        "file": cell.kind + f", noise {cell.noise:g}" * (cell.noise > 0),
        "true error": f"{error:.2g}",
        "estimate": f"{problem.sigma:.2g}",
        "ratio": f"{problem.sigma / error:.2f}",
        "best fixed sigma": f"{best[0]:g}",
        "PSNR at it": f"{best[1]:.2f}",
        "PSNR, auto": f"{value:.2f}",
        "difference": f"{value - best[1]:+.2f}",
    }


def notes(rows: list[dict[str, str]]) -> str:
    """What the columns mean, and the figures over all rows."""
    ratios = sorted(float(row["ratio"]) for row in rows if float(row["true error"]) > 1e-4)
    near = sum(float(row["difference"]) >= -LOSS for row in rows)
    silent = sum(float(row["estimate"]) <= 0 for row in rows)
    return (
        f"{len(rows)} measurements of crops of {SIZE} pixels, saved as files and read by `inverse solve --measured "
        f"--sigma auto`; some with noise of {NOISE:g} before they were saved. True error: root mean square of the file "
        f"against the noiseless measurement. PSNR of the mean of {SAMPLES} samples at budget {BUDGET!r}, at the "
        f"estimate and at the best of {', '.join(f'{level:g}' for level in LEVELS)} (from the one nearest to the true "
        f"error, until PSNR falls). Not more than {LOSS:g} dB below the best: {near} of {len(rows)}. Ratio of estimate "
        f"and true error, where that is above 1e-4: {ratios[0]:.2f} to {ratios[-1]:.2f}, median "
        f"{ratios[len(ratios) // 2]:.2f}, within a factor of 1.5 {sum(2 / 3 <= r <= 1.5 for r in ratios)} of "
        f"{len(ratios)}; estimates of 0: {silent}."
    )


def run_noise_level(
    limit: Annotated[int | None, typer.Option(help="the most solves to do now; finished rows are shown")] = None,
    work: Annotated[Path, typer.Option(help="finished work is stored here and reused")] = Path("runs/noise_level"),
    out: Annotated[Path, typer.Option(help="folder of the tables")] = RESULTS,
) -> None:
    """`--sigma auto` on 40 picture files: estimate against true error, and PSNR against the best fixed sigma."""
    rows = list(run(cells(), work, limit))
    if not rows:
        typer.echo("no row is finished yet: run it again, with a larger --limit")
        raise typer.Exit(1)
    path = write_table("noise_level", "The noise level of picture files", rows, provenance(), notes(rows), out)
    typer.echo(path.read_text())
