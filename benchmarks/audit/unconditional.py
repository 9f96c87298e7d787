"""Samples of the prior: the algorithms of the score-SDE paper."""

import numpy as np
import torch
from torch import Tensor

from benchmarks.audit.problem import F64, D, Problem, steps


def reverse_diffusion(p: Problem, x: Tensor, t: float, s: float) -> Tensor:
    """Song et al. 2021, algorithm 2 (VE)."""
    assert p.kind == "ve"
    more = p.sigma(t) ** 2 - p.sigma(s) ** 2
    return x + more * p.score(x, t) + more**0.5 * p.z(*x.shape)


def langevin(p: Problem, x: Tensor, t: float, snr: float, bounded: bool = False) -> Tensor:
    """Song et al. 2021, algorithm 4, a step; bounded, as ours: with |z|^2 = d and at most twice the step of Song &
    Ermon 2019."""
    z, score = p.z(*x.shape), p.score(x, t)
    length = D if bounded else z.square().sum(1, keepdim=True)
    step = 2 * snr**2 * length / score.square().sum(1, keepdim=True)
    step = step.clamp_max(4 * (snr * p.sigma(t)) ** 2) if bounded else step
    return x + step * score + (2 * step).sqrt() * z


def predictor(p: Problem, times: list[float], n: int) -> Tensor:
    """Song et al. 2021, algorithm 2 without its corrector."""
    x = p.start(n)
    for t, s in steps(times)[:-1]:
        x = reverse_diffusion(p, x, t, s)
    return p.denoise(x, times[-1])


def predictor_corrector(p: Problem, times: list[float], n: int, snr: float = 0.16, bounded: bool = False) -> Tensor:
    """Song et al. 2021, algorithms 1, 2 and 4; bounded: as `langevin`."""
    x = p.start(n)
    for t, s in steps(times)[:-1]:
        x = langevin(p, reverse_diffusion(p, x, t, s), s, snr, bounded)
    return p.denoise(x, times[-1])


def corrector(p: Problem, times: list[float], n: int, snr: float = 0.45) -> Tensor:
    """Song & Ermon 2019, algorithm 1, a step a level, alpha_i = 2 (2 snr^2) sigma_i^2."""
    x = p.start(n)
    for t in times[1:]:
        step = 4 * (snr * p.sigma(t)) ** 2
        x = x + step / 2 * p.score(x, t) + step**0.5 * p.z(n, D)
    return p.denoise(x, times[-1])


def probability_flow(p: Problem, times: list[float], n: int) -> Tensor:
    """Song et al. 2021, equation 13 (VE: dx/dsigma = -sigma score), by scipy's RK45."""
    from scipy.integrate import solve_ivp  # heavy, and of this reference alone

    assert p.kind == "ve"

    def slope(level: float, x: np.ndarray) -> np.ndarray:
        sigma = float(np.exp(level))
        return (-(sigma**2) * p.score(torch.from_numpy(x).view(n, D), p.time(sigma))).flatten().numpy()

    high, low = (float(np.log(p.sigma(t))) for t in (times[0], times[-1]))
    found = solve_ivp(slope, (high, low), p.start(n).flatten().numpy(), rtol=1e-4, atol=1e-4)
    return p.denoise(torch.from_numpy(found.y[:, -1]).view(n, D).to(F64), times[-1])
