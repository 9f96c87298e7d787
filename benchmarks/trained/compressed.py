"""Pictures that JPEG compressed, taken for exact ones: how often their coefficients reveal it, without a solve."""

import io
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.provenance import RESULTS
from benchmarks.trained.denoising import load
from benchmarks.trained.noise_mistakes import PICTURES
from inverse.quality.compressed import compressed, compression
from operators import GaussianNoise
from priors.data import floats

QUALITIES, SIDE, MOST, STATED = (None, 50, 75, 85, 90, 95), 160, 7, 1e-3  # pixels; MOST: cut off at the top and left
NAMES = ("noise alone", "Gaussian blur of 1.5 pixels", "movement of 9 pixels", "downsampling by 2")


def saved(y: Tensor, quality: int | None, seed: int) -> Tensor:
    """A picture (1, 3, H, W) in [0, 1] after a JPEG file, or one of 8 bits, cut at a random place of its blocks."""
    from PIL import Image

    values = (255 * y[0].clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
    if quality is not None:
        file = io.BytesIO()
        Image.fromarray(values).save(file, "JPEG", quality=quality, subsampling=2 * (seed % 2))  # 4:4:4 or 4:2:0
        values = np.array(Image.open(file))
    back = torch.from_numpy(values).permute(2, 0, 1)[None].float() / 255
    top, left = torch.randint(MOST + 1, (2,), generator=torch.Generator().manual_seed(seed)).tolist()
    height, width = (n - MOST for n in y.shape[-2:])
    return back[..., top : top + height, left : left + width]


def run_compressed(
    data: Annotated[Path, typer.Option(help="photographs, as inverse-pack writes them; none are shipped")],
    images: Annotated[int, typer.Option(help="the first ones")] = 24,
    seed: Seed = 0,
    out: Out = RESULTS,
) -> None:
    """Pictures that JPEG compressed, with a sigma_y that leaves its error out: how often `solve` warns."""
    torch.set_num_threads(1)
    pictures = load(data).pictures[:images]
    rows = []
    for name in NAMES:
        row, noise = {"measurement": name}, GaussianNoise(STATED)
        for quality in QUALITIES:
            reported, ratios = 0, []
            for number, picture in enumerate(pictures):
                top, left = ((n - 2 * SIDE) // 2 for n in picture.shape[-2:])
                side = 2 * SIDE if name.startswith("down") else SIDE
                x = floats(picture)[None, :, top : top + side, left : left + side].contiguous()
                operator = PICTURES[name](noise).at(tuple(x.shape[1:]))
                clean = operator(x)
                y = saved(clean, quality, seed + number)
                reported += bool(compressed(operator, y)[0])
                if quality and (found := compression(y[0])):
                    error = y - saved(clean, None, seed + number)
                    ratios.append(found.level / float(error.square().mean().sqrt()))
            label = "8 bits, not compressed" if quality is None else f"quality {quality}"
            spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else ""
            row[label] = f"{reported} of {len(pictures)}{spread}"
        rows.append(row)
    notes = (
        f"Crops of {SIDE} pixels of {len(pictures)} photographs of {data.name}, measured without noise, saved as JPEG "
        f"(chroma at full and at half size in turn) and cut at a random place of its blocks; sigma_y = {STATED} is "
        "stated. How often `solve` warns before it draws samples; in brackets its estimate of the error over the true "
        "one."
    )
    finish("compressed", "Pictures that JPEG compressed", rows, notes, out, images=images, seed=seed)
