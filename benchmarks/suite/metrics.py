"""What is measured of every image: a registry of functions on one unit's answer. None of them picks a best of many."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.ranks import Ranks, ranks
from benchmarks.suite.methods import source_of
from benchmarks.suite.records import Scale
from inverse.quality import psnr, residual_chi2, ssim
from operators import Operator
from priors import NoisyClassifier, RowRNG

BINS = 10  # of a rank histogram
RANK_SEED, RESAMPLE_SEED = 2 * 10**6, 3 * 10**6  # streams of their own: no sample shares them
LEVEL = 0.95


class Missing(Exception):
    """Why a metric could not be had here; the run goes on, and its record says so."""


@dataclass(frozen=True)
class Judged:
    """One unit's answer beside its truth: what metrics see.

    Attributes: truth (B, *E); y (B, *M); operator (of these rows); mean (B, *E): the answer; samples (B, K, *E), or
    None of a single estimate; log_weights (B, K), or None where samples are equally weighted; labels (B,) or None;
    judge: a classifier trained apart, or None; resolution: noise on truths and samples before they are ranked, data
    units (see `benchmarks.calibration.calibrate`); seed.
    """

    truth: Tensor
    y: Tensor
    operator: Operator
    mean: Tensor
    samples: Tensor | None = None
    log_weights: Tensor | None = None
    labels: Tensor | None = None
    judge: NoisyClassifier | None = None
    resolution: float = 0.0
    seed: int = 0

    @property
    def labelled(self) -> bool:
        """Whether a label is what was measured, so that the truth is one picture of many alike."""
        return "noisy_likelihood" in self.operator.capabilities

    @property
    def pictures(self) -> bool:
        """Whether events are (C, H, W)."""
        return self.truth.ndim == 4

    @cached_property
    def weights(self) -> Tensor:
        """Weights of the samples, (B, K) float64 of sum 1."""
        if self.samples is None:
            raise ValueError("a single estimate has no samples: ask for `samples` first")
        if self.log_weights is None:
            return torch.full(self.samples.shape[:2], 1 / self.samples.shape[1], dtype=torch.float64)
        return torch.softmax(self.log_weights.double(), 1)

    @cached_property
    def one(self) -> Tensor:
        """One draw per image, (B, *E): the first sample, or one drawn by its weight; of an estimate, the estimate."""
        if self.samples is None:
            return self.mean
        if bool((self.weights == self.weights[:, :1]).all()):
            return self.samples[:, 0]
        u = RowRNG.rows(self.seed + RESAMPLE_SEED, len(self.samples), dtype=torch.float64).uniform(
            (len(self.samples), 1)
        )
        chosen = torch.searchsorted(self.weights.cumsum(1), u)[:, 0].clamp_max(self.samples.shape[1] - 1)
        return self.samples[torch.arange(len(chosen)), chosen.to(self.samples.device)]

    @cached_property
    def ranked(self) -> Ranks:
        """Where truths lie among their samples, pixel by pixel, both with noise of the resolution."""
        assert self.samples is not None
        members = torch.cat([self.truth[:, None], self.samples], 1)
        if self.resolution:
            rng = RowRNG.rows(self.seed + RANK_SEED, len(members))
            members = members + self.resolution * rng.normal(tuple(members.shape)).to(members)
        return ranks(members[:, 0].cpu(), members[:, 1:].cpu(), self.weights.log().cpu())


Metric = Callable[[Judged], Tensor | None]  # (B,), or None where it has no meaning


@dataclass(frozen=True)
class Entry:
    """A registered metric: its function and how it is read."""

    of: Metric
    scale: Scale


METRICS: dict[str, Entry] = {}


def metric(name: str, scale: Scale) -> Callable[[Metric], Metric]:
    """Decorator: measure this of every unit from now on, under a name.

    The function takes a `Judged` and returns one number per image, (B,), nan where an image has none, or None where the
    metric has no meaning (no samples, say). It raises `Missing` where something that it needs is not at hand.
    Arguments: name: letters, digits and _, by which records keep it; scale: how a report shows it.
    Raises: ValueError for a name that is no identifier, or is taken by another function.
    """
    if not name.isidentifier():
        raise ValueError(f"metric name {name!r}: expected letters, digits and _, such as psnr_mean")

    def add(function: Metric) -> Metric:
        held = METRICS.setdefault(name, Entry(function, scale)).of
        # a module that is executed again replaces its own
        if (held.__module__, held.__qualname__) != (function.__module__, function.__qualname__):
            raise ValueError(f"metric {name!r} is taken by {held.__module__}.{held.__qualname__}; choose another name")
        METRICS[name] = Entry(function, scale)
        return function

    return add


def measure(judged: Judged) -> tuple[dict[str, np.ndarray], dict[str, Scale], dict[str, str]]:
    """Every registered metric of one unit: name -> (B,) float64, name -> scale, and name -> why it could not be had.

    Arguments: judged: an answer for B images.
    Raises: ValueError for a metric that gives other than one number per image.
    """
    found: dict[str, np.ndarray] = {}
    missing: dict[str, str] = {}
    for name, entry in METRICS.items():
        try:
            values = entry.of(judged)
        except Missing as reason:
            missing[name] = str(reason)
            continue
        if values is None:
            continue
        found[name] = values.detach().cpu().double().numpy()
        if found[name].shape != (len(judged.truth),):
            raise ValueError(
                f"metric {name!r} gave {found[name].shape}: expected ({len(judged.truth)},), one per image"
            )
    return found, {name: METRICS[name].scale for name in [*found, *missing]}, missing


def identity() -> list[list[Any]]:
    """What the registered metrics are, plain data: names, scales and code."""
    return [[name, asdict(entry.scale), source_of(entry.of)] for name, entry in sorted(METRICS.items())]


def histogram(found: Ranks, bins: int = BINS) -> np.ndarray:
    """How many coordinates of an image have the truth's rank in each bin, (B, bins) float64.

    Formula: a rank is uniform in its cell (see `Ranks`), so that a bin counts the part of the cell that lies in it: the
    expected histogram, with no noise of its own.
    Arguments: found: of B truths; bins.
    """
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    low, high = found.low[:, 0, :, None], found.high[:, 0, :, None]
    inside = (high.minimum(edges[1:]) - low.maximum(edges[:-1])).clamp_min(0)
    return (inside / (high - low)).sum(1).numpy()


@metric("psnr_mean", Scale("PSNR of the mean, dB", "higher"))
def _psnr_mean(judged: Judged) -> Tensor | None:
    return None if judged.labelled else psnr(judged.mean, judged.truth)


@metric("psnr_sample", Scale("PSNR of a sample, dB"))  # a right sampler loses 3 dB by being right: docs/psnr.md
def _psnr_sample(judged: Judged) -> Tensor | None:
    return None if judged.labelled or judged.samples is None else psnr(judged.one, judged.truth)


@metric("ssim_mean", Scale("SSIM of the mean", "higher", 3))
def _ssim_mean(judged: Judged) -> Tensor | None:
    if judged.labelled or not judged.pictures or min(judged.truth.shape[2:]) < 7:  # its window
        return None
    return ssim(judged.mean, judged.truth)


@metric("chi2", Scale("residual chi^2", 1.0))
def _chi2(judged: Judged) -> Tensor | None:
    return None if judged.labelled or judged.operator.noise.noiseless else chi2(judged)


def chi2(judged: Judged) -> Tensor:
    """Mean squared residual of one draw (of an estimate: its own) in units of the noise, (B,): see `residual_chi2`.

    Raises: ValueError for noise without a variance.
    """
    return residual_chi2(judged.operator, judged.y, judged.one)


# both cover as told on average for every number K of samples, but only of intervals well inside K samples does a wrong
# sampler cover little: of 95 %, K = 8 wrong samples cover 77 % and more, of 80 % as little as 10 %
@metric("coverage80", Scale("coverage of central 80 % intervals, %", 0.8, 1, percent=True))
def _coverage80(judged: Judged) -> Tensor | None:
    return None if judged.samples is None else judged.ranked.coverage(0.8)


@metric("coverage95", Scale("coverage of central 95 % intervals, %", LEVEL, 1, percent=True))
def _coverage95(judged: Judged) -> Tensor | None:
    return None if judged.samples is None else judged.ranked.coverage(LEVEL)


@metric("width95", Scale("width of central 95 % intervals", "none", 3))  # none: narrow is good only where it covers
def _width(judged: Judged) -> Tensor | None:
    return None if judged.samples is None else interval_width(judged.samples, judged.weights)


def interval_width(samples: Tensor, weights: Tensor, level: float = LEVEL) -> Tensor:
    """Mean width of central intervals between samples, (B,), data units.

    Formula: between the quantiles (1 - level) / 2 and (1 + level) / 2 of the weighted samples: the least sample whose
    cumulated weight reaches them. Below 2 / (1 - level) samples that is the range of all, so compare equal K only.
    Arguments: samples (B, K, *E); weights (B, K) of sum 1; level in (0, 1).
    """
    x, order = samples.flatten(2).double().sort(1)
    cumulated = weights.to(x)[:, :, None].expand_as(x).gather(1, order).cumsum(1)
    last = x.shape[1] - 1
    at = [(cumulated < q - 1e-9).sum(1, keepdim=True).clamp_max(last) for q in ((1 - level) / 2, (1 + level) / 2)]
    return (x.gather(1, at[1]) - x.gather(1, at[0]))[:, 0].mean(1)


@metric("crps", Scale("CRPS", "lower", 4))
def _crps(judged: Judged) -> Tensor | None:
    return (
        None
        if judged.samples is None or judged.samples.shape[1] < 2
        else crps(judged.truth, judged.samples, judged.weights)
    )


def crps(truth: Tensor, samples: Tensor, weights: Tensor) -> Tensor:
    """Continuous ranked probability score of pixels, its mean per image, (B,), data units: a proper score of samples.

    Formula: sum_k w_k |x_k - x0| - 1/2 sum_{j != k} w_j w_k |x_j - x_k| / (1 - sum_k w_k^2), which for equal weights is
    the fair estimator: its expectation does not depend on the number of samples.
    Source: Gneiting & Raftery 2007; Ferro 2014 (fair), here with weights.
    Arguments: truth (B, *E); samples (B, K, *E), K >= 2; weights (B, K) of sum 1.
    """
    x, w = samples.flatten(2).double(), weights.to(samples).double()
    error = (w[:, :, None] * (x - truth.flatten(1).double()[:, None]).abs()).sum(1)
    x, order = x.sort(1)
    w = w[:, :, None].expand_as(x).gather(1, order)
    below = w.cumsum(1) - w
    above = w.sum(1, keepdim=True) - below - w
    spread = (w * x * (below - above)).sum(1)  # sum_{j < k} w_j w_k (x_k - x_j), without K^2 pairs
    return (error - spread / (1 - w.square().sum(1)).clamp_min(1e-12)).mean(1)


@metric("detail_sample", Scale("detail of a sample over the truth's", 1.0))
def _detail_sample(judged: Judged) -> Tensor | None:
    return None if judged.samples is None or not judged.pictures else detail(judged.one, judged.truth)


@metric("detail_mean", Scale("detail of the mean over the truth's"))
def _detail_mean(judged: Judged) -> Tensor | None:
    return detail(judged.mean, judged.truth) if judged.pictures else None


def detail(x: Tensor, truth: Tensor) -> Tensor:
    """How sharp a picture is beside the truth, (B,): 1 on average for draws of the truth's own law, below for a mean.

    Formula: sum |grad x|^2 / sum |grad x0|^2, differences of neighbours, clipped to [0, 1]; nan for a flat truth.
    Arguments: x, truth (B, C, H, W) in image units.
    """

    def energy(z: Tensor) -> Tensor:
        z = z.double().clamp(0, 1)
        return z.diff(dim=-1).flatten(1).square().sum(1) + z.diff(dim=-2).flatten(1).square().sum(1)

    below = energy(truth)
    return torch.where(below > 0, energy(x) / below.clamp_min(1e-30), torch.nan)


@metric("label_agreement", Scale("samples judged as labelled, %", "higher", 1, percent=True))
def _label_agreement(judged: Judged) -> Tensor | None:
    if not judged.labelled or judged.samples is None:
        return None
    if judged.judge is None:
        raise Missing("no judge is shipped beside the prior: name a classifier, trained apart, as the problem's judge")
    return label_agreement(judged.judge, judged.samples, judged.weights, judged.y)


@torch.no_grad()
def label_agreement(judge: NoisyClassifier, samples: Tensor, weights: Tensor, labels: Tensor) -> Tensor:
    """The share of an image's samples that a classifier sees as labelled, by weight, (B,).

    Arguments: judge; samples (B, K, C, H, W); weights (B, K) of sum 1; labels (B,).
    """
    seen = judge(samples.flatten(0, 1).clamp(0, 1), 0.0).argmax(1).view(samples.shape[:2])
    return (weights.to(samples.device) * (seen == labels[:, None])).sum(1)
