"""Operators that apply a function to every entry."""

from __future__ import annotations

import torch

from .base import Operator, Shape
from .batching import device_of
from .capabilities import modelled
from .identity import Identity
from .linear_operator import LinearOperator
from .noise import LinkedNoise, Noise


class Entrywise(Operator):
    """y_i = f(x_i) + noise: a `forward` on every entry alone. ``Entrywise() @ A`` is a generalized linear model: its
    entries depend on those of A x one by one, so that methods for linear operators and any noise serve it.

    Source: Nelder & Wedderburn 1972.
    Arguments: as of `Operator`.
    """

    structure = Operator.structure | {"entrywise"}

    @property
    def capabilities(self) -> frozenset[str]:
        return modelled(self.structure, self.noise.capabilities, Identity.structure)

    def linear_part(self) -> tuple[LinearOperator, Noise]:
        """The identity, and `LinkedNoise`."""
        identity = Identity().to(device_of(self) or torch.device("cpu"))
        return identity if self.event_shape is None else identity.at(self.event_shape), LinkedNoise(self)

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        return measurement_shape
