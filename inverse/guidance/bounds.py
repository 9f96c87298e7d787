"""What the noise level allows of a correction, where a Jacobian is not that of a posterior mean."""

import torch
from torch import Tensor

from operators import LinearOperator, Noise
from operators.solvers import dot
from priors import SDE
from priors.base import expand

LARGEST = 25.0  # eigenvalue of Cov[x0 | x_t], in units of s^2
LONGEST = 10.0  # root mean square of a correction per coordinate, in units of s
OVERSHOOT = 2.0  # of a correction, in those to the least residual: beyond it the residual grows
TINY = 1e-20  # squared length that counts as 0: the derivative of a division by less overflows single precision


def step_length(
    decrease: Tensor, residual: Tensor, p: Tensor, w: Tensor, aw: Tensor, noise: Noise, s2: float
) -> Tensor:
    """The step along w = C A' p that minimises the error, (N,): decrease / p'(Sigma_y + A C A') p.

    Formula: x0 = x_t / alpha - s z with a normal z, so that Cov[x0 | x_t] = s^2 Cov[z | x_t]. By Jensen's inequality
    E[(v'z)^2 | x_t] for a unit vector v exceeds k no more often than exp((1 - k) / 2) k^1/2, the Chernoff bound of
    chi^2: k = 25 less than once in 30,000. A covariance 0 <= C <= k s^2 I has p'A C A'p >= |w|^2 / (k s^2). A trained
    Jacobian need not: the step is then that of this bound, and falls to 0 as p'A w does. Nor is it longer than the
    residual allows (`reach`).
    Arguments: decrease r'p (N,) of a unit step; residual r and p (N, *M); w (N, *E); aw (N, *M) = A w; noise; s2 =
    (sigma / alpha)^2.
    """
    measured, least, curvature = _curvature(p, w, aw, noise, s2)
    trust = torch.where(least > 0, measured / torch.where(least > 0, least, 1.0), 1.0).clamp(0.0, 1.0)
    step = torch.where(curvature > 0, trust * decrease / torch.where(curvature > 0, curvature, 1.0), 0.0)
    return torch.minimum(step, reach(residual, aw, noise))


def _curvature(p: Tensor, w: Tensor, aw: Tensor, noise: Noise, s2: float) -> tuple[Tensor, Tensor, Tensor]:
    """p'A C A'p as the Jacobian has it, its lower bound, and p'(Sigma_y + A C A') p with the larger of them, (N,)."""
    measured, least = dot(p, aw), dot(w, w) / (LARGEST * s2)
    return measured, least, dot(p, noise.aligned("sigma", p) ** 2 * p) + torch.maximum(measured, least)


def reach(residual: Tensor, aw: Tensor, noise: Noise) -> Tensor:
    """The most of w at which the residual r is not larger than without it, (N,) >= 0; infinite where A w = 0.

    Formula: |r - a A w|^2 <= |r|^2 in units of the noise, so that a <= 2 r'S^-1 A w / |A w|^2. A correction
    C A' (S + A C A')^-1 r by any covariance C >= 0 has a = 1 within this. One beyond it overshoots: the next step has
    more to correct than this one, and differences of rounding grow with it from step to step.
    Arguments: residual r and aw = A w, (N, *M); noise with covariance S.
    """
    sigma = 1.0 if noise.noiseless else noise.aligned("sigma", residual)
    moved = aw / sigma
    along, size = dot(residual / sigma, moved), dot(moved, moved)
    some = size > TINY
    return torch.where(some, (OVERSHOOT * along / torch.where(some, size, 1.0)).clamp_min(0.0), torch.inf)


def bounded(correction: Tensor, energy: Tensor, s2: float) -> Tensor:
    """Corrections (N, *E) of E[x0 | x_t], none longer than 10 s per coordinate, or than so much more as y is unlikely.

    Formula: E[x0 | x_t, y] - E[x0 | x_t] = s (E[z | x_t] - E[z | x_t, y]), and the squares of these are on average at
    most the number of coordinates where x_t is a state of the sampler; elsewhere ``energy`` is above 1.
    Arguments: energy (N,): r'(Sigma_y + A C A')^-1 r of the residual r per measured number; s2 = (sigma / alpha)^2.
    """
    most = LONGEST**2 * s2 * energy.clamp_min(1.0)
    length = correction.flatten(1).square().mean(1)  # squared: the root of 0 has no derivative
    return expand((most / torch.maximum(length, most)).sqrt(), correction) * correction


def limited(
    operator: LinearOperator, residual: Tensor, p: Tensor, gradient: Tensor, sde: SDE, t: Tensor | float
) -> Tensor:
    """A gradient J'A'p of log p_t(y | x_t), as long as its correction may be: `reach` and `bounded`.

    Formula: and not longer than 2 r'p / p'(Sigma_y + A C A') p of it, with `step_length`'s bound of C.
    Arguments: operator of the rows; residual y - A E[x0 | x_t] and p (N, *M); gradient (N, *E); sde and t.
    """
    alpha, sigma2 = sde.alpha(t).item(), sde.sigma(t).item() ** 2
    s2, w = sigma2 / alpha**2, sigma2 / alpha * gradient
    decrease, aw, noise = dot(residual, p), operator(w), operator.noise
    *_, curvature = _curvature(p, w, aw, noise, s2)
    some = curvature > 0
    most = torch.where(some, OVERSHOOT * decrease / torch.where(some, curvature, 1.0), 1.0)
    share = torch.minimum(most, reach(residual, aw, noise)).clamp(0.0, 1.0)
    return bounded(expand(share, w) * w, share * decrease / p[0].numel(), s2) * (alpha / sigma2)
