"""p(y | clean): noise models."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from typing import Any, Self

import torch
from torch import Tensor

from ..arguments import count, tensor
from ..batching import Batched
from .quadrature import tilted_moments

ROUNDING = 1e-4  # relative to the largest entry: a clean measurement this little below 0 counts as 0


class Noise(Batched, ABC):
    """The distribution of y given the noiseless measurement `clean` (N, *M). Rows are sampled one by one from a CPU
    generator, so a seed gives the same noise on every device and for any number of further rows."""

    noiseless: bool = False  # y equals clean, so there is no density
    least: float = -math.inf  # the smallest clean value that this noise can have
    inferable: tuple[str, ...] = ()  # positive arguments of the constructor that `solve(unknown=...)` can infer

    @property
    def capabilities(self) -> frozenset[str]:
        """Properties that methods may rely on: "numeric" (entries of y are numbers with a mean and a variance each),
        "density" (`log_prob` of every entry is differentiable in the clean one), "gaussian", "isotropic"."""
        return frozenset({"numeric", "density"})

    @abstractmethod
    def sample(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """y given clean (N, *M), drawn row by row from a CPU generator."""

    @abstractmethod
    def log_prob(self, y: Tensor, clean: Tensor) -> Tensor:
        """log p(y | clean) entry by entry, in y's shape, nats."""

    def log_density(self, y: Tensor, clean: Tensor) -> Tensor:
        """log p(y | clean) as a density of y itself, entry by entry, in y's shape, nats: comparable between values of
        the noise's own parameters. `log_prob`, unless that is a probability of counts."""
        return self.log_prob(y, clean)

    @abstractmethod
    def variance(self, clean: Tensor) -> Tensor:
        """Var[encode(y) | clean], entry by entry, in clean's shape."""

    def mean(self, clean: Tensor) -> Tensor:
        """E[encode(y) | clean], in clean's shape."""
        return clean

    def quasi_score(self, y: Tensor, clean: Tensor, floor: Tensor | float = 0.0) -> Tensor:
        """(y - E[y | clean]) / max(Var[y | clean], floor), (N, *M): the derivative of the quasi-log-likelihood.

        It is that of `log_prob` for Gaussian, Poisson and gamma noise. Source: Wedderburn 1974.
        Arguments: y and clean (N, *M); floor: smallest variance, broadcastable to clean, against small denominators.
        """
        return (y - self.mean(clean)) / torch.clamp(self.variance(clean), min=floor)

    def information(self, clean: Tensor) -> Tensor:
        """(d E[y | clean] / d clean)^2 / Var[y | clean], entry by entry, (N, *M): the quasi-Fisher information.

        It is the Fisher information of Gaussian, Poisson and gamma noise, and of `LinkedNoise` of these.
        """
        with torch.enable_grad():
            clean = clean.detach().requires_grad_()
            slope = torch.autograd.grad(self.mean(clean).sum(), clean)[0]
        clean = clean.detach()
        return slope**2 / self.variance(clean)

    def tilted(self, y: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of N(u; mean, variance) p(y | u), normalised, entry by entry: (N, *M) each.

        By numerical integration over u >= `least`. Source: Minka 2001 (expectation propagation asks for these).
        Arguments: y, mean and variance (N, *M), double precision.
        """
        return tilted_moments(lambda u: self.log_prob(y, u), mean, variance, self.least)[:2]

    def log_marginal(self, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """log of the integral of N(u; mean, variance) p(y | u) over u >= `least`, entry by entry, (N, *M) nats.

        Arguments: as of `tilted`.
        """
        return tilted_moments(lambda u: self.log_prob(y, u), mean, variance, self.least)[2]

    def replaced(self, **values: float | Tensor) -> Self:
        """This noise with other values of some of its `inferable` parameters.

        Raises: ValueError for other names, and as the constructor.
        """
        if foreign := sorted(values.keys() - set(self.inferable)):
            raise ValueError(
                f"{type(self).__name__} has no parameter {foreign[0]!r} that can be unknown: expected "
                + (" or ".join(self.inferable) or "none; a noise of your own names its own in `inferable`")
            )
        kept = {name: getattr(self, name) for name in self.inferable if name not in values}
        axes = max((self._event_ndims.get(name, 0) for name in self.inferable), default=0)
        made = type(self)(**kept, **values, **({"event_ndim": axes} if axes else {}))
        home = next(self.buffers(), None)
        return made if home is None else made.to(home.device)

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
            lacks = tuple(y.shape) == tuple(measurement_shape)
            first = (
                "y needs a leading batch axis: y[None] for one measurement" if lacks else "the first axis is the batch"
            )
            raise ValueError(
                f"y: expected shape (B, {shape}) with B >= 1, given {tuple(y.shape)}; "
                f"{first}{_other_axes(y, measurement_shape)}"
            )
        fits_rows(len(y), n)

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


def parameter(what: str, value: Any, event_ndim: int | None) -> Tensor:
    value = tensor(what, value)
    if event_ndim is not None:
        count("event_ndim", event_ndim, 0, hint="the number of axes of one measurement")
    if event_ndim is None and value.ndim > 1:
        raise ValueError(
            f"{what} has shape {tuple(value.shape)}, whose batch axis is ambiguous: expected a number or (B,). "
            f"Set event_ndim, the number of axes of one measurement ({value.ndim} or {value.ndim - 1})"
        )
    return value


def positive(what: str, value: Any, event_ndim: int | None, hint: str) -> Tensor:
    """As `parameter`, of numbers above 0; hint: the end of the message on others."""
    value = parameter(what, value, event_ndim)
    if bool((value <= 0).any()):
        raise ValueError(f"{what} must be > 0, given {value.min():.4g}; {hint}")
    return value


def intensities(name: str, clean: Tensor, more: str = "") -> Tensor:
    """A clean measurement (N, *M) of which rounding may have left values a little below 0, without these.

    Raises: ValueError for a clean measurement below 0, beyond rounding; name: of the noise, more: advice, in it.
    """
    least = float(clean.min())
    # Fourier transforms give -1e-6 in dark regions: this is rounding and counts as 0.
    if not least >= -ROUNDING * float(clean.abs().max()):
        raise ValueError(
            f"{name}: expected intensities >= 0, given {least:.4g} after the operator; clip the picture with "
            f"x.clamp(0, 1){more}"
        )
    return clean.clamp(min=0)


def fits_rows(b: int, n: int | None) -> None:
    if n is not None and b not in (1, n):
        raise ValueError(f"y: {b} measurements for a batch of {n}: expected {n}, or 1")


def _kind(y: Any) -> str:
    """The type of a y that should be a floating tensor, and how to convert it losslessly."""
    if isinstance(y, Tensor) and y.is_complex():
        axis = -3 if y.ndim > 3 else 1
        return (
            f"{y.dtype}; torch.stack((y.real, y.imag), {axis}) stacks real and imaginary part as two channels, as the "
            "operator's measurements must have them"
        )
    given = y.dtype if isinstance(y, Tensor) else type(y).__name__
    float_ = "" if getattr(getattr(y, "dtype", None), "kind", "") == "c" else ".float()"  # which drops imaginary parts
    return f"{given}; convert it with torch.as_tensor(y){float_}"
