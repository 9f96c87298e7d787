"""Volumes from every second slice: a prior of slices with a coupling, beside independent slices."""

import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.intervals import bootstrap
from benchmarks.common.keys import code_behind, key
from benchmarks.common.provenance import RESULTS
from benchmarks.common.records import Records
from benchmarks.suite.scores import crps
from inverse import solve
from inverse.gaussian import Wiener
from inverse.quality import psnr, residual_chi2
from inverse.quality.ranks import ranks
from operators import AlongAxis, GaussianNoise
from priors import Slices
from priors.data import read

PRIOR, DEPTH, EVERY = "brain-mri", 16, 2
THICKNESS, SIGMA = 0.8, 0.02  # standard deviation of the slice profile, in slices, and of the noise
TURN, SHRINK = 2.0, 0.015  # degrees and share of the size per slice
FITTED = 8  # training volumes that the coupling is taken from
METHODS = ("interpolation", "Gaussian", "independent slices", "coupled slices")


def volumes(pictures: Tensor, depth: int = DEPTH, turn: float = TURN, shrink: float = SHRINK) -> Tensor:
    """Volumes (n, 1, depth, H, W) of pictures (n, 1, H, W): slices that turn by so many degrees from each to the next
    and, from the middle, become smaller by a share of the size."""
    z = torch.arange(depth) - (depth - 1) / 2
    angle, scale = (turn * z).deg2rad(), 1 + shrink * z.abs()
    cos, sin, zero = scale * angle.cos(), scale * angle.sin(), torch.zeros(depth)
    maps = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    size = pictures.shape[-2:]
    grid = affine_grid(maps, [depth, 1, *size], align_corners=False)
    each = [
        grid_sample(x.expand(depth, 1, *size), grid, "bicubic", "border", align_corners=False).movedim(0, 1)
        for x in pictures
    ]
    return torch.stack(each).clamp(0, 1)


def coupling(pictures: Tensor) -> float:
    """The root mean square difference of neighbouring slices of volumes (`volumes`) of pictures (n, 1, H, W)."""
    return float(volumes(pictures).diff(dim=2).square().mean().sqrt())


def scanner() -> AlongAxis:
    """Every second slice, of a Gaussian profile."""
    return AlongAxis.gaussian(DEPTH, THICKNESS, EVERY, noise=GaussianNoise(SIGMA))


def interpolated(y: Tensor) -> Tensor:
    """Linear interpolation between the measured slices; the last slice repeats the last measured one."""
    place = torch.arange(DEPTH) / EVERY
    low = place.floor().long().clamp(max=y.shape[2] - 1)
    high = (low + 1).clamp(max=y.shape[2] - 1)
    return torch.lerp(y[:, :, low], y[:, :, high], (place - low).view(-1, 1, 1))


def measured(truth: Tensor, method: str, tau: float, samples: int, seed: int) -> dict[str, Any]:
    """One method on one volume (1, 1, D, H, W), as plain data; tau: the coupling."""
    operator = scanner().at(tuple(truth.shape[1:]))
    y, facts, start = operator.measure(truth, seed=seed), {}, time.process_time()
    network = priors.load(PRIOR, event_shape=(1, *truth.shape[-2:]))
    if method == "interpolation":
        found = interpolated(y)
    elif method == "Gaussian":
        moments = Slices(network, DEPTH, coupling=tau).moments
        assert moments is not None
        r = Wiener(moments, operator).solve(y - operator(moments.mean[None]), float("inf"), 1e-4, 500)
        found = moments.mean + moments.apply(lambda variances: variances, operator.adjoint(r))
    else:
        prior = Slices(network, DEPTH, coupling=tau if method == "coupled slices" else None)
        solution = solve(prior, operator, y, samples, seed=seed, progress=False)
        judged = ranks(truth, solution.samples)
        found = solution.mean
        facts = {
            "crps": crps(truth, solution.samples, torch.full((1, samples), 1 / samples)).item(),
            "coverage80": judged.coverage(0.8).item(),
            "coverage95": judged.coverage(0.95).item(),
            "method": f"{solution.method}, {solution.nfe} evaluations",
        }
    seconds = time.process_time() - start
    seen, hidden = (psnr(found[:, :, i::EVERY].flatten(1, 2), truth[:, :, i::EVERY].flatten(1, 2)) for i in (0, 1))
    return {
        "psnr": psnr(found.flatten(1, 2), truth.flatten(1, 2)).item(),
        "seen": seen.item(),
        "hidden": hidden.item(),
        "crps": (found - truth).abs().mean().item(),
        "chi2": residual_chi2(operator, y, found).item(),
        "seconds": seconds / (samples if facts else 1),
    } | facts


def run(data: Path, count: int, samples: int, seed: int, work: Path) -> tuple[list[dict[str, str]], float]:
    """A row of texts per method, means over volumes, and the coupling; finished runs in ``work`` are reused."""
    kept = Records(work / "volumes.jsonl")
    tau = coupling(read(data, "train")[:FITTED].floats())
    truth = volumes(read(data, "test")[:count].floats())
    rows = []
    for method in METHODS:
        found = []
        for i, x in enumerate(truth.split(1)):
            facts = {"method": method, "volume": i, "samples": samples, "seed": seed, "coupling": tau}
            name = key("volumes", code=code_behind((Slices, AlongAxis, volumes, measured), ()), **facts)
            if name not in kept.found:
                kept.add(name, measured(x, method, tau, samples, seed + i))
            found.append(kept.found[name])
        rows.append(_row(method, samples, found))
    return rows, tau


def _row(method: str, samples: int, found: list[dict[str, Any]]) -> dict[str, str]:
    def mean(name: str, digits: int, factor: float = 1.0) -> str:
        return f"{factor * sum(one[name] for one in found) / len(found):.{digits}f}" if name in found[0] else "-"

    low, high = bootstrap(torch.tensor([one["psnr"] for one in found]))
    drawn = f"mean of {samples} samples ({found[0].get('method', '')})"
    label = {
        "interpolation": "linear interpolation between measured slices",
        "Gaussian": "posterior mean of the Gaussian of the prior's moments, coupled slices",
    }.get(method, f"solve, {method}: {drawn}")
    return {
        "method": label,
        "PSNR, dB": f"{mean('psnr', 2)} [{low:.2f}, {high:.2f}]",
        "of measured slices": mean("seen", 2),
        "of the others": mean("hidden", 2),
        "CRPS": mean("crps", 4),
        "coverage of 80 %": mean("coverage80", 1, 100),
        "coverage of 95 %": mean("coverage95", 1, 100),
        "chi^2": mean("chi2", 2),
        "seconds": mean("seconds", 1),
    }


def run_volumes(
    data: Annotated[Path, typer.Option(help="brain slices of 64 x 64 pixels: a set with the splits train and test")],
    count: Annotated[int, typer.Option(help="volumes")] = 4,
    samples: int = 4,
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="finished work is stored here and reused")] = Path("runs/volumes"),
    out: Out = RESULTS,
) -> None:
    """Volumes of 16 brain slices from every second, thick one: coupled slices beside independent ones."""
    table, tau = run(data, count, samples, seed, work)
    notes = (
        f"{count} volumes of {DEPTH} slices of 64 x 64 pixels, each made of one test slice of prior `{PRIOR}`, as "
        f"the data has no volumes: slices turn by {TURN:g} degrees and shrink by {100 * SHRINK:g} % from one to the "
        f"next. Measured: every {EVERY}nd slice, of a Gaussian profile of standard deviation {THICKNESS} slices, with "
        f"noise {SIGMA}. The coupling, {tau:.3f}, is the root mean square difference of neighbours in {FITTED} volumes "
        "of training slices. Means over volumes, of PSNR with the 95 % bootstrap interval. CRPS of a single estimate "
        "is its mean absolute error. Seconds: processor time per estimate or per sample."
    )
    finish("volumes", "Volumes from every second slice", table, notes, out, count=count, samples=samples, seed=seed)
