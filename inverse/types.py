"""What moves through the engine: a kernel's Gaussian, a population's state, a solve's solution."""

import math
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from priors.rng import RNG

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
Memory = dict[str, Tensor]  # what a kernel or posterior knows of the steps so far: tensors (N, ...), a row each


class Basis(Protocol):
    """An orthogonal change of coordinates of events; an `SVDOperator` is one. Both map (N, *E) -> (N, *E)."""

    def V(self, z: Tensor) -> Tensor:
        """Coordinates in the basis to events, (N, *E) -> (N, *E)."""
        ...

    def Vt(self, x: Tensor) -> Tensor:
        """Events to coordinates in the basis, (N, *E) -> (N, *E)."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """The law of one transition: N(mean, diag(std^2)), in the coordinates of ``basis`` if there is one.

    A kernel returns its Gaussian and the engine samples, so that the mean is the noise-free step, an ODE step has std
    0, and a guidance can edit mean and std in an operator's singular basis.
    Arguments: mean (N, *E); std 0-d or broadcastable to the mean; basis (Basis or None: pixels); log_det (N,): of a
    step without noise, log |det| of the mean's derivative by the state it came from, where the kernel knows it.
    """

    mean: Tensor
    std: Tensor
    basis: Basis | None = None
    log_det: Tensor | None = None

    def sample(self, rng: RNG) -> Tensor:
        """One draw per row, (N, *E) in pixels; a std that is 0 everywhere costs no random numbers."""
        if self.std.ndim == 0 and self.std.item() == 0:
            x = self.mean
        else:
            # in place: states may be large
            x = rng.normal(tuple(self.mean.shape)).to(self.mean).mul_(self.std.to(self.mean)).add_(self.mean)
        return x if self.basis is None else self.basis.V(x)

    def log_prob(self, x: Tensor) -> Tensor:
        """log density at x (N, *E) in pixels, nats, (N,).

        Raises: ValueError where a std is 0: there is no density.
        """
        std = self.std.to(self.mean).expand_as(self.mean)
        if not bool((std > 0).all()):
            raise ValueError("a Gaussian with std 0 has no density: weighting needs a predictor that adds noise")
        z = x if self.basis is None else self.basis.Vt(x)
        return -(0.5 * ((z - self.mean) / std) ** 2 + std.log() + HALF_LOG_2PI).flatten(1).sum(1)

    def within(self, basis: Basis) -> "Gaussian":
        """The same law in the coordinates of ``basis``; only an isotropic one in pixels can change coordinates.

        Raises: ValueError for a Gaussian that is in a basis already or not isotropic.
        """
        per_row = self.std.ndim == self.mean.ndim and self.std[0].numel() == 1
        if self.basis is not None or not (self.std.numel() == 1 or per_row):
            raise ValueError(
                "only an isotropic Gaussian in pixel coordinates can change basis: one guidance at a time edits it"
            )
        return replace(self, mean=basis.Vt(self.mean), basis=basis)


@dataclass(frozen=True)
class State:
    """A population at one time: x (N, *E), log weights log_w (N,) and, of populations that estimate it, the log
    evidence accumulated at resampling log_z (N,), equal for all rows of a measurement, and, of populations that
    resample, origin (N,): which of the first rows each descends from.
    kernel, guidance, reference (`Memory`): what the predictor, the posterior and the predictor under the prior alone
    know of each row's steps so far; empty before the first step."""

    x: Tensor
    log_w: Tensor
    log_z: Tensor | None = None
    origin: Tensor | None = None
    kernel: Memory = field(default_factory=dict)
    guidance: Memory = field(default_factory=dict)
    reference: Memory = field(default_factory=dict)

    def rows(self, index: Tensor) -> "State":
        """Rows ``index`` (N,) int64 with all that belongs to them; they may repeat."""

        def picked(memory: Memory) -> Memory:
            return {name: value[index] for name, value in memory.items()}

        return replace(
            self,
            x=self.x[index],
            log_w=self.log_w[index],
            log_z=None if self.log_z is None else self.log_z[index],
            origin=None if self.origin is None else self.origin[index],
            kernel=picked(self.kernel),
            guidance=picked(self.guidance),
            reference=picked(self.reference),
        )


class NonFiniteState(ArithmeticError):
    """A state that is nan or infinite; the message says at which step and time it arose."""


def weighted_mean(samples: Tensor, log_weights: Tensor) -> Tensor:
    """sum_k w_k x_k with w = softmax(log_weights) over axis 1; samples (B, K, *E), log_weights (B, K) -> (B, *E)."""
    w = torch.softmax(log_weights.double(), dim=1).to(samples)
    return (samples * w.view(*w.shape, *[1] * (samples.ndim - 2))).sum(1)
