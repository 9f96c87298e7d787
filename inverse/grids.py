"""Time grids from 1 to the SDE's t_min, decreasing but where a method travels back. They belong to a solve, never to
an SDE."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from priors import SDE
from priors.arguments import count, function, number, settings
from priors.noising import checked_sde
from priors.ode import MOST_STEPS, karras_times
from priors.wording import Concise

Grid = Callable[..., Tensor]  # (sde, n, start=1, end=None) -> times in float64, from start to end (or t_min)


def uniform(sde: SDE, n: int, start: float = 1.0, end: float | None = None) -> Tensor:
    """Equal steps in time (Song et al. 2021). For VE these are equal steps in log sigma.

    Arguments: sde; n (int >= 1): steps; start (float in (t_min, 1]): the first time; end (float in [t_min, start)): the
    last, default the SDE's t_min.
    Returns: (n + 1,) float64, decreasing from start to end.
    """
    n, start, end = _checked(sde, n, start, end)
    return torch.linspace(start, end, n + 1, dtype=torch.float64)


def quadratic(sde: SDE, n: int, start: float = 1.0, end: float | None = None) -> Tensor:
    """Steps that shrink linearly towards t_min (Song, Meng & Ermon 2021, appendix D).

    Arguments: as `uniform`.
    """
    n, start, end = _checked(sde, n, start, end)
    times = torch.linspace(start**0.5, end**0.5, n + 1, dtype=torch.float64) ** 2
    times[0], times[-1] = start, end  # the square of the root is off by rounding
    return times


def karras(sde: SDE, n: int, start: float = 1.0, end: float | None = None, rho: float = 7.0) -> Tensor:
    """Equal steps in (sigma / alpha)^(1 / rho) (Karras et al. 2022, equation 5).

    Arguments: as `uniform`; rho (float > 0): the larger, the more steps at little noise.
    """
    n, start, end = _checked(sde, n, start, end)
    return karras_times(sde, start, end, n, rho)


def log_snr(sde: SDE, n: int, start: float = 1.0, end: float | None = None) -> Tensor:
    """Equal steps in log(alpha / sigma) (Lu et al. 2022, DPM-Solver).

    Arguments: as `uniform`.
    """
    n, start, end = _checked(sde, n, start, end)
    first, last = _ratio(sde, start).log(), _ratio(sde, end).log()
    times = sde.time(torch.exp(first + torch.linspace(0, 1, n + 1, dtype=torch.float64) * (last - first)))
    times[0], times[-1] = start, end  # known exactly
    return times


@dataclass(frozen=True, repr=False)
class TimeTravel(Concise):
    """A grid in blocks of ``jump`` steps, each repeated ``repeats`` times: back up in one step, and down again.

    Source: Lugmayr et al. 2022 (RePaint), figure 9; there jump 10 and repeats 10.
    Arguments: jump (int >= 1) and repeats (int >= 1); grid: the one that is repeated, (sde, n) -> (n + 1,) times.
    Raises: ValueError for numbers below 1.
    """

    jump: int = 10
    repeats: int = 10
    grid: Grid = karras

    def __post_init__(self) -> None:
        settings(self, jump=1, repeats=1)
        function("grid", self.grid)

    def __call__(self, sde: SDE, n: int) -> Tensor:
        """Times for n steps down in all, repeats included, or fewer by less than a block; sde -> (m + 1,)."""
        jump = min(self.jump, n)
        blocks = max(1, n // (jump * self.repeats))
        times = self.grid(sde, blocks * jump)
        descents = [times[i * jump + 1 : (i + 1) * jump + 1] for i in range(blocks)]
        starts = times[:-1:jump]
        parts = [
            torch.cat([block] + [torch.cat([start[None], block])] * (self.repeats - 1))
            for start, block in zip(starts, descents, strict=True)
        ]
        return torch.cat([times[:1], *parts])


@dataclass(frozen=True, repr=False)
class Sawtooth(Concise):
    """Down from t = 1, and then again and again from ever lower noise levels rho = sigma / alpha down to t_min.

    Formula: rho_k = max(first decay^k, last) in units of the least level of the SDE, which is chosen to be little
    beside the data's finest detail. Where the sweeps are too few for that to reach ``last``, rho falls faster.
    Source: Wu et al. 2024 (PnP-DM), section 4; there rho falls from 10 to .3 by .9 a sweep in images of [-1, 1].
    Arguments: first, last (float, first >= last > 1); decay (float in (0, 1)); sweep (int >= 1): steps of each.
    Raises: ValueError for numbers out of range.
    """

    first: float = 1000.0
    last: float = 10.0
    decay: float = 0.9
    sweep: int = 20

    def __post_init__(self) -> None:
        settings(self, first="(1, inf)", last="(1, inf)", decay="(0, 1)", sweep=1)
        if self.first < self.last:
            raise ValueError(f"first = {self.first}, last = {self.last}: expected first >= last")

    def __call__(self, sde: SDE, n: int) -> Tensor:
        """Times for about n steps, in whole sweeps: one from t = 1, and at least one more; sde -> (m + 1,)."""
        least, most = _ratio(sde, sde.t_min), _ratio(sde, 1.0)
        parts, sweeps = [karras(sde, self.sweep)], max(1, n // (self.sweep + 1) - 1)
        first = self.first if sweeps > 1 else self.last
        decay = min(self.decay, (self.last / first) ** (1 / max(1, sweeps - 1)))
        for k in range(sweeps):
            rho = torch.clamp(least * max(first * decay**k, self.last), max=most)
            parts.append(karras(sde, self.sweep, float(sde.time(rho))))
        return torch.cat(parts)


GRIDS: dict[str, Grid] = {"uniform": uniform, "quadratic": quadratic, "karras": karras, "log_snr": log_snr}


def _ratio(sde: SDE, t: Tensor | float) -> Tensor:
    return sde.sigma(t) / sde.alpha(t)


def _checked(sde: SDE, n: int, start: float, end: float | None) -> tuple[int, float, float]:
    """The number of steps and both ends of a grid, once they are found good."""
    checked_sde(sde)
    n = count("n", n, most=MOST_STEPS, hint="steps")
    start = number("start", start, "(0, 1]", "a time")
    end = number("end", sde.t_min if end is None else end, f"(0, {start})", "a time below the start")
    return n, start, end
