"""Axes: ticks and coordinates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """A range of numbers mapped to a range of coordinates.

    Attributes: low, high: the numbers at its ends; start, end: the places of these; log: whether it is logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The place of a number."""
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round numbers, between three and seven of them."""
        return _log_ticks(self.low, self.high) if self.log else _ticks(self.low, self.high)


def log_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """A logarithmic axis with room on both sides of positive values, an octave at least."""
    low, high = min(values), max(values)
    pad = max((high / low) ** 0.14, 1.5)
    return Axis(low / pad, high * pad, start, end, True)


def plain_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """An axis with room on both sides of values; of one value, about it."""
    low, high = min(values), max(values)
    pad = 0.12 * (high - low) or 0.1 * abs(low) or 1.0
    return Axis(low - pad, high + pad, start, end)


def limits(values: Sequence[float]) -> tuple[float, float]:
    """The ends of what is drawn to scale: all values, but those far from the rest (4 quartile ranges) are cut off."""
    ordered = sorted(values)
    n = len(ordered) - 1
    lower, upper = ordered[round(0.25 * n)], ordered[round(0.75 * n)]
    reach = 4 * (upper - lower)
    if not reach:
        return ordered[0], ordered[-1]
    inside = [v for v in ordered if lower - reach <= v <= upper + reach]
    return inside[0], inside[-1]


def _ticks(low: float, high: float) -> list[float]:
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        found = [s * 10.0**p for p in powers for s in steps if low <= s * 10.0**p <= high]
        if len(found) >= 3:
            return found[:: math.ceil(len(found) / 7)]
    return found
