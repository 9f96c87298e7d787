"""The decoder and the encoder of latents, and the operator of their pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from operators import Composition, Operator
from priors import Latent, Prior
from priors.base import Wrapped


def _same(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True)
class Coding:
    """How events become pictures, and which operator measures those; a prior over pictures is its own.

    Attributes: operator, of pictures; pictures: events (N, *E) -> pictures; latents: pictures -> events, None where
    there is no encoder.
    """

    operator: Operator
    pictures: Callable[[Tensor], Tensor]
    latents: Callable[[Tensor], Tensor] | None

    @classmethod
    def of(cls, prior: Prior, operator: Operator) -> "Coding":
        """Of a prior, maybe in wrappers, and the operator of its events, as `solve` makes it."""
        found: Any = prior
        while isinstance(found, Wrapped):
            found = found.prior
        if not (isinstance(found, Latent) and isinstance(operator, Composition)):
            return cls(operator, _same, _same)
        return cls(operator.outer, operator.inner, found.encoder)
