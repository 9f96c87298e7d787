"""Ranks of truths among posterior samples (simulation-based calibration)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from priors import RowRNG

LEVELS = (0.5, 0.8, 0.95)  # of the central intervals
ELEMENTS = 2**22  # ranks of replicas in memory at a time


@dataclass(frozen=True)
class Ranks:
    """The rank of every member of a set, the truth and its K samples, within that set.

    Formula: member i of value z_i and mass W_i (sum 1) has the cell [sum_j W_j [z_j < z_i], sum_j W_j [z_j <= z_i]] of
    [0, 1]; its rank is uniform in the cell, which breaks ties at random. The truth counts as one more sample of mass 1
    / ESS before normalisation, so with equal weights all members have mass 1 / (K + 1). If truth and samples have the
    same distribution, the truth's rank is exactly uniform for every K; with importance weights approximately.
    Source: Talts et al. 2018, theorem 1.
    Attributes: low, high (B, K + 1, d): ends of the cells of d coordinates, the truth's at index 0; mass (B, K + 1).
    """

    low: Tensor
    high: Tensor
    mass: Tensor

    def coverage(self, level: float) -> Tensor:
        """The fraction of a row's coordinates within central credible intervals of the samples, (B,).

        Formula: the mean over coordinates of |cell and [1/2 - level/2, 1/2 + level/2]| / |cell|. It interpolates
        between neighbouring intervals of order statistics, so that exact samples have the expected coverage ``level``
        for every K.
        Arguments: level in (0, 1).
        """
        low, high, tail = self.low[:, 0], self.high[:, 0], (1 - level) / 2
        inside = (high.clamp_max(1 - tail) - low.clamp_min(tail)).clamp_min(0)
        return (inside / (high - low)).mean(1)


def ranks(truth: Tensor, samples: Tensor, log_weights: Tensor | None = None) -> Ranks:
    """`Ranks` of truths among their samples, coordinate by coordinate.

    Arguments: truth (B, *E); samples (B, K, *E), in one unit; log_weights (B, K), default equal.
    Raises: ValueError for shapes that do not fit and numbers that are not finite.
    """
    n, k = samples.shape[:2]
    if truth.shape != (n, *samples.shape[2:]) or (log_weights is not None and log_weights.shape != (n, k)):
        raise ValueError(
            f"truth {tuple(truth.shape)}, samples {tuple(samples.shape)} and log_weights "
            f"{None if log_weights is None else tuple(log_weights.shape)}: expected (B, *E), (B, K, *E) and (B, K)"
        )
    z = torch.cat([truth[:, None], samples], 1).flatten(2).double().mT.contiguous()  # (B, d, K + 1)
    if not bool(z.isfinite().all()):
        raise ValueError("truth or samples have entries that are nan or infinite: nothing can be ranked among these")
    w = torch.softmax(torch.zeros(n, k) if log_weights is None else log_weights.double(), 1).double()
    w = torch.cat([w.square().sum(1, keepdim=True), w], 1)  # the sum of squares is 1 / ESS
    mass = w / w.sum(1, keepdim=True)
    ordered, order = z.sort(2)
    cumulated = mass[:, None].expand_as(z).gather(2, order).cumsum(2)
    cumulated = torch.nn.functional.pad(cumulated, (1, 0))
    ends = [cumulated.gather(2, torch.searchsorted(ordered, z, side=side)).mT for side in ("left", "right")]
    return Ranks(ends[0], ends[1], mass)


@dataclass(frozen=True)
class Uniformity:
    """A rank histogram and its test.

    Attributes: histogram (bins,): parts of all ranks; band (2, bins): the central 99 % of each under uniform ranks;
    p_value.
    """

    histogram: Tensor
    band: Tensor
    p_value: float


def uniformity(found: Ranks, bins: int = 10, replicas: int = 999, seed: int = 0) -> Uniformity:
    """Test that truths have the same distribution as their samples.

    Formula: two statistics, the chi^2 of the histogram over all rows and coordinates, sensitive to deviations that
    coordinates share, and the sum over coordinates of the chi^2 of each one's histogram over rows, sensitive to
    individual deviations. Coordinates of a row are dependent, so neither has a chi^2 distribution. The null
    distribution comes from the data: under the null hypothesis the truth is any member of its set with probability
    equal to its mass, so a replica exchanges the truth for a member drawn so, in every row and with all its
    coordinates. This is exact for any dependence between coordinates, K and number of rows (equal weights). The smaller
    of the two p-values is tested against its own replicas.
    Source: Talts et al. 2018 (ranks); Phipson & Smyth 2010 (p-values from replicas); Westfall & Young 1993 (minimum).
    Arguments: found: `Ranks` of (B, K + 1, d) cells, rows independent; bins; replicas R; seed of replicas and of ranks
    within their cells.
    Returns: `Uniformity`; its p_value is at least 1 / (R + 1).
    """
    rows, members, d = found.low.shape
    rng = RowRNG(seed, [(0,), (1,)], dtype=torch.float64)
    within, choice = rng.uniform((2, max(rows * members * d, rows * replicas)))
    within = within[: rows * members * d].view(rows, members, d)
    choice = choice[: rows * replicas].view(rows, replicas)
    rank = found.low + within * (found.high - found.low)
    cell = (rank * bins).long().clamp(0, bins - 1) + bins * torch.arange(d)
    chosen = torch.searchsorted(found.mass.cumsum(1), choice).clamp_max(members - 1)
    chosen = torch.cat([torch.zeros(rows, 1, dtype=torch.long), chosen], 1)  # the first "replica" is the observation
    pooled, statistics = [], []
    for part in chosen.split(max(1, ELEMENTS // (rows * d)), 1):
        histograms = torch.arange(part.shape[1])[:, None] * d * bins
        taken = cell[torch.arange(rows)[:, None], part].movedim(0, 1).flatten(1) + histograms
        counts = taken.flatten().bincount(minlength=part.shape[1] * d * bins).view(-1, d, bins).double()
        pooled.append(counts.sum(1))
        statistics.append(torch.stack([_chi2(counts.sum(1)), _chi2(counts).sum(1)], 1))
    p = _exceeded(torch.cat(statistics).mT.contiguous())
    p_value = _exceeded(-p.amin(0, keepdim=True))[0, 0].item()
    histograms = torch.cat(pooled) / (rows * d)
    band = torch.quantile(histograms[1:], torch.tensor([0.005, 0.995], dtype=torch.float64), dim=0)
    return Uniformity(histograms[0], band, p_value)


def frequencies(x: Tensor, n: int = 6, seed: int = 0) -> Tensor:
    """Low frequencies of an image: its lowest DCT coefficients; for other events, random projections.

    Formula: per channel the n x n lowest coefficients of the orthonormal DCT-II, the mean first; of events that are no
    (C, H, W), n^2 projections on random unit directions.
    Source: Ahmed, Natarajan & Rao 1974.
    Arguments: x (N, *E); n; seed of the directions.
    Returns: (N, C n^2) or (N, n^2), in the units of x.
    """
    if x.ndim == 4:
        rows, columns = (_dct(size, min(n, size)).to(x) for size in x.shape[2:])
        return (rows @ x @ columns.mT).flatten(1)
    x = x.flatten(1)
    directions = torch.randn(n**2, x.shape[1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x @ (directions / directions.norm(dim=1, keepdim=True)).mT.to(x)


def _dct(size: int, n: int) -> Tensor:
    """The first n rows of the orthonormal DCT-II, (n, size) float64."""
    k, i = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(size, dtype=torch.float64)
    basis = math.sqrt(2 / size) * torch.cos(math.pi / size * (i + 0.5) * k)
    basis[0] /= math.sqrt(2)
    return basis


def _chi2(counts: Tensor) -> Tensor:
    expected = counts.sum(-1, keepdim=True) / counts.shape[-1]
    return ((counts - expected) ** 2 / expected).sum(-1)


def _exceeded(statistics: Tensor) -> Tensor:
    """The fraction of a row (n, R + 1) that is at least as large as an entry, itself included."""
    ordered = statistics.sort(1).values
    least = statistics - 1e-9 * statistics.abs()  # equal up to rounding counts as equal
    return 1 - torch.searchsorted(ordered, least).double() / statistics.shape[1]
