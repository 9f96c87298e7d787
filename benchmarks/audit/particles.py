"""Weighted particles, from their papers: sets of K, each a run of its own."""

import math

import torch
from torch import Tensor

from benchmarks.audit.gradients import pseudo_inverse_gradient
from benchmarks.audit.problem import F64, D, M, Problem, steps


def chosen(p: Problem, log_w: Tensor) -> Tensor:
    """Indices (B, K) of multinomial resampling by weights (B, K)."""
    return torch.multinomial(log_w.softmax(1), log_w.shape[1], replacement=True, generator=p.random)


def taken(x: Tensor, index: Tensor) -> Tensor:
    """The rows of sets, x (B, K, d), at index (B, K)."""
    return x.gather(1, index[:, :, None].expand(-1, -1, x.shape[2]))


def log_normal(x: Tensor, mean: Tensor, variance: float) -> Tensor:
    """Of independent numbers of one variance, summed over the last axis."""
    return -0.5 * ((x - mean).square() / variance + math.log(2 * math.pi * variance)).sum(-1)


def tds(p: Problem, times: list[float], sets: int, k: int) -> Tensor:
    """Wu et al. 2023, algorithm 1, with the twisting function of `pseudo_inverse_gradient`; resampled at every step.

    Returns: (B, K, d).
    """

    def twist(x: Tensor, t: float) -> tuple[Tensor, Tensor, Tensor]:
        d, gradient = pseudo_inverse_gradient(p, x, t)
        ratio2 = (p.sigma(t) / p.alpha(t)) ** 2
        gram = ratio2 / (1 + ratio2) * p.matrix @ p.matrix.mT + p.sigma_y**2 * torch.eye(M, dtype=F64)
        r = p.y - d @ p.matrix.mT
        log_psi = -0.5 * ((r * torch.linalg.solve(gram, r.mT).mT).sum(1) + torch.linalg.slogdet(gram).logabsdet)
        return d, gradient, log_psi

    x = p.start(sets * k)
    d, gradient, log_psi = twist(x, times[0])
    log_w = log_psi
    for t, s in steps(times)[:-1]:
        index = chosen(p, log_w.view(sets, k))
        x, d, gradient = (taken(v.view(sets, k, D), index).flatten(0, 1) for v in (x, d, gradient))
        log_psi = log_psi.view(sets, k).gather(1, index).flatten()
        a, left, now = p.alpha(t) / p.alpha(s), p.sigma(s) ** 2, p.sigma(t) ** 2
        beta = now - a**2 * left
        variance = beta * left / now
        mean = a * left / now * x + p.alpha(s) * beta / now * d
        guided = mean + beta / a * gradient  # the conditional score in place of the score
        moved = guided + variance**0.5 * p.z(len(x), D)
        d, after, found = twist(moved, s)
        log_w = found - log_psi + log_normal(moved, mean, variance)
        log_w = log_w - log_normal(moved, guided, variance)
        x, gradient, log_psi = moved, after, found
    return taken(d.view(sets, k, D), chosen(p, log_w.view(sets, k)))


def mcgdiff(p: Problem, times: list[float], sets: int, k: int) -> Tensor:
    """Cardoso et al. 2024, algorithm 1 and section 3.2 for a mask: y is the measured part of the state at tau.

    tau is the last level above the measurement's noise; below it the prior moves the particles. Returns: (B, K, d).
    """
    seen = p.matrix.sum(0) > 0
    y = p.y @ p.matrix

    def potential(t: float) -> float:
        return p.sigma(t) ** 2 - (p.alpha(t) * p.sigma_y) ** 2

    x = p.start(sets * k)
    log_g = log_normal(x[:, seen], p.alpha(times[0]) * y[seen], potential(times[0]))
    log_w = log_g.view(sets, k)
    for t, s in steps(times):
        d = p.denoise(x, t)
        a, left, now = p.alpha(t) / p.alpha(s), p.sigma(s) ** 2, p.sigma(t) ** 2
        beta = now - a**2 * left
        mean, variance = a * left / now * x + p.alpha(s) * beta / now * d, beta * left / now
        if (g := potential(s)) <= 0:
            if potential(t) > 0:  # the particles' last weights stand at tau
                mean = taken(mean.view(sets, k, D), chosen(p, log_w)).flatten(0, 1)
            x = mean + variance**0.5 * p.z(len(x), D)
            continue
        log_w = log_normal(mean[:, seen], p.alpha(s) * y[seen], variance + g) - log_g
        index = chosen(p, log_w.view(sets, k))
        mean = taken(mean.view(sets, k, D), index).flatten(0, 1)
        share = variance / (variance + g)
        x = mean + variance**0.5 * p.z(len(x), D)
        pulled = mean + share * (p.alpha(s) * y - mean) + (share * g) ** 0.5 * p.z(len(x), D)
        x = torch.where(seen, pulled, x)
        log_g = log_normal(x[:, seen], p.alpha(s) * y[seen], g)
        log_w = torch.zeros(sets, k, dtype=F64)
    return x.view(sets, k, D)
