"""Bits per dimension of test images under the priors, and the cost of computing them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

import priors
from benchmarks.common.commands import Out, finish, small_priors
from benchmarks.common.provenance import RESULTS
from priors.data import ImageSet

BATCH = 25  # rows at a time: the graph of an evaluation is kept for its backward pass


class RowCount(priors.Prior):
    """A prior that counts the rows it evaluates, in ``rows``: an adaptive rule evaluates each as often as it needs.

    Arguments: prior (Prior).
    """

    def __init__(self, prior: priors.Prior):
        self.prior, self.sde, self.event_shape, self.variance = prior, prior.sde, prior.event_shape, prior.variance
        self.rows = 0

    def denoise(self, x, t):
        self.rows += len(x)
        return self.prior.denoise(x, t)

    def denoise_vjp(self, x, t):
        self.rows += len(x)
        return self.prior.denoise_vjp(x, t)


def run(folders: Mapping[str, Path], images: ImageSet, seed: int) -> list[dict[str, str]]:
    """Bits per dimension of every prior on the same dequantised images, with one probe per image.

    Arguments: folders: name -> checkpoint folder; images (at least 2, for a standard error); seed (int >= 0).
    Returns: rows of texts, one per prior: bits per dimension with their standard error over images, and evaluations an
    image, each with one backward pass.
    Raises: FileNotFoundError for a missing checkpoint, before anything is measured; ValueError for too few images.
    """
    if len(images) < 2:
        raise ValueError(f"{len(images)} images: expected at least 2, for a standard error")
    loaded = load_all(folders)
    rows = []
    for name, prior in loaded.items():
        counter = RowCount(prior)
        bits = priors.bits_per_dim(counter, images.floats(), seed, probe="rademacher", batch_size=BATCH)
        rows.append(
            {
                "prior": name,
                "SDE": type(prior.sde).__name__,
                "bits/dim": f"{bits.mean():.3f} +- {bits.std() / len(bits) ** 0.5:.3f}",
                "evaluations": f"{counter.rows / len(images):.0f}",
            }
        )
    return rows


def load_all(folders: Mapping[str, Path]) -> dict[str, priors.ScorePrior]:
    """Every checkpoint, once all are known to be there.

    Arguments: folders: name -> checkpoint folder.
    Raises: FileNotFoundError as `check_folders`.
    """
    check_folders(folders)
    return {name: priors.load(folder) for name, folder in folders.items()}


def check_folders(folders: Mapping[str, Path]) -> None:
    """Whether every checkpoint is there.

    Arguments: folders: name -> checkpoint folder.
    Raises: FileNotFoundError, naming all that are missing.
    """
    if missing := [str(folder) for folder in folders.values() if not (Path(folder) / "card.json").exists()]:
        raise FileNotFoundError(
            f"no checkpoint at {', '.join(missing)}: train it (inverse-train fashion-mnist-small --out FOLDER), or "
            "name the folders that you have"
        )


LIKELIHOOD_PRIORS = ("ve", "vp", "subvp", "vp-likelihood", "subvp-likelihood")


def run_likelihood(
    prior: Annotated[list[Path] | None, typer.Option(help="checkpoint folders; default: the small ones")] = None,
    images: Annotated[int, typer.Option(help="of the shipped test images, at most 100")] = 100,
    seed: Annotated[int, typer.Option(help="of dequantisation and probes")] = 0,
    out: Out = RESULTS,
) -> None:
    """Bits per dimension of Fashion-MNIST test images, by the probability flow."""
    test = priors.samples("fashion-mnist")[:images]
    rows = run(folders_of(prior, LIKELIHOOD_PRIORS), test, seed)
    notes = (
        f"The first {len(test)} shipped test images (10 per class in turn), uniformly dequantised; +- is the standard "
        "error over images. p is that at t = 1e-5, for VE the data with noise sigma_min. Evaluations per image, each "
        "with a backward pass."
    )
    finish("likelihood", "Likelihood", rows, notes, out, images=len(test), seed=seed)


def folders_of(given: list[Path] | None, names: tuple[str, ...]) -> dict[str, Path]:
    """Prior name -> folder; without any given, those of the project's own."""
    try:
        folders = {str(folder): folder for folder in given} if given else small_priors(*names)
        check_folders(folders)
    except FileNotFoundError as error:
        raise typer.BadParameter(str(error)) from None
    return folders
