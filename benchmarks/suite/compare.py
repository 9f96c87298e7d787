"""Comparison of two folders of records: changes beyond chance and tolerance."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.common.defaults import TOLERANCE
from benchmarks.suite.records import Record, Scale
from benchmarks.suite.report.pooling import TRUTH, Group, Row, pool
from benchmarks.suite.report.stats import Difference, Values, difference, paired


@dataclass(frozen=True)
class Tolerance:
    """The worsening of a metric that does not count as a regression.

    Attributes: part of the old value's size (of the target's, where there is one); absolute: metric -> in its own
    units, in place of the part.
    """

    part: float = TOLERANCE
    absolute: Mapping[str, float] = field(default_factory=dict)

    def of(self, metric: str, scale: Scale, before: float) -> float:
        """The tolerance of a metric, in its units: its name, its scale and its value before."""
        size = abs(before) if isinstance(scale.better, str) else abs(scale.better)
        return self.absolute.get(metric, self.part * size)


@dataclass(frozen=True)
class Change:
    """A metric of a method on the images and seeds that both folders share.

    Attributes: problem, task, prior, row, metric, scale; before, after: means; difference of after to before;
    regression: worse by more than chance and tolerance.
    """

    problem: str
    task: str
    prior: str
    row: str
    metric: str
    scale: Scale
    before: float
    after: float
    difference: Difference
    regression: bool

    @property
    def verdict(self) -> str:
        """The outcome in a word or two."""
        if not self.difference.change:
            return "same"
        if self.difference.n < 2:
            return "one image"
        if self.scale.better == "none":
            return "changed" if self.difference.low > 0 or self.difference.high < 0 else "within chance"
        if self.regression:
            return "REGRESSION"
        if self.difference.worse:
            return "worse, tolerated"
        return "better" if self.difference.better else "within chance"


@dataclass(frozen=True)
class Cost:
    """Seconds per image or evaluations of a method, before and after; regression: grown by more than was allowed."""

    problem: str
    prior: str
    row: str
    name: str
    before: float
    after: float
    regression: bool = False


@dataclass(frozen=True)
class Comparison:
    """All differences between two folders, the first the older one.

    Attributes: changes; costs; only: (problem and prior, row or "", "first" or "second"): what one folder alone has;
    failing: (problem and prior, row, units): finished in the first and failed in the second, which are regressions too;
    failed: (folder, problem and prior, row, error); gone: (problem and prior, row, metric): measured in the first only;
    apart: (problem and prior, row) with no image and seed in common.
    """

    changes: tuple[Change, ...] = ()
    costs: tuple[Cost, ...] = ()
    only: tuple[tuple[str, str, str], ...] = ()
    failing: tuple[tuple[str, str, int], ...] = ()
    failed: tuple[tuple[str, str, str, str], ...] = ()
    gone: tuple[tuple[str, str, str], ...] = ()
    apart: tuple[tuple[str, str], ...] = ()

    @property
    def regressions(self) -> int:
        """How many metrics, costs and methods that fail now are regressions."""
        return sum(c.regression for c in (*self.changes, *self.costs)) + len(self.failing)


def compare(
    first: Sequence[Record], second: Sequence[Record], tolerance: Tolerance | None = None, grown: float | None = None
) -> Comparison:
    """What changed from the first records to the second, per problem, method and metric.

    Differences are of the images and seeds that both have, with 95 % intervals of a bootstrap paired by these. A metric
    is a regression where the interval of its gain (see `report.stats.difference`) is below 0 and the gain itself below
    the tolerance. Methods are the same if their rows' names are.
    Arguments: first, second; tolerance; grown: the fraction by which seconds and evaluations may grow (default: no
    limit).
    Raises: ValueError for no records on one side.
    """
    for name, records in (("first", first), ("second", second)):
        if not records:
            raise ValueError(f"the {name} folder has no records: there is nothing to compare")
    sides = [{(p.name, p.prior): p for p in pool(records)} for records in (first, second)]
    found: dict[str, list] = {key: [] for key in ("changes", "costs", "only", "failing", "failed", "gone", "apart")}
    for key in sorted(sides[0].keys() | sides[1].keys()):
        before, after = (side.get(key) for side in sides)
        where = " / ".join(key)
        for folder, problem in (("first", before), ("second", after)):
            if problem:
                found["failed"] += [(folder, where, row.name, r.error) for row in problem.rows for r in row.failed]
        if before is None or after is None:
            found["only"].append((where, "", "second" if before is None else "first"))
            continue
        _problem(found, where, before, after, tolerance or Tolerance(), grown)
    return Comparison(**{name: tuple(items) for name, items in found.items()})


def _problem(found: dict, where: str, before: Group, after: Group, tolerance: Tolerance, grown) -> None:
    rows = [{row.name: row for row in side.rows if row.method != TRUTH} for side in (before, after)]
    for name in sorted(rows[0].keys() | rows[1].keys()):
        if name not in rows[0] or name not in rows[1]:
            found["only"].append((where, name, "first" if name in rows[0] else "second"))
            continue
        old, new = rows[0][name], rows[1][name]
        broken = {(i, r.seed) for r in new.failed for i in r.images} & old.units
        if broken:
            found["failing"].append((where, name, len(broken)))
        shared = old.units & new.units
        if not shared:
            if old.units and new.units:
                found["apart"].append((where, name))
            continue
        for metric, scale in {**before.scales, **after.scales}.items():
            if metric in old.values and metric in new.values:
                found["changes"] += _change(
                    before, name, metric, scale, _of(old, metric, shared), _of(new, metric, shared), tolerance
                )
            elif metric in old.values:
                found["gone"].append((where, name, metric))
        for title, attribute in (("seconds per image", "seconds"), ("NFE", "nfe"), ("VJP", "nvjp")):
            a, b = getattr(old, attribute), getattr(new, attribute)
            worse = grown is not None and b > a * (1 + grown)
            found["costs"].append(Cost(before.name, before.prior, name, title, a, b, worse))


def _of(row: Row, metric: str, units: frozenset[tuple[int, int]]) -> Values:
    return {unit: value for unit, value in row.values[metric].items() if unit in units}


def _change(problem: Group, name: str, metric: str, scale: Scale, old: Values, new: Values, tolerance: Tolerance):
    """The change of a metric, in a list; [] where no image has it on both sides."""
    pairs = paired(old, new)
    if not len(pairs):
        return []
    before, after = (float(mean) for mean in pairs.mean(0))
    found = difference(new, old, scale.better)
    allowed = tolerance.of(metric, scale, before)
    worse = found.worse and not math.isnan(found.gain) and -found.gain > allowed
    return [Change(problem.name, problem.task, problem.prior, name, metric, scale, before, after, found, bool(worse))]
