"""Widefield microscopy: blurred pictures of few photons a pixel, by posterior samples and classical deconvolution."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Annotated

import torch
import typer
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.keys import fingerprint, key
from benchmarks.common.provenance import RESULTS
from benchmarks.common.records import Records
from benchmarks.common.tv import total_variation
from benchmarks.trained.efficiency import crops, scored
from inverse import METHODS, solve
from inverse.quality import psnr
from operators import Blur, GaussianNoise, LinearOperator, PoissonNoise
from priors import Prior

PEAKS = (1.0, 5.0, 50.0)  # photons of a pixel of value 1
WIDTH = 1.5  # standard deviation of the blur, pixels
ITERATIONS = 300  # of Richardson and Lucy, the best of which is taken
WINDOW = 5  # pixels a side, over which counts are averaged for their variance


def gaussian(operator: LinearOperator, y: Tensor) -> LinearOperator:
    """The operator with Gaussian noise, of the variance that counts averaged over 5 x 5 pixels have, at least that of
    one count in the window."""
    peak = operator.noise.get_buffer("peak")
    margin = WINDOW // 2
    mean = avg_pool2d(pad(y, (margin,) * 4, mode="reflect"), WINDOW, 1)
    variance = (mean / peak).clamp_min(1 / (WINDOW * peak) ** 2)
    return operator.with_noise(GaussianNoise(variance.sqrt(), event_ndim=3))


def richardson_lucy(operator: LinearOperator, y: Tensor, truth: Tensor) -> Tensor:
    """The iterate of Richardson 1972 and Lucy 1974 that is nearest to the truth, of 300: x <- x A'(y / A x) / A'1."""
    x = y.mean((1, 2, 3), keepdim=True).expand_as(truth)
    scale, best, found = operator.adjoint(torch.ones_like(y)), x, float("inf")
    for _ in range(ITERATIONS):
        x = x * operator.adjoint(y / operator(x).clamp_min(1e-6)) / scale
        if (error := float((x - truth).square().mean())) < found:
            best, found = x, error
    return best


Estimator = Callable[[Prior, LinearOperator, Tensor, Tensor, int, int], Tensor]
METHODS_BY_NAME: dict[str, Estimator] = {  # prior, operator, y, truth, samples, seed -> (1, K, *E), K 1 for a point
    "auto": lambda prior, op, y, truth, n, seed: _solved(prior, op, y, n, seed, "auto"),
    "mmps, Gaussian noise": lambda prior, op, y, truth, n, seed: _solved(prior, gaussian(op, y), y, n, seed, "mmps"),
    "dps": lambda prior, op, y, truth, n, seed: _solved(prior, op, y, n, seed, "dps"),
    "daps": lambda prior, op, y, truth, n, seed: _solved(prior, op, y, n, seed, "daps"),
    "Richardson-Lucy": lambda prior, op, y, truth, n, seed: richardson_lucy(op, y, truth)[:, None],
    "total variation": lambda prior, op, y, truth, n, seed: total_variation(gaussian(op, y), y)[:, None],
}
QUICK = ("auto", "mmps, Gaussian noise", "Richardson-Lucy", "total variation")


def _solved(prior: Prior, operator: LinearOperator, y: Tensor, n: int, seed: int, method: str) -> Tensor:
    steps = METHODS["ep"].n_steps if method == "mmps" else None  # as many as the method that it is compared with
    return solve(prior, operator, y, n, method, steps, seed, progress=False, precision="auto").samples


def record(name: str, prior: Prior, peak: float, truth: Tensor, samples: int, seed: int) -> dict:
    """Quality and processor time of one picture (1, *E), as plain data."""
    operator = Blur.gaussian(WIDTH, boundary="reflect", noise=PoissonNoise(peak)).at(tuple(truth.shape[1:]))
    y, start = operator.measure(truth, seed=seed), time.process_time()
    found = METHODS_BY_NAME[name](prior, operator, y, truth, samples, seed)
    seconds = time.process_time() - start
    if found.shape[1] == 1:
        return {"psnr": psnr(found[:, 0], truth).item(), "seconds": seconds}
    return scored(found, truth) | {"seconds": seconds / samples}


def run(names: list[str], side: int, images: int, samples: int, seed: int, data: Path | None, work: Path) -> list[dict]:
    """A row per number of photons and method; finished pictures in ``work`` are read.

    Raises: ValueError for a name that is none of `METHODS_BY_NAME`, or no pictures of that size.
    """
    if wrong := [name for name in names if name not in METHODS_BY_NAME]:
        raise ValueError(f"{wrong}: expected names among {sorted(METHODS_BY_NAME)}")
    prior = priors.load("natural-grey").resized((1, side, side))
    truth, kept, rows = crops("natural-grey", side, images, data), Records(work / "widefield.jsonl"), []
    for peak in PEAKS:
        for name in names:
            records = []
            for image in range(images):
                facts = {"method": name, "peak": peak, "side": side, "image": image, "samples": samples, "seed": seed}
                label = key("widefield", prior=fingerprint(prior), data=str(data or ""), **facts)
                if label not in kept.found:
                    one = truth[image : image + 1]
                    kept.add(label, record(name, prior, peak, one, samples, seed + image))
                records.append(kept.found[label])
            rows.append(_row(peak, name, records))
    return rows


def _row(peak: float, name: str, records: list[dict]) -> dict[str, str]:
    def mean(of: str) -> float:
        return fmean(r[of] for r in records)

    row = {"photons": f"{peak:g}", "method": name, "PSNR of the mean": f"{mean('psnr'):.2f}"}
    if "crps" not in records[0]:
        return row | {"CRPS": "-", "80 % covers": "-", "95 % covers": "-", "s": f"{mean('seconds'):.1f}"}
    covers = [fmean(r["covers"][i] for r in records) for i in (0, 1)]
    row |= {"CRPS": f"{mean('crps'):.1f}", "80 % covers": f"{covers[0]:.1f}", "95 % covers": f"{covers[1]:.1f}"}
    return row | {"s": f"{mean('seconds'):.1f}"}


def run_widefield(
    method: Annotated[list[str] | None, typer.Option(help=f"of {', '.join(METHODS_BY_NAME)}; repeat")] = None,
    side: Annotated[int, typer.Option(help="pixels of a picture")] = 256,
    images: Annotated[int, typer.Option(help="pictures")] = 3,
    samples: Annotated[int, typer.Option(help="per picture")] = 8,
    seed: Seed = 0,
    data: Annotated[Path | None, typer.Option(help="grey pictures, as inverse-pack writes them")] = None,
    work: Annotated[Path, typer.Option(help="finished work is stored here and reused")] = Path("runs/widefield"),
    out: Out = RESULTS,
) -> None:
    """Blurred pictures of 1, 5 and 50 photons a pixel: samples against classical deconvolution."""
    rows = run(list(method or QUICK), side, images, samples, seed, data, work)
    notes = (
        f"{images} grey pictures of {side} x {side} pixels, a Gaussian blur of {WIDTH:g} pixels, Poisson counts; "
        f"photons of a pixel of value 1; prior `natural-grey`, {samples} samples. CRPS in thousandths; s: processor "
        "seconds a sample, or of the estimate. `mmps, Gaussian noise` takes counts for Gaussian, with the variance of "
        f"their mean over {WINDOW} x {WINDOW} pixels, and so does total variation (by the discrepancy principle). "
        f"Richardson-Lucy: the iterate nearest to the truth, of {ITERATIONS}, which no user has."
    )
    finish("widefield", "Deconvolution of few photons", rows, notes, out, side=side, images=images, samples=samples)
