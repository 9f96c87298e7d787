"""Denoising of natural images: one evaluation of a prior against dedicated denoising networks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

import priors
from benchmarks.common.commands import Out, finish
from benchmarks.common.intervals import bootstrap
from benchmarks.common.provenance import RESULTS
from inverse.quality import psnr
from priors import pictures
from priors.data import floats, read
from priors.terminal import console
from priors.tiling import Tiled

LEVELS = (15, 25, 30, 50)  # noise standard deviations of the literature, of 255
PUBLISHED = {  # mean PSNR on CBSD68 in dB, as printed, not measured here: papers and their authors' code pages
    "FFDNet": {15: 33.87, 25: 31.21, 30: 30.32, 50: 27.97},  # Zhang et al. 2018; at 30 and 50 that of Zhang et al. 2021
    "DRUNet": {15: 34.30, 25: 31.69, 30: 30.81, 50: 28.51},  # Zhang et al. 2021
}


def run(
    prior: str | Path,
    data: pictures.Pictures,
    levels: Sequence[float] = LEVELS,
    seed: int = 0,
    tile: int = 512,
    progress: Callable[[str], None] = lambda line: None,
) -> list[dict[str, str]]:
    """Mean PSNR of E[x0 | x0 + sigma z] over pictures, per noise level, beside published figures.

    The noise is not clipped, the estimate is; PSNR over all channels of a picture, then its mean over pictures.
    Arguments: prior: a shipped name or a checkpoint's folder, of a network of any size; data: pictures that it was not
    trained on; levels: sigma, of 255; seed of the noise; tile: pixels, see `priors.tiling.Tiled`; progress: called with
    of every picture.
    Returns: rows of texts: sigma, PSNR of the noisy pictures, of the prior with its 95 % bootstrap interval over
    pictures, and published ones.
    Raises: ValueError for a prior of one size, for no level and for pictures below the network's least size.
    """
    if not levels or min(levels) <= 0:
        raise ValueError(f"levels = {tuple(levels)}: expected noise levels > 0, of 255, at least one")
    published = PUBLISHED if data.channels == 3 else {}  # grey pictures have other figures
    found = psnrs(priors.load(prior), data, levels, seed, tile, progress)
    rows = []
    for level, values in found.items():
        before, after = values.double().mean(0), values[:, 1]
        low, high = bootstrap(after) if len(after) > 1 else (float(after), float(after))
        row = {"sigma, of 255": f"{level:g}", "noisy": f"{before[0]:.2f}", "prior": f"{before[1]:.2f}"}
        row |= {"95 % over pictures": f"{low:.2f} to {high:.2f}"}
        rows.append(
            row | {f"{net}, published": _printed(figures.get(int(level))) for net, figures in published.items()}
        )
    return rows


def psnrs(
    prior: priors.Prior,
    data: pictures.Pictures,
    levels: Sequence[float],
    seed: int = 0,
    tile: int = 512,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[float, Tensor]:
    """PSNR in dB of every noisy picture and of its denoised, (pictures, 2), per noise level.

    Arguments: prior; data; levels: sigma, of 255; seed of the noise; tile: pixels, of pictures that are larger;
    progress: called with a line for every picture.
    """
    found: dict[float, list[Tensor]] = {level: [] for level in levels}
    for i, (name, picture) in enumerate(zip(data.names, data.pictures, strict=True)):
        x = floats(picture)[None]
        shape = tuple(picture.shape)
        sized = prior if shape == tuple(prior.event_shape) else prior.resized(shape)
        sized = Tiled(sized, tile) if max(shape[1:]) > tile else sized
        for k, level in enumerate(levels):
            generator = torch.Generator().manual_seed(1_000_003 * seed + 101 * i + k)
            noisy = x + level / 255 * torch.randn(x.shape, generator=generator)
            found[level].append(torch.stack(both(sized, x, noisy, level / 255)))
        progress(f"{i + 1} of {len(data)}: {name}")
    return {level: torch.stack(values) for level, values in found.items()}


def notes(data: pictures.Pictures, file: str, prior: str) -> str:
    """What the columns mean. Arguments: data; file, its name; prior, its name."""
    beside = (
        "FFDNet's and DRUNet's figures are their authors', printed for CBSD68 and not measured here; they were trained "
        "on thousands of pictures, on GPUs, for denoising only."
    )
    return (
        f"Mean PSNR in dB of {len(data)} pictures of {file}, prior {prior}: E[x0 | x0 + sigma z], by one evaluation. "
        f"Noise is not clipped, estimates are. {beside if data.channels == 3 else ''}"
    ).rstrip()


@torch.no_grad()
def both(prior: priors.Prior, x: Tensor, noisy: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """PSNR in dB of x + sigma z and of its denoised, both clipped; x, noisy (1, C, H, W) in image units.

    Arguments: prior; x; noisy; sigma: standard deviation, image units. The time is that of this sigma / alpha, and what
    the prior sees alpha times the noisy picture.
    """
    t = prior.sde.time(torch.tensor(sigma))
    alpha = prior.sde.alpha(t).to(noisy)
    return psnr(noisy, x)[0], psnr(prior.denoise(alpha * noisy, t), x)[0]


def load(path: Path, split: str | None = None) -> pictures.Pictures:
    """Pictures of a file that inverse-pack wrote, or the images of an image set.

    Arguments: path; split: prefix of the names in the file.
    Raises: FileNotFoundError, ValueError, as `priors.pictures.read` and `priors.data.read`.
    """
    if pictures.holds(path, split):
        return pictures.read(path, split)
    images = read(path, split)
    return pictures.Pictures(tuple(images.images), source=images.source)


def _printed(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.2f}"


def run_denoising(
    data: Annotated[Path, typer.Option(help="pictures, as inverse-pack writes them, or an image set; none is shipped")],
    prior: str = "natural",
    split: Annotated[str, typer.Option(help="prefix of the names in the file")] = "",
    limit: Annotated[int | None, typer.Option(help="only the first pictures")] = None,
    level: Annotated[list[float], typer.Option(help="sigma of 255; repeat for several")] = list(LEVELS),  # noqa: B006
    tile: Annotated[int, typer.Option(help="pixels, of pictures that do not fit in memory")] = 512,
    seed: Annotated[int, typer.Option(help="of the noise")] = 0,
    out: Out = RESULTS,
) -> None:
    """PSNR of natural pictures denoised by one evaluation of the prior, beside published networks."""
    found = load(data, split or None)[:limit]
    rows = run(prior, found, level, seed, tile, console.print)
    finish(
        "denoising",
        f"Denoising: {data.stem}",
        rows,
        notes(found, data.name, prior),
        out,
        pictures=len(found),
        seed=seed,
    )
