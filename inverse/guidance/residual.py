"""Residuals of any noise whose entries have a mean and a variance."""

import torch
from torch import Tensor

from operators import Operator
from priors.base import expand

LEAST = 0.1  # smallest variance of an entry that is used, relative to the mean over entries


def relative_residual(operator: Operator, y: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """r with the norm to be lowered, and -dr^2/2 / d clean, (N, *M) each: y - clean, both, of Gaussian noise.

    Formula: r = (y - E[y | clean]) (v / Var[y | clean])^1/2 and (y - E[y | clean]) v / Var[y | clean], with v the mean
    variance of a measurement's entries and variances below v / 10 taken as that; the second is v times the derivative
    of the quasi-log-likelihood (`Noise.quasi_score`).
    Source: Wedderburn 1974; Chung et al. 2023, section 3.3, who weight photon counts so.
    Arguments: operator of the rows; y and clean (N, *M).
    """
    if "gaussian" in operator.capabilities:
        residual = y - clean
        return residual, residual
    noise, axes = operator.noise, tuple(range(1, clean.ndim))
    level = noise.variance(clean.clamp_min(0)).mean(axes, keepdim=True)
    weighted = level * noise.quasi_score(y, clean, LEAST * level)
    if operator.support is not None:
        weighted = weighted * operator.support
    return (weighted * (y - noise.mean(clean))).clamp_min(0).sqrt(), weighted


def largest(operator: Operator, x0: Tensor, variance: float, iterations: int = 8) -> Tensor:
    """About the largest eigenvalue of J'J with J the operator's Jacobian at x0, (N,), by power iteration.

    Arguments: operator of the rows; x0 (N, *E); variance of its coordinates, for the size of a finite difference.
    """
    small = 1e-2 * variance**0.5
    clean, v = operator(x0), torch.ones_like(x0)
    v = v + 0.1 * torch.sin(torch.arange(x0[0].numel()).to(x0)).view(x0.shape[1:])
    size = torch.ones_like(x0.flatten(1)[:, 0])
    for _ in range(iterations):
        v = v / expand(v.flatten(1).norm(dim=1).clamp_min(1e-12), v)
        v = operator.vjp(x0, (operator(x0 + small * v) - clean) / small)
        size = v.flatten(1).norm(dim=1)
    return size
