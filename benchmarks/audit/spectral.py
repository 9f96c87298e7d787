"""Algorithms in the singular basis of A, or by its normal equations, from their papers."""

from itertools import pairwise

import torch
from torch import Tensor

from benchmarks.audit.problem import F64, D, M, Problem, steps


def basis(p: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of V' (d, d), singular values (d,) that are 0 beyond m, and ybar = S^+ U'y (d,)."""
    u, s, v = torch.linalg.svd(p.matrix, full_matrices=True)
    values, ybar = torch.zeros(D, dtype=F64), torch.zeros(D, dtype=F64)
    values[:M], ybar[:M] = s, (u.mT @ p.y) / s
    return v, values, ybar


def ddrm(p: Problem, times: list[float], n: int, eta: float = 0.85, eta_b: float = 1.0) -> Tensor:
    """Kawar et al. 2022, equations 4 (where it starts), 7 and 8, for states divided by alpha."""
    v, s, ybar = basis(p)
    first = p.sigma(times[0]) / p.alpha(times[0])
    noise = torch.where(s > 0, p.sigma_y / s.clamp_min(1e-30), 0.0)
    x = ybar + (first**2 - noise**2).clamp_min(0).sqrt() * p.z(n, D)
    for t, later in steps(times):
        now, level = p.sigma(t) / p.alpha(t), p.sigma(later) / p.alpha(later)
        d, z = p.denoise(p.alpha(t) * (x @ v), t) @ v.mT, p.z(n, D)
        unseen = d + (1 - eta**2) ** 0.5 * level / now * (x - d) + eta * level * z
        loud = d + (1 - eta**2) ** 0.5 * level * (ybar - d) / noise.clamp_min(1e-30) + eta * level * z
        quiet = (1 - eta_b) * d + eta_b * ybar + (level**2 - (eta_b * noise) ** 2).clamp_min(0).sqrt() * z
        x = torch.where(s == 0, unseen, torch.where(level < noise, loud, quiet))
    return x @ v


def ddnm(p: Problem, times: list[float], n: int, eta: float = 0.85) -> Tensor:
    """Wang et al. 2023, DDNM+ for a general A (appendix I): Lambda and Phi by singular value, DDIM's split of noise."""
    v, s, _ = basis(p)
    pinv, x = torch.linalg.pinv(p.matrix), p.start(n)
    for t, later in steps(times):
        a, sigma = p.alpha(later), p.sigma(later)
        d = p.denoise(x, t)
        eps = (x - p.alpha(t) * d) / p.sigma(t)
        brought = torch.where(s > 0, a * p.sigma_y / s.clamp_min(1e-30), 0.0)  # noise of A^+ y in the next state
        quiet = sigma >= brought
        trust = torch.where(quiet, 1.0, (1 - eta**2) ** 0.5 * sigma / brought.clamp_min(1e-30))
        d = d + ((p.y - d @ p.matrix.mT) @ pinv.mT @ v.mT * trust) @ v
        fresh = torch.where(quiet, (sigma**2 - brought**2).clamp_min(0).sqrt(), eta * sigma)
        fresh = torch.where(s > 0, fresh, eta * sigma)
        old = torch.where(s > 0, 0.0, (1 - eta**2) ** 0.5 * sigma)
        x = a * d + (fresh * p.z(n, D) + old * (eps @ v.mT)) @ v
    return x


def diffpir(p: Problem, times: list[float], n: int, weight: float = 7.0, zeta: float = 1.0) -> Tensor:
    """Zhu et al. 2023, algorithm 1, its proximal step by the normal equations."""
    x = p.start(n)
    for t, later in steps(times):
        rho = weight * p.sigma_y**2 * (p.alpha(t) / p.sigma(t)) ** 2
        normal = p.matrix.mT @ p.matrix + rho * torch.eye(D, dtype=F64)
        x0 = torch.linalg.solve(normal, (p.y @ p.matrix + rho * p.denoise(x, t)).mT).mT
        eps = (x - p.alpha(t) * x0) / p.sigma(t)
        x = p.alpha(later) * x0 + p.sigma(later) * ((1 - zeta) ** 0.5 * eps + zeta**0.5 * p.z(n, D))
    return x


def split_gibbs(p: Problem, times: list[float], n: int) -> Tensor:
    """Wu et al. 2024, algorithm 1: z by Cholesky's factor of the likelihood step, x by the reverse SDE from rho.

    Arguments: as all; times: down from 1 to the least level, up to rho, down again and so on.
    """
    x, ends = p.start(n), [i for i, (t, s) in enumerate(pairwise(times)) if s > t]
    bounds = [0, *[i + 1 for i in ends], len(times)]
    for first, last in pairwise(bounds):
        sweep = times[first:last]
        if first:
            rho = p.sigma(sweep[0]) / p.alpha(sweep[0])
            precision = p.matrix.mT @ p.matrix / p.sigma_y**2 + torch.eye(D, dtype=F64) / rho**2
            factor = torch.linalg.cholesky(torch.linalg.inv(precision))
            mean = (p.y @ p.matrix / p.sigma_y**2 + x / rho**2) @ torch.linalg.inv(precision)
            x = p.alpha(sweep[0]) * (mean + p.z(n, D) @ factor.mT)
        for t, s in steps(sweep):
            x = p.ancestral(x, p.denoise(x, t), t, s)
    return x
