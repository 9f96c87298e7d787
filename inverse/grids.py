"""Decreasing time grids from 1 to the SDE's t_min. They belong to a solve, never to an SDE."""

from collections.abc import Callable

import torch
from torch import Tensor

from priors import SDE

Grid = Callable[[SDE, int], Tensor]  # (sde, n) -> (n + 1,) float64, decreasing


def uniform(sde: SDE, n: int) -> Tensor:
    """Equal steps in time (Song et al. 2021). For VE these are equal steps in log sigma.

    Arguments: sde; n (int >= 1): steps.
    Returns: (n + 1,) float64, decreasing from 1 to the SDE's t_min.
    """
    return torch.linspace(1.0, sde.t_min, n + 1, dtype=torch.float64)


def quadratic(sde: SDE, n: int) -> Tensor:
    """Steps that shrink linearly towards t_min (Song, Meng & Ermon 2021, appendix D).

    Arguments: sde and n, as `uniform`.
    """
    times = torch.linspace(1.0, sde.t_min**0.5, n + 1, dtype=torch.float64) ** 2
    times[-1] = sde.t_min  # the square of the root is off by rounding
    return times


def karras(sde: SDE, n: int, rho: float = 7.0) -> Tensor:
    """Equal steps in (sigma / alpha)^(1 / rho) (Karras et al. 2022, equation 5).

    Arguments: sde and n, as `uniform`; rho (float > 0): the larger, the more steps at little noise.
    """
    first, last = _ratio(sde, 1.0) ** (1 / rho), _ratio(sde, sde.t_min) ** (1 / rho)
    return _times(sde, (first + torch.linspace(0, 1, n + 1, dtype=torch.float64) * (last - first)) ** rho)


def log_snr(sde: SDE, n: int) -> Tensor:
    """Equal steps in log(alpha / sigma) (Lu et al. 2022, DPM-Solver).

    Arguments: sde and n, as `uniform`.
    """
    first, last = _ratio(sde, 1.0).log(), _ratio(sde, sde.t_min).log()
    return _times(sde, torch.exp(first + torch.linspace(0, 1, n + 1, dtype=torch.float64) * (last - first)))


GRIDS: dict[str, Grid] = {"uniform": uniform, "quadratic": quadratic, "karras": karras, "log_snr": log_snr}


def _ratio(sde: SDE, t: Tensor | float) -> Tensor:
    return sde.sigma(t) / sde.alpha(t)


def _times(sde: SDE, ratios: Tensor) -> Tensor:
    """The times of decreasing sigma / alpha, whose ends are known exactly."""
    times = sde.time(ratios)
    times[0], times[-1] = 1.0, sde.t_min
    return times
