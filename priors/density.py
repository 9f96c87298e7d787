"""Log-densities of priors without a closed form: by the discrete probability flow, or, up to a constant, by integrating
the score along a line."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from numpy.polynomial import legendre
from torch import Tensor

from priors.arguments import count, number, rows
from priors.base import Prior, expand
from priors.modes import own_modes
from priors.moments import Moments
from priors.noising import TIMES
from priors.ode import MOST_STEPS, heun_step, karras_times
from priors.rng import RNG, signs

EXACT_UP_TO = 256  # largest dimension, and so number of backward passes per step, of an exact determinant
TERMS = 6  # terms of log(1 + e) = e - e^2 / 2 + ...

Step = Callable[[Tensor], Tensor]


def step_with_log_det(
    step: Step, x: Tensor, scale: float, probes: int | None, rng: RNG | None
) -> tuple[Tensor, Tensor]:
    """A differentiable step and the log |det| of its derivative M.

    It is the determinant of the discrete step, not of the ODE that it approximates, so a chain of steps has the exact
    density of its output for any number of steps. A step so long that it is not invertible has no such density: take
    shorter ones.
    Formula: exact, by one backward pass per dimension; or with E = M / scale - 1 by Hutchinson's estimator on the
    series log |det M| = d log scale + sum_k (-1)^(k + 1) E[v'E^k v] / k, k up to 6, v = +-1, minus half the variance of
    the mean over the probes, since importance weights exponentiate the sum and E exp(e) = exp(var / 2) for its error e.
    Source: Behrmann et al. 2019 and Chen et al. 2019 (residual flows); Hutchinson 1990.
    Arguments: step: (N, *E) -> (N, *E), row by row; x (N, *E); scale (float > 0): near the eigenvalues of M; the series
    converges for |eigenvalue - scale| < scale; probes per row (None: exactly); rng (`RowRNG` of the rows), None
    without probes.
    Returns: step(x) (N, *E) and log |det| (N,) float64.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        after = step(x)

    def transposed(v: Tensor) -> Tensor:
        with torch.enable_grad():
            along = (after * v).sum()
        return torch.autograd.grad(along, x, retain_graph=True)[0]

    if probes is None:
        units = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device).view(-1, 1, *x.shape[1:])
        rows = [transposed(unit.expand_as(x)).flatten(1) for unit in units]
        return after.detach(), torch.linalg.slogdet(torch.stack(rows, 1)).logabsdet.double()
    assert rng is not None
    drawn = signs(rng, (len(x), probes, *x.shape[1:])).to(x)
    found = torch.stack([_series(transposed, v, scale) for v in drawn.unbind(1)])
    noise = found.var(0) / probes if probes > 1 else torch.zeros_like(found[0])
    return after.detach(), x[0].numel() * math.log(scale) + found.mean(0) - 0.5 * noise


def _series(transposed: Step, v: Tensor, scale: float) -> Tensor:
    total, power = torch.zeros(len(v), dtype=torch.float64, device=v.device), v
    for k in range(1, TERMS + 1):
        power = transposed(power) / scale - power
        total = total - (-1) ** k / k * (v * power).flatten(1).sum(1).double()
    return total


@own_modes
def log_density(
    prior: Prior, x: Tensor, t: Tensor | float, n_steps: int = 20, probes: int | None = None, rng: RNG | None = None
) -> Tensor:
    """log p_t(x): the prior's closed form, or the density of its discrete probability flow from t to 1.

    The flow uses Heun steps of equal length in (sigma / alpha)^(1 / 7) and their exact determinants: the result is a
    normalised density, which converges to the prior's with the number of steps.
    Source: Song et al. 2021, equation 39; Chen et al. 2018.
    Arguments: prior; x (N, *E) in data units; t (0-d); n_steps (int >= 1); probes, rng: as `step_with_log_det`.
    Returns: (N,) nats, float64.
    Raises: ValueError for n_steps < 1.
    """
    t = _checked(prior, x, t)
    n_steps = count("n_steps", n_steps, most=MOST_STEPS)
    probes = None if probes is None else count("probes", probes)
    if probes is not None and rng is None:
        raise ValueError(f"probes = {probes} without rng: expected rng=RowRNG.rows(seed, {len(x)}) to draw them")
    if prior.has_log_prob:
        return prior.log_prob(x, t).double()
    sde = prior.sde
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for a, b in pairwise(karras_times(sde, t, 1.0, n_steps)):
        x, log_det = step_with_log_det(
            lambda z, a=a, b=b: heun_step(prior, z, a, b), x, middle(prior, a, b), probes, rng
        )
        total = total + log_det
    return sde.terminal_log_prob(x).double() + total


@own_modes
def log_density_along(prior: Prior, x: Tensor, t: Tensor | float, nodes: int = 16) -> Tensor:
    """log p_t(x) up to a constant that depends on (prior, t), by integrating the score from the prior's mean to x.

    Formula: log p_t(x) - log p_t(c) = log N(x) - log N(c) + int_0^1 (x - c)' (s - s_N)(c + u (x - c)) du, with s the
    score, N the Gaussian of the prior's moments noised to t, s_N its score and c = alpha m its mean; Gauss-Radau nodes
    in u, with x itself as a node. It costs one evaluation per node, without derivatives or determinants. The error is
    that of the quadrature, small if the modes of p_t along the line are a few standard deviations sigma_t apart. A
    network's score is only approximately a gradient, so its result depends on the path.
    Source: the gradient theorem; Abramowitz & Stegun 1964, 25.4.31 (the nodes); N as a control variate is ours.
    Arguments: prior; x (N, *E) in data units; t (0-d); nodes (int >= 1), evaluations of the prior.
    Returns: (N,) nats, float64.
    Raises: ValueError for nodes < 1.
    """
    t, nodes = _checked(prior, x, t), count("nodes", nodes)
    moments = (prior.moments or Moments.isotropic(prior.event_shape, prior.variance)).to(x.device, x.dtype)
    alpha, sigma2 = expand(prior.sde.alpha(t), x), expand(prior.sde.sigma(t), x) ** 2
    away = x - alpha * moments.mean

    def pulled(z: Tensor) -> Tensor:  # -s_N at c + z
        return moments.apply(lambda variances: 1 / (alpha**2 * variances + sigma2), z)

    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for u, weight in zip(*radau(nodes), strict=True):
        z = x if u == 1 else alpha * moments.mean + u * away  # x itself: its evaluation may be cached
        total += weight * (away * (prior.score(z, t) + pulled(u * away))).flatten(1).sum(1).double()
    return total - 0.5 * (away * pulled(away)).flatten(1).sum(1).double()


def _checked(prior: Prior, x: Tensor, t: Tensor | float) -> Tensor | float:
    """Check the prior, x (N, *E) and the time; return the time."""
    if not isinstance(prior, Prior):
        raise TypeError(f"prior of type {type(prior).__name__}: expected a priors.Prior, for example priors.load(...)")
    rows("x", x, prior.event_shape)
    if isinstance(t, Tensor):
        if t.ndim > 1 or t.numel() not in (1, len(x)):
            raise ValueError(f"t of shape {tuple(t.shape)}: expected a time, or a tensor ({len(x)},)")
        return t
    return number("t", t, TIMES, "a time of the SDE, from data to noise")


def radau(n: int) -> tuple[list[float], list[float]]:
    """Gauss-Radau nodes in (0, 1], descending from 1, and their weights: exact for polynomials of degree 2 n - 2.

    Source: Abramowitz & Stegun 1964, 25.4.31.
    Arguments: n (int >= 1).
    Raises: ValueError for n < 1.
    """
    n = count("n", n, hint="nodes")
    last = np.zeros(n + 1)
    last[n - 1 :] = 1, -1  # P_{n-1} - P_n vanishes at the nodes
    nodes = np.sort(legendre.legroots(last).real)[::-1]
    nodes[0] = 1.0
    # the rule integrates the Legendre polynomials up to degree n - 1; only that of degree 0 has a nonzero integral
    weights = np.linalg.solve(legendre.legvander(nodes, n - 1).T, np.eye(n)[0])
    return ((nodes + 1) / 2).tolist(), weights.tolist()


def middle(prior: Prior, t: Tensor, s: Tensor) -> float:
    """A scale between the factors by which a step of the probability flow from t to s scales data and noise."""
    sde = prior.sde
    return float(0.5 * (sde.alpha(s) / sde.alpha(t) + sde.sigma(s) / sde.sigma(t)))
