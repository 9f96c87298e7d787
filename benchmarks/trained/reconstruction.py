"""Inpainting and deblurring of 100 test images: posterior means beside classical baselines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

import priors
from benchmarks.common import baselines
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.intervals import interval
from benchmarks.common.keys import key
from benchmarks.common.problems import TASKS
from benchmarks.common.provenance import RESULTS
from inverse import Method, Solution, solve
from inverse.guidance import MMPS
from inverse.methods import Sampler, composition
from inverse.quality import psnr, residual_chi2, ssim
from operators import Blur, Masking, Operator
from priors import Prior
from priors.checkpoints import locate, read_card
from priors.hdf5 import checksum

BLOCK = 10  # images per saved solution: what a killed run loses at most


def run(
    prior_name: str,
    n_images: int,
    n_samples: int,
    n_steps: int,
    n_cg: int,
    seed: int,
    work: Path,
    progress: bool,
    tasks: Sequence[str] = tuple(TASKS),
) -> list[dict[str, str]]:
    """One row per task and method, PSNR with its bootstrap interval.

    Arguments: prior_name (shipped name or folder); n_images of its test images; n_samples per image; n_steps; n_cg:
    conjugate-gradient steps of MMPS; seed; work (folder): finished blocks of images are kept there and reused;
    progress.
    Returns: rows of texts: task, method, PSNR of the mean, gain over linear MMSE, SSIM, residual chi^2, NFE, seconds.
    """
    prior = priors.load(prior_name)
    truth = priors.samples(prior_name).floats(slice(0, n_images))
    gaussian = baselines.load_gaussian(prior.sde)
    rows = []
    for name in tasks:
        task = TASKS[name]
        operator = task.operator(prior.event_shape)
        y = operator.measure(truth, seed=seed)
        linear = baselines.linear_mmse(gaussian, operator, y)
        answers = {"linear MMSE (Gaussian prior)": linear, **_classical(name, operator, y, truth)}
        for label, estimate in answers.items():
            rows.append(_row(task.title, label, estimate, truth, linear, operator, y))
        method = Method("mmps", MMPS(n_cg))  # ancestral steps on Karras' grid
        blocks = solved(
            prior, operator, y, method, n_samples, n_steps, seed, work / f"{name}-{identity(prior_name)}", progress
        )
        mean = torch.cat([s.mean for s in blocks])
        row = _row(task.title, f"mmps, mean of {n_samples} samples", mean, truth, linear, operator, y)
        each = torch.cat([s.samples[:, 0] for s in blocks])
        cost = {"NFE": f"{blocks[0].nfe} + {blocks[0].nvjp} vjp", "seconds": f"{sum(s.seconds for s in blocks):.0f}"}
        rows += [row | cost, _row(task.title, "mmps, one sample", each, truth, linear, operator, y) | cost]
    return rows


def identity(prior: str | Path) -> str:
    """A key of a trained prior's weights: the head of their checksum."""
    return read_card(locate(prior, "prior"))["sha256"][:8]


def solved(
    prior: Prior,
    operator: Operator,
    y: Tensor,
    method: Sampler,
    n_samples: int,
    n_steps: int,
    seed: int,
    work: Path,
    progress,
) -> list[Solution]:
    """A solution per block of images; the blocks that lie in ``work`` already are read."""
    # files in place of records: a solution has its own format, with a checksum
    facts = {"method": composition(method), "samples": n_samples, "steps": n_steps, "seed": seed}
    name = key("solutions", y=checksum({}, {"y": y.numpy()}), **facts)
    solutions = []
    for start in range(0, len(y), BLOCK):
        path = work / f"{name}-{start:04d}.h5"
        if not path.exists():
            part = solve(prior, operator, y[start : start + BLOCK], n_samples, method, n_steps, seed, progress=progress)
            part.save(path)
        solutions.append(Solution.load(path))
    return solutions


def _classical(name: str, operator: Operator, y: Tensor, truth: Tensor) -> dict[str, Tensor]:
    if isinstance(operator, Masking):
        return {"biharmonic (scikit-image)": baselines.biharmonic(operator, y)}
    if not isinstance(operator, Blur):
        raise TypeError(f"task {name!r} with a {type(operator).__name__}: expected Masking or Blur")
    ladder = {b: baselines.wiener(operator, y, b) for b in (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)}
    best = max(ladder, key=lambda b: psnr(ladder[b], truth).mean().item())
    return {
        f"Wiener (scikit-image), best balance {best:g}": ladder[best],
        "unsupervised Wiener (scikit-image)": baselines.unsupervised_wiener(operator, y),
    }


def _row(
    task: str, method: str, estimate: Tensor, truth: Tensor, linear: Tensor, operator: Operator, y: Tensor
) -> dict[str, str]:
    figures = psnr(estimate, truth)
    gain = figures - psnr(linear, truth)
    return {
        "task": task,
        "method": method,
        "PSNR, dB": f"{figures.mean():.2f}",
        "over linear MMSE, dB": f"{gain.mean():+.2f} [{interval(gain)}]",
        "SSIM": f"{ssim(estimate, truth).mean():.3f}",
        "chi^2": f"{residual_chi2(operator, y, estimate).mean():.2f}",
        "NFE": "-",
        "seconds": "-",
    }


def run_reconstruction(
    prior: str = "fashion-mnist",
    images: int = 100,
    samples: int = 16,
    steps: int = 25,
    cg: Annotated[int, typer.Option(help="conjugate-gradient steps of MMPS")] = 2,
    seed: Seed = 0,
    task: Annotated[
        list[str] | None, typer.Option(help="only these; the others' finished images stay in --work")
    ] = None,
    work: Annotated[Path, typer.Option(help="finished images are stored here and reused")] = Path(
        "runs/reconstruction"
    ),
    out: Out = RESULTS,
) -> None:
    """PSNR of the posterior mean on masked and blurred test images, beside classical baselines."""
    rows = run(prior, images, samples, steps, cg, seed, work, True, task or tuple(TASKS))
    notes = (
        f"{images} Fashion-MNIST test images, {samples} posterior samples each, {steps} ancestral steps, {cg} of CG. "
        "Gains are paired by image, with the 95 % bootstrap interval of their mean; chi^2 is the residual in units of "
        "the noise (about 1 for a posterior draw)."
    )
    finish("reconstruction", "Reconstruction", rows, notes, out, images=images, samples=samples, steps=steps, cg=cg,
            seed=seed)  # fmt: skip
