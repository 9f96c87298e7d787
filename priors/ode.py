"""The probability flow: the deterministic path between data and noise."""

from itertools import pairwise

import torch
from torch import Tensor

from priors.base import Prior, expand


def heun_step(prior: Prior, x: Tensor, t: Tensor | float, s: Tensor | float) -> Tensor:
    """One step of Heun's rule on the probability flow, from t to s in either direction; x (N, *E) -> (N, *E).

    Formula: with u = x / alpha and r = sigma / alpha the flow is du/dr = (u - D) / r, in which the linear drift is
    exact.
    Source: Song et al. 2021, equation 13; Karras et al. 2022, algorithm 1. Two evaluations of the prior.
    """
    sde = prior.sde
    alpha_t, alpha_s = expand(sde.alpha(t), x), expand(sde.alpha(s), x)
    r_t, r_s = expand(sde.sigma(t), x) / alpha_t, expand(sde.sigma(s), x) / alpha_s
    u = x / alpha_t
    slope = (u - prior.denoise(x, t)) / r_t
    guess = u + (r_s - r_t) * slope
    slope = 0.5 * (slope + (guess - prior.denoise(alpha_s * guess, s)) / r_s)
    return alpha_s * (u + (r_s - r_t) * slope)


@torch.no_grad()
def decode(prior: Prior, z: Tensor, n_steps: int = 64) -> Tensor:
    """Latent to data: the flow from t = 1 to t_min by Heun's rule, then the denoiser.

    Arguments: prior; z (N, *E): x at t = 1 in data units (N(0, sigma(1)^2 I) for a sample); n_steps (int >= 1).
    Returns: (N, *E) in data units.
    Raises: ValueError for n_steps < 1.
    """
    if n_steps < 1:
        raise ValueError(f"n_steps = {n_steps}: expected at least 1")
    times = torch.linspace(1.0, prior.sde.t_min, n_steps + 1, dtype=torch.float64)
    for t, s in pairwise(times):
        z = heun_step(prior, z, t, s)
    return prior.denoise(z, times[-1])
