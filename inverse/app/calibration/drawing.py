"""The picture of a calibration: histograms of ranks, distribution functions less the uniform one, expected coverage."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inverse.app.calibration.quantities import POINTS
from inverse.quality.bands import ecdf_band, histogram_band
from priors.files import atomic

ACROSS = 5  # quantities in a line
BINS, FEW = 10, 50  # bins of a histogram, half of them for fewer draws
GREY, FAILED = {"color": "black", "alpha": 0.15, "linewidth": 0}, "tab:red"


def draw(
    ranks: Mapping[str, Tensor],
    histograms: Mapping[str, Tensor],
    tests: Mapping[str, Any],
    level: float,
    path: str | Path,
    title: str,
) -> None:
    """Two panels per quantity, `ACROSS` quantities to a line; a PNG, atomically.

    Arguments: ranks: name -> (B, d); histograms: of families, name -> (3, bins); tests: name -> its test; level of the
    bands, simultaneous; path; title.
    """
    from matplotlib.figure import Figure

    wide = min(ACROSS, len(ranks))
    lines = -(-len(ranks) // wide)
    figure = Figure(figsize=(2.6 * wide, 4.4 * lines + 0.5), dpi=120, layout="constrained", facecolor="white")
    axes = figure.subplots(2 * lines, wide, squeeze=False)
    for k, (name, u) in enumerate(ranks.items()):
        upper, lower = axes[2 * (k // wide) : 2 * (k // wide) + 2, k % wide]
        test = tests[name]
        colour = "tab:blue" if test.passed else FAILED
        upper.set_title(f"{name}\nadjusted p = {test.adjusted:.2g}", fontsize=8, color=colour, parse_math=False)
        _histogram(upper, u, histograms.get(name), level, colour)
        (_coverage if name in POINTS else _difference)(lower, u, level, colour)
        for axis in (upper, lower):
            axis.tick_params(labelsize=6)
    for axis in axes[2 * lines - 2 :, len(ranks) - wide * (lines - 1) :].flat:
        axis.remove()
    figure.suptitle(
        f"{title}\n" * bool(title) + f"grey: bands that hold exact samples with probability {level:g}", fontsize=9
    )
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png")


def _histogram(axis: Any, u: Tensor, family: Tensor | None, level: float, colour: str) -> None:
    bins = BINS if len(u) >= FEW else BINS // 2
    if family is not None:
        bins = family.shape[1]
        heights, low, high = bins * family
    else:
        band = histogram_band(len(u), bins, level)
        heights = torch.histc(u.flatten(), bins, 0, 1) * bins / u.numel()
        low, high = (end * bins / len(u) for end in (band.low, band.high))
    edges = torch.linspace(0, 1, bins + 1).numpy()
    axis.stairs(heights.numpy(), edges, fill=True, alpha=0.6, color=colour)
    axis.stairs(high.numpy(), edges, baseline=low.numpy(), fill=True, **GREY)
    axis.axhline(1, color="black", linewidth=0.6)
    axis.set_xlabel("rank", fontsize=7)


def _difference(axis: Any, u: Tensor, level: float, colour: str) -> None:
    n, d = u.shape
    band = ecdf_band(n, 1 - (1 - level) / d)  # holds all of d functions
    z = band.edges[1:]
    low, high = band.low / n - z, band.high / n - z
    axis.fill_between(z.numpy(), low.numpy(), high.numpy(), step=None, **GREY)
    below = (u.T[:, :, None] <= z).double().mean(1) - z
    for line in below:
        axis.plot(z.numpy(), line.numpy(), color=colour, linewidth=1.2 if d == 1 else 0.4, alpha=1 if d == 1 else 0.5)
    axis.axhline(0, color="black", linewidth=0.6)
    axis.set_xlabel("distribution function - uniform", fontsize=7)


def _coverage(axis: Any, u: Tensor, level: float, colour: str) -> None:
    n = len(u)
    band = ecdf_band(n, level)
    z = torch.cat([torch.zeros(1, dtype=torch.float64), band.edges[1:]])
    low, high = (torch.cat([torch.zeros(1), end / n]) for end in (band.low, band.high))
    axis.fill_between(z.numpy(), low.numpy(), high.numpy(), **GREY)
    axis.plot(z.numpy(), (u <= z).double().mean(0).numpy(), color=colour, linewidth=1.2)
    axis.plot([0, 1], [0, 1], color="black", linewidth=0.6)
    axis.set_xlabel("credibility; expected coverage", fontsize=7)
