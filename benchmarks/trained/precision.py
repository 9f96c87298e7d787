"""What a network in bfloat16 costs the denoiser of each shipped prior, and gains in time."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Annotated

import torch
import typer

import priors
from benchmarks.common.commands import Out, finish
from benchmarks.common.provenance import RESULTS
from priors import ScorePrior
from priors.checkpoints import measured_in_bfloat16

LEVELS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # sigma / alpha
PICTURES = 6


def losses(prior: ScorePrior, name: str, levels: Sequence[float] = LEVELS) -> list[float]:
    """How much the mean squared error of E[x0 | x_t] grows in bfloat16, in dB, at each noise level.

    Arguments: prior; name of the shipped prior, whose pictures are denoised; levels: sigma / alpha, data units.
    """
    truth, low, found = priors.samples(name).floats(slice(0, PICTURES)), prior.in_bfloat16(), []
    for level in levels:
        t = prior.sde.time(torch.tensor(level))
        noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
        x = prior.sde.alpha(t) * truth + prior.sde.sigma(t) * noise
        with torch.no_grad():
            full, half = ((p.denoise(x, t) - truth).double().square().mean() for p in (prior, low))
        found.append(float(10 * torch.log10(half / full)))
    return found


def speedups(prior: ScorePrior, rows: int, repeats: int) -> tuple[float, float]:
    """Processor time in float32 over that in bfloat16: of an evaluation, and of one with a backward pass.

    Arguments: prior; rows at a time; repeats: pairs of measurements, of whose ratios these are the medians.
    """
    low = prior.in_bfloat16()
    x = torch.randn(rows, *prior.event_shape, generator=torch.Generator().manual_seed(0))
    ratios: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):  # the first of each is slower: kernels are chosen
        forward, both = zip(*(_times(p, x) for p in (prior, low)), strict=True)
        if repeat:
            ratios[0].append(forward[0] / forward[1])
            ratios[1].append(both[0] / both[1])
    return median(ratios[0]), median(ratios[1])


def _times(prior: ScorePrior, x: torch.Tensor) -> tuple[float, float]:
    t, start = torch.tensor(0.5), time.process_time()
    with torch.no_grad():
        prior.denoise(x, t)
    middle = time.process_time()
    prior.denoise_vjp(x, t)[1](x)
    return middle - start, time.process_time() - middle


def run_precision(
    prior: Annotated[list[str] | None, typer.Option(help="shipped names; default: all; repeat for several")] = None,
    rows: Annotated[int, typer.Option(help="pictures at a time, for the times")] = 4,
    repeats: int = 5,
    cards: Annotated[
        bool, typer.Option(help="write the largest loss to the priors' cards, for precision='auto'")
    ] = False,
    out: Out = RESULTS,
) -> None:
    """Denoising error and time of each shipped prior in bfloat16, beside float32."""
    table = []
    for name in prior or priors.available():
        loaded = priors.load(name)
        assert isinstance(loaded, ScorePrior)
        found, (forward, both) = losses(loaded, name), speedups(loaded, rows, repeats)
        if cards:
            measured_in_bfloat16(name, round(max(0.0, *found), 4))
        table.append(
            {"prior": name}
            | {f"sigma {level:g}": f"{loss:+.4f}" for level, loss in zip(LEVELS, found, strict=True)}
            | {"evaluation": f"{forward:.2f}", "with a backward pass": f"{both:.2f}"}
        )
    notes = (
        f"Growth of the mean squared error of E[x0 | x_t] in dB on {PICTURES} pictures of each prior, one draw of "
        f"noise per level (sigma / alpha, data units); processor time of float32 over bfloat16, {rows} at a time, "
        f"medians of {repeats} pairs on one thread."
    )
    finish("precision", "Networks in bfloat16", table, notes, Path(out), rows=rows, repeats=repeats)
