"""A method and a prior as a Reconstructor of deepinv."""

from functools import cache
from typing import Any

from torch import Tensor

import operators
from inverse.methods import Sampler
from inverse.solution import Solution
from inverse.solve import solve
from priors import Prior


def to_deepinv(method: str | Sampler, prior: Prior, n_samples: int = 8, seed: int = 0, **settings: Any) -> Any:
    """A method with a prior as a reconstructor of deepinv, for its `test`, its metrics and its comparisons.

    Formula: x(y) = E[x0 | y], by the mean of the posterior samples of `solve`.
    Arguments: method, prior, n_samples, seed: as `solve`; settings: n_steps, batch_size, budget, antithetic or
    precision of `solve`.
    Returns: a deepinv.models.Reconstructor: (y, physics) -> the mean (B, *E) of the samples as deepinv has images; with
    ``samples=True`` all of them, (B, K, *E). Its `solution` is that of the last call. Each physics goes through
    `operators.from_deepinv`, or is our own operator where it is `operators.to_deepinv` of one. A prior of any size,
    such as "natural", takes the size of each call's pictures.
    Raises: TypeError for another prior or an unknown setting; the reconstructor raises as `operators.from_deepinv` and
    `solve` do.
    """
    if not isinstance(prior, Prior):
        raise TypeError(f"to_deepinv: prior of type {type(prior).__name__}: expected a priors.Prior")
    known = {"n_steps", "batch_size", "budget", "antithetic", "precision"}
    if unknown := sorted(set(settings) - known):
        raise TypeError(f"to_deepinv: unknown settings {unknown}: expected some of {sorted(known)}")
    return _class()(method, prior, {"n_samples": n_samples, "seed": seed} | settings)


@cache
def _class() -> type:
    """The class of exported methods; deepinv is imported when it is first needed."""
    from deepinv.models import Reconstructor

    class PosteriorMean(Reconstructor):
        """The mean of posterior samples."""

        solution: Solution | None = None

        def __init__(self, method: str | Sampler, prior: Any, settings: dict[str, Any]):
            super().__init__(device=prior.device)
            self.device = prior.device  # benchmarks ask for it, and set it
            self.method, self.prior, self.settings = method, prior, settings

        def forward(self, y: Any, physics: Any, samples: bool = False, **_: Any) -> Any:
            own, prior = getattr(physics, "operator", None), _sized(self.prior, physics, y)
            if isinstance(own, operators.Operator):
                operator, measured = own, y
            else:
                operator = operators.from_deepinv(physics, _event_shape(physics, prior))
                measured = operator.measurements.pack(y)
            found = solve(prior, operator, measured, method=self.method, progress=False, **self.settings)
            self.solution = found

            def images(x: Tensor) -> Any:
                return operator.events.unpack(x) if isinstance(operator, operators.BridgedPhysics) else x

            if samples:
                drawn = images(found.samples.flatten(0, 1))
                return drawn.unflatten(0, found.samples.shape[:2]) if isinstance(drawn, Tensor) else drawn
            return images(found.mean)

    return PosteriorMean


def _sized(prior: Any, physics: Any, y: Any) -> Any:
    """A prior of any size for the pictures that the physics measured; another one is returned as it is."""
    if prior.least_size is None:
        return prior
    shape = getattr(physics, "img_size", None)
    if shape is None or len(shape) != 3:
        x = physics.A_adjoint(y) if hasattr(physics, "A_adjoint") else y
        shape = x.shape[1:] if isinstance(x, Tensor) else prior.event_shape
    channels = prior.event_shape[0]  # of complex images twice theirs
    return prior.resized((channels, *shape[1:])) if shape[0] in (channels, channels / 2) else prior


def _event_shape(physics: Any, prior: Prior) -> tuple[int, ...]:
    """The shape of the prior's images as the physics takes them: half as many channels where these are complex."""
    shape, known = tuple(prior.event_shape), getattr(physics, "img_size", None)
    halved = (shape[0] // 2, *shape[1:])
    return halved if known is not None and tuple(known) == halved and halved != shape else shape
