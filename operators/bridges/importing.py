"""from_deepinv: a deepinv physics as an operator."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import Tensor

from operators.arguments import flag
from operators.base import Shape
from operators.batching import device_of
from operators.blur import CircularBlur
from operators.checks import check_svd
from operators.exam import OperatorCheckError
from operators.linear_operator import LinearOperator
from operators.noise import Noise
from operators.trials import InexactAdjoint

from .coordinates import BASES
from .noise import noise_of
from .physics import BridgedConvolution, BridgedLinearPhysics, BridgedPhysics, BridgedSVDPhysics
from .probing import adds_noise_last, find_layout, is_linear, measured, snapshot

EXACT = 1e-5  # relative error of an adjoint, in single precision


def from_deepinv(
    physics: Any,
    event_shape: Any = None,
    *,
    noise: Noise | None = None,
    complex_images: bool | None = None,
    **parameters: Any,
) -> BridgedPhysics:
    """A deepinv physics as an operator of ours, for every method that its capabilities allow.

    A `DecomposablePhysics` has its singular values where these are real and V is orthogonal; a `LinearPhysics` has its
    adjoint, and our solvers for the rest; any other `Physics` is an operator that may be nonlinear. What a physics
    claims is tested on random images of this shape: where A_adjoint is not the adjoint of A, the derivative of A is
    used and an `InexactAdjoint` warning issued. The operator is for a copy of the physics: later changes of the
    original do not reach it.

    Complex images and measurements are twice as many channels, real parts first, and lists of tensors one vector:
    `measurements.pack(physics(x))` is the y of a deepinv measurement, and `events.unpack(samples)` are deepinv's
    images. Parameters with a batch axis of length B > 1 are for B measurements.

    Arguments:
        physics: a deepinv.physics.Physics.
        event_shape: of one image as the physics takes it, without the batch axis; a tuple of shapes where it takes a
            list. None: its img_size.
        noise: None: that of the physics, where it is Gaussian, Poisson or none.
        complex_images: whether images are complex; None: found by trying.
        parameters: of the physics or of its noise model, as `physics.update` takes them at call time: mask=, filter=,
            sigma=.

    Returns:
        A `BridgedPhysics`, which is a `LinearOperator` or an `SVDOperator` where the physics is.

    Raises:
        TypeError: not a Physics.
        ValueError: an unknown event shape or parameter, a shape that the physics does not take, a noise or sensor model
            without a counterpart.
    """
    from deepinv.physics import DecomposablePhysics, LinearPhysics, Physics

    if not isinstance(physics, Physics):
        raise TypeError(f"from_deepinv: physics of type {type(physics).__name__}: expected a deepinv.physics.Physics")
    if complex_images is not None:
        flag("complex_images", complex_images)
    name = type(physics).__name__
    theirs = _updated(snapshot(physics), name, parameters)
    home = device_of(theirs) or torch.device("cpu")
    if home.type != "cpu":  # tested on images of the CPU, where random ones are the same everywhere
        theirs, noise = theirs.to("cpu"), None if noise is None else copy.deepcopy(noise).to("cpu")
    shape = event_shape if event_shape is not None else _known_shape(theirs)
    layout = find_layout(theirs, shape, complex_images)
    if noise is None:
        if not adds_noise_last(theirs, layout):
            raise ValueError(
                f"from_deepinv: a measurement of {name} is not A(x) plus noise (there is a sensor model, or noise "
                "before A), so its likelihood is unknown; approximate it with noise=operators.GaussianNoise(sigma)"
            )
        noise = noise_of(theirs, layout.measurements, layout.batch)
    support = measured(theirs, layout)
    op = BridgedPhysics(theirs, layout, noise, support)
    rows = torch.Generator().manual_seed(1)
    a, b = (torch.randn(op.batch or 2, *layout.events.shape, generator=rows) for _ in range(2))
    _check_rows(op, name, a)
    if not (isinstance(theirs, LinearPhysics) and is_linear(op, a, b)):
        return _nonlinear(op, layout.events.shape).to(home)
    linear = _linear(theirs, (layout, noise, support), a, name)
    if layout.events.plain and layout.measurements.plain:
        orthogonal = "orthogonal_rows" in linear.structure
        arguments = (theirs, layout, noise, support, linear.adjoint_error, linear.exact, orthogonal)
        found = (
            _decomposed(arguments) if isinstance(theirs, DecomposablePhysics) else _convolution(linear, a, arguments)
        )
        return (found or linear).to(home)
    return linear.to(home)


def _updated(theirs: Any, name: str, parameters: dict[str, Any]) -> Any:
    parts = [theirs, *getattr(theirs, "physics_list", [])]
    parts += [part.noise_model for part in parts]
    for key, value in parameters.items():
        if not any(key in part._buffers for part in parts):
            known = sorted({key for part in parts for key in part._buffers if not key.startswith(("_", "initial_"))})
            raise ValueError(f"from_deepinv: {name} has no parameter {key!r}; it has {', '.join(known) or 'none'}")
        if not isinstance(value, Tensor | float | int):
            raise TypeError(f"from_deepinv: {key} of type {type(value).__name__}: expected a tensor or a number")
    if parameters:
        theirs.update(**parameters)
    return theirs


def _known_shape(theirs: Any) -> Shape:
    if getattr(theirs, "img_size", None) is None:
        raise ValueError(
            f"from_deepinv: {type(theirs).__name__} takes images of any shape; state event_shape, such as (3, 64, 64)"
        )
    return tuple(theirs.img_size)


def _check_rows(op: BridgedPhysics, name: str, x: Tensor) -> None:
    """With parameters for B measurements, a row must be what its own parameters make of it."""
    if not op.layout.batch:
        return
    with torch.no_grad():
        together, alone = op(x), op.rows(torch.tensor([1]))(x[1:2])
    if alone.shape != together[1:2].shape or bool((alone - together[1:2]).norm() > 1e-4 * together[1:2].norm()):
        raise ValueError(
            f"from_deepinv: {name} has parameters for {op.layout.batch} measurements ({', '.join(op.layout.batched)}), "
            "but a row depends on those of others; make an operator of each measurement"
        )


def _nonlinear(op: BridgedPhysics, event_shape: Shape) -> BridgedPhysics:
    try:
        op.check_derivative(event_shape)
    except (ValueError, RuntimeError):
        op.structure = op.structure - {"differentiable"}
    return op


def _linear(theirs: Any, rest: tuple[Any, Any, Any], a: Tensor, name: str) -> BridgedLinearPhysics:
    """The operator with the adjoint that is right: deepinv's or, where this is inexact, the derivative of A."""
    own, derived = (BridgedLinearPhysics(theirs, *rest, 0.0, exact, False) for exact in (True, False))
    with torch.no_grad():
        v = torch.randn(own(a).shape, generator=torch.Generator().manual_seed(2))
        error, derivative_error = (_mismatch(op, a, v) for op in (own, derived))
        if min(error, derivative_error) > EXACT:
            if getattr(theirs, "adjoint_via_backprop", None) is False:
                theirs.adjoint_via_backprop = True
                _warn(
                    f"{name}(adjoint_via_backprop=False).A_adjoint is not the adjoint of A; it is set to True instead"
                )
                return _linear(theirs, rest, a, name)
            raise ValueError(
                f"from_deepinv: neither {name}.A_adjoint nor the derivative of {name}.A is the adjoint of A; write the "
                "forward in torch, or make a Physics of it, which is served as a nonlinear operator"
            )
        if max(derivative_error, 0 if error < float("inf") else error) <= EXACT:
            # inner products see little of a wrong border, and a right derivative all of it
            right = derived.adjoint(v)
            error = max(error, float((own.adjoint(v) - right).norm() / right.norm()))
    exact = error <= EXACT
    if not exact:
        how = f"off the adjoint of its A by {error:.1g}" if error < float("inf") else "not the adjoint of its A"
        _warn(f"{name}.A_adjoint is {how}; the derivative of A is used instead")
    orthogonal = _orthogonal_rows(own if exact else derived, a)
    return BridgedLinearPhysics(theirs, *rest, error, exact, orthogonal)


def _warn(text: str) -> None:
    warnings.warn(text, InexactAdjoint, stacklevel=4)


def _mismatch(op: LinearOperator, a: Tensor, v: Tensor) -> float:
    """The largest error of <A a, v> = <a, A^T v> in a row, relative to the norms; of positive a and v, too."""
    worst = 0.0
    for x, y in ((a, v), (a.abs(), v.abs())):
        try:
            image, pulled = op(x), op.adjoint(y)
        except Exception:  # third-party code may raise anything
            return float("inf")
        if pulled.shape != x.shape:
            return float("inf")
        pairs = [(p.flatten(1).double(), q.flatten(1).double()) for p, q in ((image, y), (x, pulled))]
        (left, right), sizes = ((p * q).sum(1) for p, q in pairs), [p.norm(dim=1) * q.norm(dim=1) for p, q in pairs]
        worst = max(worst, float(((left - right).abs() / sum(sizes)).max()))
    return worst


def _orthogonal_rows(op: LinearOperator, a: Tensor) -> bool:
    with torch.no_grad():
        clean = op(a)
        there = op(op.adjoint(clean))
        size = (there.flatten(1).norm(dim=1) / clean.flatten(1).norm(dim=1)).reshape(-1, *[1] * (clean.ndim - 1))
        return bool((there - size * clean).norm() <= 1e-5 * there.norm())


def _convolution(linear: BridgedLinearPhysics, a: Tensor, arguments: tuple[Any, ...]) -> BridgedConvolution | None:
    """The operator with the singular values of a circular convolution, if it is one of every channel by itself."""
    shape, layout = linear.events.shape, linear.layout
    if len(shape) != 3 or layout.measurements.shape != shape or layout.batch or linear.support is not None:
        return None
    impulse = torch.zeros(1, *shape)
    impulse[..., 0, 0] = 1
    try:
        with torch.no_grad():
            own = CircularBlur(linear(impulse)[0].roll((shape[1] // 2, shape[2] // 2), (1, 2))).at(shape)
            blurred = linear(a)
            if not bool((own(a) - blurred).norm() <= EXACT * blurred.norm()):
                return None
        op = BridgedConvolution(own, *arguments)
        check_svd(op, shape)
        return op
    except (OperatorCheckError, ValueError):  # such as of a kernel that is 0
        return None


def _decomposed(arguments: tuple[Any, ...]) -> BridgedSVDPhysics | None:
    """The operator with singular values, if one of the known bases is right."""
    for basis in BASES:
        op = BridgedSVDPhysics(basis, *arguments)
        try:
            if not op.singular_values.is_complex():
                check_svd(op, op.events.shape)
                return op
        except (OperatorCheckError, ValueError, RuntimeError, IndexError, TypeError):
            continue
    return None
