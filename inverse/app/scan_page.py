"""The pages of a reconstructed scan: one for each slice, as `inverse solve` writes, and one with all slices."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inverse.app.page import Picture, magma, pixels_of, write_page
from inverse.app.reconstruction import Reconstruction

SHOWN = 4  # samples on the page of a slice


def write_slice(
    out: Path,
    number: int,
    title: str,
    found: Reconstruction,
    zero_filled: Tensor,
    reference: Tensor | None,
    figures: dict[str, str],
    cautions: list[str],
) -> None:
    """Write slice-NNN.html, which is self-contained: magnitudes of one slice.

    Arguments: out (folder); number of the slice; title; found: its posterior; zero_filled (H, W) in scanner units;
    reference: magnitude (h, w) of the picture that it was compared with, in units of the mean, which is shown if it has
    the size of the slice; figures: label -> text; cautions: warnings about the samples.
    """
    mean = found.mean.abs()
    white = _white(mean)
    shown = [Picture("zero-filled", _grey(zero_filled / white)), Picture("mean", _grey(mean / white))]
    if reference is not None and reference.shape == mean.shape:
        shown.insert(0, Picture("reference", _grey(reference / white)))
    if len(found.samples) > 1:
        top = max(float(found.std.max()), 1e-30)
        note = f"black is 0, white the maximum, {top:.3g} in scanner units"
        shown.append(Picture("std", magma((found.std / top).cpu().numpy()), note))
    samples = found.samples[:SHOWN]
    shown += [Picture(f"sample {k}", _grey(x.abs() / white)) for k, x in enumerate(samples, 1)]
    scale = {"grey levels": f"magnitudes; black is 0, white {white:.4g} in scanner units, the maximum of the mean"}
    write_page(out / page_name(number), title, shown, figures | scale, cautions)


def write_index(out: Path, title: str, found: dict[int, Reconstruction], figures: dict[str, str]) -> None:
    """Write index.html, which is self-contained: the mean of every slice in the folder, with links to their pages.

    Arguments: out (folder); title; found: the slices by number; figures: label -> text.
    """
    white = max(_white(one.mean.abs()) for one in found.values())
    shown, links = [], {}
    for n, one in sorted(found.items()):
        name = f"slice {n}"
        note = f"the mean of {len(one.samples)} samples by {one.method}; sigma {one.sigma:.3g}"
        shown.append(Picture(name, _grey(one.mean.abs() / white), note))
        if (out / page_name(n)).exists():
            links[name] = page_name(n)
    scale = {"grey levels": f"magnitudes of the mean; black is 0, white {white:.4g} in scanner units, in all slices"}
    write_page(out / "index.html", title, shown, figures | scale, [], links)


def page_name(number: int) -> str:
    """The file of the page of a slice."""
    return f"slice-{number:03d}.html"


def _white(magnitude: Tensor) -> float:
    return max(float(magnitude.max()), 1e-30)


def _grey(magnitude: Tensor) -> np.ndarray:
    return pixels_of(magnitude[None].to(torch.float32))
