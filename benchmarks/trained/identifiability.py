"""Identifiability: whether independently trained priors give an image the same latent."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

import priors
from benchmarks.common.commands import Out, finish
from benchmarks.common.provenance import RESULTS
from benchmarks.trained.likelihood import BATCH, folders_of, load_all
from priors.data import ImageSet
from priors.likelihood import dequantise

QUANTILES = (0.05, 0.5, 0.95)


def run(folders: Mapping[str, Path], images: ImageSet, seed: int) -> list[dict[str, str]]:
    """Similarity of the latents of the same images under two priors, beside those of different images.

    The probability flow of the exact score is fixed by the data and the SDE, so networks that are close to it encode
    alike, whatever their architecture and initial weights (Song et al. 2021, section 4.3 and appendix D.5). It need not
    hold between two SDEs. Clean images and dequantised ones are encoded; the noise of these is the same for both.
    Arguments: folders: two, name -> checkpoint folder; images (at least 3, of the shape of the priors); seed (int >= 0)
    of dequantisation.
    Returns: rows of texts: images, pairing, the Pearson correlation over images of each latent dimension (mean and
    quantiles over dimensions), and the median over images of |z - z'| / |z|, latents in units of sigma(1).
    Raises: FileNotFoundError for a missing checkpoint; ValueError for other than two priors or too few images.
    """
    if len(folders) != 2:
        raise ValueError(f"{len(folders)} priors: expected two, trained apart")
    if len(images) < 3:
        raise ValueError(f"{len(images)} images: expected at least 3, for a correlation over images")
    pair = list(load_all(folders).values())
    rows = []
    for kind, x in (("clean", images.floats()), ("dequantised", dequantise(images.floats(), seed))):
        first, second = (priors.encode(p, x, t_min=1e-5, batch_size=BATCH) / p.sde.sigma(1.0).item() for p in pair)
        rows.append({"images": kind, "latents of": "the same image", **compare(first, second)})
        rows.append({"images": kind, "latents of": "different images", **compare(first, second.roll(1, 0))})
    return rows


def compare(first: Tensor, second: Tensor) -> dict[str, str]:
    """Correlation per dimension and distance per row of two sets of latents (N, *E), as texts."""
    r = correlations(first, second)
    distance = (first - second).flatten(1).norm(dim=1) / first.flatten(1).norm(dim=1)
    quantiles = r.quantile(torch.tensor(QUANTILES, dtype=r.dtype))
    return {
        "correlation, mean": f"{r.mean():.3f}",
        **{f"{q:.0%}": f"{value:.3f}" for q, value in zip(QUANTILES, quantiles.tolist(), strict=True)},
        "relative distance": f"{distance.median():.3f}",
    }


def correlations(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation over rows of each dimension, (N, *E) twice -> (d',), without those that never vary.

    Formula: cov(a, b) / sqrt(var(a) var(b)).
    """
    a, b = (z.flatten(1).double() - z.flatten(1).double().mean(0) for z in (first, second))
    scale = (a.square().sum(0) * b.square().sum(0)).sqrt()
    return ((a * b).sum(0) / scale)[scale > 0]


TRAINED_APART = ("ve", "ve-wide")


def run_identifiability(
    prior: Annotated[list[Path] | None, typer.Option(help="two checkpoint folders; default: ve and ve-wide")] = None,
    images: Annotated[int, typer.Option(help="of the shipped test images, at most 100")] = 100,
    seed: Annotated[int, typer.Option(help="of dequantisation")] = 0,
    out: Out = RESULTS,
) -> None:
    """Similarity of the latents of the same images under two independently trained priors."""
    test = priors.samples("fashion-mnist")[:images]
    folders = folders_of(prior, TRAINED_APART)
    rows = run(folders, test, seed)
    notes = (
        f"Latents of the first {len(test)} shipped test images under {' and '.join(folders)}: the correlation over "
        "images of each of the latent dimensions, its mean and quantiles over dimensions, and the median distance "
        "relative to the latent's length. Independent latents correlate by 0 with a standard deviation of "
        f"{len(test) ** -0.5:.2f}."
    )
    finish("identifiability", "Identifiability of latents", rows, notes, out, images=len(test), seed=seed)
