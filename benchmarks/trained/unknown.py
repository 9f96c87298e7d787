"""Unknown blur width and noise level of photographs: coverage of their intervals, and what not knowing them costs."""

import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Annotated

import torch
import typer
from torch import Tensor

import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.keys import code_behind, fingerprint, key
from benchmarks.common.provenance import RESULTS
from benchmarks.common.records import Records
from benchmarks.trained.efficiency import crops
from inverse import solve
from inverse.quality import psnr
from inverse.solve.unknown import infer
from operators import Blur, GaussianNoise
from operators.kernels import gaussian_kernel
from priors import Prior

WIDTHS = (0.7, 1.0, 1.4, 2.0, 2.8)  # pixels; the true one is drawn among these
SIGMAS = (0.01, 0.02, 0.04, 0.08, 0.16)
RANGES = {"width": (0.4, 5.0), "sigma": (0.003, 0.5)}
SIZE = 17  # of the kernel's side
LEVEL = 0.9  # of the intervals


def operator(width: float, sigma: float) -> Blur:
    """A circular Gaussian blur of fixed support, so that it is a smooth function of its width."""
    return Blur(gaussian_kernel(width, SIZE), noise=GaussianNoise(sigma))


def record(prior: Prior, truth: Tensor, samples: int, seed: int) -> dict:
    """One picture (1, *E), its parameters drawn by the seed, as plain data."""
    generator = torch.Generator().manual_seed(seed)
    w, s = (int(torch.randint(len(of), (1,), generator=generator)) for of in (WIDTHS, SIGMAS))
    true = {"width": WIDTHS[w], "sigma": SIGMAS[s]}
    y = operator(**true).measure(truth, seed=seed)
    asked = partial(solve, prior, y=y, n_samples=samples, seed=seed, progress=False, precision="auto")
    start = time.process_time()
    found = asked(operator, unknown=RANGES)
    seconds = time.process_time() - start
    known = asked(operator(**true))
    entry = {"seconds": seconds, "psnr": psnr(found.mean, truth).item(), "known psnr": psnr(known.mean, truth).item()}
    assert found.unknown is not None
    for name, candidates in (("width", WIDTHS), ("sigma", SIGMAS)):
        log = found.unknown[name][0].double().log()
        ends = torch.quantile(log, torch.tensor([0.5 - LEVEL / 2, 0.5 + LEVEL / 2], dtype=torch.float64))
        right, mean, std = math.log(true[name]), float(log.mean()), float(log.std())
        nearest = min(candidates, key=lambda value, mean=mean: abs(math.log(value) - mean))
        entry[name] = {
            "true": true[name],
            "mean": math.exp(mean),
            "std": std,
            "covered": bool(ends[0] <= right <= ends[1]),
            "chosen": nearest == true[name],
        }
    return entry


def run(name: str, side: int, images: int, samples: int, seed: int, data: Path | None, work: Path) -> list[dict]:
    """The record of each picture; finished ones in ``work`` are read."""
    prior = priors.load(name)
    prior = prior.resized((prior.event_shape[0], side, side))
    truth, kept, found = crops(name, side, images, data), Records(work / "unknown.jsonl"), []
    for image in range(images):
        facts = {"side": side, "image": image, "samples": samples, "seed": seed, "data": str(data or "")}
        code = code_behind((infer, record), ("inverse.solve.unknown",))
        label = key("unknown", prior=fingerprint(prior), code=code, **facts)
        if label not in kept.found:
            kept.add(label, record(prior, truth[image : image + 1], samples, seed + image))
        found.append(kept.found[label])
    return found


def table(found: Sequence[dict]) -> list[dict[str, str]]:
    """A row per parameter."""
    rows = []
    for name in RANGES:
        of = [one[name] for one in found]
        errors = [abs(math.log(one["mean"] / one["true"])) for one in of]
        rows.append(
            {
                "parameter": name,
                "90 % interval covers": f"{sum(one['covered'] for one in of)} of {len(of)}",
                "right one of five": f"{sum(one['chosen'] for one in of)} of {len(of)}",
                "error, %": f"{100 * fmean(errors):.2f}",
                "its posterior standard deviation, %": f"{100 * fmean(one['std'] for one in of):.2f}",
            }
        )
    return rows


def run_unknown(
    prior: Annotated[str, typer.Option(help="shipped name")] = "natural",
    side: Annotated[int, typer.Option(help="pixels of a picture")] = 48,
    images: Annotated[int, typer.Option(help="pictures, each with a width and a sigma of its own")] = 20,
    samples: Annotated[int, typer.Option(help="per picture")] = 8,
    seed: Seed = 0,
    data: Annotated[Path | None, typer.Option(help="pictures, as inverse-pack writes them")] = None,
    work: Annotated[Path, typer.Option(help="finished work is stored here and reused")] = Path("runs/unknown"),
    out: Out = RESULTS,
) -> None:
    """Pictures of unknown blur width and noise level: are the stated intervals right, and what does it cost?"""
    found = run(prior, side, images, samples, seed, data, work)
    lost = fmean(one["known psnr"] - one["psnr"] for one in found)
    notes = (
        f"{images} crops of {side} pixels, prior {prior}, {samples} samples, method auto; a circular Gaussian blur of "
        f"width {', '.join(map(str, WIDTHS))} px and sigma {', '.join(map(str, SIGMAS))}, one of each drawn per "
        f"picture and both unknown within {RANGES['width']} and {RANGES['sigma']} (log-uniform). Right one of five: "
        "the true value is the nearest of these to the posterior mean. Error: mean of |log(estimate / truth)|. PSNR of "
        f"the mean: {fmean(one['psnr'] for one in found):.2f} dB, {lost:.2f} dB below that with known parameters; "
        f"{fmean(one['seconds'] for one in found):.0f} processor seconds a picture."
    )
    finish("unknown", "Unknown blur width and noise level", table(found), notes, out, images=images, side=side)
