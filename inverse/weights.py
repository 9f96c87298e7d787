"""What log weights are worth, and how weighed rows become rows of equal weight."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

FEWEST = 25  # samples: 5 in the tail, the least that its shape can be fitted to
LEAST_ESS = 10.0

Resampling = Callable[[Tensor, Tensor], Tensor]  # weights (B, K) of sum 1, u (B, K) on [0, 1) -> (B, K) indices


class UnreliableWeights(UserWarning):
    """Importance weights that a few samples dominate, or too few samples to tell: what they average is not the
    posterior."""


def systematic(weights: Tensor, u: Tensor, n: int | None = None) -> Tensor:
    """Ancestors by one uniform number per measurement: the points (k + u) / n among the cumulated weights.

    Source: Kitagawa 1996; Douc, Cappe & Moulines 2005.
    Arguments: weights (B, K) of sum 1; u (B, K) uniform on [0, 1), of which the first column is used; n (default K).
    Returns: (B, n) indices; sample k has n w_k offspring, rounded up or down.
    """
    return _spread(weights, u[:, :1], n or weights.shape[1])


def stratified(weights: Tensor, u: Tensor) -> Tensor:
    """Ancestors by one uniform number each: the points (k + u_k) / K among the cumulated weights.

    Source: Kitagawa 1996; Douc, Cappe & Moulines 2005.
    Arguments: weights (B, K) of sum 1; u (B, K) uniform on [0, 1).
    Returns: (B, K) indices; sample k has K w_k offspring, give or take less than 2.
    """
    return _spread(weights, u, weights.shape[1])


def residual(weights: Tensor, u: Tensor) -> Tensor:
    """Ancestors by the whole part of K w_k at once, and the rest drawn independently from what is left.

    Source: Liu & Chen 1998; Douc, Cappe & Moulines 2005.
    Arguments: weights (B, K) of sum 1; u (B, K) uniform on [0, 1).
    Returns: (B, K) indices; sample k has at least the whole part of K w_k offspring.
    """
    k = weights.shape[1]
    # a weight of 1 / K is a whole offspring, whatever its rounding
    whole = (k * weights * (1 + 8 * torch.finfo(weights.dtype).eps)).floor()
    rest = (k * weights - whole).clamp_min(0.0)
    left = rest / rest.sum(1, keepdim=True).clamp_min(torch.finfo(rest.dtype).tiny)
    drawn = _among(left, u.to(weights))
    position = torch.arange(k, device=weights.device).expand_as(drawn)
    kept = torch.searchsorted(whole.cumsum(1), position.to(weights).contiguous(), right=True).clamp_max(k - 1)
    return torch.where(position < whole.sum(1, keepdim=True), kept, drawn)


def multinomial(weights: Tensor, u: Tensor) -> Tensor:
    """Ancestors drawn independently.

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
    # the last sample that has a weight: rounding may leave the sum of all below the last point
    last = (weights > 0).to(weights) * torch.arange(1, k + 1, device=weights.device)
    found = torch.searchsorted(weights.cumsum(1), points.contiguous(), right=True)
    return torch.minimum(found, (last.amax(1, keepdim=True).long() - 1).clamp_min(0))


def effective_size(log_weights: Tensor) -> Tensor:
    """1 / sum w^2 of the normalised weights (Kong, Liu & Wong 1994); log_weights (B, K) -> (B,)."""
    return 1 / torch.softmax(_rows(log_weights).double(), 1).square().sum(1)


def log_mean_error(log_weights: Tensor) -> Tensor:
    """The standard error of the log of the mean weight of K independent draws, (B,).

    Formula: (var w / K)^1/2 / mean w, by the delta method: ((K sum w^2 - 1) / (K - 1))^1/2 in normalised weights.
    Source: Owen 2013, Monte Carlo theory, methods and examples, chapter 9.
    Arguments: log_weights (B, K) up to a constant.
    Returns: (B,) nats; infinite for one draw.
    """
    k = log_weights.shape[1]
    if k < 2:
        return log_weights.new_full((len(log_weights),), math.inf, dtype=torch.float64)
    return ((k / effective_size(log_weights) - 1).clamp_min(0.0) / (k - 1)).sqrt()


def pareto_k(log_weights: Tensor) -> Tensor:
    """The shape k of the generalised Pareto law of the largest weights: only moments of order below 1 / k are finite.

    Formula: fitted to the min(K / 5, 3 K^1/2) largest weights, less the next one, and drawn towards 1/2 as by ten more
    weights. Negative: the weights are bounded. Averages converge usefully below about .7.
    Source: Vehtari, Simpson, Gelman, Yao & Gabry 2024; Zhang & Stephens 2009.
    Arguments: log_weights (B, K) up to a constant.
    Returns: (B,) float64; infinite for fewer than 25 samples or weights that are not finite, -infinite for a tail of
    equal weights.
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
    if x[-1] <= 1e-9:  # rounding, and no tail
        return -math.inf
    x = np.maximum(x, 1e-12 * x[-1])
    return (tail * _zhang_stephens(x) + 5) / (tail + 10)


def _zhang_stephens(x: np.ndarray) -> float:
    """k of the sorted excesses x: the posterior mean of b = k / scale on a grid, and k given b."""
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
    """The effective number of first particles that the weight of the last ones descends from, (B,).

    Formula: 1 / sum_e W_e^2, W_e the weight of the descendants of particle e. Resampling evens weights out, so that
    their effective size tells of the time since then alone; this one can but fall. 1 / L - 1 / K estimates the relative
    variance of a sequential Monte Carlo estimate of the evidence.
    Source: Chan & Lai 2013; Lee & Whiteley 2018, section 4 (without their factor for multinomial resampling).
    Arguments: log_weights (B, K); origin (B, K) indices, modulo K.
    """
    w = torch.softmax(log_weights.double(), 1)
    total = torch.zeros_like(w).scatter_add(1, origin % w.shape[1], w)
    return 1 / total.square().sum(1)


def kinship(lineages: Tensor, size: int) -> list[str]:
    """Why particles that were resampled are not to be trusted, B texts, empty where they are: fewer than 10 lineages.

    Arguments: lineages (B,); size K, the number of particles.
    """
    few = "particles descend from {:.1f} first ones: their spread and shares of modes are chance; take more samples"
    return ["" if n >= LEAST_ESS else f"{size} {few.format(n)}" for n in lineages.tolist()]


def complaints(log_weights: Tensor) -> list[str]:
    """Why the weights of each measurement are not to be trusted, empty where they are; log_weights (B, K).

    Formula: fewer than 25 samples; k > min(1 - 1 / log10 K, .7); an effective sample size below 10. That no sample came
    near a part of the posterior, no weight can show.
    Source: Vehtari, Simpson, Gelman, Yao & Gabry 2024, section 3.2.3.
    Arguments: log_weights.
    Returns: B texts of one line.
    """
    size = log_weights.shape[1]
    if size < FEWEST:
        text = f"{size} samples are too few to judge their weights: take {FEWEST} or more, better hundreds"
        return [text] * len(log_weights)
    limit = min(1 - 1 / math.log10(size), 0.7)
    found = []
    for k, ess in zip(pareto_k(log_weights).tolist(), effective_size(log_weights).tolist(), strict=True):
        if not ess >= LEAST_ESS:
            found.append(f"effective sample size {ess:.1f} of {size}: a few samples carry all; take more")
        elif k > limit:
            found.append(f"Pareto k = {k:.2f} > {limit:.2f}: larger weights are to be expected; take more samples")
        else:
            found.append("")
    return found
