"""The likelihood of an image under a prior, by the probability flow."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from priors.arguments import choice, count, flag, number, rows
from priors.arguments import seed as seeded
from priors.base import VJP, Prior, expand
from priors.modes import own_modes
from priors.ode import Clock, check_flow
from priors.rng import RowRNG, signs
from priors.runge_kutta import integrate

MOST_EXACT = 4096  # largest dimension, and so number of backward passes per evaluation, of an exact trace
EXACT_UP_TO = 64  # largest dimension in which the trace is exact unless probes are asked for
T_MIN = 1e-5  # as in the paper, for every SDE
DEQUANTISATION = 1  # key of the random stream for dequantisation; probes use the sample's stream

# (vector -> J' vector, row numbers (n,), u (n, *E)) -> estimates of tr J and of tr I, (n, k) float64 on the CPU, by
# every one of k probes
Trace = Callable[[VJP, Tensor, Tensor], tuple[Tensor, Tensor]]


@own_modes
def log_likelihood(
    prior: Prior,
    x: Tensor,
    seed: int = 0,
    *,
    probe: str | None = None,
    n_probes: int | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    t_min: float = T_MIN,
    batch_size: int | None = None,
    standard_error: bool = False,
) -> Tensor:
    """log p(x) by the change of variables along the probability flow; results do not depend on the batch.

    It is the density at t_min, that of x0 plus noise of standard deviation sigma(t_min): for VESDE at least sigma_min,
    so p(x) is smoothed by sigma_min; for VP and sub-VP 1e-3 and 1e-6 of the scale at t_min = 1e-5.
    Formula: with u = x / alpha and r = sigma / alpha, log p(x) = log N(x_1; 0, sigma(1)^2 I)
    + d log(alpha(1) / alpha(t_min)) + integral over log r of (d - alpha tr J), J = dD / dx_t. The trace is the mean of
    v'Jv over probes v with E[vv'] = I, which stay the same along the path; the control variate k (v'v - d) is
    subtracted from alpha v'Jv (Gaussian probes only), with k = s^2 / (s^2 + r^2), for which alpha J = k I if the data
    are Gaussian of variance s^2 I.
    Source: Song et al. 2021, section 4.3 and appendix D.2; Chen et al. 2018; Skilling 1989 and Hutchinson 1990.
    Arguments: prior; x (N, *E) in data units; seed (int >= 0) of the probes: those of sample n depend only on (seed,
    n); probe: "rademacher" (entries +-1), "gaussian", or "exact" (every unit vector in turn: d backward passes an
    evaluation); None: "exact" up to 64 dimensions unless n_probes is given, else "rademacher"; n_probes (int >= 1) per
    row, not of "exact"; None: 1; rtol, atol: tolerance of one step (see `priors.runge_kutta.integrate`), for the path
    in data units and for the integral in nats per dimension; t_min (float in (0, 1)); batch_size: rows at a time;
    standard_error: give that of the mean over probes too, which is 0 for "exact" and takes n_probes >= 2 otherwise.
    Returns: (N,) nats, float64 on the CPU; with standard_error (2, N), the values and their errors.
    Raises: ValueError for x of the wrong shape or not finite, arguments out of range, an exact trace in more than 4096
    dimensions, and a standard error of one probe; ArithmeticError where the tolerance cannot be reached.
    """
    number("t_min", t_min, "(0, 1)", "a time; the paper uses 1e-5")
    check_flow(prior, x, rtol, atol, t_min, batch_size)
    flag("standard_error", standard_error)
    d = math.prod(prior.event_shape)
    probe = ("exact" if d <= EXACT_UP_TO and n_probes is None else "rademacher") if probe is None else probe
    trace, k = _trace(probe, n_probes, d, x, seed)
    if standard_error and k == 1 and probe != "exact":
        raise ValueError("standard_error of one probe per row is not known: give n_probes of at least 2, such as 8")
    parts = torch.arange(len(x)).split(batch_size or max(1, len(x)))
    found = torch.cat([_change_of_variables(prior, x, part, trace, d, rtol, atol, t_min) for part in parts])
    values = found.mean(1)
    if not standard_error:
        return values
    return torch.stack([values, found.std(1) / k**0.5 if k > 1 else torch.zeros_like(values)])


def bits_per_dim(
    prior: Prior, x: Tensor, seed: int = 0, *, levels: int = 256, dequantize: bool = True, **settings
) -> Tensor:
    """Bits per dimension of an image of integer grey levels under the prior.

    The image k / (levels - 1) is uniformly dequantised: x' = (k + U) / levels with U uniform on [0, 1). Cells have the
    volume levels^-d, so log P(k) >= E log p(x') - d log levels: an upper bound on the code's length. In units of [0, 1]
    the change of units adds log2 levels, 8 bits for 256 levels (7 in the units 2 x - 1).
    Formula: -log2 p(x') / d + log2 levels.
    Source: Song et al. 2021, section 4.3 and appendix D.2; Theis, van den Oord & Bethge 2016.
    Arguments: prior over [0, 1] image units; x (N, *E) in image units, one of ``levels`` values each; seed (int >= 0)
    of dequantisation and probes, which draw from different streams; levels (int >= 2); dequantize: False evaluates p at
    x itself; settings: as `log_likelihood`, which explains the effect of t_min.
    Returns: (N,) bits per dimension, float64 on the CPU; with standard_error (2, N), the values and their errors.
    Raises: ValueError for x outside [0, 1] or between levels, and as `log_likelihood`.
    """
    count("levels", levels, 2, hint="256 for images of 8 bits")
    flag("dequantize", dequantize)
    check_flow(prior, x, 1e-5, 1e-5, None, None)
    d = math.prod(prior.event_shape)
    spread = dequantise(x, seed, levels) if dequantize else x
    nats, bit = log_likelihood(prior, spread, seed, **settings), d * math.log(2)
    if nats.ndim == 2:
        return torch.stack([math.log2(levels) - nats[0] / bit, nats[1] / bit])
    return math.log2(levels) - nats / bit


def dequantise(x: Tensor, seed: int = 0, levels: int = 256) -> Tensor:
    """Uniform dequantisation of images of integer grey levels.

    Formula: (k + U) / levels with k = (levels - 1) x and U uniform on [0, 1).
    Source: Theis, van den Oord & Bethge 2016.
    Arguments: x (N, *E) in image units; seed (int >= 0): the noise of sample n depends only on (seed, n); levels (int
    >= 2).
    Returns: (N, *E) in [0, 1).
    Raises: ValueError for x that is outside [0, 1] or between levels.
    """
    levels = count("levels", levels, 2, hint="256 for images of 8 bits")
    rows("x", x)
    if not bool(((x >= 0) & (x <= 1)).all()):
        raise ValueError("x has entries outside [0, 1] or nan: expected image units; clamp them, or divide by 255")
    k = ((levels - 1) * x).round()
    if bool((k - (levels - 1) * x).abs().gt(0.01).any()):
        raise ValueError(f"x is not on the {levels} grey levels: round it, or pass dequantize=False")
    rng = RowRNG(seed, ((row, DEQUANTISATION) for row in range(len(x))), device=str(x.device), dtype=x.dtype)
    return (k + rng.uniform(tuple(x.shape))) / levels


def _change_of_variables(prior, x, rows, trace: Trace, d: int, rtol: float, atol: float, t_min: float) -> Tensor:
    """The log-likelihood of the samples with these indices by every probe, (n, k)."""
    sde, clock = prior.sde, Clock(prior.sde, t_min)

    def slope(level: Tensor, u: Tensor, local: Tensor) -> tuple[Tensor, Tensor]:
        t = clock.time(level)
        alpha = sde.alpha(t)
        denoised, vjp = prior.denoise_vjp(expand(alpha, u) * u, t)
        estimate, dimensions = trace(vjp, rows[local], u)
        gain = prior.variance / (prior.variance + torch.exp(2 * level))
        return u - denoised, 1 - (alpha[:, None] * estimate - gain[:, None] * (dimensions - d)) / d

    x = x[rows.to(x.device)]
    u, stretch, _ = integrate(slope, x / expand(sde.alpha(t_min), x), clock.start, clock.stop, rtol, atol)
    terminal = sde.terminal_log_prob(u * expand(sde.alpha(1.0), u)).cpu().double()
    return terminal[:, None] + d * (stretch + torch.log(sde.alpha(1.0) / sde.alpha(t_min)))


def _trace(probe: str, n_probes: int | None, d: int, x: Tensor, seed: int) -> tuple[Trace, int]:
    """The trace, and how many probes it takes: 1 of an exact one."""
    choice("probe", probe, ("rademacher", "gaussian", "exact"))
    k = 1 if n_probes is None else count("n_probes", n_probes)
    seeded(seed)
    if probe == "exact":
        if d > MOST_EXACT:
            raise ValueError(
                f"probe = 'exact' in {d} dimensions needs {d} backward passes per evaluation: expected at most "
                f"{MOST_EXACT}; use probe='rademacher'"
            )
        return _exact_trace, 1
    rng, shape = RowRNG.rows(seed, len(x), device=x.device, dtype=x.dtype), (len(x), k, *x.shape[1:])
    probes = rng.normal(shape) if probe == "gaussian" else signs(rng, shape)

    def hutchinson(vjp: VJP, rows: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        own = probes[rows.to(x.device)].unbind(1)
        return torch.stack([_inner(v, vjp(v)) for v in own], 1), torch.stack([_inner(v, v) for v in own], 1)

    return hutchinson, k


def _exact_trace(vjp: VJP, rows: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    total = torch.zeros(len(u), dtype=torch.float64)
    for unit in torch.eye(u[0].numel(), dtype=u.dtype, device=u.device):
        v = unit.view(1, *u.shape[1:]).expand_as(u)
        total = total + _inner(v, vjp(v))
    return total[:, None], torch.full_like(total[:, None], u[0].numel())


def _inner(v: Tensor, w: Tensor) -> Tensor:
    return (v * w).flatten(1).sum(1).cpu().double()
