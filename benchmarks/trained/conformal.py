"""Conformal intervals where the prior is wrong: pictures of one kind, a prior that was trained on another."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.provenance import RESULTS
from inverse import Conformal, Solution, conformal, solve_batch
from operators import GaussianNoise, Masking, Operator
from priors import Prior, RowRNG

SIGMA, KEEP = 0.05, 0.5
REGION = (10, 18)  # rows and columns of the region, of pictures of 28 x 28
GUARANTEES = ("average", "confident")


def run(
    prior_name: str,
    data: str,
    levels: Sequence[float],
    n_images: int,
    n_calibration: int,
    splits: int,
    n_samples: int,
    seed: int,
    work: Path,
    progress: bool = True,
) -> list[dict[str, str]]:
    """A row per level and guarantee, over random splits of the images into calibration and test.

    Arguments: prior_name; data: a prior whose shipped test images are the pictures; levels; n_images in all,
    n_calibration of them; splits: how often they are divided anew; n_samples K; seed; work (folder): finished solves
    are kept there; progress.
    Returns: rows of texts.
    Raises: ValueError for more images than there are.
    """
    held = priors.samples(data)
    if not n_calibration < n_images <= len(held):
        raise ValueError(
            f"{n_images} images, {n_calibration} of them for calibration: expected fewer than all, which are at most "
            f"{len(held)}"
        )
    truths = held.floats(slice(0, n_images))
    prior = priors.load(prior_name)
    prior = prior if prior.least_size is None else prior.resized(tuple(truths.shape[1:]))
    operator = Masking.random(tuple(truths.shape[1:]), KEEP, seed=0, noise=GaussianNoise(SIGMA))
    y = operator.measure(truths, seed=seed)
    found = solve_batch(
        prior, operator, y, work / f"{prior_name}-{data}.h5", n_samples, seed=seed, progress=progress, keep_samples=True
    )
    solution = Solution(
        found.samples[:],
        torch.zeros(n_images, n_samples),
        found.method,
        nfe=0,
        nvjp=0,
        seconds=found.seconds,
        seed=seed,
    )
    return [
        _row(level, guarantee, _covered(prior, operator, truths, y, solution, level, guarantee, n_calibration, splits))
        for level in levels
        for guarantee in GUARANTEES
    ]


def _covered(
    prior: Prior,
    operator: Operator,
    truths: Tensor,
    y: Tensor,
    solution: Solution,
    level: float,
    guarantee: str,
    n: int,
    splits: int,
) -> Tensor:
    """Per split the shares inside plain and conformal intervals, of pixels, regions and whole pictures, and the mean
    half widths of both intervals of pixels; (splits, 8)."""
    stored = {row.numpy().tobytes(): samples for row, samples in zip(y, solution.samples, strict=True)}

    def method(operator: Operator, y: Tensor, n_samples: int, seed: int) -> Solution:
        return Solution(
            stored[y[0].numpy().tobytes()][None], torch.zeros(1, n_samples), solution.method, 0, 0, 0.0, seed
        )

    region = torch.zeros(tuple(truths.shape[2:]), dtype=torch.bool)
    region[slice(*REGION), slice(*REGION)] = True
    order = RowRNG.rows(0, splits, dtype=torch.float64).uniform((splits, len(truths))).argsort(1)
    rows = []
    for split in order:
        known, new = split[:n], split[n:]
        made = conformal(
            prior, operator, truths[known], level, guarantee, method=method, n_samples=solution.samples.shape[1],
            y=y[known], regions={"middle": region}, progress=False,
        )  # fmt: skip
        rows.append(_judged(made, truths[new], _part(solution, new), region, level))
    return torch.tensor(rows, dtype=torch.float64)


def _judged(made: Conformal, truths: Tensor, solution: Solution, region: Tensor, level: float) -> list[float]:
    z = 2**0.5 * float(torch.erfinv(torch.tensor(level)))
    mean, std = solution.mean, solution.std
    found = [_share(truths, mean - z * std, mean + z * std), _share(truths, *made.interval(solution))]
    for name, mask in (("middle", region), ("whole", torch.ones_like(region))):
        value = truths[:, 0, mask].double().mean(1)
        drawn = solution.samples[:, :, 0, mask].double().mean(2)
        mean_of, reach = drawn.mean(1), z * drawn.std(1)
        found += [_share(value, mean_of - reach, mean_of + reach), _share(value, *made.interval_of(solution, name))]
    return [*found, float((z * std).mean()), made.factor * float(std.clamp_min(made.floor).mean())]


def _share(x: Tensor, low: Tensor, high: Tensor) -> float:
    return float(((x >= low) & (x <= high)).double().mean())


def _part(solution: Solution, index: Tensor) -> Solution:
    return Solution(solution.samples[index], solution.log_weights[index], solution.method, 0, 0, 0.0, solution.seed)


def _row(level: float, guarantee: str, found: Tensor) -> dict[str, str]:
    def share(k: int) -> str:
        low, high = found[:, k].quantile(torch.tensor([0.05, 0.95], dtype=torch.float64)).tolist()
        return f"{100 * float(found[:, k].mean()):.1f} ({100 * low:.0f} to {100 * high:.0f})"

    titles = [f"{what}, {kind}, %" for what in ("pixels", "region", "whole") for kind in ("plain", "conformal")]
    return {
        "level, %": f"{100 * level:g}",
        "guarantee of pixels": guarantee,
        **{title: share(k) for k, title in enumerate(titles)},
        "half width, plain": f"{float(found[:, 6].mean()):.3f}",
        "half width, conformal": f"{float(found[:, 7].mean()):.3f}",
    }


def run_conformal(
    prior: str = "natural-grey",
    data: Annotated[str, typer.Option(help="a shipped prior: its test images are the pictures")] = "fashion-mnist",
    level: Annotated[list[float], typer.Option(help="repeat for several")] = [0.8, 0.9],  # noqa: B006
    images: int = 100,
    calibration: Annotated[int, typer.Option(help="images of the calibration; the others are the new ones")] = 40,
    splits: Annotated[int, typer.Option(help="random divisions of the images")] = 100,
    samples: int = 8,
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="finished solves are stored here and reused")] = Path("runs/conformal"),
    out: Out = RESULTS,
) -> None:
    """Coverage of plain and of conformal intervals on pictures that the prior was not trained on."""
    table = run(prior, data, level, images, calibration, splits, samples, seed, work)
    notes = (
        f"Prior {prior}, pictures of {data}, half of whose pixels are seen with noise of {SIGMA}; {samples} samples by "
        f"method auto. {images} pictures are divided {splits} times at random into {calibration} of the calibration "
        f"and {images - calibration} new ones. Shares of the new ones inside: the mean over divisions, and in brackets "
        "5 to 95 % of them. Plain: mean +- z std of the samples, z the normal quantile. Region: the mean over the "
        "middle 8 x 8 pixels; whole: the mean over all. Half widths are means over pixels. Average: the mean over "
        "divisions is guaranteed; confident: at most a tenth of the divisions may have an expected share below the "
        "level, of which the share of the new pictures is a noisy estimate. Divisions share their pictures, so their "
        "spread is less than that of new data."
    )
    finish("conformal", "Conformal intervals where the prior is wrong", table, notes, Path(out), seed=seed)
