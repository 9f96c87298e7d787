"""How long the rest of a run will take, from the seconds that finished units took."""

from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean

from benchmarks.suite.records import Record
from benchmarks.suite.units import Unit


class Clock:
    """Seconds per image and sample of every row, as measured, and the sum of what is left.

    A row that has not finished on a problem is taken to cost what it did on the others of its prior, then on any; of a
    row that has finished nowhere, nothing is known, and the estimate says for how many units.
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
        """What a unit will take, or None where its row has not finished anywhere."""
        name, problem = unit.row.name, unit.task.problem
        for place in ((problem.name, name), (problem.prior.rsplit("/", 1)[-1], name), (name,)):
            if place in self._measured:
                return fmean(self._measured[place]) * len(unit.images) * max(1, unit.n_samples)
        return None

    def left(self, units: Iterable[Unit], processes: int = 1) -> str:
        """A text: how long the units will take in so many processes, and how many of them nobody can tell of."""
        found = [self.seconds(unit) for unit in units]
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
    """A time as it is said: 42 s, 3 min 10 s, 1 h 5 min."""
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    return f"{s // 60} min {s % 60} s" if s < 3600 else f"{s // 3600} h {s % 3600 // 60} min"
