"""p(y | clean): noise models."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .arguments import count, tensor
from .batching import Batched

LEAST_RATE = 1e-6  # counts
ROUNDING = 1e-4  # relative to the largest entry: a clean measurement this little below 0 counts as 0


class Noise(Batched, ABC):
    """The distribution of y given the noiseless measurement `clean` (N, *M). Rows are sampled one by one from a CPU
    generator, so a seed gives the same noise on every device and for any number of further rows."""

    noiseless: bool = False  # y equals clean, so there is no density

    @property
    def capabilities(self) -> frozenset[str]:
        """Properties that methods may rely on: "gaussian", "isotropic"."""
        return frozenset()

    @abstractmethod
    def sample(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """y given clean (N, *M), drawn row by row from a CPU generator."""

    @abstractmethod
    def log_prob(self, y: Tensor, clean: Tensor) -> Tensor:
        """log p(y | clean) entry by entry, in y's shape, nats."""

    @abstractmethod
    def variance(self, clean: Tensor) -> Tensor:
        """Var[encode(y) | clean], entry by entry, in clean's shape."""

    def mean(self, clean: Tensor) -> Tensor:
        """E[encode(y) | clean], in clean's shape."""
        return clean

    def encode(self, y: Tensor, clean: Tensor) -> Tensor:
        """y in clean's shape: y itself, or one-hot labels. `mean` and `variance` are those of the encoded y."""
        return y

    def fits(self, y: Tensor, measurement_shape: tuple[int, ...], n: int | None = None) -> None:
        """Refuse a y whose type or shape this noise cannot produce. Cheap: values are not checked.

        Arguments:
            y: (B, *M).
            measurement_shape: M.
            n: rows that y is for, so that B must be n or 1; None: any.

        Raises:
            TypeError: y is not a floating tensor.
            ValueError: wrong shape.
        """
        if not isinstance(y, Tensor) or not y.is_floating_point():
            raise TypeError(f"y: expected a floating tensor, given {_kind(y)}")
        shape = ", ".join(map(str, measurement_shape))
        if y.ndim != 1 + len(measurement_shape) or tuple(y.shape[1:]) != tuple(measurement_shape) or len(y) == 0:
            raise ValueError(
                f"y: expected shape (B, {shape}) with B >= 1, given {tuple(y.shape)}; "
                f"y needs a leading batch axis (y[None] for one measurement){_other_axes(y, measurement_shape)}"
            )
        _fits_rows(len(y), n)

    def validate(self, y: Tensor, measurement_shape: tuple[int, ...]) -> None:
        """Refuse a y that this noise cannot have produced.

        Raises:
            TypeError: y is not a floating tensor.
            ValueError: wrong shape, or an entry that is not finite.
        """
        self.fits(y, measurement_shape)
        if y.is_meta:
            raise ValueError("y is on the meta device, which stores no values: expected another device")
        if not y.isfinite().all():
            bad = int((~y.isfinite()).sum())
            raise ValueError(
                f"y: {bad} entries are nan or infinite, expected finite values; set unmeasured entries to 0 and "
                "exclude them from the operator's mask"
            )


class GaussianNoise(Noise):
    """Additive Gaussian noise.

    y = clean + sigma_y z,  z ~ N(0, I).

    Arguments:
        sigma: standard deviation, in units of y. A number; or (B,), one per measurement; or, with `event_ndim`, a
            tensor whose last `event_ndim` axes broadcast to M (after a leading B, if it has one). 0 means noiseless:
            such an operator measures, but has no likelihood.
        event_ndim: how many axes of sigma belong to one measurement. Needed only if sigma varies between entries:
            a sigma of shape (m,) for measurements (N, m) would otherwise be read as one per measurement.

    Raises:
        ValueError: a sigma that is negative or not finite, or two axes and no `event_ndim`.
    """

    sigma: Tensor

    def __init__(self, sigma: float | Tensor, event_ndim: int | None = None) -> None:
        super().__init__()
        sigma = _parameter("GaussianNoise: sigma", sigma, event_ndim)
        if bool((sigma < 0).any()):
            raise ValueError(f"GaussianNoise: sigma must be >= 0, given {sigma.min():.4g}; it is a standard deviation")
        self.noiseless = bool((sigma == 0).any())
        self.batched_buffer("sigma", sigma, event_ndim or 0)

    @property
    def capabilities(self) -> frozenset[str]:
        """ "gaussian"; and "isotropic" if all entries of a measurement have the same sigma."""
        single = self.sigma.numel() == (len(self.sigma) if self._is_batched("sigma") else 1)
        return frozenset({"gaussian", "isotropic"} if single else {"gaussian"})

    def sample(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        # One randn per batch element: in torch's vectorised path, values depend on the batch size.
        z = torch.stack([torch.randn(clean.shape[1:], generator=generator) for _ in range(len(clean))])
        return clean + self.aligned("sigma", clean) * z.to(clean)

    def log_prob(self, y: Tensor, clean: Tensor) -> Tensor:
        """log N(y; clean, sigma_y^2).

        Raises:
            ValueError: sigma = 0, which has no density.
        """
        if self.noiseless:
            raise ValueError(
                "GaussianNoise: sigma = 0 has no likelihood density; use a positive sigma (1e-3 is invisible in "
                "8-bit images), or choose a method that needs no likelihood"
            )
        sigma = self.aligned("sigma", clean)
        return -0.5 * ((y - clean) / sigma) ** 2 - sigma.log() - 0.5 * math.log(2 * math.pi)

    def variance(self, clean: Tensor) -> Tensor:
        return (self.aligned("sigma", clean) ** 2).expand_as(clean)


class PoissonNoise(Noise):
    """Photon counting, scaled back to the units of the image.

    y = k / peak,  k ~ Poisson(peak clean); so E[y] = clean and Var[y] = clean / peak.

    Arguments:
        peak: expected count where clean = 1; a number, (B,), or entry by entry with `event_ndim` (see GaussianNoise).

    Raises:
        ValueError: a peak that is not positive and finite; `sample` on a clean measurement below 0.
    """

    peak: Tensor

    def __init__(self, peak: float | Tensor, event_ndim: int | None = None) -> None:
        super().__init__()
        peak = _parameter("PoissonNoise: peak", peak, event_ndim)
        if bool((peak <= 0).any()):
            raise ValueError(
                f"PoissonNoise: peak must be > 0, given {peak.min():.4g}; it is the photon count of a white pixel"
            )
        self.batched_buffer("peak", peak, event_ndim or 0)

    def sample(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        peak = self.aligned("peak", clean)
        least = float(clean.min())
        # Fourier transforms give -1e-6 in dark regions: this is rounding and counts as 0.
        if not least >= -ROUNDING * float(clean.abs().max()):
            raise ValueError(
                f"PoissonNoise: expected intensities >= 0, given {least:.4g} after the operator; clip the picture "
                "with x.clamp(0, 1); if the operator has negative outputs, use GaussianNoise"
            )
        rate = (peak * clean.clamp(min=0)).cpu()
        return torch.stack([torch.poisson(row, generator=generator) for row in rate]).to(clean) / peak

    def log_prob(self, y: Tensor, clean: Tensor) -> Tensor:
        """log of the probability of the count: k log(rate) - rate - log k!.

        Below a rate of 1e-6, log(rate) is continued by its tangent and the rate is taken as 1e-6: the result is finite,
        and its gradient points to larger rates where there are counts.
        """
        # Intermediate estimates of clean may be below 0; -inf there would make gradients nan.
        peak = self.aligned("peak", clean)
        rate, k = peak * clean, peak * y
        floored = rate.clamp(min=LEAST_RATE)
        log_rate = floored.log() + (rate - floored) / LEAST_RATE
        return k * log_rate - floored - torch.lgamma(k + 1)

    def variance(self, clean: Tensor) -> Tensor:
        return clean / self.aligned("peak", clean)

    def validate(self, y: Tensor, measurement_shape: tuple[int, ...]) -> None:
        super().validate(y, measurement_shape)
        if bool((y < 0).any()):
            raise ValueError(f"y: counts cannot be negative, given {y.min():.4g}; y = count / peak")


class Categorical(Noise):
    """A label drawn from logits.

    P(y = c) = softmax(clean)_c; clean (N, classes), y (N,) int64.
    """

    def sample(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        p = clean.softmax(-1).cpu()
        return torch.cat([torch.multinomial(row, 1, generator=generator) for row in p]).to(clean.device)

    def log_prob(self, y: Tensor, clean: Tensor) -> Tensor:
        return clean.log_softmax(-1).gather(-1, y[:, None])[:, 0]

    def mean(self, clean: Tensor) -> Tensor:
        return clean.softmax(-1)

    def variance(self, clean: Tensor) -> Tensor:
        p = clean.softmax(-1)
        return p * (1 - p)

    def encode(self, y: Tensor, clean: Tensor) -> Tensor:
        return F.one_hot(y, clean.shape[-1]).to(clean)

    def fits(self, y: Tensor, measurement_shape: tuple[int, ...], n: int | None = None) -> None:
        if not isinstance(y, Tensor) or y.dtype != torch.int64:
            given = y.dtype if isinstance(y, Tensor) else type(y).__name__
            raise TypeError(
                f"y: expected int64 labels (B,), given {given}; convert integers with torch.as_tensor(y).long()"
            )
        if y.ndim != 1 or len(y) == 0:
            raise ValueError(f"y: expected labels of shape (B,) with B >= 1, given {tuple(y.shape)}; not one-hot")
        _fits_rows(len(y), n)

    def validate(self, y: Tensor, measurement_shape: tuple[int, ...]) -> None:
        """Refuse anything but integer labels (B,) in 0..classes-1.

        Raises:
            TypeError: y is not an int64 tensor.
            ValueError: wrong shape, or a label out of range.
        """
        self.fits(y, measurement_shape)
        if y.is_meta:
            raise ValueError("y is on the meta device, which stores no values: expected another device")
        if int(y.min()) < 0 or int(y.max()) >= measurement_shape[-1]:
            raise ValueError(f"y: labels must be in 0..{measurement_shape[-1] - 1}, given {y.tolist()[:8]}")


def noise_model(noise: Any) -> Noise:
    """The noise itself, if it is one."""
    if not isinstance(noise, Noise):
        raise TypeError(f"noise: expected an operators.Noise, given {noise!r:.60}; e.g. GaussianNoise(0.05)")
    return noise


def _other_axes(y: Tensor, measurement_shape: tuple[int, ...]) -> str:
    """A hint if the axes of y fit a measurement in another order; else "".

    Leading axes may be missing: the batch axis and those of length 1.
    """
    expected, missing = (1, *measurement_shape), 1 + len(measurement_shape) - y.ndim
    if not 0 <= missing < len(expected) or y.ndim > 5 or any(n != 1 for n in expected[:missing]):
        return ""
    first = () if missing else (0,)  # the batch axis stays first
    orders = itertools.permutations(range(len(first), y.ndim))
    order = next((o for o in orders if tuple(y.shape[i] for i in o) == expected[missing or 1 :]), None)
    if order is None:
        return ""
    moved = "" if order == tuple(sorted(order)) else f".permute({', '.join(map(str, first + order))})"
    return f"; its axes seem to be permuted: y{moved}{'[None]' * missing} fits" if moved or missing > 1 else ""


def _parameter(what: str, value: Any, event_ndim: int | None) -> Tensor:
    value = tensor(what, value)
    if event_ndim is not None:
        count("event_ndim", event_ndim, 0, hint="the number of axes of one measurement")
    if event_ndim is None and value.ndim > 1:
        raise ValueError(
            f"{what} has shape {tuple(value.shape)}, whose batch axis is ambiguous: expected a number or (B,). "
            f"Set event_ndim, the number of axes of one measurement ({value.ndim} or {value.ndim - 1})"
        )
    return value


def _fits_rows(b: int, n: int | None) -> None:
    if n is not None and b not in (1, n):
        raise ValueError(f"y: {b} measurements for a batch of {n}: expected {n}, or 1")


def _kind(y: Any) -> str:
    """The type of a y that should be a floating tensor, and how to convert it losslessly."""
    if isinstance(y, Tensor) and y.is_complex():
        return f"{y.dtype}; torch.stack((y.real, y.imag), -3) stacks real and imaginary part as two channels"
    given = y.dtype if isinstance(y, Tensor) else type(y).__name__
    return f"{given}; convert it with torch.as_tensor(y).float()"
