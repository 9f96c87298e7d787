"""What training bought: denoising error and judged samples of checkpoints, beside the time and arithmetic they took."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.features import find
from benchmarks.common.provenance import RESULTS
from benchmarks.exact.metrics import frechet
from benchmarks.trained.denoising import LEVELS, load, psnrs
from inverse import sample
from priors.checkpoints import history
from priors.data import ImageSet, read
from priors.pictures import Pictures
from priors.score_prior import ScorePrior
from priors.terminal import console

BACKWARD = 3  # a step costs three forward passes: one, and two products of the same size for its gradients


@dataclass(frozen=True)
class Cost:
    """What the trainings of a checkpoint took: minutes, images that were seen, and operations (multiplications and
    additions) of the network; None where the card does not state it."""

    minutes: float | None = None
    images: int | None = None
    operations: float | None = None


def cost(source: str | Path) -> Cost:
    """The cost of a checkpoint's trainings by its card.

    Arguments: source: a shipped name or a checkpoint's folder.
    """
    prior, stages = priors.load(source), history(source, "prior")
    if not stages or any(stage["seconds"] is None for stage in stages):
        return Cost()
    minutes = sum(stage["seconds"] for stage in stages) / 60
    if not isinstance(prior, ScorePrior) or any(None in stage.values() for stage in stages):
        return Cost(minutes)
    seen = [stage["steps"] * stage["batch_size"] for stage in stages]
    each = [forward_operations(prior, tuple(stage["event_shape"])) for stage in stages]
    return Cost(minutes, sum(seen), sum(BACKWARD * n * flop for n, flop in zip(seen, each, strict=True)))


def forward_operations(prior: ScorePrior, shape: tuple[int, ...]) -> float:
    """Operations of one evaluation of the network for one event of this shape."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        prior.network(torch.zeros(1, *shape), torch.zeros(1))
    return float(counter.get_total_flops())


def judged(prior: priors.Prior, judge: str, real: ImageSet, n: int, steps: int, seed: int) -> float:
    """Frechet distance of n unconditional samples to the real images after the first n, on the features of a judge,
    divided by that of the first n real images.

    Arguments: prior; judge: a shipped classifier; real: more than 2 n images; n; steps; seed.
    Raises: ValueError for too few real images.
    """
    if len(real) < 2 * n:
        raise ValueError(f"{len(real)} real images: expected at least {2 * n}, for {n} samples")
    features = find("judge", judge)
    seen: Tensor = features.of(real.floats())
    own = features.of(sample(prior, n, n_steps=steps, seed=seed, progress=False))
    return frechet(own, seen[n:]) / frechet(seen[:n], seen[n:])


def run(
    sources: Sequence[str | Path],
    data: Pictures,
    levels: Sequence[float] = LEVELS,
    seed: int = 0,
) -> list[dict[str, str]]:
    """Rows of texts: checkpoint, parameters, cost of its trainings, mean PSNR of denoised pictures per noise level.

    Arguments: sources: shipped names or checkpoint folders; data: pictures that none was trained on; levels: sigma, of
    255; seed of the noise.
    """
    rows = []
    for source in sources:
        prior, spent = priors.load(source), cost(source)
        row = {"prior": Path(source).name, "parameters, millions": f"{_parameters(prior) / 1e6:.2f}"}
        row |= {
            "minutes": _printed(spent.minutes, 1, 0),
            "images, thousands": _printed(spent.images, 1e3, 0),
            "operations, 10^15": _printed(spent.operations, 1e15, 2),
        }
        found = psnrs(prior, data, levels, seed)
        row |= {f"sigma {level:g}": f"{values[:, 1].double().mean():.2f}" for level, values in found.items()}
        console.print(row)
        rows.append(row)
    return rows


def _printed(value: float | None, unit: float, digits: int) -> str:
    return "-" if value is None else f"{value / unit:.{digits}f}"


def _parameters(prior: priors.Prior) -> int:
    return sum(p.numel() for p in prior.parameters()) if isinstance(prior, torch.nn.Module) else 0


def run_training(
    prior: Annotated[list[str], typer.Option(help="shipped names or checkpoint folders, in the order of the table")],
    data: Annotated[Path, typer.Option(help="pictures or an image set that no prior was trained on")],
    split: Annotated[str, typer.Option(help="prefix of the names in the file")] = "",
    limit: Annotated[int | None, typer.Option(help="only the first pictures")] = None,
    level: Annotated[list[float], typer.Option(help="sigma of 255; repeat for several")] = list(LEVELS),  # noqa: B006
    judge: Annotated[str | None, typer.Option(help="a classifier: add the Frechet distance of samples")] = None,
    samples: int = 250,
    steps: int = 60,
    seed: Seed = 0,
    out: Out = RESULTS,
) -> None:
    """Denoising error, and judged samples, of checkpoints against the time and arithmetic of their trainings."""
    pictures = load(data, split or None)
    rows = run(prior, pictures[:limit], level, seed)
    notes = (
        f"Mean PSNR in dB of {len(pictures[:limit])} pictures of {data.name}, denoised by one evaluation; sigma of "
        "255. Minutes, images and operations (multiplications and additions of the network, three forward passes a "
        "step) are those of all trainings that the cards name; a card before the present format names the last alone."
    )
    if judge is not None:
        real = read(data, split or None)
        for row, source in zip(rows, prior, strict=True):
            row["Frechet"] = f"{judged(priors.load(source), judge, real, samples, steps, seed):.2f}"
        notes += (
            f" Frechet distance of {samples} samples ({steps} steps) on the features of {judge}, divided by that of as "
            "many real images."
        )
    finish("training", f"Training: {data.stem}", rows, notes, out, seed=seed)
