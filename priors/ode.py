"""The probability flow ODE between data and noise, with fixed or adaptive steps."""

from itertools import pairwise

import torch
from torch import Tensor

from priors.arguments import count, finite, flag, number, rows
from priors.base import Prior, expand
from priors.modes import own_modes
from priors.runge_kutta import integrate
from priors.sde import SDE

MOST_STEPS = 1_000_000


def heun_step(prior: Prior, x: Tensor, t: Tensor | float, s: Tensor | float) -> Tensor:
    """One step of Heun's rule on the probability flow, from t to s in either direction; x (N, *E) -> (N, *E).

    Formula: with u = x / alpha and r = sigma / alpha the flow is du/dr = (u - D) / r, in which the linear drift is
    solved exactly.
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


def karras_times(sde: SDE, t: Tensor | float, s: Tensor | float, n: int, rho: float = 7.0) -> Tensor:
    """Times from t to s, in either direction, by equal steps in (sigma / alpha)^(1 / rho).

    Source: Karras et al. 2022, equation 5.
    Arguments: sde; t, s (0-d or float): both ends, reproduced exactly; n (int >= 1) steps; rho (float > 0): larger
    values put more steps at low noise.
    Returns: (n + 1,) float64.
    """
    n, rho = count("n", n, most=MOST_STEPS, hint="steps"), number("rho", rho, "(0, inf)")
    ends = [torch.as_tensor(u, dtype=torch.float64) for u in (t, s)]
    first, last = ((sde.sigma(u) / sde.alpha(u)) ** (1 / rho) for u in ends)
    parts = torch.linspace(0, 1, n + 1, dtype=torch.float64, device=first.device)
    times = sde.time((first + parts * (last - first)) ** rho)
    times[0], times[-1] = ends
    return times


def shoot(prior: Prior, x: Tensor, t: Tensor, n_steps: int) -> Tensor:
    """The data at the end of the probability flow from x (N, *E) at t, by Euler's rule; (N, *E).

    Formula: steps of equal length in (sigma / alpha)^(1 / 7) down to t_min, then one step to zero noise.
    Source: Song et al. 2021, equation 13; the steps of Karras et al. 2022, equation 5.
    Arguments: prior; x; t (0-d, float64); n_steps (int >= 1), an evaluation each.
    """
    sde = prior.sde
    times = karras_times(sde, t, sde.t_min, n_steps)[:-1]
    for a, b in pairwise(times):
        kept = (sde.sigma(b) / sde.sigma(a)).to(x)
        x = kept * x + (sde.alpha(b).to(x) - kept * sde.alpha(a).to(x)) * prior.denoise(x, a)
    return prior.denoise(x, times[-1])


@own_modes
def encode(
    prior: Prior,
    x: Tensor,
    n_steps: int | None = None,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    t_min: float | None = None,
    batch_size: int | None = None,
) -> Tensor:
    """Data to latent: the probability flow from t_min to t = 1. `decode` is its inverse.

    Formula: du / dlog r = u - D with u = x / alpha, r = sigma / alpha, D = E[x0 | x_t].
    Source: Song et al. 2021, equation 13 and section 4.3.
    Arguments: prior; x (N, *E) in data units, taken as x at t_min without added noise; n_steps: None for the adaptive
    rule (see `priors.runge_kutta.integrate`), or the number (int >= 1) of Heun steps of equal length in t; rtol
    (float > 0, relative) and atol (float > 0, data units) of one adaptive step; t_min (float in (0, 1), default the
    SDE's); batch_size: rows at a time, default all.
    Returns: (N, *E): x at t = 1 in data units. They are approximately N(0, sigma(1)^2 I) for x drawn from p at t_min;
    clean images lack this noise (sigma .01 for VESDE), and their latents are shorter.
    Raises: TypeError or ValueError for x of the wrong shape, dtype or not finite, and for arguments out of range;
    ArithmeticError where the tolerance cannot be reached.
    """
    return _transport(prior, x, True, n_steps, rtol, atol, t_min, batch_size)


@own_modes
def decode(
    prior: Prior,
    z: Tensor,
    n_steps: int | None = None,
    *,
    denoise: bool = False,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    t_min: float | None = None,
    batch_size: int | None = None,
) -> Tensor:
    """Latent to data: the probability flow from t = 1 to t_min. `encode` is its inverse unless ``denoise``.

    Formula and source: as `encode`.
    Arguments: prior; z (N, *E): x at t = 1 in data units (N(0, sigma(1)^2 I) for a sample); denoise: return E[x0 | x at
    t_min], which removes the noise of size sigma(t_min) and is not invertible; the others as `encode`.
    Returns: (N, *E) in data units: x at t_min, or its denoised version.
    Raises: as `encode`.
    """
    flag("denoise", denoise)
    x = _transport(prior, z, False, n_steps, rtol, atol, t_min, batch_size)
    if not denoise:
        return x
    t = torch.tensor(prior.sde.t_min if t_min is None else t_min, dtype=torch.float64)
    return torch.cat([prior.denoise(part, t) for part in x.split(batch_size or max(1, len(x)))])


def slerp(z0: Tensor, z1: Tensor, weight: Tensor | float) -> Tensor:
    """Spherical interpolation of latents, which preserves the norm of Gaussian latents.

    Formula: (sin((1 - w) a) z0 + sin(w a) z1) / sin a, with a the angle between z0 and z1 as flat vectors.
    Source: Shoemake 1985; for the latents of the probability flow Song et al. 2021, section 4.3 and appendix D.3.
    Arguments: z0, z1 (N, *E) latents of `encode`; weight (scalar or (N,)): 0 gives z0 and 1 gives z1.
    Returns: (N, *E).
    Raises: ValueError for different shapes, and for opposite latents, between which the shortest great circle is not
    unique.
    """
    rows("z0", z0)
    rows("z1", z1)
    if z0.shape != z1.shape:
        raise ValueError(
            f"latents {tuple(z0.shape)} and {tuple(z1.shape)}: expected the same shape; expand one of them"
        )
    a, b = (torch.nn.functional.normalize(z.double().flatten(1), dim=1) for z in (z0, z1))
    angle = 2 * torch.atan2((a - b).norm(dim=1), (a + b).norm(dim=1))  # exact for small angles, unlike arccos
    if bool((angle > torch.pi - 1e-6).any()):
        raise ValueError("z0 and z1 are opposite, so their great circle is not unique; change one of them")
    if not isinstance(weight, Tensor):
        number("weight", weight, hint="0 gives z0 and 1 gives z1; or a tensor (N,)")
    elif weight.ndim > 1 or weight.numel() not in (1, len(z0)) or not bool(weight.isfinite().all()):
        raise ValueError(f"weight of shape {tuple(weight.shape)}: expected a finite number, or a tensor ({len(z0)},)")
    w = torch.as_tensor(weight, dtype=torch.float64, device=z0.device).expand(len(z0))
    small = angle < 1e-9
    angle = torch.where(small, 1.0, angle)
    first = torch.where(small, 1 - w, torch.sin((1 - w) * angle) / torch.sin(angle))
    second = torch.where(small, w, torch.sin(w * angle) / torch.sin(angle))
    return expand(first, z0) * z0 + expand(second, z1) * z1


def temper(z: Tensor, temperature: float) -> Tensor:
    """Scale latents by a temperature; below 1 they decode to more typical, less diverse images.

    Formula: temperature z, so that N(0, sigma^2 I) becomes N(0, (temperature sigma)^2 I).
    Source: Song et al. 2021, section 4.3 and appendix D.3; Kingma & Dhariwal 2018 (Glow).
    Arguments: z (N, *E) latents; temperature (float >= 0).
    Returns: (N, *E).
    Raises: TypeError or ValueError for a temperature that is not a number >= 0, and for no latents.
    """
    return number("temperature", temperature, "[0, inf)", "1 leaves the latents unchanged") * rows("z", z)


class Clock:
    """The time at which log r has a value, r = sigma / alpha; the flow is integrated in log r.

    Formula: log r from a table in log t, then Newton's rule with dlog r / dlog t = t g2 / (2 sigma^2).
    Arguments: sde; t_min (float in (0, 1)): the least time.
    Attributes: start, stop (float): log r at t_min and at 1.
    """

    def __init__(self, sde: SDE, t_min: float):
        self.sde = sde
        self._log_t = torch.log(torch.tensor(t_min, dtype=torch.float64)) * torch.linspace(1, 0, 1025).double()
        t = self._log_t.exp()
        self._levels = torch.log(sde.sigma(t) / sde.alpha(t))
        self.start, self.stop = self._levels[0].item(), self._levels[-1].item()

    def time(self, level: Tensor) -> Tensor:
        """t for log r = level; (N,) -> (N,), float64."""
        i = torch.searchsorted(self._levels, level).clamp(1, len(self._levels) - 1)
        low, high = self._levels[i - 1], self._levels[i]
        log_t = torch.lerp(self._log_t[i - 1], self._log_t[i], (level - low) / (high - low))
        for _ in range(3):  # the table is accurate to 1e-4, so three steps reach rounding
            t = log_t.exp()
            sigma = self.sde.sigma(t)
            now = torch.log(sigma / self.sde.alpha(t))
            log_t = log_t - (now - level) * 2 * sigma**2 / (t * self.sde.g2(t))
        return log_t.clamp(self._log_t[0].item(), 0.0).exp()


def _transport(prior, x: Tensor, up: bool, n_steps, rtol, atol, t_min, batch_size) -> Tensor:
    t_min = check_flow(prior, x, rtol, atol, t_min, batch_size)
    n_steps = None if n_steps is None else count("n_steps", n_steps, most=MOST_STEPS)
    parts = x.split(batch_size or max(1, len(x)))
    if n_steps is None:
        return torch.cat([_adaptive(prior, part, up, t_min, rtol, atol) for part in parts])
    return torch.cat([_heun(prior, part, up, t_min, n_steps) for part in parts])


def _heun(prior, x: Tensor, up: bool, t_min: float, n_steps: int) -> Tensor:
    times = torch.linspace(1.0, t_min, n_steps + 1, dtype=torch.float64)
    for t, s in pairwise(times.flip(0) if up else times):
        x = heun_step(prior, x, t, s)
    return x


def _adaptive(prior, x: Tensor, up: bool, t_min: float, rtol: float, atol: float) -> Tensor:
    clock, alpha = Clock(prior.sde, t_min), prior.sde.alpha

    def slope(level: Tensor, u: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        t = clock.time(level)
        return u - prior.denoise(expand(alpha(t), u) * u, t), torch.zeros_like(level)

    ends = (t_min, 1.0) if up else (1.0, t_min)
    levels = (clock.start, clock.stop) if up else (clock.stop, clock.start)
    u, _, _ = integrate(slope, x / expand(alpha(ends[0]), x), *levels, rtol, atol)
    return u * expand(alpha(ends[1]), x)


def check_flow(prior: Prior, x: Tensor, rtol: float, atol: float, t_min: float | None, batch_size: int | None) -> float:
    """Check the arguments of a flow; return its least time.

    Arguments: prior, x (N, *E), rtol, atol, t_min, batch_size: as `encode`.
    Raises: TypeError or ValueError, naming the argument.
    """
    if not isinstance(prior, Prior):
        raise TypeError(f"prior of type {type(prior).__name__}: expected a priors.Prior, for example priors.load(...)")
    finite("x", rows("x", x, prior.event_shape))
    if x.device != prior.device:
        raise ValueError(f"x is on {x.device} and the prior on {prior.device}: move one with .to(...)")
    for name, value in (("rtol", rtol), ("atol", atol)):
        number(name, value, "(0, 1)", "the paper uses 1e-5")
    if batch_size is not None:
        count("batch_size", batch_size, hint="or None for one batch")
    t_min = prior.sde.t_min if t_min is None else t_min
    return number("t_min", t_min, "(0, 1)", "a time; the paper uses 1e-5 or 1e-3")
