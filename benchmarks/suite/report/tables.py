"""The table of a problem as plain data, for HTML and Markdown."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.suite.records import Scale
from benchmarks.suite.report.axes import limits
from benchmarks.suite.report.pooling import TRUTH, Group, Row, within
from benchmarks.suite.report.sets import distances
from benchmarks.suite.report.stats import FEW, Difference, Estimate, difference, estimate

DASH = "–"


@dataclass(frozen=True)
class Cell:
    """A figure.

    Attributes: text; under: its interval; change, around: its difference to the best or the baseline, and the interval
    of that; mark: "best", "tie" or ""; value to sort by, nan last; span: where mean, low and high are on the column's
    common scale, parts of its width; note: why it is not there, or what to know of it.
    """

    text: str
    under: str = ""
    change: str = ""
    around: str = ""
    mark: str = ""
    value: float = math.nan
    span: tuple[float, float, float] | None = None
    note: str = ""


@dataclass(frozen=True)
class Column:
    """A column's key, its title, the direction in words ("higher is better"), an arrow, and where a target would be."""

    key: str
    title: str
    direction: str = ""
    arrow: str = ""
    target: float | None = None


@dataclass(frozen=True)
class Line:
    """A row: name, cells by column's key, a remark (images it lacks, what failed), whether it draws samples."""

    name: str
    cells: Mapping[str, Cell]
    remark: str = ""
    posterior: bool = True


@dataclass(frozen=True)
class Table:
    """A problem's table: columns, lines from best to worst by the first column, what it is compared with, notes."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    against: str
    notes: tuple[str, ...] = ()
    estimates: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)  # metric -> row -> mean
    best: Mapping[str, str] = field(default_factory=dict)  # metric -> row


def number(value: float, scale: Scale, signed: bool = False) -> str:
    """A figure as it is printed, with a true minus; percent times 100, the sign being in the column's head."""
    if not math.isfinite(value):
        return DASH
    text = f"{100 * value if scale.percent else value:{'+' if signed else ''}.{scale.digits}f}"
    text = text[1:] if text[0] in "+-" and not float(text) else text  # no sign of nothing
    return text.replace("-", "−")


def title(scale: Scale) -> str:
    """A column's head."""
    text = scale.title.replace("chi^2", "χ²")
    return f"{text}, %" if scale.percent and "%" not in text else text


def duration(seconds: float) -> str:
    """Seconds in three digits or fewer."""
    if not math.isfinite(seconds):
        return DASH
    return f"{seconds:.0f}" if seconds >= 99.5 else f"{seconds:.1f}" if seconds >= 9.95 else f"{seconds:.2f}"


def column(key: str, scale: Scale) -> Column:
    """A metric's column."""
    if isinstance(scale.better, str):
        arrow = {"higher": "↑", "lower": "↓"}.get(scale.better, "")
        return Column(key, title(scale), f"{scale.better} is better" if arrow else "", arrow)
    wanted = number(scale.better, scale) + ("%" if scale.percent else "")
    return Column(key, title(scale), f"nearest to {wanted} is best", f"→ {wanted}", scale.better)


def build(problem: Group, baseline: str = "") -> Table:
    """The table of a problem.

    The best mean is marked, and as ties all whose difference to it has a 95 % interval, paired by image and seed, that
    reaches 0. Only methods with all images of the metric's reference (`Group.reference`) can be best.
    Arguments: problem; baseline: the row that differences are taken to; default: each column's best.
    """
    rows = [row for row in problem.rows if row.method != TRUTH]
    if baseline not in {row.name for row in rows}:
        baseline = ""
    cells: dict[str, dict[str, Cell]] = {row.name: {} for row in rows}
    estimates: dict[str, dict[str, Estimate]] = {}
    best: dict[str, str] = {}
    measured = {m: scale for m, scale in problem.scales.items() if any(row.values.get(m) for row in rows)}
    for metric, scale in measured.items():
        estimates[metric], winner = _estimates(problem, rows, metric)
        if winner:
            best[metric] = winner
        for name, cell in _metric(problem, rows, metric, scale, estimates[metric], winner, baseline).items():
            cells[name][metric] = cell
    columns = [column(metric, scale) for metric, scale in measured.items() if scale.better != "none"]
    if found := distances(problem):
        columns.append(Column("frechet", "Fréchet", "lower is better", "↓"))
        for name, value in found.items():
            gone = isinstance(value, str)
            cells[name]["frechet"] = Cell(DASH, note=value) if gone else Cell(f"{value:.2f}", value=value)
    columns += _costs(rows, cells)  # before what only describes: they are what quality is compared with
    columns += [column(metric, scale) for metric, scale in measured.items() if scale.better == "none"]
    lines = [Line(row.name, cells[row.name], _remark(problem, row), row.posterior) for row in rows]
    notes = _notes(problem, rows, bool(found))
    return Table(tuple(columns), tuple(_ordered(lines, columns)), baseline or "the best", notes, estimates, best)


def _estimates(problem: Group, rows: list[Row], metric: str) -> tuple[dict[str, Estimate], str]:
    scale, reference = problem.scales[metric], problem.reference(metric)
    found = {row.name: estimate(within(row.values.get(metric, {}), reference)) for row in rows}
    found = {name: e for name, e in found.items() if e.n}
    able = {name: e.mean for name, e in found.items() if e.n == len(reference)}
    if not able or scale.better == "none":
        return found, ""
    if isinstance(scale.better, str):
        return found, (max if scale.better == "higher" else min)(able, key=able.__getitem__)
    target = scale.better
    return found, min(able, key=lambda name: abs(able[name] - target))


def _metric(problem, rows, metric, scale, estimates, winner, baseline) -> dict[str, Cell]:
    reference = problem.reference(metric)
    values = {row.name: within(row.values.get(metric, {}), reference) for row in rows}
    low, high = limits([e.mean for e in estimates.values()]) if estimates else (0.0, 0.0)
    ends = [x for e in estimates.values() if low <= e.mean <= high for x in (e.mean, e.low, e.high) if math.isfinite(x)]
    ends += [scale.better] if ends and not isinstance(scale.better, str) else []
    low, width = (min(ends), max(ends) - min(ends)) if ends else (0.0, 0.0)
    cells = {}
    for row in rows:
        if row.name not in estimates:
            cells[row.name] = Cell(DASH, note=_why(problem, row, metric))
            continue
        e, to = estimates[row.name], baseline or winner
        from_best = difference(values[winner], values[row.name], scale.better) if winner else None
        change = difference(values[row.name], values[to], scale.better) if to else None
        mark = "best" if row.name == winner else "tie" if from_best and from_best.worst <= 0 else ""
        span = tuple((x - low) / width for x in (e.mean, e.low, e.high)) if width and math.isfinite(e.low) else None
        note = f"{e.n} of {len(reference)} images" if e.n < len(reference) else ""
        cells[row.name] = Cell(
            number(e.mean, scale), _interval(e.low, e.high, scale), *_change(change, row.name == to, scale), mark,
            e.mean, span, note,
        )  # fmt: skip
    return cells


def _interval(low: float, high: float, scale: Scale, signed: bool = False) -> str:
    if not math.isfinite(low):
        return "one image"
    return f"{number(low, scale, signed)} … {number(high, scale, signed)}"


def _change(change: Difference | None, itself: bool, scale: Scale) -> tuple[str, str]:
    """A difference and its interval in words."""
    if change is None or not change.n:
        return "", ""
    if itself:
        return "0", "reference"
    return number(change.change, scale, True), _interval(change.low, change.high, scale, True)


def _why(problem: Group, row: Row, metric: str) -> str:
    if not row.records:
        return "every unit failed"
    if metric in row.missing:
        return row.missing[metric]
    drawn = all(other.posterior for other in problem.rows if other.values.get(metric))
    return "a single estimate draws no samples" if drawn and not row.posterior else "has no meaning here"


def _costs(rows: list[Row], cells: dict[str, dict[str, Cell]]) -> list[Column]:
    columns = [Column("nfe", "NFE"), Column("seconds", "s / image")]
    if any(row.nvjp > 0 for row in rows):
        columns.insert(1, Column("nvjp", "VJP"))
    if any(math.isfinite(row.memory) for row in rows):
        columns.append(Column("memory", "GiB"))
    for row in rows:
        whole = {"nfe": row.nfe, "nvjp": row.nvjp, "memory": row.memory / 2**30}
        for key, value in whole.items():
            text = DASH if not math.isfinite(value) else f"{value:.2f}" if key == "memory" else f"{value:.0f}"
            cells[row.name][key] = Cell(text, value=value)
        cells[row.name]["seconds"] = Cell(duration(row.seconds), value=row.seconds)
    return columns


def _remark(problem: Group, row: Row) -> str:
    every = {image for other in problem.rows for image in other.images}
    remarks = []
    if row.failed:
        remarks.append(f"{len(row.failed)} unit{'s' * (len(row.failed) > 1)} failed")
    if len(row.images) < len(every):
        remarks.append(f"{len(row.images)} of {len(every)} images")
    elif row.posterior:  # a single estimate needs no second seed
        drawn = {unit for other in problem.rows if other.posterior for unit in other.units}
        if len(row.units) < len(drawn):
            remarks.append(f"{len(row.units)} of {len(drawn)} images and seeds")
    return ", ".join(remarks)


def _notes(problem: Group, rows: list[Row], has_frechet: bool) -> tuple[str, ...]:
    n = max((len(row.images) for row in rows), default=0)
    notes = []
    if n < FEW:
        notes.append(f"{n} image{'s' * (n != 1)}: intervals of fewer than {FEW} are too narrow. Take this for a trial.")
    had = {m: {i for row in rows for i, _ in row.values.get(m, ())} for m in problem.scales}
    if any(len(problem.reference(metric)) < len(images) for metric, images in had.items()):
        notes.append("Means are over the images that most methods have, so that all are of the same ones.")
    if has_frechet:
        notes.append("The Fréchet distance is of the whole set: it has no interval, and nothing is marked.")
    for metric in [m for m, scale in problem.scales.items() if not had[m]]:
        reasons = dict.fromkeys(row.missing[metric] for row in rows if metric in row.missing)
        notes.append(f"{title(problem.scales[metric])} is not there: {'; '.join(reasons) or 'nothing was measured'}.")
    if not has_frechet and any(r.features is not None for row in rows for r in row.records):
        notes.append(f"No Fréchet distances: features were kept of samples, but none of a method {TRUTH!r}.")
    old = sum(row.superseded for row in rows)
    if old:
        notes.append(f"{old} unit{'s' * (old > 1)} left out: a later one is of the same images and seed.")
    return tuple(notes)


def _ordered(lines: list[Line], columns: list[Column]) -> list[Line]:
    key, target = columns[0].key, columns[0].target
    upward = columns[0].arrow == "↑"

    def rank(line: Line) -> tuple[bool, float, str]:
        value = line.cells[key].value if key in line.cells else math.nan
        if not math.isfinite(value):
            return True, 0.0, line.name
        return False, abs(value - target) if target is not None else -value if upward else value, line.name

    return sorted(lines, key=rank)
