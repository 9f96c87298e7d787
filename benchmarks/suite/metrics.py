"""The registry of metrics: functions of one unit's answer (`scores` has the built-in ones)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.suite.methods import source_of
from benchmarks.suite.records import Scale
from inverse.quality.ranks import Ranks, ranks
from operators import Operator
from priors import NoisyClassifier, RowRNG

BINS = 10  # of a rank histogram
RANK_SEED, RESAMPLE_SEED = 2 * 10**6, 3 * 10**6  # streams of their own: no sample shares them


class Missing(Exception):
    """A metric cannot be computed here; the run continues and the record states the reason."""


@dataclass(frozen=True)
class Judged:
    """One unit's answer and its truth: the input of metrics.

    Attributes: truth (B, *E); y (B, *M); operator (of these rows); mean (B, *E): the answer; samples (B, K, *E), or
    None of a single estimate; log_weights (B, K), or None where samples are equally weighted; labels (B,) or None;
    judge: a classifier trained apart, or None; resolution: noise on truths and samples before they are ranked, data
    units (see `benchmarks.trained.calibration.calibrate`); seed; antithetic: whether
    samples 2 j and 2 j + 1 are a pair.
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
    antithetic: bool = False

    @property
    def labelled(self) -> bool:
        """Whether the measurement is a label, so that the truth is one of many possible images."""
        return "noisy_likelihood" in self.operator.capabilities

    @property
    def pictures(self) -> bool:
        """Whether events are (C, H, W)."""
        return self.truth.ndim == 4

    @cached_property
    def weights(self) -> Tensor:
        """Weights of the samples, (B, K) float64 of sum 1, on the CPU."""
        if self.samples is None:
            raise ValueError("a single estimate has no samples: ask for `samples` first")
        if self.log_weights is None:
            return torch.full(self.samples.shape[:2], 1 / self.samples.shape[1], dtype=torch.float64)
        return torch.softmax(self.log_weights.double().cpu(), 1)

    def independent(self, values: Tensor) -> list[Tensor]:
        """``values`` (B, K, ...) of the samples in sets that are independent within themselves: all, or of antithetic
        pairs the first of each and the second of each, both as good; what is measured of both is averaged."""
        return [values[:, ::2], values[:, 1::2]] if self.antithetic else [values]

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
        """Where truths lie among their samples, pixel by pixel, both with noise of the resolution; among independent
        ones: of antithetic pairs each coordinate is ranked twice."""
        assert self.samples is not None
        members = torch.cat([self.truth[:, None], self.samples], 1)
        if self.resolution:
            rng = RowRNG.rows(self.seed + RANK_SEED, len(members))
            members = members + self.resolution * rng.normal(tuple(members.shape)).to(members)
        truth, log_w = members[:, 0].cpu(), self.independent(self.weights.log())
        found = [ranks(truth, x, w) for x, w in zip(self.independent(members[:, 1:].cpu()), log_w, strict=True)]
        return Ranks(torch.cat([r.low for r in found], 2), torch.cat([r.high for r in found], 2), found[0].mass)


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
    metric has no meaning (no samples, say). It raises `Missing` where something that it needs is missing.
    Arguments: name: letters, digits and _, by which records keep it; scale: how a report shows it.
    Raises: ValueError for a name that is no identifier, or is taken by another function.
    """
    if not name.isidentifier():
        raise ValueError(f"metric name {name!r}: expected letters, digits and _, such as psnr_mean")

    def add(function: Metric) -> Metric:
        taken = METRICS.setdefault(name, Entry(function, scale)).of
        # a module that is executed again replaces its own
        if (taken.__module__, taken.__qualname__) != (function.__module__, function.__qualname__):
            raise ValueError(f"metric {name!r} is that of {taken.__module__}.{taken.__qualname__}; choose another")
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
