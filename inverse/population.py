"""Populations of states."""

from dataclasses import dataclass

from inverse.protocols import Population
from inverse.types import State


@dataclass(frozen=True)
class Independent(Population):
    """Every row on its own, all weights alike."""

    def init(self, x, posterior, t):
        return State(x, x.new_zeros(len(x)))

    def move(self, state, x, posterior, t):
        return State(x, state.log_w)

    def update(self, state, x, q, predictor, posterior, t, s, rng):
        return State(x, state.log_w)
