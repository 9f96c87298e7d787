"""What every noising SDE is: its curves, and times on which they are asked for."""

import math
from abc import ABC, abstractmethod
from dataclasses import Field, asdict
from typing import Any, ClassVar

import torch
from torch import Tensor

from priors.arguments import number

TIMES = "[-1e-6, 1.000001]"  # [0, 1] with a margin for rounding
LEAST = 1e-5  # the smallest time in training, as in the paper


class SDE(ABC):
    """A linear SDE with scalar coefficients.

    Formula: dx = f(t) x dt + sqrt(g2(t)) dw, whose marginals are N(alpha x0, sigma^2 I).
    Source: Song et al., Score-Based Generative Modeling through SDEs, ICLR 2021, section 3.4 and appendix B.
    Every function takes a time ``t`` (a float, a 0-d tensor or (N,), in (0, 1]) and returns a tensor of t's shape.
    Floats are computed in float64, because differences of neighbouring times are taken.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]  # `spec` expects a dataclass
    t_min: ClassVar[float]  # where sampling stops, as in the paper
    least: ClassVar[float] = 0.0  # the smallest time with noise

    @abstractmethod
    def alpha(self, t: Tensor | float) -> Tensor:
        """The factor of x0 in x_t, dimensionless."""

    @abstractmethod
    def sigma(self, t: Tensor | float) -> Tensor:
        """The standard deviation of x_t given x0, data units."""

    @property
    def least_noise(self) -> float:
        """sigma / alpha where sampling stops, data units."""
        return float(self.sigma(self.t_min) / self.alpha(self.t_min))

    @abstractmethod
    def f(self, t: Tensor | float) -> Tensor:
        """The drift per x, d log alpha / dt, per unit time."""

    @abstractmethod
    def g2(self, t: Tensor | float) -> Tensor:
        """The squared diffusion, d sigma^2 / dt - 2 f sigma^2, data units squared per unit time."""

    def bridge(self, t: Tensor | float, s: Tensor | float) -> tuple[Tensor, Tensor]:
        """(a, v) with x_t | x_s ~ N(a x_s, v I) for t >= s: a = alpha_t / alpha_s, v = sigma_t^2 - a^2 sigma_s^2."""
        a = self.alpha(t) / self.alpha(s)
        return a, (self.sigma(t) ** 2 - (a * self.sigma(s)) ** 2).clamp_min(0.0)

    def time(self, ratio: Tensor) -> Tensor:
        """The times in [0, 1] at which sigma / alpha, which grows with t, has the given values; any shape -> the same.

        Search in float64, which serves every SDE: 11 times into 32 parts. Values beyond those at 0 and 1 give 0 and 1.
        """
        ratio = ratio.double()
        parts = torch.arange(1, 32, dtype=torch.float64, device=ratio.device) / 32
        low, width = torch.zeros_like(ratio), 1.0
        for _ in range(11):
            t = low[..., None] + width * parts
            low = low + width / 32 * (self.sigma(t) / self.alpha(t) < ratio[..., None]).sum(-1)
            width /= 32
        return low + 0.5 * width

    def sample_terminal(self, shape: tuple[int, ...], rng) -> Tensor:
        """x_1 ~ N(0, sigma(1)^2 I) of ``shape`` (N, *E), drawn from ``rng`` (see `priors.rng.RowRNG`)."""
        return self.sigma(1.0).item() * rng.normal(shape)

    def terminal_log_prob(self, x: Tensor) -> Tensor:
        """log N(x; 0, sigma(1)^2 I) in nats; x (N, *E) -> (N,)."""
        sigma = self.sigma(1.0).item()
        d = x[0].numel()
        return -0.5 * (x / sigma).flatten(1).square().sum(1) - d * math.log(sigma * math.sqrt(2 * math.pi))

    def spec(self) -> dict:
        """The SDE as plain data, for a checkpoint's card; `from_spec` reads it."""
        return {"type": type(self).__name__, **asdict(self)}


def as_time(t: Tensor | float) -> Tensor:
    """A time as a tensor. Numbers are checked; tensors are not, since that would cost time at every step and
    third-party solvers may step beyond the ends."""
    if isinstance(t, Tensor):
        if t.is_complex():
            raise TypeError(f"t of {t.dtype}: expected real times")
        return t
    return torch.tensor(number("t", t, TIMES, "a time of the SDE, from data to noise"), dtype=torch.float64)


def at_least(sde: SDE, t: Tensor | float) -> Tensor | float:
    """A time, or the SDE's least one where it is less: without noise networks' labels and scores are 0 / 0.

    Arguments: sde; t (a number, 0-d or (N,)).
    Raises: TypeError or ValueError for an invalid time.
    """
    if isinstance(t, Tensor):
        return t.clamp_min(sde.least) if sde.least else t
    return max(number("t", t, TIMES, "a time of the SDE, from data to noise"), sde.least)


def checked_sde(sde) -> SDE:
    """Check that an argument is an SDE and return it.

    Arguments: sde (SDE).
    Raises: TypeError for anything else; ValueError where nothing of x0 is left at t = 1: E[x0 | x_t] and the score are
    then not functions of each other there, and sigma / alpha, in which grids step, is infinite.
    """
    if not isinstance(sde, SDE):
        raise TypeError(f"sde = {sde!r:.60}: expected a priors.SDE, such as priors.VESDE()")
    if not float(sde.alpha(1.0)) > 0:
        raise ValueError(
            f"alpha(1) = {float(sde.alpha(1.0)):g} of {type(sde).__name__}: expected a number > 0; let the path end a "
            "little before, as priors.RectifiedFlowSDE does, at alpha(1) = 0.005"
        )
    return sde


def curves(sde: SDE, t: Tensor | float, n: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma, (N or 1,), at times of n rows, in the dtype and on the device of a tensor.

    Arguments: sde; t (a number, 0-d or (N,)); n rows; like: a tensor of the prior.
    Raises: TypeError or ValueError for an invalid time.
    """
    if isinstance(t, Tensor) and (t.is_meta or t.is_complex()):
        raise ValueError(f"t on {t.device} of {t.dtype}: expected real times on a device with values")
    if not isinstance(t, Tensor):
        t = number("t", t, TIMES, "a time of the SDE, from data to noise")
    t = torch.as_tensor(t, dtype=like.dtype, device=like.device)
    if t.ndim > 1 or t.numel() not in (1, n):
        raise ValueError(f"t of shape {tuple(t.shape)}: expected a scalar or ({n},), one time per sample")
    return sde.alpha(t).view(-1), sde.sigma(t).view(-1)
