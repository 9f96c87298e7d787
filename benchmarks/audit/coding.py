"""Algorithms of latent diffusion, from their papers, with the identity for encoder and decoder."""

from itertools import pairwise

import torch
from torch import Tensor

from benchmarks.audit.problem import F64, D, Problem, steps
from benchmarks.audit.replacing import displacement, jacobian_times


def psld(p: Problem, times: list[float], n: int, zeta: float = 10.0, gamma: float = 0.1) -> Tensor:
    """Rout et al. 2023, algorithm 2, with the step of `gradients.dps` and A' over the largest eigenvalue of A A'."""
    gram = p.matrix.mT @ p.matrix / torch.linalg.matrix_norm(p.matrix, 2) ** 2
    x = p.start(n)
    for t, s in steps(times):
        d, covariance = p.moments(x, t)
        r = p.y - d @ p.matrix.mT
        glue = -r @ p.matrix / torch.linalg.matrix_norm(p.matrix, 2) ** 2  # D - E(A'y + (I - A'A) G(D))
        slopes = -r @ p.matrix / r.norm(dim=1, keepdim=True)
        slopes = slopes + gamma * glue @ gram / glue.norm(dim=1, keepdim=True)
        x = p.ancestral(x, d, t, s) - displacement(p, t, s, zeta) * jacobian_times(p, covariance, slopes, t)
    return x


def consistent(p: Problem, x: Tensor, iterations: int = 200) -> Tensor:
    """argmin |y - A x|^2 from x (N, d) by Nesterov 1983; every row until its mean square residual is sigma_y^2."""
    rows = []
    for start in x:
        here = ahead = start
        for k in range(iterations):
            r = p.y - p.matrix @ ahead
            if float(r @ r) <= len(r) * p.sigma_y**2:
                here = ahead
                break
            after = ahead + p.matrix.mT @ r / (1.2 * torch.linalg.matrix_norm(p.matrix, 2) ** 2)
            here, ahead = after, after + k / (k + 3) * (after - here)
        rows.append(here)
    return torch.stack(rows)


def resample(p: Problem, times: list[float], n: int, gamma: float = 40.0, every: int = 10) -> Tensor:
    """Song, Kwon et al. 2024, algorithm 1: DDIM with eta = 0, the variance and the last optimisation of their code."""
    x = p.start(n).to(F64)
    for number, (t, s) in enumerate(pairwise(times), 1):
        d = p.denoise(x, t)
        ahead = p.alpha(s) * d + p.sigma(s) / p.sigma(t) * (x - p.alpha(t) * d)
        if t > 2 / 3 or number % every:
            x = ahead
            continue
        left, now = p.sigma(s) ** 2, p.sigma(t) ** 2
        w = gamma * left / now * (1 - (p.alpha(t) / p.alpha(s)) ** 2)
        x = (w * p.alpha(s) * consistent(p, d) + left * ahead) / (w + left)
        x = x + (1 / (1 / w + 1 / left)) ** 0.5 * p.z(n, D)
    return consistent(p, p.denoise(x, times[-1]))
