"""Algorithms that move the state by a gradient or estimate x0 anew, from their papers."""

from itertools import pairwise

import torch
from torch import Tensor

from benchmarks.audit.problem import F64, D, M, Problem, steps
from benchmarks.audit.replacing import displacement, jacobian_times


def dps(p: Problem, times: list[float], n: int, zeta: float = 10.0) -> Tensor:
    """Chung et al. 2023, algorithm 1, with the zeta_i of `displacement`."""
    x = p.start(n)
    for t, s in steps(times):
        d, covariance = p.moments(x, t)
        r = p.y - d @ p.matrix.mT
        gradient = -jacobian_times(p, covariance, r @ p.matrix, t) / r.norm(dim=1, keepdim=True)  # of |y - A D|
        x = p.ancestral(x, d, t, s) - displacement(p, t, s, zeta) * gradient
    return x


def pseudo_inverse_gradient(p: Problem, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """E[x0 | x_t] and Song, Vahdat et al. 2023, equation 7, with r_t^2 = sigma^2 / (1 + sigma^2), VE's sigma."""
    d, covariance = p.moments(x, t)
    ratio2 = (p.sigma(t) / p.alpha(t)) ** 2
    gram = ratio2 / (1 + ratio2) * p.matrix @ p.matrix.mT + p.sigma_y**2 * torch.eye(M, dtype=F64)
    return d, jacobian_times(p, covariance, torch.linalg.solve(gram, (p.y - d @ p.matrix.mT).mT).mT @ p.matrix, t)


def pigdm(p: Problem, times: list[float], n: int) -> Tensor:
    """Song, Vahdat et al. 2023, equation 7 as the likelihood's score, in DDIM with eta = 1."""
    x = p.start(n)
    for t, s in steps(times):
        d, gradient = pseudo_inverse_gradient(p, x, t)
        x = p.ancestral(x, d + p.sigma(t) ** 2 / p.alpha(t) * gradient, t, s)
    return x


def pigdm_printed(p: Problem, times: list[float], n: int) -> Tensor:
    """Song, Vahdat et al. 2023, algorithm 1 with eta = 1: alpha_t r_t^2 times equation 7 is added at every step."""
    x = p.start(n)
    for t, s in steps(times):
        d, gradient = pseudo_inverse_gradient(p, x, t)
        ratio2 = (p.sigma(t) / p.alpha(t)) ** 2
        x = p.ancestral(x, d, t, s) + p.alpha(t) * ratio2 / (1 + ratio2) * gradient
    return x


def tmpd(p: Problem, times: list[float], n: int) -> Tensor:
    """Boys et al. 2024, equation 9 with the row sums of section 3.2, in ancestral steps."""
    x = p.start(n)
    for t, s in steps(times):
        d, covariance = p.moments(x, t)
        spread = covariance @ p.matrix.mT  # C A', (N, d, m)
        diagonal = (p.matrix @ spread).sum(2) + p.sigma_y**2
        d = d + torch.einsum("ndm,nm->nd", spread, (p.y - d @ p.matrix.mT) / diagonal)
        x = p.ancestral(x, d, t, s)
    return x


def mmps(p: Problem, times: list[float], n: int) -> Tensor:
    """Rozet et al. 2024, algorithm 2, its system solved exactly, in ancestral steps."""
    x = p.start(n)
    for t, s in steps(times):
        d, covariance = p.moments(x, t)
        spread = covariance @ p.matrix.mT
        gram = p.matrix @ spread + p.sigma_y**2 * torch.eye(M, dtype=F64)
        d = d + (spread @ torch.linalg.solve(gram, p.y - d @ p.matrix.mT)[:, :, None])[:, :, 0]
        x = p.ancestral(x, d, t, s)
    return x


def gaussian_gain(p: Problem, t: float) -> Tensor:
    """(Sigma_y + A C_s A')^-1 A C_s (m, d), with the Cov[x0 | x_t] of a Gaussian prior that has the mixture's
    covariance C: C_s = (C^-1 + s^-2 I)^-1, s = sigma / alpha."""
    off = p.means - p.weights @ p.means
    prior = torch.einsum("k,kde->de", p.weights, p.covariances) + torch.einsum("k,kd,ke->de", p.weights, off, off)
    precision = torch.linalg.inv(prior) + (p.alpha(t) / p.sigma(t)) ** 2 * torch.eye(D, dtype=F64)
    spread = torch.linalg.solve(precision, p.matrix.mT)
    return torch.linalg.solve(p.matrix @ spread + p.sigma_y**2 * torch.eye(M, dtype=F64), spread.mT)


def mmps_wiener(p: Problem, times: list[float], n: int) -> Tensor:
    """`mmps` with one covariance for all x_t, that of `gaussian_gain`."""
    x = p.start(n)
    for t, s in steps(times):
        d = p.denoise(x, t)
        x = p.ancestral(x, d + (p.y - d @ p.matrix.mT) @ gaussian_gain(p, t), t, s)
    return x


def classifier(p: Problem, times: list[float], n: int, label: int = 0) -> Tensor:
    """Song et al. 2021, equation 14: the score and the gradient of log p_t(label | x), in steps of equation 46."""
    x = p.start(n)
    for t, s in steps(times)[:-1]:
        shares, each = p.components(x, t)
        d = (shares[:, :, None] * each).sum(1)
        gradient = p.alpha(t) / p.sigma(t) ** 2 * (each[:, label] - d)
        a = p.alpha(t) / p.alpha(s)
        beta = p.sigma(t) ** 2 - (a * p.sigma(s)) ** 2
        x = (2 - a) * x + beta * (p.score(x, t) + gradient) + beta**0.5 * p.z(n, D)
    return p.components(x, times[-1])[1][:, label]


def red_diff(p: Problem, times: list[float], n: int, weight: float = 0.25, lr: float = 0.2) -> Tensor:
    """Mardani et al. 2024, algorithm 1, by autograd and torch's Adam with the decays of their code."""
    mu = p.denoise(p.start(n), times[0]).requires_grad_()
    adam = torch.optim.Adam([mu], lr=lr, betas=(0.9, 0.99), eps=1e-12)
    for t in times[:-1]:
        eps, a, s = p.z(n, D), p.alpha(t), p.sigma(t)
        with torch.no_grad():
            x = a * mu + s * eps
            predicted = (x - a * p.denoise(x, t)) / s
        with torch.enable_grad():
            loss = 0.5 * (p.y - mu @ p.matrix.mT).square().sum() + weight * s / a * ((predicted - eps) * mu).sum()
            adam.zero_grad()
            loss.backward()
        adam.step()
    return mu.detach()


def daps(
    p: Problem, times: list[float], n: int, ode_steps: int = 5, langevin_steps: int = 100, lr: float = 0.2
) -> Tensor:
    """Zhang et al. 2025, algorithm 1 (VE): Euler's steps of the probability flow in Karras' schedule, Langevin's steps
    with eta_t = lr / (1.2 c / sigma_y^2 + 1 / r^2), c the largest eigenvalue of A'A, and noise again."""
    largest, least = 1.2 * float(torch.linalg.matrix_norm(p.matrix, 2)) ** 2, p.sigma(times[-1])
    x = p.start(n)
    for t, s in steps(times)[:-1]:
        r = p.sigma(t)
        ladder = torch.linspace(r ** (1 / 7), least ** (1 / 7), ode_steps + 1, dtype=F64) ** 7
        centre, levels = x, [*ladder[:-1].tolist(), 0.0]
        for high, low in pairwise(levels):
            d = p.denoise(centre, p.time(high))
            centre = d + low / high * (centre - d)
        eta = lr / (largest / p.sigma_y**2 + 1 / r**2)
        x0 = centre
        for _ in range(langevin_steps):
            gradient = (p.y - x0 @ p.matrix.mT) @ p.matrix / p.sigma_y**2 + (centre - x0) / r**2
            x0 = x0 + eta * gradient + (2 * eta) ** 0.5 * p.z(n, D)
        x = x0 + p.sigma(s) * p.z(n, D)
    return x0
