"""Quality against cost of moment matching on photographs: backward passes a step, steps, and precision."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import torch
import typer
from torch import Tensor

import operators
import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.provenance import RESULTS
from benchmarks.common.ranks import ranks
from benchmarks.suite.scores import crps
from inverse import METHODS, solve
from inverse.guidance import MMPS
from inverse.methods import Sampler
from inverse.quality import psnr
from operators import GaussianNoise, LinearOperator
from priors import ScorePrior

SIGMA = 0.02
TWO, ONE = MMPS(2, complete=False), MMPS(1)  # as published with two steps of conjugate gradients; one, completed
SETTINGS: tuple[tuple[str, Sampler, str], ...] = (
    ("two passes a step, 32 steps", replace(METHODS["mmps"], guidance=TWO, n_steps=32), "float32"),
    ("two passes a step, 16 steps", replace(METHODS["mmps"], guidance=TWO, n_steps=16), "float32"),
    ("two passes a step, completed, 32 steps (mmps)", METHODS["mmps"], "float32"),
    ("one pass a step, 16 steps", replace(METHODS["mmps"], guidance=ONE, n_steps=16), "float32"),
    ("one pass a step, 16 steps", replace(METHODS["mmps"], guidance=ONE, n_steps=16), "bfloat16"),
    ("one pass a step, 10 steps", replace(METHODS["mmps"], guidance=ONE, n_steps=10), "bfloat16"),
)


def tasks(shape: tuple[int, ...]) -> dict[str, LinearOperator]:
    """The operators, for images of one shape (C, H, W)."""
    noise = GaussianNoise(SIGMA)
    return {
        "motion blur, 9 px": operators.Blur.motion(9, seed=1, noise=noise),
        "70 % of the pixels missing": operators.Masking.random(shape, 0.3, seed=0, noise=noise),
        "downsampling x4": operators.Downsampling(4, noise=noise),
    }


def crops(name: str, size: int, n: int) -> Tensor:
    """n crops (n, C, size, size), at places drawn with a fixed seed, of the images shipped with a prior."""
    images, generator = priors.samples(name).floats(), torch.Generator().manual_seed(1)
    found = []
    for i in range(n):
        top, left = (int(torch.randint(0, side - size + 1, (1,), generator=generator)) for side in images.shape[2:])
        found.append(images[i % len(images), :, top : top + size, left : left + size])
    return torch.stack(found)


def measured(prior: ScorePrior, operator: LinearOperator, truth: Tensor, method: Sampler, precision: str, samples: int,
             seed: int) -> dict[str, str]:  # fmt: skip
    """One row: quality of the samples, and passes and processor time of a sample."""
    y, start = operator.measure(truth, seed=seed), time.process_time()
    solution = solve(prior, operator, y, samples, method, seed=seed, progress=False, precision=precision)
    seconds = (time.process_time() - start) / (len(truth) * samples)
    found = ranks(truth.flatten(1), solution.samples.flatten(2))
    equal = torch.full((len(truth), samples), 1 / samples)
    return {
        "PSNR of the mean, dB": f"{psnr(solution.mean, truth).mean().item():.2f}",
        "CRPS, thousandths": f"{1000 * crps(truth, solution.samples, equal).mean().item():.2f}",
        "80 % interval covers": f"{100 * found.coverage(0.8).mean().item():.1f}",
        "95 % interval covers": f"{100 * found.coverage(0.95).mean().item():.1f}",
        "evaluations + passes": f"{solution.nfe} + {solution.nvjp}",
        "seconds": f"{seconds:.3f}",
    }


def run(
    name: str, size: int, images: int, samples: int, seed: int, settings: Sequence = SETTINGS
) -> list[dict[str, str]]:
    """The rows of the table. Arguments: name of a prior of any image size; size (pixels); images; samples K; seed."""
    prior = priors.load(name)
    assert isinstance(prior, ScorePrior)
    prior, truth = prior.resized((prior.event_shape[0], size, size)), crops(name, size, images)
    return [
        {"measurement": task, "setting": setting, "precision": precision}
        | measured(prior, operator, truth, method, precision, samples, seed)
        for task, operator in tasks(tuple(prior.event_shape)).items()
        for setting, method, precision in settings
    ]


def run_efficiency(
    prior: str = "natural",
    size: Annotated[int, typer.Option(help="pixels a side")] = 64,
    images: int = 8,
    samples: int = 8,
    seed: Seed = 0,
    out: Out = RESULTS,
) -> None:
    """PSNR, CRPS, coverage and time of `mmps` by backward passes, steps and precision."""
    table = run(prior, size, images, samples, seed)
    notes = (
        f"{images} crops of {size} x {size} pixels of the images shipped with {prior}, sigma_y {SIGMA:g}, {samples} "
        "samples each. Coverage in % of central intervals, per pixel. Seconds of processor time per sample, one "
        "thread. The first two rows are MMPS as published; the others complete the solve by the Gaussian of the "
        "prior's moments."
    )
    finish(
        "efficiency", "Quality against cost", table, notes, out, size=size, images=images, samples=samples, seed=seed
    )
