"""Two sets of samples of one problem: means and spreads along the exact posterior's axes, with standard errors."""

from dataclasses import dataclass

import torch
from torch import Tensor

SEEN = 1e-6  # variance of an axis, relative to the largest, below which a noise-free measurement fixes it


@dataclass(frozen=True)
class Moments:
    """Means and logarithms of standard deviations along axes, (d,) each, and of both the estimates without each of R
    sets, (R, d)."""

    mean: Tensor
    log_std: Tensor
    mean_without: Tensor
    log_std_without: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "Moments":
        """Of R independent sets, x (R, K, d)."""
        n, k = len(x), x.shape[1]
        first, second = x.sum(1), x.square().sum(1)

        def found(first: Tensor, second: Tensor, rows: int) -> tuple[Tensor, Tensor]:
            mean = first / rows
            return mean, 0.5 * (second / rows - mean.square()).clamp_min(1e-24).log()

        without = found(first.sum(0) - first, second.sum(0) - second, (n - 1) * k)
        return cls(*found(first.sum(0), second.sum(0), n * k), *without)


def error(without: Tensor) -> Tensor:
    """The standard error of an estimate by the jackknife, over the first axis: estimates without each set, (R, ...).

    Source: Efron & Stein 1981.
    """
    n = len(without)
    return ((n - 1) / n * (without - without.mean(0)).square().sum(0)).sqrt()


@dataclass(frozen=True)
class Difference:
    """How far two sets of samples are apart.

    Attributes: means: root mean square difference of the means over axes, in standard deviations of the exact
    posterior; chance: what noise alone would make of it; spreads: geometric mean of the ratios of standard deviations;
    spreads_error: its standard error, relative; largest: the largest difference, of a mean or of a spread along one
    axis or of the geometric mean, in standard errors; off: how far each is from the exact posterior, likewise (means,
    spreads).
    """

    means: float
    chance: float
    spreads: float
    spreads_error: float
    largest: float
    off: tuple[tuple[float, float], tuple[float, float]]


def difference(ours: Tensor, theirs: Tensor, mean: Tensor, covariance: Tensor) -> Difference:
    """Of our samples and a reference's, (R, K, d) each, of R independent sets.

    Arguments: ours; theirs; mean (d,) and covariance (d, d) of the exact posterior.
    """
    values, axes = torch.linalg.eigh(covariance)
    axes, std = axes[:, values > SEEN * values.max()], values[values > SEEN * values.max()].sqrt()
    a, b = (Moments.of((x.double() - mean) @ axes / std) for x in (ours, theirs))
    errors = (error(a.mean_without) ** 2 + error(b.mean_without) ** 2).sqrt()
    log_errors = (error(a.log_std_without) ** 2 + error(b.log_std_without) ** 2).sqrt()
    apart, ratio = a.mean - b.mean, a.log_std - b.log_std
    total = (error(a.log_std_without.mean(1)) ** 2 + error(b.log_std_without.mean(1)) ** 2).sqrt()
    scores = (apart / errors, ratio / log_errors, (ratio.mean() / total)[None])
    largest = float(torch.cat(scores).abs().max())
    off = tuple((float(m.mean.square().mean().sqrt()), float(m.log_std.mean().exp())) for m in (a, b))
    return Difference(
        float(apart.square().mean().sqrt()),
        float(errors.square().mean().sqrt()),
        float(ratio.mean().exp()),
        float(total),
        largest,
        (off[0], off[1]),
    )
