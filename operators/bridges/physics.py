"""Operators made of deepinv's physics."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from operators.arguments import shape as checked_shape
from operators.base import Operator, Shape
from operators.blur import CircularBlur
from operators.linear_operator import LinearOperator
from operators.noise import Noise
from operators.svd import SVDOperator

from .coordinates import Basis
from .packing import Packing
from .probing import Layout, snapshot, substituted


class BridgedPhysics(Operator):
    """A deepinv physics as an operator, made by `from_deepinv`.

    Arguments:
        physics: a snapshot of the physics.
        layout: how it is called.
        noise: in units of the packed measurement.
        support: bool, (1, *M), or (B, *M); None: everywhere.

    Raises:
        ValueError: events of another shape than the bridge was made for.
    """

    seen: Tensor | None

    def __init__(self, physics: Any, layout: Layout, noise: Noise, support: Tensor | None) -> None:
        super().__init__(noise, event_shape=layout.events.shape)
        self.physics, self.layout = physics, layout
        self._last: tuple[tuple[Tensor, ...], Any] | None = None  # the physics of the rows that were asked for last
        self._spectrum: tuple[Tensor, Tensor, Tensor | None] | None = None  # singular values, of the mask they are of
        stacked = getattr(physics, "physics_list", None)
        self.parts = nn.ModuleList(stacked if isinstance(stacked, list) else [])  # so that `to` moves them
        named = dict(physics.named_buffers())
        for i, name in enumerate(layout.batched):
            self.batched_buffer(f"rows{i}", named[name], named[name].ndim - 1)
        if support is None:
            self.seen = None
        else:
            self.batched_buffer("seen", support if layout.batch else support[0], support.ndim - 1)

    @property
    def events(self) -> Packing:
        """The layout of deepinv's images as events: ``events.unpack(samples)`` is what deepinv takes."""
        return self.layout.events

    @property
    def measurements(self) -> Packing:
        """The layout of deepinv's measurements as y: ``measurements.pack(physics(x))`` is a y."""
        return self.layout.measurements

    @property
    def support(self) -> Tensor | None:
        """bool, broadcastable to (N, *M): where the physics measures; None means everywhere."""
        return self.seen

    def forward(self, x: Tensor) -> Tensor:
        return self.layout.apply(self._current().A, x, self.events, self.measurements)

    def measurement_shape(self, event_shape: Shape) -> Shape:
        """M; E is fixed."""
        self.check_event_shape(checked_shape("event_shape", event_shape))
        return self.measurements.shape

    def check_event_shape(self, event_shape: Shape) -> None:
        if tuple(event_shape) != self.events.shape:
            raise ValueError(
                f"{type(self).__name__}: made for events {self.events.shape}, given {event_shape}; call "
                "from_deepinv(physics, event_shape) again for others"
            )

    def _current(self) -> Any:
        """The physics with the parameters of these rows."""
        batched = self.layout.batched
        if not batched:
            return self.physics
        buffers: tuple[Tensor, ...] = tuple(getattr(self, f"rows{i}") for i in range(len(batched)))
        last = self._last
        if last is None or any(a is not b for a, b in zip(last[0], buffers, strict=True)):
            self._last = last = buffers, substituted(self.physics, dict(zip(batched, buffers, strict=True)))
        return last[1]

    def __deepcopy__(self, memo: dict[int, Any]) -> BridgedPhysics:
        twin: Any = copy.copy(self)
        memo[id(self)] = twin
        snapshot(self.physics, memo)  # which the rest then refers to
        memo[id(self)] = twin
        twin.__dict__.update({name: copy.deepcopy(value, memo) for name, value in self.__getstate__().items()})
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_last": None, "_spectrum": None}

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        super()._apply(fn, recurse)
        self._spectrum = None
        for part in self.physics.modules():  # some physics convert to a precision that they note
            if isinstance(dtype := getattr(part, "dtype", None), torch.dtype):
                part.dtype = fn(torch.empty(0, dtype=dtype)).dtype
        return self

    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"physics": type(self.physics).__name__, "event_shape": self.event_shape}
        return facts | {"noise": self.noise}


class BridgedLinearPhysics(BridgedPhysics, LinearOperator):
    """A deepinv LinearPhysics as an operator, made by `from_deepinv`.

    Arguments:
        physics, layout, noise, support: as `BridgedPhysics`.
        adjoint_error: the relative difference of A_adjoint from the derivative of A.
        exact: whether A_adjoint is used, or the derivative of A.
        orthogonal_rows: whether A A^T is a multiple of 1 on the range of A.
    """

    def __init__(
        self,
        physics: Any,
        layout: Layout,
        noise: Noise,
        support: Tensor | None,
        adjoint_error: float,
        exact: bool,
        orthogonal_rows: bool,
    ) -> None:
        super().__init__(physics, layout, noise, support)
        self.adjoint_error, self.exact = adjoint_error, exact
        if orthogonal_rows:
            self.structure = self.structure | {"orthogonal_rows"}

    def adjoint(self, y: Tensor) -> Tensor:
        if not self.exact:
            return super().adjoint(y)
        return self.layout.apply(self._current().A_adjoint, y, self.measurements, self.events)


class BridgedSVDPhysics(BridgedLinearPhysics, SVDOperator):
    """A deepinv DecomposablePhysics as an operator with singular values, made by `from_deepinv`.

    Arguments:
        basis: where its spectral coordinates are.
        arguments: of `BridgedLinearPhysics`.
    """

    def __init__(self, basis: Basis, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.basis = basis

    @property
    def singular_values(self) -> Tensor:
        return self._values()[0]

    def _values(self) -> tuple[Tensor, Tensor | None]:
        """The singular values of these rows, and where they are not 0, None: everywhere. Every step of a solve asks for
        them many times, and they are those of a mask that does not change."""
        physics = self._current()
        mask = torch.as_tensor(physics.mask)
        if self._spectrum is None or self._spectrum[0] is not mask:
            values = self.basis.values(physics, self.events.shape)
            largest = values.flatten(1).amax(1).reshape(-1, *[1] * (values.ndim - 1))
            kept = values > 1e-6 * largest  # rounding of single precision is no singular value
            everywhere = bool(kept.all())
            self._spectrum = mask, values if everywhere else torch.where(kept, values, 0), None if everywhere else kept
        return self._spectrum[1:]

    def _kept(self, z: Tensor) -> Tensor:
        """z where singular values are not 0, and 0 elsewhere."""
        kept = self._values()[1]
        return z if kept is None else torch.where(kept, z, 0)

    def Vt(self, x: Tensor) -> Tensor:
        return self.basis.Vt(self._current(), x) if len(x) else x  # no rows: some physics fail on them

    def V(self, z: Tensor) -> Tensor:
        return self.basis.V(self._current(), z) if len(z) else z

    def Ut(self, y: Tensor) -> Tensor:
        return self._kept(self.basis.Ut(self._current(), y))

    def U(self, z: Tensor) -> Tensor:
        return self.basis.U(self._current(), self._kept(z))


class BridgedConvolution(BridgedLinearPhysics, SVDOperator):
    """A deepinv LinearPhysics that is a circular convolution, such as a Blur with padding "circular", as an operator
    with the singular values and closed forms of ours, made by `from_deepinv`.

    Arguments:
        own: our operator of the same kernel, at the event's shape.
        arguments: of `BridgedLinearPhysics`.
    """

    def __init__(self, own: CircularBlur, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.own = own

    @property
    def singular_values(self) -> Tensor:
        return self.own.singular_values

    def spectrum(self, z: Tensor) -> Tensor:
        return self.own.spectrum(z)

    def transfer(self, event_shape: Shape, dtype: torch.dtype) -> Tensor | None:
        return self.own.transfer(event_shape, dtype)

    def Vt(self, x: Tensor) -> Tensor:
        return self.own.Vt(x)

    def V(self, z: Tensor) -> Tensor:
        return self.own.V(z)

    def Ut(self, y: Tensor) -> Tensor:
        return self.own.Ut(y)

    def U(self, z: Tensor) -> Tensor:
        return self.own.U(z)

    def _solve_isotropic(self, y: Tensor, r2: Tensor | float, variance: Tensor) -> Tensor:
        return self.own._solve_isotropic(y, r2, variance)
