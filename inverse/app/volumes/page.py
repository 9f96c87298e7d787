"""The folder of `inverse volume`: volumes in the format of the file that came in, and a page of their middle slices."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inverse.app.page import Picture, magma, pixels_of, write_page
from inverse.app.volumes.files import write
from inverse.app.volumes.posing import Posed
from inverse.solution import Solution

GAP, SIDE = 2, 96  # pixels between planes, and the height that small volumes are enlarged to
SHARES = (0.002, 0.998)  # quantiles of the mean that are black and white
PLANES = "middle slices along the first, the second and the third axis"


def planes(volume: Tensor) -> Tensor:
    """The three orthogonal middle slices of (C, D, H, W) beside each other, (C, h, w), enlarged by a whole factor."""
    _, depth, height, width = volume.shape
    cut = [volume[:, depth // 2], volume[:, :, height // 2], volume[..., width // 2]]
    tall = max(each.shape[1] for each in cut)
    parts = []
    for each in cut:
        padded = each.new_ones(each.shape[0], tall, each.shape[2] + GAP)
        padded[:, : each.shape[1], : each.shape[2]] = each
        parts.append(padded)
    whole = torch.cat(parts, 2)[..., :-GAP]
    times = max(1, -(-SIDE // tall))
    return whole.repeat_interleave(times, 1).repeat_interleave(times, 2)


def write_all(
    out: Path, title: str, posed: Posed, solution: Solution, figures: dict[str, str], cautions: list[str]
) -> list[Path]:
    """Write mean, standard deviation, samples and baseline as volumes, and index.html.

    Arguments: out (folder); title; posed; solution of one volume; figures: label -> text; cautions.
    Returns: the paths of the volumes.
    """
    samples, units = solution.samples[0], posed.units
    drawn = samples if not solution.log_weights.any() else solution.resample()[0]
    volumes = {"mean": solution.mean[0]}
    if posed.baseline is not None:
        volumes["baseline"] = posed.baseline[0][0]
    volumes |= {f"sample-{k}": x for k, x in enumerate(drawn, 1)}
    paths = [
        write(
            out, name, np.asarray(units.physical(x[0].double().numpy())), posed.form, posed.stack, False, posed.places
        )
        for name, x in volumes.items()
    ]
    low, high = (float(v) for v in np.quantile(volumes["mean"].numpy(), SHARES))
    ends = [f"{units.physical(value):.4g}" for value in (low, high)]
    how = f"black is {ends[0]}, white {ends[1]} {units.name}".rstrip() + f"; {PLANES}"

    def drawn_of(name: str) -> np.ndarray:
        return pixels_of(planes((volumes[name] - low) / max(high - low, 1e-12)))

    shown = [Picture("mean", drawn_of("mean"), how)]
    if len(samples) > 1:
        std = abs(units.one - units.zero) * solution.std[0, 0].double().numpy()
        paths.insert(1, write(out, "std", std, posed.form, posed.stack, True, posed.places))
        top = max(float(std.max()), 1e-12)
        drawn_std = planes(torch.from_numpy(std)[None])[0].numpy() / top
        shown.append(Picture("std", magma(drawn_std.clip(0, 1)), f"black is 0, white {top:.4g} {units.name}; {PLANES}"))
    shown.append(Picture("sample 1", drawn_of("sample-1"), how))
    if posed.baseline is not None:
        shown.append(Picture("baseline", drawn_of("baseline"), f"{posed.baseline[1]}, without the prior; {how}"))
    write_page(out / "index.html", title, shown, figures, cautions, what="volume")
    return paths
