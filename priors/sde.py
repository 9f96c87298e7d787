"""SDEs: x_t | x0 ~ N(alpha(t) x0, sigma(t)^2 I) on t in (0, 1], dx = f(t) x dt + g(t) dw.

Everything downstream uses only these functions. They are in the units of the data that the prior models (image units
for a prior over images), so a network trained on 2x - 1 has an SDE of scale 1/2.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from priors.arguments import count, number, settings
from priors.noising import LEAST, SDE, as_time

UNITS = "in the data's own units"
MOST_LEVELS = 100_000


@dataclass(frozen=True)
class VESDE(SDE):
    """Variance exploding: alpha = 1, sigma(t) = sigma_min (sigma_max / sigma_min)^t.

    Source: Song et al. 2021, equation 30; sigma_max is about the largest distance between two training images
    (Song & Ermon 2020, technique 1).
    Arguments: sigma_min, sigma_max (float, data units).
    Raises: ValueError unless 0 < sigma_min < sigma_max.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    t_min: ClassVar[float] = 1e-5

    def __post_init__(self):
        settings(self, sigma_min="(0, inf)", sigma_max="(0, inf)")
        if self.sigma_min >= self.sigma_max:
            raise ValueError(
                f"sigma_min = {self.sigma_min} >= sigma_max = {self.sigma_max}: expected sigma_min below it"
            )

    @property
    def _log_ratio(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    def alpha(self, t):
        return torch.ones_like(as_time(t))

    def sigma(self, t):
        return self.sigma_min * torch.exp(self._log_ratio * as_time(t))

    def f(self, t):
        return torch.zeros_like(as_time(t))

    def g2(self, t):
        return 2 * self._log_ratio * self.sigma(t) ** 2


@dataclass(frozen=True)
class VPSDE(SDE):
    """Variance preserving: f = -beta / 2, g2 = scale^2 beta, beta(t) = beta_min + t (beta_max - beta_min).

    alpha = exp(-B/2) and sigma = scale sqrt(1 - exp(-B)) with B(t) the integral of beta.
    Source: Song et al. 2021, equations 11 and 32.
    Arguments: beta_min, beta_max (float, per unit time); scale (float, data units): the terminal standard deviation, 1
    for standardised data, 1/2 in [0, 1] image units for a network trained on 2x - 1.
    Raises: ValueError unless 0 < beta_min <= beta_max and scale > 0.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    scale: float = 1.0
    t_min: ClassVar[float] = 1e-3
    least: ClassVar[float] = LEAST

    def __post_init__(self):
        settings(self, beta_min="(0, inf)", beta_max="(0, inf)", scale="(0, inf)")
        if self.beta_min > self.beta_max:
            raise ValueError(f"beta_min = {self.beta_min} > beta_max = {self.beta_max}: beta must not fall with time")

    def _beta(self, t):
        return self.beta_min + as_time(t) * (self.beta_max - self.beta_min)

    def _integral(self, t):
        t = as_time(t)
        return self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t**2

    def alpha(self, t):
        return torch.exp(-0.5 * self._integral(t))

    def sigma(self, t):
        return self.scale * torch.sqrt(-torch.expm1(-self._integral(t)))

    def f(self, t):
        return -0.5 * self._beta(t)

    def g2(self, t):
        return self.scale**2 * self._beta(t)


@dataclass(frozen=True)
class SubVPSDE(VPSDE):
    """sub-VP: the VP drift with g2 = scale^2 beta (1 - exp(-2B)), hence sigma = scale (1 - exp(-B)).

    Source: Song et al. 2021, equations 13 and 33.
    Arguments: as `VPSDE`.
    Raises: ValueError, as `VPSDE`.
    """

    def sigma(self, t):
        return -self.scale * torch.expm1(-self._integral(t))

    def g2(self, t):
        return -(self.scale**2) * self._beta(t) * torch.expm1(-2 * self._integral(t))


@dataclass(frozen=True)
class RectifiedFlowSDE(SDE):
    """The linear path of flow matching and rectified flow: alpha = 1 - u, sigma = scale u at the path's time u = end t.

    The SDE with these marginals has f = -end / (1 - u) and g2 = 2 end scale^2 u / (1 - u), and its probability flow is
    the rectified flow. Both diverge at u = 1, where x0 has left the state altogether; the SDE therefore ends a little
    before, at alpha(1) = 1 - end > 0, and every function is finite on t in (0, 1].
    Source: Lipman et al. 2023; Liu, Gong & Liu 2023; Esser et al. 2024, section 2.
    Arguments: scale (float, data units): as of `VPSDE`; end (float in (0, 1)): the path's time at t = 1.
    Raises: ValueError for a scale <= 0 and an end outside (0, 1).
    """

    scale: float = 1.0
    end: float = 0.995
    t_min: ClassVar[float] = 1e-2
    least: ClassVar[float] = LEAST

    def __post_init__(self):
        settings(self, scale="(0, inf)", end="(0, 1)")

    def alpha(self, t):
        return 1 - self.end * as_time(t)

    def sigma(self, t):
        return self.scale * self.end * as_time(t)

    def f(self, t):
        return -self.end / self.alpha(t)

    def g2(self, t):
        return 2 * self.end * self.scale * self.sigma(t) / self.alpha(t)


@dataclass(frozen=True)
class LadderSDE(SDE):
    """A discrete-time diffusion of N levels as an SDE: level i is at t = i / N, and sampling stops at level 1.

    Formula: log alpha and log sigma are linear in t between levels, so the bridge between any two levels is the
    discrete chain's own, and g2 > 0. ``uniform(sde, N - 1)`` of `inverse.grids` visits every level.
    Source: Song & Ermon 2019 (SMLD); Ho et al. 2020 (DDPM); Song et al. 2021, appendix B: VE and VP are their limits.
    Arguments: alphas, sigmas (sequences of N >= 2 floats, level 1 first; sigmas in data units). `smld`, `ddpm` and
    `from_alphas_bar` make them.
    Raises: ValueError for too few levels, values <= 0 or a sigma / alpha that does not grow.
    """

    alphas: tuple[float, ...]
    sigmas: tuple[float, ...]

    def __post_init__(self):
        for name in ("alphas", "sigmas"):
            levels = getattr(self, name)
            if isinstance(levels, str) or not isinstance(levels, Sequence):
                raise TypeError(f"{name} = {levels!r:.60}: expected a sequence of numbers, one per level")
            object.__setattr__(self, name, tuple(number(f"{name}, a level", value) for value in levels))
        if len(self.alphas) != len(self.sigmas) or len(self.alphas) < 2:
            raise ValueError(f"{len(self.alphas)} alphas and {len(self.sigmas)} sigmas: expected one of each per level")
        if 0 in self.alphas:
            raise ValueError(
                "alphas: expected numbers > 0, and a level of 0 has no signal at all (zero terminal SNR): leave that "
                "level out, alphas[:-1] and sigmas[:-1]"
            )
        if not all(value > 0 for value in self.alphas + self.sigmas):
            raise ValueError(
                "alphas and sigmas: expected numbers > 0; leave out a level without noise, alphas[1:] and sigmas[1:]"
            )
        if not bool((self._table("cpu")[1] - self._table("cpu")[0]).diff().gt(0).all()):
            raise ValueError(
                "sigmas / alphas: expected each level noisier than the one before; reverse a falling ladder"
            )

    @classmethod
    def smld(cls, sigma_min: float = 0.01, sigma_max: float = 50.0, n: int = 1000) -> "LadderSDE":
        """n geometric noise levels from sigma_min to sigma_max, data units (Song & Ermon 2019)."""
        sigma_min, sigma_max = number("sigma_min", sigma_min, "(0, inf)"), number("sigma_max", sigma_max, "(0, inf)")
        n = count("n", n, 2, MOST_LEVELS, "levels")
        ratio = (sigma_max / sigma_min) ** (1 / (n - 1))
        return cls((1.0,) * n, tuple(sigma_min * ratio**i for i in range(n)))

    @classmethod
    def ddpm(cls, beta_min: float = 0.1, beta_max: float = 20.0, n: int = 1000, scale: float = 1.0) -> "LadderSDE":
        """n levels of beta_i linear from beta_min / n to beta_max / n (Ho et al. 2020); scale as in `VPSDE`."""
        beta_min, beta_max = number("beta_min", beta_min, "(0, inf)"), number("beta_max", beta_max, "(0, inf)")
        n = count("n", n, 2, MOST_LEVELS, "levels")
        if not beta_max < n:
            raise ValueError(f"beta_max = {beta_max} with n = {n}: expected beta_max < n; take more levels")
        betas = torch.linspace(beta_min / n, beta_max / n, n, dtype=torch.float64)
        return cls.from_alphas_bar((1 - betas).cumprod(0).tolist(), scale)

    @classmethod
    def from_alphas_bar(cls, alphas_bar: Sequence[float], scale: float = 1.0) -> "LadderSDE":
        """alpha^2 = alpha-bar and sigma^2 = scale^2 (1 - alpha-bar), level 1 first; scale as in `VPSDE`."""
        scale = number("scale", scale, "(0, inf)", UNITS)
        if isinstance(alphas_bar, str) or not isinstance(alphas_bar, Sequence):
            raise TypeError(f"alphas_bar = {alphas_bar!r:.60}: expected a sequence of numbers, one per level")
        alphas_bar = [number("alphas_bar, a level", a, "[0, 1]") for a in alphas_bar]
        if 0 in alphas_bar:
            raise ValueError(
                "alphas_bar: a level of 0 has no signal at all (zero terminal SNR), expected numbers > 0: leave that "
                "level out, alphas_bar[:-1]"
            )
        if 1 in alphas_bar:
            raise ValueError(
                "alphas_bar: a level of 1 has no noise, expected numbers < 1: leave it out, alphas_bar[1:]"
            )
        return cls(tuple(a**0.5 for a in alphas_bar), tuple(scale * (1 - a) ** 0.5 for a in alphas_bar))

    @property
    def t_min(self) -> float:
        """The time of level 1."""
        return 1 / len(self.alphas)

    def _table(self, device) -> Tensor:
        """log alpha and log sigma of every level, (2, N) float64."""
        return _logarithms(self.alphas, self.sigmas).to(device)

    def _between(self, t) -> tuple[Tensor, Tensor]:
        """Logarithms and their derivatives, both (2, *t.shape) float64; the first line goes on below level 1."""
        table, n = self._table(t.device), len(self.alphas)
        place = n * t.double() - 1
        left = place.detach().nan_to_num().floor().clamp(0, n - 2).long()  # of nan, nan comes out
        rise = table[:, left + 1] - table[:, left]
        return table[:, left] + (place - left) * rise, n * rise

    def alpha(self, t):
        t = as_time(t)
        return self._between(t)[0][0].exp().to(t.dtype)

    def sigma(self, t):
        t = as_time(t)
        return self._between(t)[0][1].exp().to(t.dtype)

    def f(self, t):
        t = as_time(t)
        return self._between(t)[1][0].to(t.dtype)

    def g2(self, t):
        t = as_time(t)
        value, slope = self._between(t)
        return (2 * (slope[1] - slope[0]) * (2 * value[1]).exp()).to(t.dtype)


@lru_cache(maxsize=16)
def _logarithms(alphas: tuple[float, ...], sigmas: tuple[float, ...]) -> Tensor:
    with torch.inference_mode(False):  # cached, and may need a gradient later
        return torch.tensor([alphas, sigmas], dtype=torch.float64, device="cpu").log()


SDES: dict[str, type[SDE]] = {sde.__name__: sde for sde in (VESDE, VPSDE, SubVPSDE, RectifiedFlowSDE, LadderSDE)}


LADDERS = {"SMLD": LadderSDE.smld, "DDPM": LadderSDE.ddpm}  # recipes for ladders, which a card writes out


def from_spec(spec: dict) -> SDE:
    """The SDE that `SDE.spec` wrote, or a training recipe.

    Arguments: spec (dict): {"type": a name in `SDES` or `LADDERS`, and that one's arguments}.
    Raises: ValueError for an unknown type or unknown arguments.
    """
    if not isinstance(spec, Mapping):
        raise TypeError(f"sde = {spec!r:.60}: expected a table with a type, such as {{'type': 'VESDE'}}")
    arguments = dict(spec)
    name, makers = arguments.pop("type", None), {**SDES, **LADDERS}
    if not isinstance(name, str) or name not in makers:
        raise ValueError(f"SDE type {name!r}: expected one of {sorted(makers)}")
    try:
        return makers[name](**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"arguments {arguments} of {name}: {error}") from None
