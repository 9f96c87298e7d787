"""Metrics of sets of images: rank histograms and the Frechet distance."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.exact.metrics import frechet
from benchmarks.suite.report.pooling import TRUTH, Group, Row

ENOUGH = 32  # images, below which a Frechet distance is mostly bias


@dataclass(frozen=True)
class Histogram:
    """Ranks of truths among samples.

    Attributes: parts (bins,) of all ranks, sum 1; low, high (bins,): where 99 % of a calibrated sampler's parts are,
    nan of fewer than 3 images; n images.
    """

    parts: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: int

    @property
    def outside(self) -> int:
        """How many bins are outside their band."""
        return int(((self.parts < self.low) | (self.parts > self.high)).sum())


def histogram(ranks: np.ndarray) -> Histogram:
    """The rank histogram of images, with the band of a calibrated sampler.

    Formula: image i has parts f_i, whose expectation is 1 / bins each if the sampler is right; images are independent,
    their pixels are not, so the spread s_b of a bin's part is taken from images and not from counts, pooled with that
    of the bin as far from the other end (ranks are as likely from either). The band is 1 / bins +- t s_b / sqrt(n), t
    the .995 quantile of Student's law with n - 1 degrees of freedom.
    Source: Student 1908; Talts et al. 2018, of ranks.
    Arguments: ranks (n, bins): an image's counts of pixels (or what else was ranked).
    Raises: ValueError for no images, or an image without ranks.
    """
    from scipy.stats import t

    counts = np.asarray(ranks, dtype=np.float64)
    if counts.ndim != 2 or not len(counts) or not (counts.sum(1) > 0).all():
        raise ValueError(f"ranks {counts.shape}: expected (n, bins) with counts in every image")
    parts = counts / counts.sum(1, keepdims=True)
    n, bins = parts.shape
    half = np.full(bins, math.nan)
    if n >= 3:
        variance = parts.var(0, ddof=1)
        half = t.ppf(0.995, n - 1) * np.sqrt((variance + variance[::-1]) / 2 / n)
    return Histogram(parts.mean(0), 1 / bins - half, 1 / bins + half, n)


def row_histogram(row: Row) -> Histogram | None:
    """The histogram of a method's ranks, those of an image summed over seeds; None where it has none."""
    sums: dict[int, np.ndarray] = {}
    for record in row.records:
        if record.ranks is not None:
            for image, counts in zip(record.images, np.asarray(record.ranks, dtype=np.float64), strict=True):
                sums[image] = sums[image] + counts if image in sums else counts
    whole = [counts for counts in sums.values() if counts.sum() > 0]
    return histogram(np.stack(whole)) if whole else None


def features(row: Row) -> np.ndarray:
    """Features (n, d) of one sample per image, of the first seed that has them."""
    found: dict[int, np.ndarray] = {}
    for record in sorted(row.records, key=lambda record: record.seed):
        if record.features is not None:
            for image, vector in zip(record.images, record.features, strict=True):
                found.setdefault(image, np.asarray(vector, dtype=np.float64))
    return np.stack([found[image] for image in sorted(found)]) if found else np.zeros((0, 0))


def distances(problem: Group) -> dict[str, float | str]:
    """Row -> Frechet distance of its features to the truth's, or why there is none; {} where there is no truth.

    The truth's features are those of a row whose method is called `TRUTH`.
    """
    truths = [features(row) for row in problem.rows if row.method == TRUTH]
    if not truths or not len(truths[0]):
        return {}
    found: dict[str, float | str] = {}
    for row in problem.rows:
        if row.method == TRUTH:
            continue
        mine = features(row)
        n = min(len(mine), len(truths[0]))
        if not len(mine):
            found[row.name] = "no features were kept"
        elif n < ENOUGH:
            found[row.name] = f"{n} images: of fewer than {ENOUGH} the distance is mostly bias"
        else:
            found[row.name] = frechet(torch.from_numpy(mine), torch.from_numpy(truths[0]))
    return found
