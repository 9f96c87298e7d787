"""Ranges of unknown parameters: their prior distributions."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from priors.arguments import number, sequence


@dataclass(frozen=True)
class Uniform:
    """The uniform distribution between two values.

    Arguments: low, high: low < high.
    Raises: TypeError or ValueError for others.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _ordered(type(self).__name__, self.low, self.high)

    def at(self, u: float) -> float:
        """The quantile u in [0, 1]."""
        return self.low + u * (self.high - self.low)

    def place(self, value: float) -> float:
        """u of a value, the inverse of `at`."""
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class LogUniform:
    """The distribution of a positive scale whose logarithm is uniform (Jeffreys 1946).

    Arguments: low, high: 0 < low < high.
    Raises: TypeError or ValueError for others.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _ordered(type(self).__name__, self.low, self.high)
        number("LogUniform: low", self.low, "(0, inf)", "a scale is positive; see Uniform for others")

    def at(self, u: float) -> float:
        """The quantile u in [0, 1]."""
        return self.low * (self.high / self.low) ** u

    def place(self, value: float) -> float:
        """u of a value, the inverse of `at`."""
        return math.log(value / self.low) / math.log(self.high / self.low)


Range = Uniform | LogUniform


def ranges(unknown: Any) -> dict[str, Range]:
    """The unknown parameters of a solve: name -> range; a pair (low, high) is log-uniform where low > 0, else uniform.

    Raises: TypeError or ValueError for other than 1 to 3 parameters with a range each.
    """
    if not isinstance(unknown, Mapping) or not unknown or not all(isinstance(name, str) for name in unknown):
        raise TypeError(
            f"unknown = {unknown!r:.60}: expected names of parameters and their ranges, such as "
            '{"sigma": (0.01, 0.1)}'
        )
    if len(unknown) > MOST:
        raise ValueError(f"unknown: {len(unknown)} parameters, expected at most {MOST}: fix some of them")
    return {name: _range(name, given) for name, given in unknown.items()}


MOST = 3  # parameters: their joint density is integrated on a grid


def _range(name: str, given: Any) -> Range:
    if isinstance(given, Uniform | LogUniform):
        return given
    if isinstance(given, str) or not hasattr(given, "__len__") or len(given) != 2:
        raise TypeError(f"unknown: {name} = {given!r:.60}: expected a pair (low, high), or a Uniform or LogUniform")
    low, high = (number(f"unknown: {name}", value) for value in sequence(f"unknown: {name}", given))
    return LogUniform(low, high) if low > 0 else Uniform(low, high)


def _ordered(name: str, low: Any, high: Any) -> None:
    low, high = number(f"{name}: low", low), number(f"{name}: high", high)
    if not (low < high and math.isfinite(high - low)):
        raise ValueError(f"{name}({low}, {high}): expected low < high")
