"""What `Pivot` computes at its noise level: p(y | x_t), the density of the proposal, and where its kernels overlap."""

import math

import torch
from torch import Tensor

from inverse.guidance.ep import EP, EPPosterior
from inverse.guidance.tweedie import TweediePosterior
from inverse.weights import effective_size
from operators import Linearization, Operator
from priors import Prior
from priors.sde import SDE

RAISED = 1.25  # factor by which a noise level is raised at a time


def log_likelihood(
    prior: Prior, operator: Operator, y: Tensor, x: Tensor, t: Tensor, rows: int, share: float
) -> Tensor:
    """log p_t(y | x_t), (N,), with Tweedie's covariance.

    Formula: p_t(y | x_t) = N(y; A D, Sigma_y + A C A'), C = (sigma^2 / alpha) J'. Of a part of each measurement's rows
    the covariance is computed, a backward pass per measured number; the others take that of the nearest, by D. Those
    are chosen one by one, each the furthest from the chosen: every mode has one. An operator that is not linear is
    linearized at D, N(y; A(D), Sigma_y + J C J').
    Source: Gonzalez 1985 (the choice).
    Arguments: prior; operator and y (N, *M) of the rows; x (N, *E) at t; rows of each measurement, ordered "b k"; share
    (float in (0, 1]) of the rows whose covariance is computed; of other noise than Gaussian that of all is
    (`EPPosterior.log_likelihood`).
    """
    able = operator.capabilities
    if "gaussian" in able and not {"linear", "generalized_linear"} & able:
        denoised = prior.denoise(x, t)
        local = Linearization(operator, denoised)
        offset = operator(denoised) - local(denoised)  # A(x) is near J x + this
        return TweediePosterior(prior, local, y - offset).log_likelihood(x, t)
    if "gaussian" not in able or "linear" not in able:
        return EPPosterior(prior, operator, y, EP(most=y[0].numel())).log_likelihood(x, t)
    whole, n = TweediePosterior(prior, operator, y), math.ceil(share * rows)
    if n == rows:
        return whole.log_likelihood(x, t)
    denoised = prior.denoise(x, t)
    first = rows * torch.arange(len(x) // rows, device=x.device)[:, None]
    chosen, nearest = spread(denoised.reshape(-1, rows, denoised[0].numel()), n)
    index = (first + chosen).flatten()
    covariance = TweediePosterior(prior, operator.rows(index), y[index]).covariance(x[index], t)
    taken = n * torch.arange(len(nearest), device=x.device)[:, None] + nearest
    return whole.log_normal(whole.residual(denoised), covariance[taken.flatten()])


def spread(x: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """n points of each set that cover it, each the furthest from those before, and for each point the nearest of them.

    Source: Gonzalez 1985 (within a factor 2 of the least possible radius).
    Arguments: x (B, K, d); n (int in 1 to K).
    Returns: indices of the chosen ones (B, n), and which of those is nearest (B, K).
    """
    sets = torch.arange(len(x), device=x.device)
    chosen = [torch.zeros_like(sets)]
    distance = (x - x[:, :1]).square().sum(2)
    nearest = torch.zeros_like(distance, dtype=torch.long)
    for k in range(1, n):
        chosen.append(distance.argmax(1))
        new = (x - x[sets, chosen[-1]][:, None]).square().sum(2)
        nearest = torch.where(new < distance, k, nearest)
        distance = torch.minimum(distance, new)
    return torch.stack(chosen, 1), nearest


def log_proposal(x: Tensor, centres: Tensor, sigma: Tensor) -> Tensor:
    """log q(x) up to a constant, q = 1/K sum_j N(centre_j, sigma^2 I); x and centres (B, K, d), sigma 0-d -> (B, K)."""
    return (-0.5 * (torch.cdist(x, centres) / sigma) ** 2).logsumexp(2)


def overlapping(x0: Tensor, z: Tensor, sde: SDE, t: Tensor, kernels: float) -> Tensor:
    """The least time from t up at which half of the noised x0 lie in at least ``kernels`` of their kernels.

    Formula: x^k = alpha x0^k + sigma z^k lies in 1 / sum_j r_j^2 kernels N(alpha x0^j, sigma^2 I), with r_j the
    probability that it came from x0^j.
    Arguments: x0 and standard normal z (B, K, d); sde; t (0-d); kernels (float >= 0), of few rows at most a quarter of
    them.
    """
    least = min(kernels, 0.25 * x0.shape[1])
    while True:
        ratio = float(sde.sigma(t) / sde.alpha(t))
        log_r = -0.5 * (torch.cdist(x0 + ratio * z, x0) / ratio) ** 2
        higher = sde.time(torch.tensor(RAISED * ratio, dtype=torch.float64)).to(t)
        if effective_size(log_r.flatten(0, 1)).median() >= least or higher >= 1:
            return t
        t = higher
