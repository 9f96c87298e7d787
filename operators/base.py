"""p(y | x0): what an operator is, and what comes free with writing its `forward`."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from .arguments import rows, shape
from .arguments import seed as seeded
from .batching import Batched
from .guards import GUARDS
from .noise import GaussianNoise, Noise
from .solvers import column, conjugate_gradients, least_squares

Shape = tuple[int, ...]


class Operator(Batched, ABC):
    """A measurement y = A(x0) + noise. Write `forward`; the rest has a default.

    Rows N are independent: row i of every result depends on row i of every argument only. An operator's own
    parameters (register them with `batched_buffer`) have no batch axis, or one of length B; with B of them, N = B
    rows are expected, and `rows(index)` gives the operator for any other assignment of rows to measurements.

    Arguments:
        noise: p(y | forward(x)); None is GaussianNoise(0), a noiseless measurement.
        event_shape: shape E of one image, if known beforehand; otherwise that of the last x seen.
    """

    structure: frozenset[str] = frozenset({"differentiable"})  # capabilities that do not depend on the noise
    noise: Noise
    event_shape: Shape | None

    # Set by composition.py, which must import this file: a base class cannot import its subclasses.
    compose: ClassVar[Callable[[Operator, Operator], Operator]]

    def __init__(self, noise: Noise | None = None, event_shape: Shape | None = None) -> None:
        super().__init__()
        self.event_shape = None if event_shape is None else shape("event_shape", event_shape)
        self._fitting: set[Any] = set()  # shapes of measurements that were found to be this operator's
        self._set_noise(noise)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, guard in GUARDS.items():
            if name in cls.__dict__:
                setattr(cls, name, guard(cls.__dict__[name]))

    def _set_noise(self, noise: Noise | None) -> None:
        if noise is not None and not isinstance(noise, Noise):
            raise TypeError(f"noise: expected an operators.Noise, given {noise!r:.60}; e.g. GaussianNoise(0.05)")
        self.noise = GaussianNoise(0.0) if noise is None else noise

    @property
    def capabilities(self) -> frozenset[str]:
        """What methods may rely on: "linear", "svd", "orthogonal_rows", "differentiable", "gaussian", "isotropic",
        "noisy_likelihood". The class states the structural ones, its noise adds its own."""
        return self.structure | self.noise.capabilities

    @property
    def support(self) -> Tensor | None:
        """bool, broadcastable to (N, *M): where something was measured; None means everywhere."""
        return None

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """The noiseless measurement, (N, *E) -> (N, *M)."""

    def __call__(self, x: Tensor) -> Tensor:
        self.validate(x)
        self.event_shape = tuple(x.shape[1:])
        return super().__call__(x)

    def __matmul__(self, inner: Operator) -> Operator:
        """outer @ inner: x -> outer(inner(x)), with the outer's noise."""
        return Operator.compose(self, inner) if isinstance(inner, Operator) else NotImplemented

    @GUARDS["vjp"]
    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        """J(x)^T v, with J the Jacobian of `forward` at x (N, *E), v (N, *M) -> (N, *E)."""
        with torch.inference_mode(False), torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            return torch.autograd.grad(self(x), x, v.clone())[0]

    def measure(self, x: Tensor, seed: int = 0) -> Tensor:
        """y ~ p(y | x): forward plus noise, zero outside the support.

        Arguments:
            x: (N, *E), image units.
            seed: fixes the noise; row i is the same however many rows follow, on every device.

        Raises:
            TypeError or ValueError: a seed that is no integer >= 0, and as `validate`.
        """
        generator = torch.Generator().manual_seed(seeded(seed))
        with torch.no_grad():
            clean = self(x)
            support = self.support
            measured = clean if support is None else torch.where(support, clean, 0)
            if x.is_meta or not bool(measured.isfinite().all()):
                raise ValueError(f"{type(self).__name__}.measure: forward(x) has nan or infinite entries; check x")
            y = self.noise.sample(clean, generator)
        return y if support is None else torch.where(support, y, 0)

    def log_likelihood(self, y: Tensor, x: Tensor) -> Tensor:
        """log p(y | x) = sum of the noise's log_prob over measured entries, (N,) nats; y (N or 1, *M), x (N, *E).

        Raises:
            TypeError or ValueError: a y of another type or shape; noise without a density (sigma = 0).
        """
        clean = self(x)
        self.noise.fits(y, tuple(clean.shape[1:]), len(clean))
        if y.device != clean.device:
            raise ValueError(f"y is on {y.device} and x on {clean.device}: move one of them with .to(...)")
        log_prob = self.noise.log_prob(y.expand(len(clean), *y.shape[1:]), clean)
        support = self.support
        if support is not None:
            log_prob = torch.where(support, log_prob, 0)
        return log_prob.reshape(len(clean), -1).sum(1)

    def measurement_shape(self, event_shape: Shape) -> Shape:
        """M, the shape of `forward` of one event of shape E."""
        with torch.no_grad():
            return tuple(self(self._zeros(shape("event_shape", event_shape))).shape[1:])

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        """E for measurements of shape M. By default the shape remembered.

        Raises:
            ValueError: no x was seen yet.
        """
        if self.event_shape is None:
            raise ValueError(
                f"{type(self).__name__}: the event shape is unknown, and measurements do not tell it; apply the "
                "operator to an x first, or set operator.event_shape"
            )
        return self.event_shape

    def check_event_shape(self, event_shape: Shape) -> None:
        """Override to raise ValueError for an event shape this operator cannot serve."""

    def validate(self, x: Tensor) -> None:
        """Refuse an x (N, *E) this operator cannot serve. Cheap: values are not looked at.

        Raises:
            TypeError: not a floating tensor.
            ValueError: no batch axis, an event shape the operator cannot serve, another device than the operator's, or
                a number of rows that differs from the number of measurements its parameters are for.
        """
        rows(f"{type(self).__name__}: x", x, "event")
        self.check_event_shape(tuple(x.shape[1:]))
        self._check_home("x", x)

    def _check_measured(self, what: str, y: Tensor) -> None:
        """Refuse a y (N, *M) that has not the type and shape of a measurement by this operator. Cheap: values are not
        looked at, and a shape only once."""
        rows(f"{type(self).__name__}: {what}", y, "measurement")
        measurement_shape = tuple(y.shape[1:])
        if measurement_shape not in self._fitting:
            event_shape = self.event_shape_of(measurement_shape)
            self.check_event_shape(event_shape)
            if (expected := self.measurement_shape(event_shape)) != measurement_shape:
                raise ValueError(
                    f"{type(self).__name__}: expected {what} of shape (N, {', '.join(map(str, expected))}) for events "
                    f"{event_shape}, given {tuple(y.shape)}; set operator.event_shape to the shape behind this {what}"
                )
            self._fitting.add(measurement_shape)
        self._check_home(what, y)

    def _check_home(self, what: str, x: Tensor) -> None:
        """Refuse rows on another device than the operator's, or of another number than its parameters are for."""
        name = type(self).__name__
        home = next(itertools.chain(self.parameters(), self.buffers()), x).device
        if home != x.device:
            raise ValueError(
                f"{name}: it is on {home}, but {what} is on {x.device}; move it with operator.to({what}.device)"
            )
        batch = self.batch
        if batch is not None and batch != len(x):
            raise ValueError(
                f"{name}: its parameters are for {batch} measurements, but {what} has {len(x)} rows; say which row "
                "belongs to which measurement: operator.rows(index), e.g. "
                f"torch.arange({batch}).repeat_interleave(n_samples)"
            )

    def validate_y(self, y: Tensor, event_shape: Shape) -> None:
        """Refuse a y (B, *M) that this operator cannot have measured of events E.

        Raises:
            TypeError: wrong type or dtype.
            ValueError: wrong shape, an entry that is not finite or out of range, or a number of measurements that
                differs from that of the operator's parameters.
        """
        self.noise.validate(y, self.measurement_shape(shape("event_shape", event_shape)))
        if self.batch not in (None, len(y)):
            raise ValueError(
                f"{type(self).__name__}: its parameters are for {self.batch} measurements, but y has {len(y)}; give "
                "parameters without a batch axis, or one for each measurement (a sigma per entry of y needs event_ndim)"
            )

    def _zeros(self, event_shape: Shape) -> Tensor:
        tensors = [*self.parameters(), *self.buffers()]
        device = tensors[0].device if tensors else None
        dtype = next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.float32)
        return torch.zeros(self.batch or 1, *event_shape, device=device, dtype=dtype)


class LinearOperator(Operator):
    """A linear forward. `adjoint`, `pinv` and `solve_gram` have defaults from `forward` alone; override for speed."""

    structure = frozenset({"differentiable", "linear"})
    cg_rtol: float = 1e-6
    cg_steps: int = 250

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.adjoint(v)

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y, (N, *M) -> (N, *E), by differentiating `forward` at 0.

        Raises:
            ValueError: the event shape is unknown (see `event_shape_of`), or y is not a measurement of such events.
        """
        create_graph = torch.is_grad_enabled() and y.requires_grad
        event_shape = self.event_shape_of(tuple(y.shape[1:]))
        with torch.inference_mode(False), torch.enable_grad():
            zeros = torch.zeros(len(y), *event_shape, dtype=y.dtype, device=y.device, requires_grad=True)
            clean = self(zeros)
            if clean.shape != y.shape:
                raise ValueError(
                    f"{type(self).__name__}.adjoint: expected y of shape {tuple(clean.shape)} for events "
                    f"{event_shape}, given {tuple(y.shape)}; set operator.event_shape to the shape behind this y"
                )
            return torch.autograd.grad(clean, zeros, y if create_graph else y.clone(), create_graph=create_graph)[0]

    def pinv(self, y: Tensor) -> Tensor:
        """A^+ y, the least-squares x of minimum norm, (N, *M) -> (N, *E); by conjugate gradients (CGLS)."""
        return least_squares(self, self.adjoint, y, rtol=self.cg_rtol, max_steps=self.cg_steps)

    def solve_gram(self, y: Tensor, r2: Tensor | float) -> Tensor:
        """Solve (r2 A A^T + Sigma_y) v = y on the support; v is 0 elsewhere. By conjugate gradients.

        Arguments:
            y: (N, *M).
            r2: variance of x0 - D(x_t), scalar or (N,), in squared image units.

        Raises:
            ValueError: the noise is not Gaussian.
        """
        support, variance, r2 = self.support, self._sigma_y(y) ** 2, column(r2, y)

        def restrict(v: Tensor) -> Tensor:
            return v if support is None else torch.where(support, v, 0)

        def gram(v: Tensor) -> Tensor:
            return restrict(r2 * self(self.adjoint(v)) + variance * v)

        return conjugate_gradients(gram, restrict(y), rtol=self.cg_rtol, max_steps=self.cg_steps)

    def _sigma_y(self, y: Tensor) -> Tensor:
        if not isinstance(self.noise, GaussianNoise):
            raise ValueError(
                f"{type(self).__name__}.solve_gram: expected Gaussian noise, given {type(self.noise).__name__}; "
                "approximate it by GaussianNoise, or choose a method that uses log_likelihood only"
            )
        return self.noise.aligned("sigma", y)


class SVDOperator(LinearOperator):
    """A = U S V^T with U and V as maps, never as matrices of an image's size.

    Spectral coordinates have the event's shape. `V` and `Vt` are orthogonal and inverse to each other; `Ut` puts the
    coordinates of U^T y at the position of their singular value, and 0 where that is 0; `U` ignores what stands there.
    """

    structure = frozenset({"differentiable", "linear", "svd"})

    @property
    @abstractmethod
    def singular_values(self) -> Tensor:
        """S >= 0, broadcastable to (N, *E); 0 on the null space."""

    @abstractmethod
    def Vt(self, x: Tensor) -> Tensor:
        """Events to spectral coordinates, (N, *E) -> (N, *E)."""

    @abstractmethod
    def V(self, z: Tensor) -> Tensor:
        """Spectral coordinates to events, (N, *E) -> (N, *E)."""

    @abstractmethod
    def Ut(self, y: Tensor) -> Tensor:
        """Measurements to spectral coordinates, (N, *M) -> (N, *E)."""

    @abstractmethod
    def U(self, z: Tensor) -> Tensor:
        """Spectral coordinates to measurements, (N, *E) -> (N, *M)."""

    def spectrum(self, z: Tensor) -> Tensor:
        """The singular values that go with coordinates z (N, *E), in z's dtype and broadcastable to z."""
        return self.singular_values.to(z.dtype)

    def forward(self, x: Tensor) -> Tensor:
        z = self.Vt(x)
        return self.U(self.spectrum(z) * z)

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y = V S U^T y, (N, *M) -> (N, *E)."""
        z = self.Ut(y)
        return self.V(self.spectrum(z) * z)

    def pinv(self, y: Tensor) -> Tensor:
        """A^+ y = V S^+ U^T y, (N, *M) -> (N, *E)."""
        z = self.Ut(y)
        return self.V(divide(z, self.spectrum(z)))

    def solve_gram(self, y: Tensor, r2: Tensor | float) -> Tensor:
        """Solve (r2 A A^T + sigma_y^2) v = y (N, *M) on the support.

        v = U (r2 S^2 + sigma_y^2)^-1 U^T y + (1 - U U^T) y / sigma_y^2.

        Where both r2 S^2 and sigma_y^2 are 0 the minimum-norm v is given. Arguments as in LinearOperator; falls back
        to its conjugate gradients where sigma_y varies between entries.
        """
        if "isotropic" not in self.capabilities:
            return super().solve_gram(y, r2)
        if self.support is not None:
            y = torch.where(self.support, y, 0)
        variance, z = self._sigma_y(y) ** 2, self.Ut(y)
        # U U^T y is subtracted twice: one pass leaves rounding of size |y|, which dividing by sigma_y^2 would blow up.
        rest = y - self.U(z)
        rest = rest - self.U(self.Ut(rest))
        r2 = column(r2, z)
        inside = self.U(divide(z, r2 * self.spectrum(z) ** 2 + column(variance.reshape(-1), z)))
        return inside + divide(rest, variance)


def divide(a: Tensor, b: Any) -> Tensor:
    """a / b where b > 0, and 0 elsewhere."""
    return torch.where(b > 0, a / torch.where(b > 0, b, 1), 0)
