"""Figures of `benchmarks.exact.plane`: samples over the exact posterior, and PSNR beside distance."""

import math
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.intervals import db, gain
from benchmarks.common.provenance import RESULTS
from benchmarks.exact import plane
from benchmarks.exact.oracle_entries import EXACT, PRIOR
from benchmarks.exact.plane import MEAN, Found
from priors import GaussianMixture
from priors.files import atomic

SHOWN = 400  # draws in a panel
LEFT, RIGHT, BOTTOM, TOP = 0.0, 1.0, 0.22, 0.78  # of a panel
DRAWS, AVERAGE, TRUE, REGION = "#d1495b", "#111111", "#2a9d3f", "#08519c"


def plot_draws(found: Found, path: Path) -> None:
    """A panel per sampler: its draws over the exact posterior density of one y; a PNG, written atomically.

    Arguments: found as `benchmarks.exact.plane.run` returns it; path.
    """
    from matplotlib.figure import Figure

    law = found.plane.posteriors[found.number]
    rows = math.ceil((len(found.draws) + 1) / 4)  # one more: the legend
    figure = Figure(figsize=(10, 1.75 * rows), dpi=110, layout="constrained")
    axes = figure.subplots(rows, 4, squeeze=False, sharex=True, sharey=True).flatten()
    prior, posterior = _grid(found.plane.law), _grid(law)
    edge = found.plane.thresholds[found.number].exp().item()
    extent = (LEFT, RIGHT, BOTTOM, TOP)
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_frame_on(False)
    for axis, (name, x) in zip(axes, found.draws.items(), strict=False):
        axis.set_frame_on(True)
        axis.contourf(prior, levels=[0.1 * prior.max(), prior.max()], colors=["#ececec"], extent=extent)
        levels = torch.linspace(edge, posterior.max().item(), 8)
        axis.contourf(posterior, levels=levels, cmap="Blues", extent=extent)
        axis.contour(posterior, levels=[edge], colors=[REGION], linewidths=0.9, extent=extent)
        axis.scatter(*x[:SHOWN].T, s=3, color=DRAWS, alpha=0.6, linewidths=0)
        score = found.scores[name]
        axis.plot(*law.mean, marker="+", color=TRUE, markersize=11, markeredgewidth=2.2, linestyle="none")
        axis.plot(*x.mean(0), marker="x", color=AVERAGE, markersize=6, markeredgewidth=1.4, linestyle="none")
        axis.set_title(f"{name}: {db(score.of_mean):.2f} dB, W1 {score.relative:.1f}", fontsize=8.5)
        axis.set_xlim(LEFT, RIGHT)
        axis.set_ylim(BOTTOM, TOP)
        axis.set_aspect("equal")
    _legend(axes[-1])
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png")


def plot_figures(found: Found, path: Path) -> None:
    """PSNR of the mean and of one draw, distance and coverage, a line per sampler; a PNG, written atomically.

    Arguments: found as `benchmarks.exact.plane.run` returns it; path.
    """
    from matplotlib.figure import Figure

    exact = found.scores[EXACT]
    names = sorted(found.scores, key=lambda name: found.scores[name].relative, reverse=True)
    scores = [found.scores[name] for name in names]
    figure = Figure(figsize=(10, 0.22 * len(names) + 1.0), dpi=110, layout="constrained")
    axes = figure.subplots(1, 4, sharey=True)
    gains = [gain(score.of_mean, exact.of_mean) for score in scores]
    columns = (
        ("PSNR of the mean, dB\n(interval: against exact draws)", [db(score.of_mean) for score in scores]),
        ("PSNR of one draw, dB", [db(score.of_sample) for score in scores]),
        ("sliced W1, relative to exact draws", [score.relative for score in scores]),
        ("coverage of 95 % intervals, %", [100 * score.coverage.mean().item() for score in scores]),
    )
    marks = (db(exact.of_mean), db(exact.of_sample), 1.0, 95.0)
    colours = [DRAWS if name in (MEAN, PRIOR) else TRUE if name == EXACT else REGION for name in names]
    for axis, (title, values), mark in zip(axes, columns, marks, strict=True):
        axis.axvline(mark, color="black", linewidth=0.8, linestyle="--")
        axis.scatter(values, range(len(names)), c=colours, s=22, zorder=3)
        axis.set_title(title, fontsize=8.5)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25)
    for i, (gained, low, high) in enumerate(gains):
        value = columns[0][1][i]
        axes[0].plot([value - gained + low, value - gained + high], [i, i], color=colours[i], linewidth=1)
    axes[0].set_yticks(range(len(names)), names)
    axes[2].set_xlim(left=0)
    axes[3].set_xlim(0, 103)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png")


def _grid(law: GaussianMixture, size: int = 240) -> Tensor:
    """The density on the pixels of a panel, (rows, columns)."""
    height = round(size * (TOP - BOTTOM) / (RIGHT - LEFT))
    columns = torch.linspace(LEFT, RIGHT, size, dtype=torch.float64)
    rows = torch.linspace(BOTTOM, TOP, height, dtype=torch.float64)
    points = torch.cartesian_prod(rows, columns).flip(1)
    return law.log_prob(points).exp().view(height, size)


def _legend(axis) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(color="#ececec", label="prior"),
        Patch(facecolor="#9ecae1", edgecolor=REGION, label="exact posterior of one y, 99 %"),
        Line2D([], [], marker="o", color=DRAWS, markersize=3, linestyle="none", label="draws"),
        Line2D(
            [], [], marker="+", color=TRUE, markersize=11, markeredgewidth=2.2, linestyle="none", label="exact mean"
        ),
        Line2D([], [], marker="x", color=AVERAGE, markersize=6, linestyle="none", label="mean of the draws"),
    ]
    title = "dB: PSNR of the mean of the draws\nW1: sliced W1, relative to exact draws"
    axis.legend(handles=handles, loc="center", fontsize=8, frameon=False, title=title, title_fontsize=8)


def run_plane(
    measurements: Annotated[int, typer.Option(help="for PSNR and coverage")] = 200,
    samples: Annotated[int, typer.Option(help="per measurement, for PSNR and coverage")] = 64,
    pictured: Annotated[int, typer.Option(help="of the measurements, for distances; one is drawn")] = 4,
    draws: Annotated[int, typer.Option(help="per pictured measurement")] = 1000,
    seed: Seed = 0,
    out: Out = RESULTS,
) -> None:
    """PSNR beside the distance to an exact posterior in the plane, and pictures of it: docs/psnr.md."""
    rows, found = plane.run(measurements, samples, pictured, draws, seed)
    notes = (
        f"Pictures of two pixels in [0, 1] on two moons, seen through one noisy combination. PSNR, coverage and the "
        f"share outside the smallest region that holds 99 % of the posterior: {measurements} measurements, {samples} "
        f"draws of each; the interval is a bootstrap, paired by measurement. Floors (sliced W1 in units of that of "
        f"exact draws) and limb weights (total variation): {draws} draws for each of {pictured} of them. Every method "
        "at its defaults; `tds` and `mcgdiff` take as many particles as there are draws. `replacement` and `scoremri` "
        "also carry the Langevin corrector of Song et al., whose variances are (d + 2) / d too large: twice, in two "
        f"dimensions. {plane.summary(found)}"
    )
    plot_draws(found, out / "plane-draws.png")
    plot_figures(found, out / "plane.png")
    finish("plane", "PSNR beside the distance to the posterior", rows, notes, out, measurements=measurements,
            samples=samples, pictured=pictured, draws=draws, seed=seed)  # fmt: skip
