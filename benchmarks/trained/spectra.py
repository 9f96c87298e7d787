"""Kernels of a wrong size and wrong ways of shrinking: how often the spectrum of y tells them, without a solve."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.provenance import RESULTS
from benchmarks.trained.denoising import load
from benchmarks.trained.mistakes import MISTAKES, SIDE, SIGMAS
from inverse.quality.aliasing import folded
from inverse.quality.kernel_size import misstated
from inverse.quality.scale import middle
from operators import GaussianNoise
from priors.data import floats

TOLD = (
    "none",
    "movement of",
    "movement, stated",
    "disc",
    "Gaussian",
    "shrunk",
)  # how the names begin of those that change the spectrum
LARGE = 256  # pixels of the larger crop


def run_spectra(
    data: Annotated[Path, typer.Option(help="photographs, as inverse-pack writes them; none are shipped")],
    images: Annotated[int, typer.Option(help="the first ones")] = 24,
    only: Annotated[str, typer.Option(help="mistakes whose names hold this")] = "",
    largest: Annotated[int, typer.Option(help="pixels of the larger crop; 128 for one size alone")] = LARGE,
    seed: Seed = 0,
    out: Out = RESULTS,
) -> None:
    """Wrong sizes of kernels and wrong antialiasing: how often the spectrum of a photograph tells them."""
    torch.set_num_threads(1)
    pictures = load(data).pictures[:images]
    rows = []
    for mistake in MISTAKES:
        if not mistake.name.startswith(TOLD) or "Bayer" in mistake.name or only not in mistake.name:
            continue
        row = {"mistake": mistake.name}
        for side in dict.fromkeys((SIDE, largest)):
            reported = 0
            for image, picture in enumerate(pictures):
                truth = middle(floats(picture)[None], side).contiguous()
                right, stated = mistake.make(seed + image, GaussianNoise(SIGMAS[image % len(SIGMAS)]))
                y = right.at(tuple(truth.shape[1:])).measure(truth, seed=seed + image)
                reported += bool(misstated(stated, y) or folded(stated, y))
            row[f"{side} x {side} pixels"] = f"{reported} of {len(pictures)}"
        rows.append(row)
    notes = (
        f"Crops of {len(pictures)} photographs of {data.name}, sigma {', '.join(map(str, SIGMAS))} in turn: how often "
        "`inverse solve --measured` warns of the spectrum of y before it draws samples. Under mistakes that begin with "
        "none, every warning is a false alarm."
    )
    finish("spectra", "Kernel sizes and antialiasing by the spectrum", rows, notes, out, images=images, seed=seed)
