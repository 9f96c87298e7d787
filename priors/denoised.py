"""The denoiser of a prior at any noise level, beyond its SDE's too."""

import torch
from torch import Tensor

from priors.base import Prior, expand

LEAST_TIME = 1e-5  # where our own priors' training stops


def denoised(prior: Prior, x: Tensor, sigma: Tensor | float) -> Tensor:
    """E[x0 | x0 + sigma z = x] of a prior.

    Formula: D(x, s) = E[x0 | x_t = alpha x] at the time t of sigma / alpha = s. Above the SDE's largest level T, where
    D is linear up to terms of order 1/s^4, D(x, s) = D(m + (T^2 + v) / (s^2 + v) (x - m), T), with m and v the prior's
    mean (of images: 1/2) and variance: other toolkits start as high as 1000 standard deviations.
    Source: Robbins 1956, Efron 2011 (Tweedie's formula).
    Arguments: prior; x (N, *E), data units; sigma (>= 0): a number, or one per row (N,), data units.
    Returns: (N, *E).
    """
    sde, level = prior.sde, torch.as_tensor(sigma, dtype=torch.float64, device=x.device)
    if level.ndim and bool((level == level[:1]).all()):
        level = level[0]
    top = sde.sigma(torch.tensor(1.0)) / sde.alpha(torch.tensor(1.0))
    top = top.to(level)
    if bool((level > top).any()):
        mean = torch.as_tensor(getattr(prior, "mean", 0.5), dtype=x.dtype, device=x.device)
        shrink = ((top**2 + prior.variance) / (level**2 + prior.variance)).clamp(max=1)
        x = mean + expand(shrink, x).to(x.dtype) * (x - mean)
    t = sde.time(level.clamp(max=top)).clamp(LEAST_TIME, 1.0)
    return prior.denoise(expand(sde.alpha(t), x).to(x.dtype) * x, t)
