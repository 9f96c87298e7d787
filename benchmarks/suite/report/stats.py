"""Means over images, their confidence intervals and differences: pure functions of numbers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

DRAWS = 2000  # of the bootstrap
FEW = 8  # images, below which percentile intervals are too narrow to be believed

Values = Mapping[tuple[int, int], float]  # (image, seed) -> a metric


@dataclass(frozen=True)
class Estimate:
    """A mean over images.

    Attributes: mean; low, high: ends of its 95 % bootstrap interval, nan of fewer than 2 images; n images.
    """

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Difference:
    """By how much a method's mean is above another's, on what they share.

    Attributes: change: mean of the one less that of the other, with the ends low, high of its 95 % interval; gain: the
    change in the metric's good direction, positive where the one is better, with worst, best, the ends of its interval
    (nan where no direction is good); n: images shared.
    """

    change: float
    low: float
    high: float
    gain: float
    worst: float
    best: float
    n: int

    @property
    def better(self) -> bool:
        """Whether the interval of the gain is above 0."""
        return self.worst > 0

    @property
    def worse(self) -> bool:
        """Whether the interval of the gain is below 0."""
        return self.best < 0


def loss(mean, better: str | float):
    """What is to be small: the metric, less it, or its distance to the target of a calibrated sampler; nan of "none".

    Arguments: mean: a number or an array of any shape; better: of a `Scale`.
    """
    if better == "none":
        return mean * math.nan
    if isinstance(better, str):
        return mean if better == "lower" else -mean
    return abs(mean - better)


def per_image(values: Values) -> dict[int, float]:
    """Means over seeds, image -> value, by image."""
    gathered: dict[int, list[float]] = {}
    for (image, _), value in sorted(values.items()):
        gathered.setdefault(image, []).append(value)
    return {image: sum(several) / len(several) for image, several in gathered.items()}


def estimate(values: Values) -> Estimate:
    """Mean over images of means over seeds, with the 95 % percentile bootstrap over images.

    Source: Efron 1979.
    Arguments: values.
    """
    means = np.array(list(per_image(values).values()))
    if not len(means):
        return Estimate(math.nan, math.nan, math.nan, 0)
    low, high = _ends(_resampled(means[:, None])[:, 0], len(means))
    return Estimate(float(means.mean()), low, high, len(means))


def paired(one: Values, other: Values) -> np.ndarray:
    """What two methods have in common, (n, 2): a row per shared image.

    An image's two numbers are means over the seeds that both have; where they share none (an estimate has no seed to
    speak of), each over its own.
    """
    rows = []
    seeds: list[dict[int, set[int]]] = [{}, {}]
    for side, values in enumerate((one, other)):
        for image, seed in values:
            seeds[side].setdefault(image, set()).add(seed)
    for image in sorted(seeds[0].keys() & seeds[1].keys()):
        both = seeds[0][image] & seeds[1][image]
        sides = ((one, both or seeds[0][image]), (other, both or seeds[1][image]))
        rows.append([sum(values[image, seed] for seed in sorted(of)) / len(of) for values, of in sides])
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def difference(one: Values, other: Values, better: str | float) -> Difference:
    """How a method differs from another in a metric, by a bootstrap that is paired by image and seed.

    Formula: the same draws of images for both; the gain is loss(mean of the other) - loss(mean of the one), so that a
    target is missed by a set's mean and not by its single images, which scatter about it rightly.
    Source: Efron 1979.
    Arguments: one, other: values of the two; better: of the metric's `Scale`.
    """
    pairs = paired(one, other)
    if not len(pairs):
        return Difference(math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, 0)
    mean, drawn = pairs.mean(0), _resampled(pairs)
    low, high = _ends(drawn[:, 0] - drawn[:, 1], len(pairs))
    worst, best = _ends(loss(drawn[:, 1], better) - loss(drawn[:, 0], better), len(pairs))
    gain = loss(mean[1], better) - loss(mean[0], better)
    return Difference(float(mean[0] - mean[1]), low, high, float(gain), worst, best, len(pairs))


def _resampled(values: np.ndarray) -> np.ndarray:
    """Means of `DRAWS` resamples of the rows of (n, columns): (DRAWS, columns)."""
    return _weights(len(values)) @ values


@lru_cache(maxsize=4)
def _weights(n: int) -> np.ndarray:
    """How often, over n, a resample has each row: (DRAWS, n); of one n always the same, so that all is paired."""
    return np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=DRAWS) / n


def _ends(drawn: np.ndarray, n: int) -> tuple[float, float]:
    if n < 2 or not np.isfinite(drawn).all():
        return math.nan, math.nan
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
