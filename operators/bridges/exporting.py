"""to_deepinv: an operator as a deepinv physics."""

# deepinv's methods pass settings along by *args and **kwargs, which ours refuse or do not need
# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from operators.arguments import shape
from operators.base import Operator, Shape
from operators.linear_operator import LinearOperator
from operators.svd import SVDOperator

from .noise import to_noise


def to_deepinv(operator: Operator, event_shape: Shape | None = None) -> Any:
    """An operator of ours as a deepinv physics, for deepinv's methods, losses and training.

    An `SVDOperator` becomes a DecomposablePhysics with our U, V and singular values, any other `LinearOperator` a
    LinearPhysics with our adjoint and pseudo-inverse, and the rest a Physics with our derivative. The noise is
    GaussianNoise or PoissonNoise; where the operator measures nothing, there is none.

    Arguments:
        operator: any `Operator` whose noise is Gaussian or Poisson.
        event_shape: of one image; None: the operator's.

    Returns:
        A deepinv.physics.Physics; its `operator` is ours.

    Raises:
        TypeError: not an Operator.
        ValueError: an unknown event shape, or a noise without a counterpart in deepinv. The physics raises ValueError
            for parameters at call time, such as mask=: make another operator of them.
    """
    if not isinstance(operator, Operator):
        raise TypeError(f"to_deepinv: operator of type {type(operator).__name__}: expected an operators.Operator")
    event_shape = operator.event_shape if event_shape is None else shape("to_deepinv: event_shape", event_shape)
    if event_shape is None:
        raise ValueError(
            f"to_deepinv: {type(operator).__name__} takes several event shapes; state event_shape, such as (3, 64, 64)"
        )
    operator = operator.at(event_shape)
    nonlinear, linear, decomposable = _classes()
    noise = to_noise(operator.noise)
    if isinstance(operator, SVDOperator):
        values = operator.singular_values
        batched = values.ndim > len(event_shape)
        mask = values.expand(*(values.shape[:1] if batched else ()), *event_shape)
        mask = (mask if batched else mask[None]).to(torch.get_default_dtype(), copy=True)
        made = decomposable(mask=mask, img_size=event_shape, noise_model=noise)
    elif isinstance(operator, LinearOperator):
        made = linear(img_size=event_shape, noise_model=noise)
    else:
        made = nonlinear(noise_model=noise)
    made.operator = operator
    return made


@cache
def _classes() -> tuple[type, type, type]:
    """The classes of exported operators; deepinv is imported when they are first needed."""
    from deepinv import physics as theirs

    class OurPhysics(theirs.Physics):
        """An operator of ours as a Physics."""

        operator: Any

        def A(self, x: Tensor, **parameters: Any) -> Tensor:
            _no(parameters)
            return self.operator(x)

        def noise(self, x: Tensor, **parameters: Any) -> Tensor:
            y, support = super().noise(x, **parameters), self.operator.support
            return y if support is None else torch.where(support, y, 0)

        def A_vjp(self, x: Tensor, v: Tensor) -> Tensor:
            return self.operator.vjp(x, v)

        def A_jvp(self, x: Tensor, v: Tensor) -> Tensor:
            """J(x) v, which `Physics.compute_norm` of deepinv needs."""
            return torch.func.jvp(self.operator, (x,), (v,))[1]

        def update_parameters(self, **parameters: Any) -> None:
            _no(parameters)

    class OurLinearPhysics(OurPhysics, theirs.LinearPhysics):
        """A linear operator of ours as a LinearPhysics."""

        def A_adjoint(self, y: Tensor, **parameters: Any) -> Tensor:
            _no(parameters)
            return self.operator.adjoint(y)

        def A_vjp(self, x: Tensor, v: Tensor) -> Tensor:
            return self.operator.adjoint(v)

        def A_dagger(self, y: Tensor, **settings: Any) -> Tensor:
            return self.operator.pinv(y)

    class OurDecomposablePhysics(OurLinearPhysics, theirs.DecomposablePhysics):
        """An operator of ours with singular values as a DecomposablePhysics."""

        def U(self, x: Tensor) -> Tensor:
            return self.operator.U(x)

        def U_adjoint(self, x: Tensor) -> Tensor:
            return self.operator.Ut(x)

        def V(self, x: Tensor) -> Tensor:
            return self.operator.V(x)

        def V_adjoint(self, x: Tensor) -> Tensor:
            return self.operator.Vt(x)

    return OurPhysics, OurLinearPhysics, OurDecomposablePhysics


def _no(parameters: dict[str, Any]) -> None:
    """Refuse parameters at call time; those of the noise model are its own."""
    if given := sorted(k for k, v in parameters.items() if v is not None and k not in ("sigma", "gain", "seed")):
        raise ValueError(
            f"an operator of score-inverse takes no parameters at call time, given {', '.join(given)}: make another "
            "operator of them, and to_deepinv of that"
        )
