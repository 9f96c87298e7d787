"""Mean and covariance of a prior: the Gaussian with its first two moments."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, Self

import torch
from torch import Tensor

from priors.arguments import count, finite, number, rows
from priors.arguments import shape as sizes
from priors.rng import RNG
from priors.wording import Concise

RANK = 256  # principal components of a training set
MOST_DIRECT = 4096  # largest dimension of a full covariance; above, the largest number of images that are used


class SecondMoments(Protocol):
    """Mean and covariance of x0, and what guidances and `inverse.gaussian` compute with them; `Moments` and
    `StationaryMoments` are two.

    Attributes: mean (*E), data units; approximate: whether they come from a model of all images, rather than from data
    like the prior's; iterative solves with them then stop early.
    """

    approximate: ClassVar[bool]

    @property
    def mean(self) -> Tensor: ...

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Self:
        """The same on another device, in another dtype where one is given."""
        ...

    def average(self, f: Callable[[Tensor], Tensor]) -> float:
        """tr f(Cov) / d: the mean of f over the eigenvalues."""
        ...

    def apply(self, f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """f(Cov) x, where f acts on the eigenvalues, element by element; x (N, *E) -> (N, *E)."""
        ...

    def draw(self, n: int, rng: RNG) -> Tensor:
        """n draws of N(mean, Cov), (n, *E); rng (`RowRNG` of n rows)."""
        ...

    def low_rank(self, f: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, float] | None:
        """f(Cov) as V diag(e) V' + rest I: V' (k, *E), orthonormal, e (k,) and rest; None where k would be large."""
        ...


@dataclass(frozen=True, repr=False)
class Moments(Concise):
    """E[x0] and Cov[x0] = V diag(lambda) V' + rest (I - V V'), the columns of V orthonormal.

    Source: Tipping & Bishop 1999 (probabilistic principal components).
    Arguments: mean (*E), data units; basis V (d, k) over flattened events; variances lambda (k,) and rest (0-d), data
    units squared.
    Attributes: approximate: whether they come from a model of all images, rather than from data like the prior's;
    iterative solves with them then stop early.
    Raises: TypeError if they are not tensors; ValueError for shapes that do not fit.
    """

    mean: Tensor
    basis: Tensor
    variances: Tensor
    rest: Tensor
    approximate: ClassVar[bool] = False

    def __post_init__(self):
        if not all(isinstance(value, Tensor) for value in vars(self).values()):
            raise TypeError("Moments: expected tensors: mean (*E), basis (d, k), variances (k,) and rest (0-d)")
        found = (self.basis.shape, self.variances.shape, self.rest.shape)
        if self.basis.ndim != 2 or found != ((self.mean.numel(), self.basis.shape[1]), self.basis.shape[1:], ()):
            raise ValueError(
                f"Moments: mean {tuple(self.mean.shape)}, basis, variances and rest {tuple(map(tuple, found))}: "
                "expected (*E), (d, k), (k,) and (), d the product of E; Moments.of_images makes them"
            )

    @property
    def rough(self) -> bool:
        """Deprecated alias of `approximate`."""
        warnings.warn("moments.rough is deprecated: use moments.approximate", DeprecationWarning, stacklevel=2)
        return self.approximate

    @classmethod
    def isotropic(cls, event_shape: tuple[int, ...], variance: float = 1.0) -> "Moments":
        """Mean 0 and covariance ``variance`` I, if nothing else is known; event_shape (E).

        Raises: TypeError or ValueError for an invalid shape, and for a variance that is negative or not finite.
        """
        event_shape, variance = sizes("event_shape", event_shape), number("variance", variance, "[0, inf)")
        d = math.prod(event_shape)
        empty = torch.zeros(d, 0, dtype=torch.float32)
        mean, rest = empty.new_zeros(event_shape), empty.new_tensor(variance)
        return cls(mean, empty, empty.new_zeros(0), rest)

    @classmethod
    def of_covariance(cls, mean: Tensor, covariance: Tensor) -> "Moments":
        """From mean (*E) and covariance (d, d), data units; all d components are kept.

        Raises: ValueError for a covariance of another shape, or not finite.
        """
        d = mean.numel() if isinstance(mean, Tensor) else 0
        if not isinstance(covariance, Tensor) or tuple(covariance.shape) != (d, d):
            given = tuple(covariance.shape) if isinstance(covariance, Tensor) else type(covariance).__name__
            raise ValueError(f"covariance {given}: expected a tensor {(d, d)}, for a mean with {d} entries (a tensor)")
        variances, basis = torch.linalg.eigh(finite("covariance", covariance.double()))
        return cls(mean.float(), basis.float(), variances.clamp_min(0.0).float(), torch.zeros((), dtype=torch.float32))

    @classmethod
    def of_images(cls, images: Tensor, rank: int = RANK) -> "Moments":
        """From images (n, *E), data units: their leading principal components, and one variance for all other
        directions.

        Raises: TypeError for images that are not a floating tensor; ValueError for fewer than 2, or not finite.
        """
        rank = count("rank", rank, 0)
        finite("images", rows("images", images))
        if len(images) < 2:
            raise ValueError(f"{len(images)} images: expected at least 2, for a covariance")
        flat = images.flatten(1).float()
        n, d = flat.shape
        mean = flat.mean(0)
        total = flat.var(0).sum()
        flat = flat if d <= MOST_DIRECT else flat[:MOST_DIRECT]
        centred = (flat - mean) / math.sqrt(len(flat) - 1)
        if d <= len(flat):
            variances, basis = torch.linalg.eigh(centred.mT @ centred)
        else:
            variances, left = torch.linalg.eigh(centred @ centred.mT)
            basis = centred.mT @ left / variances.clamp_min(1e-12).sqrt()
        k = min(rank, d, n - 1)
        variances, basis = variances[-k:].clamp_min(0.0), basis[:, -k:]
        rest = (total - variances.sum()).clamp_min(0.0) / max(1, d - k)
        return cls(mean.view(images.shape[1:]), basis.contiguous(), variances, rest)

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Self:
        """The same on another device, in another dtype where one is given."""
        return replace(self, **{name: value.to(device, dtype) for name, value in vars(self).items()})

    def average(self, f: Callable[[Tensor], Tensor]) -> float:
        """tr f(Cov) / d: the mean of f over the eigenvalues."""
        d, k = self.basis.shape
        return float((f(self.variances).sum() + (d - k) * f(self.rest)) / d)

    def apply(self, f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """f(Cov) x, where f acts on the eigenvalues, element by element; x (N, *E) -> (N, *E)."""
        rest = f(self.rest)
        flat = x.flatten(1)
        inside = ((flat @ self.basis) * (f(self.variances) - rest)) @ self.basis.mT
        return (rest * flat + inside).view_as(x)

    def draw(self, n: int, rng: RNG) -> Tensor:
        """n draws of N(mean, Cov), (n, *E); rng (`RowRNG` of n rows)."""
        return self.mean + self.apply(torch.sqrt, rng.normal((n, *self.mean.shape)))

    def low_rank(self, f: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, float] | None:
        """f(Cov) as V diag(e) V' + rest I: V' (k, *E), orthonormal, e (k,) and rest; None for k above 256."""
        k = self.basis.shape[1]
        if k > RANK:
            return None
        rest = f(self.rest)
        return self.basis.mT.reshape(k, *self.mean.shape), f(self.variances) - rest, float(rest)
