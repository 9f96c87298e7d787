"""What the noise level allows of a correction, where a Jacobian is not that of a posterior mean."""

import torch
from torch import Tensor

from operators import LinearOperator
from operators.solvers import dot
from priors import SDE
from priors.base import expand

LARGEST = 25.0  # eigenvalue of Cov[x0 | x_t], in units of s^2
LONGEST = 10.0  # root mean square of a correction per coordinate, in units of s
OVERSHOOT = 2.0  # of a step, in steps to the least: beyond it the residual grows


def step_length(decrease: Tensor, p: Tensor, w: Tensor, aw: Tensor, sigma_y: Tensor, s2: float) -> Tensor:
    """The step along w = C A' p that minimises the residual, (N,): decrease / p'(Sigma_y + A C A') p.

    Formula: x0 = x_t / alpha - s z with a normal z, so that Cov[x0 | x_t] = s^2 Cov[z | x_t]. By Jensen's inequality
    E[(v'z)^2 | x_t] for a unit vector v exceeds k no more often than exp((1 - k) / 2) k^1/2, the Chernoff bound of
    chi^2: k = 25 less than once in 30,000. A covariance 0 <= C <= k s^2 I has p'A C A'p >= |w|^2 / (k s^2). A trained
    Jacobian need not: the step is then that of this bound, and falls to 0 as p'A w does.
    Arguments: decrease r'p (N,) of a unit step; p (N, *M); w (N, *E); aw (N, *M) = A w; sigma_y, broadcastable to p;
    s2 = (sigma / alpha)^2.
    """
    measured, least = dot(p, aw), dot(w, w) / (LARGEST * s2)
    curvature = dot(p, sigma_y**2 * p) + torch.maximum(measured, least)
    trust = torch.where(least > 0, measured / torch.where(least > 0, least, 1.0), 1.0).clamp(0.0, 1.0)
    return torch.where(curvature > 0, trust * decrease / torch.where(curvature > 0, curvature, 1.0), 0.0)


def damping(decrease: Tensor, p: Tensor, w: Tensor, aw: Tensor, sigma_y: Tensor, s2: float) -> Tensor:
    """The share of the correction w = C A' p that is taken where p is no solution of the system, (N,) in [0, 1].

    Formula: 1 while it goes at most twice as far as to the least residual along it, which a Gaussian approximation of
    C does not exceed; then 2 r'p / p'(Sigma_y + A C A') p, at which the residual does not grow.
    Arguments: as `step_length`.
    """
    least = dot(w, w) / (LARGEST * s2)
    curvature = dot(p, sigma_y**2 * p) + torch.maximum(dot(p, aw), least)
    return torch.where(curvature > 0, OVERSHOOT * decrease / torch.where(curvature > 0, curvature, 1.0), 1.0).clamp(
        0, 1
    )


def bounded(correction: Tensor, energy: Tensor, s2: float) -> Tensor:
    """Corrections (N, *E) of E[x0 | x_t], none longer than 10 s per coordinate, or than so much more as y is unlikely.

    Formula: E[x0 | x_t, y] - E[x0 | x_t] = s (E[z | x_t] - E[z | x_t, y]), and the squares of these are on average at
    most the number of coordinates where x_t is a state of the sampler; elsewhere ``energy`` is above 1.
    Arguments: energy (N,): r'(Sigma_y + A C A')^-1 r of the residual r per measured number; s2 = (sigma / alpha)^2.
    """
    most = LONGEST * (s2 * energy.clamp_min(1.0)).sqrt()
    length = correction.flatten(1).square().mean(1).sqrt()
    return expand(most / torch.maximum(length, most), correction) * correction


def limited(
    operator: LinearOperator, residual: Tensor, p: Tensor, gradient: Tensor, sde: SDE, t: Tensor | float
) -> Tensor:
    """A gradient J'A'p of log p_t(y | x_t), as long as its correction may be: `damping` and `bounded`.

    Arguments: operator of the rows; residual y - A E[x0 | x_t] and p (N, *M); gradient (N, *E); sde and t.
    """
    alpha, sigma2 = sde.alpha(t).item(), sde.sigma(t).item() ** 2
    s2, w = sigma2 / alpha**2, sigma2 / alpha * gradient
    noise = operator.noise.aligned("sigma", p)
    decrease = dot(residual, p)
    share = damping(decrease, p, w, operator(w), noise, s2)
    return bounded(expand(share, w) * w, share * decrease / p[0].numel(), s2) * (alpha / sigma2)
