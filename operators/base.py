"""p(y | x0): the base class of operators and its defaults."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from .arguments import rows, shape
from .arguments import seed as seeded
from .batching import device_of, shallow
from .capabilities import modelled
from .derivatives import Differentiated
from .guards import GUARDS
from .kept import Kept
from .noise import GaussianNoise, Noise, noise_model

Shape = tuple[int, ...]


class UnknownEventShape(ValueError):
    """The event shape is unknown and the measurement does not determine it."""


class Operator(Differentiated, ABC):
    """A measurement y = A(x0) + noise. Implement `forward`; all else has a default.

    Rows N are independent: row i of every result depends on row i of every argument only. An operator's own
    parameters (register them with `batched_buffer`) have no batch axis, or one of length B; with B of them, N = B
    rows are expected, and `rows(index)` gives the operator for any other assignment of rows to measurements.

    Arguments:
        noise: p(y | forward(x)); None is GaussianNoise(0), a noiseless measurement.
        event_shape: shape E of one image; other shapes are then refused. None: any shape the operator supports; `at`
            sets it where the measurement's shape does not determine E.
    """

    structure: frozenset[str] = frozenset({"differentiable"})  # capabilities that do not depend on the noise
    complex_axis: int | None = None  # of y, where it has the real and the imaginary part of a complex measurement
    event_shape: Shape | None

    # Set by composition.py, to avoid a circular import.
    compose: ClassVar[Callable[[Operator, Operator], Operator]]

    def __init__(self, noise: Noise | None = None, event_shape: Shape | None = None) -> None:
        super().__init__()
        self.event_shape = None if event_shape is None else shape("event_shape", event_shape)
        self._found = Kept(4)  # the M of an E
        self._set_noise(noise)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, guard in GUARDS.items():
            if name in cls.__dict__:
                setattr(cls, name, guard(cls.__dict__[name]))

    def _set_noise(self, noise: Noise | None) -> None:
        """Store it; None: not given. An operator made of others gives it to the part whose noise it has."""
        nn.Module.__setattr__(self, "noise", GaussianNoise(0.0) if noise is None else noise_model(noise))

    @property
    def noise(self) -> Noise:
        """p(y | forward(x)); assign another to change it."""
        return self._current_noise()

    @noise.setter
    def noise(self, noise: Noise) -> None:
        self._set_noise(noise_model(noise))

    def __setattr__(self, name: str, value: Any) -> None:  # torch registers modules without asking a setter
        (object if name == "noise" else nn.Module).__setattr__(self, name, value)

    def _current_noise(self) -> Noise:
        """The noise assigned last; an operator made of others returns that of its parts."""
        return noise_model(super().__getattr__("noise"))

    @classmethod
    def _fitting(cls, kind: type[Operator]) -> type[Self]:
        """The class that `__new__` makes: `kind` where it is a subclass of this one, else this one."""
        return kind if issubclass(kind, cls) else cls

    def _facts(self) -> dict[str, Any]:
        facts = super()._facts()
        noise = facts.pop("noise", None)  # last, after the shape that `at` may have given
        shape = {} if self.event_shape is None else {"event_shape": self.event_shape}
        return facts | shape | ({} if noise is None else {"noise": noise})

    @property
    def capabilities(self) -> frozenset[str]:
        """Properties that methods may rely on. The class declares the structural ones, "linear", "svd",
        "orthogonal_rows", "differentiable", "entrywise" and "noisy_likelihood"; the noise adds its own (see
        `Noise.capabilities`), and both together "generalized_linear" (see `linear_part`)."""
        return modelled(self.structure, self.noise.capabilities, self.structure)

    def linear_part(self) -> tuple[Any, Noise]:
        """A linear operator A, and the noise of A x, so that y_i depends on the entry (A x)_i alone.

        A linear operator returns itself and its noise; an entrywise function of a linear operator (`Entrywise`) that
        one and `LinkedNoise`.

        Raises:
            ValueError: the operator is not "generalized_linear".
        """
        raise ValueError(
            f"{type(self).__name__} is not an entrywise function of a linear operator; use a method for nonlinear "
            "operators"
        )

    def with_noise(self, noise: Noise) -> Self:
        """This operator with another noise: a shallow copy that shares every parameter; `self` is unchanged.

        Raises:
            TypeError: not a `Noise`.
            ValueError: a stack, whose noise is that of its parts.
        """
        twin = shallow(self)
        twin._set_noise(noise_model(noise))
        return twin

    @property
    def support(self) -> Tensor | None:
        """bool, broadcastable to (N, *M): where something was measured; None means everywhere."""
        return None

    def __call__(self, x: Tensor) -> Tensor:
        self.validate(x)
        return super().__call__(x)

    def at(self, event_shape: Shape) -> Self:
        """This operator for events of shape E: a shallow copy that shares every parameter; `self` is unchanged.

        `adjoint`, `pinv`, `solve_gram` and `singular_values` need it where the measurement does not determine E.

        Arguments:
            event_shape: E, without the batch axis.

        Raises:
            ValueError: events that this operator does not support.
        """
        event_shape = shape("event_shape", event_shape)
        if event_shape == self.event_shape:
            return self
        self.check_event_shape(event_shape)
        twin = shallow(self)
        twin.event_shape = event_shape
        return twin

    def __matmul__(self, inner: Operator) -> Operator:
        """outer @ inner: x -> outer(inner(x)), with the outer's noise."""
        return Operator.compose(self, inner) if isinstance(inner, Operator) else NotImplemented

    def measure(self, x: Tensor, seed: int = 0) -> Tensor:
        """y ~ p(y | x): forward plus noise, zero outside the support.

        Arguments:
            x: (N, *E), image units.
            seed: of the noise; measurement i does not depend on the batch size or the device.

        Raises:
            TypeError or ValueError: a seed that is no integer >= 0, and as `validate`.
        """
        generator = torch.Generator().manual_seed(seeded(seed))
        with torch.no_grad():
            clean = self(x)
            op = self.at(tuple(x.shape[1:]))
            support = op.support
            measured = clean if support is None else torch.where(support, clean, 0)
            if x.is_meta or not bool(measured.isfinite().all()):
                raise ValueError(f"{type(self).__name__}.measure: forward(x) has nan or infinite entries; check x")
            y = op.noise.sample(clean, generator)
        return y if support is None else torch.where(support, y, 0)

    def log_likelihood(self, y: Tensor, x: Tensor) -> Tensor:
        """log p(y | x) = sum of the noise's log_prob over measured entries, (N,) nats; y (N or 1, *M), x (N, *E).

        Raises:
            TypeError or ValueError: a y of another type or shape; noise without a density (sigma = 0).
        """
        clean = self(x)
        op = self.at(tuple(x.shape[1:]))
        op.noise.fits(y, tuple(clean.shape[1:]), len(clean))
        if y.device != clean.device:
            raise ValueError(f"y is on {y.device} and x on {clean.device}: move one of them with .to(...)")
        log_prob = op.noise.log_prob(y.expand(len(clean), *y.shape[1:]), clean)
        support = op.support
        if support is not None:
            log_prob = torch.where(support, log_prob, 0)
        return log_prob.reshape(len(clean), -1).sum(1)

    def measurement_shape(self, event_shape: Shape) -> Shape:
        """M, the shape of `forward` of one event of shape E."""
        with torch.no_grad():
            return tuple(self(self._zeros(shape("event_shape", event_shape))).shape[1:])

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        """E for measurements of shape M. By default `event_shape`; override it where M determines E.

        Raises:
            ValueError: `event_shape` is None.
        """
        if self.event_shape is None:
            raise UnknownEventShape(
                f"{type(self).__name__}: the event shape is unknown, and a measurement does not determine it; use "
                "operator.at(event_shape), with the shape (C, H, W) of one image"
            )
        return self.event_shape

    def check_event_shape(self, event_shape: Shape) -> None:
        """Override to raise ValueError for an event shape that this operator does not support."""

    def validate(self, x: Tensor) -> None:
        """Refuse an x (N, *E) that this operator does not support. Cheap: values are not checked.

        Raises:
            TypeError: not a floating tensor.
            ValueError: no batch axis, an event shape that the operator does not support or that differs from its
                `event_shape`, a device other than the operator's, or a number of rows other than the number of
                measurements its parameters are for.
        """
        rows(f"{type(self).__name__}: x", x, "event")
        event_shape = tuple(x.shape[1:])
        self.check_event_shape(event_shape)
        if self.event_shape not in (None, event_shape):
            raise ValueError(
                f"{type(self).__name__}: expected events of shape {self.event_shape}, given {event_shape}; "
                "use operator.at(event_shape) for another shape"
            )
        self._check_home("x", x)

    def _check_measured(self, what: str, y: Tensor) -> None:
        """Refuse a y (N, *M) whose type or shape is not that of a measurement. Cheap: values are not checked, and each
        shape only once. The shape is not checked where the event shape is unknown, which not every operator needs."""
        rows(f"{type(self).__name__}: {what}", y, "measurement")
        self._check_home(what, y)
        measurement_shape = tuple(y.shape[1:])
        try:
            event_shape = self.event_shape_of(measurement_shape)
        except UnknownEventShape:
            return
        if (expected := self.known_shape(event_shape)) != measurement_shape:
            raise ValueError(
                f"{type(self).__name__}: expected {what} of shape (N, {', '.join(map(str, expected))}) for events "
                f"{event_shape}, given {tuple(y.shape)}; use operator.at(event_shape) with another shape"
            )

    def known_shape(self, event_shape: Shape) -> Shape:
        """`measurement_shape`, cached: it is slow for a large image."""
        return self._found.get(event_shape, lambda: self.measurement_shape(event_shape))

    def measured_numbers(self, event_shape: Shape) -> int:
        """How many numbers a measurement of an event of shape E has, without those outside the support; at least 1."""
        at = self.at(event_shape)
        share = 1.0 if at.support is None else at.support.float().mean().item()
        return max(1, round(share * math.prod(at.known_shape(event_shape))))

    def _check_home(self, what: str, x: Tensor) -> None:
        """Refuse rows on a device other than the operator's, or in a number other than its parameters are for."""
        name = type(self).__name__
        if (home := device_of(self)) not in (None, x.device):
            raise ValueError(
                f"{name}: it is on {home}, but {what} is on {x.device}; move it with operator.to({what}.device)"
            )
        if (batch := self.batch) not in (None, len(x)):
            raise ValueError(
                f"{name}: its parameters are for {batch} measurements, but {what} has batch size {len(x)}; select a "
                "measurement per batch element with operator.rows(index), e.g. "
                f"torch.arange({batch}).repeat_interleave(n_samples)"
            )

    def validate_y(self, y: Tensor, event_shape: Shape) -> None:
        """Refuse a y (B, *M) that this operator cannot have measured from events E.

        Raises:
            TypeError: wrong type or dtype.
            ValueError: wrong shape, an entry that is not finite or out of range, or a number of measurements that
                differs from that of the operator's parameters.
        """
        event_shape = shape("event_shape", event_shape)
        op = self.at(event_shape)
        if self.complex_axis is not None and isinstance(y, Tensor) and y.is_complex():
            parts = f"torch.stack((y.real, y.imag), {self.complex_axis})"
            raise TypeError(f"y: expected a floating tensor, given {y.dtype}; {parts} has its parts as two channels")
        op.noise.validate(y, op.known_shape(event_shape))
        if self.batch not in (None, len(y)):
            raise ValueError(
                f"{type(self).__name__}: its parameters are for {self.batch} measurements, but y has {len(y)}; give "
                "parameters without a batch axis, or one per measurement (a sigma per entry of y needs event_ndim)"
            )

    def _zeros(self, event_shape: Shape) -> Tensor:
        tensors = [*self.parameters(), *self.buffers()]
        device = tensors[0].device if tensors else None
        dtype = next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.float32)
        return torch.zeros(self.batch or 1, *event_shape, device=device, dtype=dtype)
