"""Importance weights: diagnostics, and resampling to equal weights."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

FEWEST = 25  # samples: 5 in the tail, the fewest to which its shape can be fitted
LEAST_ESS = 10.0

Resampling = Callable[[Tensor, Tensor], Tensor]  # weights (B, K) of sum 1, u (B, K) on [0, 1) -> (B, K) indices


class UnreliableWeights(UserWarning):
    """Importance weights that are dominated by a few samples, or too few samples to judge them: weighted averages are
    not those of the posterior."""


def systematic(weights: Tensor, u: Tensor, n: int | None = None) -> Tensor:
    """Ancestor indices from one uniform number per measurement: the points (k + u) / n of the cumulative weights.

    Source: Kitagawa 1996; Douc, Cappe & Moulines 2005.
    Arguments: weights (B, K) of sum 1; u (B, K) uniform on [0, 1), of which the first column is used; n (default K).
    Returns: (B, n) indices; sample k has n w_k offspring, rounded up or down.
    """
    return _spread(weights, u[:, :1], n or weights.shape[1])


def stratified(weights: Tensor, u: Tensor) -> Tensor:
    """Ancestor indices from one uniform number per sample: the points (k + u_k) / K of the cumulative weights.

    Source: Kitagawa 1996; Douc, Cappe & Moulines 2005.
    Arguments: weights (B, K) of sum 1; u (B, K) uniform on [0, 1).
    Returns: (B, K) indices; sample k has K w_k offspring, up to a difference below 2.
    """
    return _spread(weights, u, weights.shape[1])


def residual(weights: Tensor, u: Tensor) -> Tensor:
    """Ancestor indices: the integer part of K w_k deterministically, the remainder drawn independently.

    Source: Liu & Chen 1998; Douc, Cappe & Moulines 2005.
    Arguments: weights (B, K) of sum 1; u (B, K) uniform on [0, 1).
    Returns: (B, K) indices; sample k has at least the integer part of K w_k offspring.
    """
    k = weights.shape[1]
    # a weight of 1 / K counts as one offspring despite rounding
    whole = (k * weights * (1 + 8 * torch.finfo(weights.dtype).eps)).floor()
    rest = (k * weights - whole).clamp_min(0.0)
    left = rest / rest.sum(1, keepdim=True).clamp_min(torch.finfo(rest.dtype).tiny)
    drawn = _among(left, u.to(weights))
    position = torch.arange(k, device=weights.device).expand_as(drawn)
    kept = torch.searchsorted(whole.cumsum(1), position.to(weights).contiguous(), right=True).clamp_max(k - 1)
    return torch.where(position < whole.sum(1, keepdim=True), kept, drawn)


def multinomial(weights: Tensor, u: Tensor) -> Tensor:
    """Ancestor indices drawn independently from the weights.

    Source: Gordon, Salmond & Smith 1993.
    Arguments: weights (B, K) of sum 1; u (B, K) uniform on [0, 1).
    Returns: (B, K) indices.
    """
    return _among(weights, u.to(weights))


RESAMPLINGS: dict[str, Resampling] = {
    "systematic": systematic,
    "stratified": stratified,
    "residual": residual,
    "multinomial": multinomial,
}


def _spread(weights: Tensor, u: Tensor, n: int) -> Tensor:
    return _among(weights, (torch.arange(n, device=weights.device) + u.to(weights)) / n)


def _among(weights: Tensor, points: Tensor) -> Tensor:
    k = weights.shape[1]
    # the last sample with a positive weight: by rounding, the cumulative weights may end below the last point
    last = (weights > 0).to(weights) * torch.arange(1, k + 1, device=weights.device)
    found = torch.searchsorted(weights.cumsum(1), points.contiguous(), right=True)
    return torch.minimum(found, (last.amax(1, keepdim=True).long() - 1).clamp_min(0))


def effective_size(log_weights: Tensor) -> Tensor:
    """1 / sum w^2 of the normalised weights (Kong, Liu & Wong 1994); log_weights (B, K) -> (B,)."""
    return 1 / torch.softmax(_rows(log_weights).double(), 1).square().sum(1)


def log_mean_error(log_weights: Tensor) -> Tensor:
    """Standard error of the log of the mean weight of K independent samples, (B,).

    Formula: (var w / K)^1/2 / mean w, by the delta method: ((K sum w^2 - 1) / (K - 1))^1/2 in normalised weights.
    Source: Owen 2013, Monte Carlo theory, methods and examples, chapter 9.
    Arguments: log_weights (B, K) up to a constant.
    Returns: (B,) nats; infinite for a single sample.
    """
    k = log_weights.shape[1]
    if k < 2:
        return log_weights.new_full((len(log_weights),), math.inf, dtype=torch.float64)
    return ((k / effective_size(log_weights) - 1).clamp_min(0.0) / (k - 1)).sqrt()


def pareto_k(log_weights: Tensor) -> Tensor:
    """The shape k of a generalised Pareto fit to the largest weights: only moments of order below 1 / k are finite.

    Formula: fitted to the min(K / 5, 3 K^1/2) largest weights, minus the next one, with a prior of ten weights at 1/2.
    Negative: the weights are bounded. Averages are reliable below about .7.
    Source: Vehtari, Simpson, Gelman, Yao & Gabry 2024; Zhang & Stephens 2009.
    Arguments: log_weights (B, K) up to a constant.
    Returns: (B,) float64; infinite for fewer than 25 samples or weights that are not finite, -infinite if the tail
    weights are equal.
    """
    return torch.tensor([_pareto_k(row) for row in _rows(log_weights).double().cpu().numpy()], dtype=torch.float64)


def _rows(log_weights: Tensor) -> Tensor:
    if not isinstance(log_weights, Tensor) or log_weights.ndim != 2 or log_weights.is_complex() or log_weights.is_meta:
        given = tuple(log_weights.shape) if isinstance(log_weights, Tensor) else type(log_weights).__name__
        raise ValueError(f"log_weights: expected a real tensor (B, K), given {given}")
    return log_weights


def _pareto_k(log_w: np.ndarray) -> float:
    size = len(log_w)
    if size < FEWEST or not np.isfinite(log_w).all():
        return math.inf
    tail = math.ceil(min(size / 5, 3 * math.sqrt(size)))
    ordered = np.exp(np.sort(log_w)[-tail - 1 :] - log_w.max())
    x = ordered[1:] - ordered[0]
    if x[-1] <= 1e-9:  # equal up to rounding
        return -math.inf
    x = np.maximum(x, 1e-12 * x[-1])
    return (tail * _zhang_stephens(x) + 5) / (tail + 10)


def _zhang_stephens(x: np.ndarray) -> float:
    """k from the sorted excesses x: the posterior mean of b = k / scale on a grid, and k given b."""
    n = len(x)
    m = 30 + int(math.sqrt(n))
    quartile = x[int(n / 4 + 0.5) - 1]
    b = 1 / x[-1] + (1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (3 * quartile)
    k = np.log1p(-b[:, None] * x).mean(1)
    likelihood = n * (np.log(-b / k) - k - 1)
    weights = np.exp(likelihood - likelihood.max())
    b = float((b * weights).sum() / weights.sum())
    return float(np.log1p(-b * x).mean())


def lineages(log_weights: Tensor, origin: Tensor) -> Tensor:
    """The effective number of initial particles that the final ones descend from, (B,).

    Formula: 1 / sum_e W_e^2, W_e the total weight of the descendants of particle e. Resampling equalises the weights,
    so their effective sample size only reflects the time since then; the number of lineages never increases. 1 / L - 1
    / K estimates the relative variance of a sequential Monte Carlo estimate of the evidence.
    Source: Chan & Lai 2013; Lee & Whiteley 2018, section 4 (without their factor for multinomial resampling).
    Arguments: log_weights (B, K); origin (B, K) indices, modulo K.
    """
    w = torch.softmax(log_weights.double(), 1)
    total = torch.zeros_like(w).scatter_add(1, origin % w.shape[1], w)
    return 1 / total.square().sum(1)


def ancestry_warnings(lineages: Tensor, size: int) -> list[str]:
    """Messages on resampled particles with fewer than 10 lineages, B strings, empty otherwise.

    Arguments: lineages (B,); size K, the number of particles.
    """
    few = "particles descend from {:.1f} initial ones: spread and mode probabilities are unreliable; use more samples"
    return ["" if n >= LEAST_ESS else f"{size} {few.format(n)}" for n in lineages.tolist()]


def complaints(log_weights: Tensor) -> list[str]:
    """Messages on unreliable weights, B strings, empty where they are reliable; log_weights (B, K).

    Formula: fewer than 25 samples; k > min(1 - 1 / log10 K, .7); an effective sample size below 10. Weights cannot
    reveal a part of the posterior that no sample came near.
    Source: Vehtari, Simpson, Gelman, Yao & Gabry 2024, section 3.2.3.
    Arguments: log_weights.
    Returns: B strings of one line.
    """
    size = log_weights.shape[1]
    if size < FEWEST:
        text = f"{size} samples are too few to judge their weights: use {FEWEST} or more, better hundreds"
        return [text] * len(log_weights)
    limit = min(1 - 1 / math.log10(size), 0.7)
    found = []
    for k, ess in zip(pareto_k(log_weights).tolist(), effective_size(log_weights).tolist(), strict=True):
        if not ess >= LEAST_ESS:
            found.append(f"effective sample size {ess:.1f} of {size}: a few samples dominate; use more samples")
        elif k > limit:
            found.append(f"Pareto k = {k:.2f} > {limit:.2f}: the weights have a heavy tail; use more samples")
        else:
            found.append("")
    return found
