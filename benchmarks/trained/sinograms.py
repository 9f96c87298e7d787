"""Wrong angles and axes of rotation of CT scans: how often the moments of the views reveal them, without a solve."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.provenance import RESULTS
from benchmarks.trained.denoising import load
from inverse.quality.scale import middle
from inverse.quality.sinogram import inconsistent
from operators import GaussianNoise, Radon
from priors.data import floats

VIEWS, SIGMAS, SIDE = (24, 60, 180), (0.02, 0.1, 0.3), 128  # sigmas in turn, of [range of values x pixel]
Angles = Callable[[int], Tensor]


def _open(n: int) -> Tensor:
    return torch.arange(n, dtype=torch.float64) * (180 / n)


def _closed(n: int) -> Tensor:
    return torch.linspace(0, 180, n, dtype=torch.float64)


MISTAKES: dict[str, tuple[Angles, Angles, float]] = {  # angles, those that are stated, true shift of the axis, pixels
    "none": (_open, _open, 0.0),
    "none: angles include the end": (_closed, _closed, 0.0),
    "none: 120 degrees": (lambda n: _open(n) / 1.5, lambda n: _open(n) / 1.5, 0.0),
    "the end of the turn is left out": (_closed, _open, 0.0),
    "the end of the turn is included": (_open, _closed, 0.0),
    "axis of rotation off by half a pixel": (_open, _open, 0.5),
    "axis of rotation off by 3 pixels": (_open, _open, 3.0),
    "angles in reverse order": (_open, lambda n: _open(n).flip(0), 0.0),
}


def run_sinograms(
    data: Annotated[Path, typer.Option(help="CT slices, as inverse-pack writes them; none are shipped")],
    split: Annotated[str, typer.Option(help="prefix of the names in the file")] = "test",
    images: Annotated[int, typer.Option(help="the first ones")] = 13,
    seed: Seed = 0,
    out: Out = RESULTS,
) -> None:
    """Wrong angles and axes of rotation of CT scans: how often the moments of the views reveal them."""
    torch.set_num_threads(1)
    pictures = load(data, split).pictures[:images]
    rows = []
    for name, (true, stated, shift) in MISTAKES.items():
        row = {"mistake": name}
        for views in VIEWS:
            reported = 0
            for image, picture in enumerate(pictures):
                truth = middle(floats(picture)[None], SIDE).contiguous()
                noise = GaussianNoise(SIGMAS[image % len(SIGMAS)])
                detectors = Radon(views).detectors_for(SIDE)
                centre = (detectors - 1) / 2
                right = Radon(true(views), SIDE, detectors, noise, centre=centre + shift)
                y = right.measure(truth, seed=seed + image)
                given = Radon(stated(views), SIDE, detectors, noise).at(tuple(truth.shape[1:]))
                reported += bool(inconsistent(given, y)[0])
            row[f"{views} views"] = f"{reported} of {len(pictures)}"
        rows.append(row)
    notes = (
        f"The middle {SIDE} x {SIDE} pixels of {len(pictures)} slices of {data.name}, sigma "
        f"{', '.join(map(str, SIGMAS))} in turn: how often `solve` warns of the angles or of the axis of rotation, "
        "before it draws samples. Under mistakes that begin with none, every warning is a false alarm. Angles in "
        "reverse order have the consistent sinogram of a mirrored picture, which no such check can see."
    )
    finish("sinograms", "Angles and axes of rotation", rows, notes, out, images=images, seed=seed)
