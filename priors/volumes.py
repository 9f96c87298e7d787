"""A prior of volumes made of a prior of pictures: slice by slice, and smooth across slices."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from priors.arguments import count, number, state
from priors.base import Prior, Wrapped
from priors.moments import Moments, SecondMoments
from priors.rng import RNG
from priors.wording import Concise

Axes = tuple[int, ...]


class Slices(Wrapped):
    """The prior of volumes (C, D, H, W) whose slices are pictures of a prior, and of which neighbours differ little.

    Formula: p(x0) prop. to prod_d p(x0_d) exp(-sum_d |x0_{d+1} - x0_d|^2 / (2 coupling^2)), x0_d the slices. Without
    coupling D(x_t) is the prior's denoiser m of every slice, exactly. With coupling D = (I + V B'B / coupling^2)^-1 m,
    B the differences between slices: the mean of the product if p(x0_d | x_t) is Gaussian with mean m and covariance V.
    V is that of the Gaussian with the prior's moments, V = C s^2 (C + s^2)^-1 with s = sigma / alpha: exact for a
    Gaussian prior, an approximation for others, which costs no evaluation of the prior. It is computed by the
    eigenvectors of B'B (a cosine transform along the axis) and of C.
    With several axes D is the mean of the denoisers of the slices at right angles to each: the score of the geometric
    mean of the noised priors, which is no noised distribution itself.
    Source: Lee, Chung, Park, Park, Ryu & Ye 2023 (priors of slices in several directions); Chung, Ryu, McCann, Klasky &
    Ye 2023 (a coupling of slices). The Gaussian coupling in the denoiser is ours.
    Arguments: prior, of pictures (C, H, W); depth (int >= 1): the number of slices; axis: that they are stacked along,
    0, 1 or 2 for D, H or W of the volume, or several of a cube; coupling: standard deviation of the difference of
    neighbouring slices where the prior alone says nothing, data units; None: independent slices.
    Attributes: event_shape (C, D, H, W); moments: those of the Gaussian with the prior's moments and this coupling.
    Raises: TypeError for a prior that is none; ValueError for a prior of other events than (C, H, W), several axes with
    a coupling or of no cube, and numbers out of range.
    """

    def __init__(
        self,
        prior: Prior,
        depth: int,
        axis: int | Sequence[int] = 0,
        coupling: float | None = None,
    ):
        if not isinstance(prior, Prior):
            raise TypeError(f"Slices: prior of type {type(prior).__name__}: expected a priors.Prior of pictures")
        if len(prior.event_shape) != 3 or prior.decoder is not None:
            raise ValueError(f"Slices: a prior of events {prior.event_shape}: expected one of pictures (C, H, W)")
        super().__init__(prior)
        self.depth = count("Slices: depth", depth, hint="the number of slices")
        self.axes = _axes(axis)
        self.axis = first = self.axes[0]
        self.coupling = None if coupling is None else number("Slices: coupling", coupling, "(0, inf)", "in data units")
        shape = list(prior.event_shape)
        shape.insert(1 + first, self.depth)
        self.event_shape = tuple(shape)
        if len(self.axes) > 1 and (coupling is not None or len({*shape[1:]}) > 1):
            raise ValueError(
                f"Slices: axis = {self.axes}: expected one axis with a coupling, or several axes of a cube without; "
                f"given coupling = {coupling} and volumes {self.event_shape}"
            )

    def _facts(self) -> dict[str, Any]:
        coupling = {} if self.coupling is None else {"coupling": self.coupling}
        axis = self.axes if len(self.axes) > 1 else self.axis
        return super()._facts() | {"depth": self.depth, "axis": axis} | coupling

    @property
    def moments(self) -> SecondMoments | None:
        """Those of the Gaussian with the prior's moments and this coupling; None for several axes, or if the prior's
        are unknown."""
        found = self._of_slices
        if found is None or len(self.axes) > 1:
            return None
        precision, basis = _modes(self.depth, self.coupling)
        kind = ModelSliceMoments if found.approximate else SliceMoments
        return kind(found, self.axis, precision.to(found.mean), basis.to(found.mean))

    @cached_property
    def _of_slices(self) -> SecondMoments | None:
        return self.prior.moments  # computed on access

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        state(x, t, len(self.event_shape))
        each = [_joined(self.prior.denoise(_split(x, a), self._times(t, len(x))), a, len(x)) for a in self.axes]
        mean = torch.stack(each).mean(0)
        return mean if self.coupling is None else self._coupled(mean, t)

    def _times(self, t: Tensor | float, n: int) -> Tensor | float:
        """The times of all slices."""
        return t.repeat_interleave(self.depth) if isinstance(t, Tensor) and t.ndim == 1 and len(t) == n else t

    def _coupled(self, mean: Tensor, t: Tensor | float) -> Tensor:
        """(I + V B'B / coupling^2)^-1 of slices' means (N, *E)."""
        if isinstance(t, Tensor) and t.ndim == 1 and len(t) > 1:
            return torch.cat([self._coupled(one, at) for one, at in zip(mean.split(1), t, strict=True)])
        s2 = float(self.sde.sigma(t) / self.sde.alpha(t)) ** 2
        moments = self._of_slices or Moments.isotropic(self.prior.event_shape, self.variance)
        moments = moments.to(mean.device, mean.dtype)
        precision, basis = (part.to(mean) for part in _modes(self.depth, self.coupling))

        def shrink(weight: Tensor, variances: Tensor) -> Tensor:
            return 1 / (1 + weight * variances / (1 + variances / s2))

        return _by_modes(mean, 2 + self.axis, basis, [partial(moments.apply, partial(shrink, p)) for p in precision])


@dataclass(frozen=True, repr=False)
class SliceMoments(Concise):
    """Moments of volumes: slices of given moments, coupled along an axis.

    Formula: Cov = sum_k q_k q_k' x (Cov_slice^-1 + precision_k)^-1, the q_k the columns of the basis.
    Arguments: slices (SecondMoments) of one slice; axis: 0, 1 or 2; precision (D,), one over data units squared; basis
    (D, D), orthogonal.
    """

    slices: SecondMoments
    axis: int
    precision: Tensor
    basis: Tensor

    approximate: ClassVar[bool] = False

    @property
    def mean(self) -> Tensor:
        """(C, D, H, W), data units: a constant along the axis is not changed by the coupling."""
        return torch.stack([self.slices.mean] * len(self.precision), 1 + self.axis)

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Self:
        """The same on another device, in another dtype where one is given."""
        precision, basis = (value.to(device, dtype) for value in (self.precision, self.basis))
        return replace(self, slices=self.slices.to(device, dtype), precision=precision, basis=basis)

    def average(self, f: Callable[[Tensor], Tensor]) -> float:
        """tr f(Cov) / d: the mean of f over the eigenvalues."""
        return sum(self.slices.average(_after(own, f)) for own in self._variances) / len(self.precision)

    def apply(self, f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """f(Cov) x, where f acts on the eigenvalues, element by element; x (N, *E) -> (N, *E)."""
        if not bool(self.precision.any()):
            return _joined(self.slices.apply(f, _split(x, self.axis)), self.axis, len(x))
        maps = [partial(self.slices.apply, _after(own, f)) for own in self._variances]
        return _by_modes(x, 2 + self.axis, self.basis, maps)

    def draw(self, n: int, rng: RNG) -> Tensor:
        """n draws of N(mean, Cov), (n, *E); rng (`RowRNG` of n rows)."""
        return self.mean + self.apply(torch.sqrt, rng.normal((n, *self.mean.shape)))

    def low_rank(self, f: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, float] | None:
        """None: the rank is that of all slices together."""
        return None

    @cached_property
    def _variances(self) -> list[Callable[[Tensor], Tensor]]:
        """Of every mode along the axis, variances of a slice -> those with the coupling. Results are kept, since `f`
        may keep its own by the tensor that it is given."""
        return [cache(partial(_shrunk, precision)) for precision in self.precision]


class ModelSliceMoments(SliceMoments):
    """Moments of volumes whose slices' moments come from a model of all images."""

    approximate: ClassVar[bool] = True


def _shrunk(precision: Tensor, variances: Tensor) -> Tensor:
    return variances / (1 + precision * variances)


def _after(first: Callable[[Tensor], Tensor], then: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda values: then(first(values))


def _axes(axis: int | Sequence[int]) -> Axes:
    axes = tuple(axis) if isinstance(axis, Sequence) and not isinstance(axis, str) else (axis,)
    axes = tuple(count("Slices: axis", one, 0, 2, "0, 1 or 2 for D, H or W of volumes (C, D, H, W)") for one in axes)
    if not axes or len({*axes}) < len(axes):
        raise ValueError(f"Slices: axis = {axis}: expected different axes of 0, 1 and 2")
    return axes


def _split(x: Tensor, axis: int) -> Tensor:
    """Volumes (N, C, D, H, W) -> slices (N depth, C, h, w)."""
    return x.movedim(2 + axis, 1).flatten(0, 1)


def _joined(slices: Tensor, axis: int, n: int) -> Tensor:
    """The inverse of `_split`, for n volumes."""
    return slices.unflatten(0, (n, -1)).movedim(1, 2 + axis)


def _modes(depth: int, coupling: float | None) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of B'B / coupling^2, (depth,) and (depth, depth); eigenvalues 0 for None."""
    b = torch.eye(depth, dtype=torch.float64).diff(dim=0)
    values, basis = torch.linalg.eigh(b.mT @ b)
    return values.clamp_min(0.0) / (math.inf if coupling is None else coupling**2), basis


def _by_modes(x: Tensor, dim: int, basis: Tensor, maps: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
    """One map for every mode along an axis of x, the columns of the basis."""
    modes = (x.movedim(dim, -1) @ basis).unbind(-1)
    done = torch.stack([one(mode) for one, mode in zip(maps, modes, strict=True)], -1)
    return (done @ basis.mT).movedim(-1, dim)
