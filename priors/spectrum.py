"""Mean and covariance of stationary images of any size: a power spectrum."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Self

import torch
from torch import Tensor

from priors.arguments import finite, rows, shape
from priors.rng import RNG
from priors.wording import Concise

FLOORS = 200  # candidates of the floor frequency, in equal ratios
MATRICES, ROWS = 1024, 256  # pixels of a side, for transforms by matrices; rows that are transformed at once
HALVED = 2**17  # pixels of a picture from which on symmetric and antisymmetric halves are transformed by themselves


@dataclass(frozen=True, repr=False)
class Spectrum(Concise):
    """Stationary images of any size: uncorrelated colour axes, each with a power-law spectrum.

    Formula: in the orthonormal cosine transform over rows and columns, and in the colour axes ``colours``, coordinates
    are independent with the variances power_c / max(f, floor_c)^slope_c, f = |(i / 2H, j / 2W)| in cycles per pixel.
    Source: Field 1987; Ruderman & Bialek 1994 (scale invariance of natural pictures).
    Arguments: mean (C,) of the channels, data units; colours (C, C), orthonormal columns; power, slope and floor (C,).
    """

    mean: tuple[float, ...]
    colours: tuple[tuple[float, ...], ...]
    power: tuple[float, ...]
    slope: tuple[float, ...]
    floor: tuple[float, ...]

    @classmethod
    def of_crops(cls, crops: Tensor) -> "Spectrum":
        """Fitted to crops (n, C, H, W) of pictures, data units.

        Power and slope by least squares of logarithms over rings of frequency, weighted by their width; the floor is
        set to match the variance of the pixels.
        Raises: TypeError for crops that are not a floating tensor; ValueError for fewer than 2, or not finite.
        """
        if finite("crops", rows("crops", crops)).ndim != 4 or min(crops.shape[2:]) < 8:
            raise ValueError(f"crops of shape {tuple(crops.shape)}: expected (n, C, H, W) of at least 8 x 8 pixels")
        if len(crops) < 2:
            raise ValueError(f"{len(crops)} crops: expected at least 2, for a covariance")
        x = crops.double()
        mean = x.mean((0, 2, 3))
        away = x - mean.view(-1, 1, 1)
        pixels = away.movedim(1, -1).reshape(-1, x.shape[1])
        spread, colours = torch.linalg.eigh(pixels.mT @ pixels / len(pixels))
        found = cosine(torch.einsum("cd,nchw->ndhw", colours, away)).square().mean(0)
        f = frequencies(*x.shape[2:]).to(x)
        inner = f > 2 * f[f > 0].min()  # the lowest frequencies are affected by the crop's border
        law = torch.stack([torch.ones_like(f[inner]), -f[inner].log()], 1)
        weight = f[inner].rsqrt()[:, None]
        fit = torch.linalg.lstsq(weight * law, weight * found[:, inner].clamp_min(1e-12).log().mT).solution
        power, slope = fit[0].exp(), fit[1]
        least = math.log10(float(f[f > 0].min()) / 4)
        floors = torch.logspace(least, math.log10(0.5), FLOORS, dtype=f.dtype, device=f.device)
        totals = [power / f.clamp_min(float(low)).flatten()[:, None] ** slope for low in floors]
        floor = floors[(torch.stack([t.mean(0) for t in totals]) - spread).abs().argmin(0)]
        lists = (tuple(values.tolist()) for values in (power, slope, floor))
        return cls(tuple(mean.tolist()), tuple(map(tuple, colours.tolist())), *lists)

    def sized(self, event_shape: tuple[int, ...]) -> "StationaryMoments":
        """The moments of pictures of one size, (C, H, W).

        Raises: TypeError or ValueError for an invalid shape.
        """
        found = shape("event_shape", event_shape)
        if len(found) != 3 or found[0] != len(self.mean):
            raise ValueError(f"event_shape = {found}: expected ({len(self.mean)}, H, W)")
        c, h, w = found
        f = frequencies(h, w)
        laws = zip(self.power, self.slope, self.floor, strict=True)
        variances = torch.stack([power / f.clamp_min(floor) ** slope for power, slope, floor in laws])
        mean = f.new_tensor(self.mean).view(c, 1, 1).expand(c, h, w)
        return StationaryMoments(mean, f.new_tensor(self.colours), variances)


@dataclass(frozen=True, repr=False)
class StationaryMoments(Concise):
    """E[x0] and Cov[x0] of images, diagonal in cosines and colour axes: approximate `Moments` for any size.

    Arguments: mean (*E) = (C, H, W), data units; colours (C, C), orthonormal columns; variances (*E), their squares.
    """

    mean: Tensor
    colours: Tensor
    variances: Tensor
    approximate: ClassVar[bool] = True

    @property
    def rough(self) -> bool:
        """Deprecated alias of `approximate`."""
        warnings.warn("moments.rough is deprecated: use moments.approximate", DeprecationWarning, stacklevel=2)
        return self.approximate

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Self:
        """The same on another device, in another dtype where one is given."""
        return replace(self, **{name: value.to(device, dtype) for name, value in vars(self).items()})

    def average(self, f: Callable[[Tensor], Tensor]) -> float:
        """tr f(Cov) / d: the mean of f over the eigenvalues."""
        return float(f(self.variances).mean())

    def apply(self, f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """f(Cov) x, where f acts on the eigenvalues, element by element; x (N, C, H, W) -> (N, C, H, W)."""
        return self.channels(scaled(f(self.variances), self.axes(x)))

    def axes(self, x: Tensor) -> Tensor:
        """Channels in the colour axes, (N, C, H, W) -> (N, C, H, W)."""
        return (self.colours.mT @ x.flatten(2)).view(x.shape)

    def channels(self, z: Tensor) -> Tensor:
        """The inverse of `axes`."""
        return (self.colours @ z.flatten(2)).view(z.shape)

    def periodic(self, f: Callable[[Tensor], Tensor]) -> Tensor:
        """f of the variances at the frequencies of rfft2, (C, H, W // 2 + 1): of periodic pictures
        with the same colour axes and power spectrum."""
        h, w = self.variances.shape[1:]
        device = self.variances.device
        rows, columns = torch.arange(h, device=device), torch.arange(w // 2 + 1, device=device)
        # k cycles per picture are the cosine's 2 k half cycles; there is none of n
        rows, columns = (2 * torch.minimum(rows, h - rows)).clamp_max(h - 1), (2 * columns).clamp_max(w - 1)
        return f(self.variances)[:, rows[:, None], columns]

    def draw(self, n: int, rng: RNG) -> Tensor:
        """n draws of N(mean, Cov), (n, C, H, W); rng (`RowRNG` of n rows)."""
        return self.apply(torch.sqrt, rng.normal((n, *self.mean.shape))).add_(self.mean)

    def low_rank(self, f: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, float] | None:
        """None: all coordinates matter."""
        return None


def frequencies(h: int, w: int) -> Tensor:
    """|(i / 2h, j / 2w)| of the cosine transform's coordinates, cycles per pixel, (h, w)."""
    rows, columns = (torch.arange(n, dtype=torch.float32) / (2 * n) for n in (h, w))
    return torch.hypot(rows[:, None], columns[None])


def cosine(x: Tensor, inverse: bool = False) -> Tensor:
    """The orthonormal cosine transform (DCT-II) over the last two axes, or its inverse, by products of matrices up to a
    thousand pixels, where these are faster than Fourier transforms."""
    if max(x.shape[-2:]) > MATRICES:
        return _by_fourier(x, inverse=inverse)
    rows, columns = (_cosines(n, x.dtype).to(x.device) for n in x.shape[-2:])
    return rows.mT @ x @ columns if inverse else rows @ x @ columns.mT


def scaled(factors: Tensor, x: Tensor) -> Tensor:
    """x with its cosine transform scaled, element by element; factors (C, H, W), x (N, C, H, W).

    Cosines of even frequencies are symmetric about the middle of an axis, and those of odd ones antisymmetric: large
    pictures are split in these parts, whose matrices are half as large.
    """
    h, w = x.shape[-2:]
    if max(h, w) > MATRICES:
        return _by_fourier(x, factors)
    if h * w < HALVED or h % 2 or w % 2:
        return cosine(factors * cosine(x), inverse=True)
    rows, columns = (_cosines(n, x.dtype).to(x.device)[:, : n // 2] for n in (h, w))
    parts: list[Tensor] = []
    for i, half in enumerate(_parts(x, -2)):
        own = rows[i::2]
        quarters: list[Tensor] = []
        for j, quarter in enumerate(_parts(half, -1)):
            across = columns[j::2]
            z = (own @ (quarter @ across.mT)).mul_(factors[..., i::2, j::2])
            quarters.append((own.mT @ z) @ across)
        parts.append(_whole(quarters[0], quarters[1], -1))
    return _whole(parts[0], parts[1], -2)


def _parts(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Twice the symmetric and the antisymmetric part of an axis of even length, their first half."""
    first, last = x.chunk(2, axis)
    last = last.flip(axis)
    return first + last, first - last


def _whole(symmetric: Tensor, antisymmetric: Tensor, axis: int) -> Tensor:
    """Their sum from the first half of each."""
    return torch.cat([symmetric + antisymmetric, (symmetric - antisymmetric).flip(axis)], axis)


def _by_fourier(x: Tensor, factors: Tensor | None = None, inverse: bool = False) -> Tensor:
    """`cosine` of x, or with factors `scaled`, a part of the rows and then of the columns at a time: no more memory
    than that of the result, which may be large."""
    z = x.new_empty(x.shape)
    for given, made in zip(x.split(ROWS, -2), z.split(ROWS, -2), strict=True):
        made.copy_(_along(given, inverse))
    every = [None] * -(-x.shape[-1] // ROWS) if factors is None else factors.mT.split(ROWS, -2)
    for made, own in zip(z.mT.split(ROWS, -2), every, strict=True):
        found = _along(made, inverse)
        made.copy_(found if own is None else _along(found.mul_(own), inverse=True))
    if factors is not None:
        for made in z.split(ROWS, -2):
            made.copy_(_along(made, inverse=True))
    return z


def _along(x: Tensor, inverse: bool) -> Tensor:
    """The orthonormal cosine transform over the last axis, or its inverse, by a Fourier transform.

    Source: Makhoul 1980: even entries, then the odd ones backwards.
    """
    n = x.shape[-1]
    k = torch.arange(n, dtype=torch.float64, device=x.device)
    turn = torch.polar(torch.ones_like(k), -torch.pi * k / (2 * n)).to(x.dtype.to_complex())
    size = ((2 - (k == 0).to(k)) / n).sqrt().to(x)
    order = torch.cat([torch.arange(0, n, 2), torch.arange(1, n, 2).flip(0)]).to(x.device)
    if not inverse:
        return (torch.fft.fft(x[..., order]) * turn).real * size
    z = x / size
    ahead = torch.complex(z, -torch.nn.functional.pad(z.flip(-1), (1, 0))[..., :n]) * turn.conj()
    out = torch.empty_like(z)
    out[..., order] = torch.fft.ifft(ahead).real
    return out


@lru_cache(maxsize=8)
def _cosines(n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """(n, n), a row per frequency."""
    with torch.inference_mode(False), torch.device("cpu"):  # cached: independent of the caller's modes
        at = torch.arange(n, dtype=torch.float64)
        k = at[:, None]
        return (((2 - (k == 0).to(k)) / n).sqrt() * torch.cos(math.pi / n * k * (at + 0.5))).to(dtype)
