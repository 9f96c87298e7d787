"""Algorithms that put the measurement into the state, from their papers; those of masks are free of noise there."""

from itertools import pairwise

import torch
from torch import Tensor

from benchmarks.audit.problem import F64, D, M, Problem, steps
from benchmarks.audit.unconditional import langevin, reverse_diffusion


def put(p: Problem, x: Tensor, s: float) -> Tensor:
    """Measured pixels of the state from q(x_s | x0 = y)."""
    given = p.alpha(s) * p.y + p.sigma(s) * p.z(len(x), M)
    return x - x @ p.matrix.mT @ p.matrix + given @ p.matrix


def replacement(p: Problem, times: list[float], n: int, snr: float = 0.16, bounded: bool = False) -> Tensor:
    """Song et al. 2021, appendix I.2, on algorithms 2 and 4 (VE): replacement after the predictor and the corrector;
    bounded: as `langevin`."""
    x = p.start(n)
    for t, s in steps(times)[:-1]:
        x = put(p, reverse_diffusion(p, x, t, s), s)
        x = put(p, langevin(p, x, s, snr, bounded), s)
    return put(p, p.denoise(x, times[-1]), 0.0)


def repaint(p: Problem, times: list[float], n: int) -> Tensor:
    """Lugmayr et al. 2022, algorithm 1: its ways up in single steps of the forward process.

    Arguments: as all; times: as they are walked, with the ways up, between levels that all occur on the way down.
    """
    x, levels = p.start(n), sorted(set(times))
    for t, s in steps(times):
        if s < t:
            x = put(p, p.ancestral(x, p.denoise(x, t), t, s), s)
            continue
        between = levels[levels.index(t) : levels.index(s) + 1]
        for low, high in pairwise(between):
            a = p.alpha(high) / p.alpha(low)
            x = a * x + (p.sigma(high) ** 2 - (a * p.sigma(low)) ** 2) ** 0.5 * p.z(n, D)
    return x


def score_mri(
    p: Problem, times: list[float], n: int, weight: float = 0.9, snr: float = 0.16, bounded: bool = False
) -> Tensor:
    """Song et al. 2022, equation 8 and algorithm 2 (VE), with T = [S V_m'; V_rest'] so that A = U [I 0] T.

    The last denoising and the pull after it are of their code. bounded: as `langevin`.
    """
    u, s, v = torch.linalg.svd(p.matrix, full_matrices=True)
    scale = torch.cat([s, torch.ones(D - M, dtype=F64)])
    forward, back = scale[:, None] * v, v.mT / scale

    def pulled(x: Tensor, sigma: float) -> Tensor:
        y_t = (p.y + sigma * p.z(len(x), D) @ p.matrix.mT) @ u  # A (x0 + sigma z), rotated into the rows of T
        coordinates = x @ forward.mT
        coordinates[:, :M] = weight * y_t + (1 - weight) * coordinates[:, :M]
        return coordinates @ back.mT

    x = p.start(n)
    for t, later in steps(times)[:-1]:
        x = reverse_diffusion(p, pulled(x, p.sigma(t)), t, later)
        x = langevin(p, pulled(x, p.sigma(later)), later, snr, bounded)
    last = times[-1]
    return pulled(p.denoise(pulled(x, p.sigma(last)), last), 0.0)


def mcg(p: Problem, times: list[float], n: int, zeta: float = 10.0) -> Tensor:
    """Chung, Sim et al. 2022, algorithm 1, with alpha_i = zeta_i / (2 |y - A D|), zeta_i of `displacement`: their
    experiments divide by the residual too."""
    x = p.start(n)
    for t, s in steps(times):
        d, covariance = p.moments(x, t)
        r = p.y - d @ p.matrix.mT
        gradient = -2 * jacobian_times(p, covariance, r @ p.matrix, t)  # of |y - A D|^2
        length = r.norm(dim=1, keepdim=True)
        moved = p.ancestral(x, d, t, s) - displacement(p, t, s, zeta) / (2 * length) * gradient
        x = put(p, moved, s)
    return x


def jacobian_times(p: Problem, covariance: Tensor, v: Tensor, t: float) -> Tensor:
    """J'v with J the derivative of E[x0 | x_t], symmetric here; covariance (N, d, d) of x0 given x_t, v (N, d)."""
    return p.alpha(t) / p.sigma(t) ** 2 * torch.einsum("nde,ne->nd", covariance, v)


def displacement(p: Problem, t: float, s: float, zeta: float) -> float:
    """A zeta_i of Chung et al. 2023 (VP): zeta sqrt(m) times the step in time that beta_i stands for, beta_i / beta(t).

    The first order in the step is zeta sqrt(m) (t - s); theirs, .3 to 1 for 1000 steps, is of the same kind.
    """
    a2 = (p.alpha(t) / p.alpha(s)) ** 2
    return zeta * M**0.5 * (1 - a2) / (0.1 + 19.9 * t) / a2**0.5
