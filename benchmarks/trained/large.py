"""Deblurring of a photograph of 768 x 512 pixels: peak memory, and predicted against measured time."""

import resource
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

import operators
import priors
from benchmarks.common.processes import apart, resident
from benchmarks.common.provenance import RESULTS, provenance, write_table
from inverse import plan, solve
from inverse.plan import span
from inverse.quality import psnr
from operators import GaussianNoise
from operators.blur import Boundary
from priors import pictures
from priors.data import floats

SIZE, SIGMA = (512, 768), 0.02
SMALL = "natural-small"
FREE_STEPS = 10  # of the method without backward passes, as many as "auto" takes with them
NOTES = (
    "{}, blurred by a camera shake of 15 pixels, sigma .02; one sample, precision='auto'. Memory is the "
    "peak resident set of a process of its own less what it has after its imports; predicted: by `inverse.plan`, "
    "before the solve."
)


def photograph(size: tuple[int, int] = SIZE, data: Path | None = None) -> Tensor:
    """A colour photograph in image units: the first of ``data``, as inverse-pack writes them, (1, 3, H, W), or one that
    comes with scikit-image, (1, 3, *size)."""
    if data is not None:
        return floats(pictures.read(data).pictures[0])[None]
    from skimage.data import astronaut
    from skimage.transform import resize

    pixels = np.asarray(resize(astronaut(), size, anti_aliasing=True))
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float()[None]


def measure(
    truth: Tensor,
    boundary: Boundary,
    tile: int | None,
    steps: int | None,
    method: str = "auto",
    name: str = "natural",
) -> dict[str, str]:
    """One line of the table, in a process of its own, whose peak is that of this solve.

    Arguments: truth (1, 3, H, W); boundary of the blur; tile (pixels) or None for the whole picture at once; steps:
    default the method's; method: as of `solve`; name: of a prior of colour pictures of any size.
    """
    return apart(_measure, truth, boundary, tile, steps, method, name)


def _measure(
    truth: Tensor,
    boundary: Boundary,
    tile: int | None,
    steps: int | None,
    method: str = "auto",
    name: str = "natural",
) -> dict[str, str]:
    before = resident()
    prior = priors.load(name, event_shape=tuple(truth.shape[1:]))
    prior = prior if tile is None else priors.Tiled(prior, tile)
    operator = operators.Blur.motion(15, seed=3, boundary=boundary, noise=GaussianNoise(SIGMA))
    y = operator.measure(truth, seed=0)
    predicted = plan(prior, operator, y, 1, method, n_steps=steps, precision="auto")
    solution = solve(prior, operator, y, 1, predicted.method, predicted.n_steps, progress=False, precision="auto")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "prior": name,
        "border": boundary,
        "tiles": "none" if tile is None else f"{tile} px",
        "method": f"{predicted.method.name}, {predicted.n_steps} steps",
        "NFE + vjp": f"{solution.nfe} + {solution.nvjp}",
        "predicted": span(predicted.seconds),
        "took": span(solution.seconds),
        "predicted / measured": f"{predicted.seconds / solution.seconds:.2f}",
        "predicted memory, GB": f"{predicted.bytes / 1e9:.2f}",
        "memory, GB": f"{(peak - before) / 1e9:.2f}",
        "PSNR y, dB": f"{psnr(y, truth).item():.2f}",
        "PSNR sample, dB": f"{psnr(solution.mean, truth).item():.2f}",
    }


def run_large(
    tile: Annotated[int, typer.Option(help="pixels, of the picture in tiles")] = 256,
    steps: Annotated[int | None, typer.Option(help="default: what method auto takes")] = None,
    data: Annotated[
        Path | None, typer.Option(help="its first picture, as inverse-pack writes them; default: scikit-image's")
    ] = None,
    out: Annotated[Path, typer.Option(help="folder of the tables")] = RESULTS,
) -> None:
    """Deblurring of a photograph of 768 x 512 pixels on a CPU: peak memory, and predicted and measured time."""
    truth = photograph(data=data)
    rows = [
        measure(truth, "circular", None, steps),
        measure(truth, "reflect", None, steps),
        measure(truth, "circular", None, FREE_STEPS, "mmps-wiener"),
        measure(truth, "circular", tile, steps),
        measure(truth, "circular", None, steps, "auto", SMALL),
        measure(truth, "circular", None, FREE_STEPS, "mmps-wiener", SMALL),
    ]
    height, width = truth.shape[2:]
    whose = "scikit-image's astronaut, enlarged" if data is None else f"The first picture of {data.name}"
    notes = NOTES.format(f"{whose}, {width} x {height} pixels")
    path = write_table("large", "A large photograph", rows, provenance(tile=tile, steps=steps), notes, out)
    typer.echo(path.read_text())
