"""Estimated remaining time of a run, from the seconds of finished units."""

from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean

from benchmarks.suite.methods import TRUTH
from benchmarks.suite.records import Record
from benchmarks.suite.units import Unit


class Clock:
    """Seconds per image and sample of every row, as measured, and the sum of what is left.

    A row not yet timed on a problem is estimated from other problems of its prior, then from any; units of rows never
    timed are counted as unknown.
    """

    def __init__(self) -> None:
        self._measured: dict[tuple[str, ...], list[float]] = defaultdict(list)

    def add(self, record: Record, seconds: float | None = None) -> None:
        """Count a finished unit. Arguments: record; seconds: with its metrics (default: those of the method alone)."""
        if record.error:
            return
        each = (record.seconds if seconds is None else seconds) / (len(record.images) * max(1, record.n_samples))
        for place in ((record.problem, record.method), (record.prior, record.method), (record.method,)):
            self._measured[place].append(each)

    def seconds(self, unit: Unit) -> float | None:
        """The estimated seconds of a unit, or None if its row was never timed."""
        name, problem = unit.row.name, unit.problem.spec
        for place in ((problem.name, name), (problem.prior.rsplit("/", 1)[-1], name), (name,)):
            if place in self._measured:
                return fmean(self._measured[place]) * len(unit.images) * max(1, unit.n_samples)
        return None

    def left(self, units: Iterable[Unit], processes: int = 1) -> str:
        """Text: the estimated time of units in this many processes, and the number of units without an estimate."""
        found = [self.seconds(unit) for unit in units if unit.row.name != TRUTH]
        known = [s for s in found if s is not None]
        if not found:
            return "nothing left"
        unknown = len(found) - len(known)
        total = sum(known) / max(1, processes)
        text = f"about {span(total)}" if known else ""
        if unknown:
            text += (" and " if known else "") + f"{unknown} units of rows that have not been timed yet"
        return text


def span(seconds: float) -> str:
    """A duration as text: 42 s, 3 min 10 s, 1 h 5 min."""
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    return f"{s // 60} min {s % 60} s" if s < 3600 else f"{s // 3600} h {s % 3600 // 60} min"
