"""Colourisation: the chroma of grey images, beside linear MMSE."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

import priors
from benchmarks.common.baselines import fit_gaussian, linear_mmse
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.intervals import gain, interval
from benchmarks.common.provenance import RESULTS
from benchmarks.trained.reconstruction import identity, solved
from inverse import METHODS, Solution
from inverse.guidance import MMPS
from inverse.quality import psnr
from operators import GaussianNoise, Grayscale
from priors.data import ImageSet, read

NEUTRAL = Grayscale(weights=(1.0, 1.0, 1.0))  # its orthogonal basis: the grey axis, then two of chroma


def run(
    prior_name: str,
    train: ImageSet,
    test: ImageSet,
    n_samples: int,
    n_steps: int,
    n_cg: int,
    seed: int,
    work: Path,
    progress: bool = True,
    only: Sequence[str] = ("mmps", "replacement"),
) -> list[dict[str, str]]:
    """One row per method: PSNR of the chroma and of the picture, and how much chroma there is.

    Arguments: prior_name; train: images whose moments the linear estimator takes; test: images to colour; n_samples per
    image; n_steps and n_cg (conjugate gradients) of MMPS; seed; work (folder of finished blocks);
    progress; only: names of methods.
    Returns: rows of texts: method, PSNR of the chroma, its gain over linear MMSE (mean over images of decibels, and of
    the mean square error of all images) with a 95 % bootstrap interval, PSNR of the picture, mean square chroma over
    the truth's, NFE.
    Raises: ValueError for images of another shape than the prior's.
    """
    prior = priors.load(prior_name)
    for images in (train, test):
        if images.event_shape != prior.event_shape:
            raise ValueError(f"images {images.event_shape}: expected {prior.event_shape}, those of {prior_name!r}")
    truth, operator = test.floats(), Grayscale(noise=GaussianNoise(0.02))
    y = operator.measure(truth, seed=seed)
    linear = linear_mmse(fit_gaussian(train, prior.sde), operator, y)
    methods = {
        "mmps": (replace(METHODS["mmps"], guidance=MMPS(n_cg)), n_steps),
        "replacement": (METHODS["replacement"], 8 * n_steps),
    }
    rows = [
        _row("grey", y.expand_as(truth), truth, linear),
        _row("linear MMSE (Gaussian prior)", linear, truth, linear),
    ]
    for name in only:
        method, steps = methods[name]
        folder = work / f"{name}-{identity(prior_name)}"
        blocks = solved(prior, operator, y, method, n_samples, steps, seed, folder, progress)
        cost = {"NFE": f"{blocks[0].nfe} + {blocks[0].nvjp} vjp"}
        for what, estimate in (("mean", _mean(blocks)), ("one sample", _first(blocks))):
            rows.append(_row(f"{name}, {what}", estimate, truth, linear) | cost)
    return rows


def chroma(x: Tensor) -> Tensor:
    """The two coordinates of colour orthogonal to grey, (N, 3, H, W) -> (N, 2, H, W)."""
    return NEUTRAL.Vt(x)[:, 1:]


def chroma_psnr(estimate: Tensor, truth: Tensor) -> Tensor:
    """PSNR in dB of the chroma of estimates clipped to [0, 1], for a peak of 1; (B, 3, H, W) -> (B,)."""
    return -10 * torch.log10(chroma_error(estimate, truth))


def chroma_error(estimate: Tensor, truth: Tensor) -> Tensor:
    """Mean square error of the chroma of estimates clipped to [0, 1]; (B, 3, H, W) -> (B,)."""
    error = chroma(estimate.clamp(0, 1)) - chroma(truth)
    return error.flatten(1).square().mean(1).clamp_min(1e-12)


def _mean(blocks: list[Solution]) -> Tensor:
    return torch.cat([s.mean for s in blocks])


def _first(blocks: list[Solution]) -> Tensor:
    return torch.cat([s.samples[:, 0] for s in blocks])


def _row(method: str, estimate: Tensor, truth: Tensor, linear: Tensor) -> dict[str, str]:
    figures = chroma_psnr(estimate, truth)
    gained = figures - chroma_psnr(linear, truth)
    # what a posterior mean minimises; of decibels a picture that is all but grey has as many as ten colourful ones
    of_all, low, high = gain(chroma_error(estimate, truth).double(), chroma_error(linear, truth).double())
    return {
        "method": method,
        "PSNR of chroma, dB": f"{figures.mean():.2f}",
        "over linear MMSE, dB": f"{gained.mean():+.2f} [{interval(gained)}]",
        "over linear MMSE, all images' error, dB": f"{of_all:+.2f} [{low:+.2f}, {high:+.2f}]",
        "PSNR, dB": f"{psnr(estimate, truth).mean():.2f}",
        "chroma over the truth's": f"{chroma(estimate).square().mean() / chroma(truth).square().mean():.2f}",
        "NFE": "-",
    }


def run_colour(
    data: Annotated[Path, typer.Option(help="CIFAR-10: npz or HDF5 of train_images and test_images; none is shipped")],
    prior: str = "cifar10",
    images: int = 200,
    samples: int = 24,
    steps: int = 12,
    cg: Annotated[int, typer.Option(help="conjugate-gradient steps of MMPS")] = 2,
    seed: Seed = 0,
    method: Annotated[list[str], typer.Option(help="repeat for both")] = ["mmps", "replacement"],  # noqa: B006
    work: Annotated[Path, typer.Option(help="finished images are stored here and reused")] = Path("runs/colour"),
    out: Out = RESULTS,
) -> None:
    """Chroma of colourised test images, beside linear MMSE fitted to the training images."""
    train, test = read(data, "train"), read(data, "test")[:images]
    rows = run(prior, train, test, samples, steps, cg, seed, work, only=method)
    notes = (
        f"The first {images} test images of {data.name}, {samples} samples each; grey seen with sigma_y .02. Gains are "
        "paired by image, with the 95 % bootstrap interval of their mean, or of the ratio of the mean square errors of "
        "all images: what a posterior mean minimises."
    )
    finish("colour", "Colourisation", rows, notes, out, images=images, samples=samples, steps=steps, cg=cg, seed=seed)
