"""The content of the page as plain data for the template."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from benchmarks.suite.records import Record
from benchmarks.suite.report import gallery, plots, png, tables
from benchmarks.suite.report.pooling import TRUTH, Group, Row, plain
from benchmarks.suite.report.sets import Histogram, row_histogram
from benchmarks.suite.report.stats import per_image

WARNINGS = "warnings"  # in a record's provenance: what its unit was warned of


@dataclass(frozen=True)
class Tradeoff:
    """Plots of one metric: its title and direction, and the plots by their axis of cost."""

    title: str
    direction: str
    plots: tuple[Markup, ...]


@dataclass(frozen=True)
class Ranked:
    """A method's rank histogram: name, plot, bins outside of the band of how many, images."""

    name: str
    plot: Markup
    found: Histogram


@dataclass(frozen=True)
class Section:
    """A problem on the page.

    Attributes: id (an anchor); problem; table; lead: the metric that comes first; tradeoffs; gallery or None, and it
    as data for the script; ranked; settings: a line per method (name, settings, seeds, images, seconds in all);
    origins: what was run, and the names of the methods of which it is true; failures, warnings: (method, of which
    images and seeds, text).
    """

    id: str
    problem: Group
    table: tables.Table
    lead: tables.Column | None
    tradeoffs: tuple[Tradeoff, ...]
    gallery: gallery.Gallery | None
    data: dict[str, Any]
    ranked: tuple[Ranked, ...]
    settings: tuple[tuple[str, str, str, str, str], ...]
    origins: tuple[tuple[dict[str, str], str], ...]
    failures: tuple[tuple[str, str, str], ...]
    warnings: tuple[tuple[str, str, str], ...]

    @property
    def winner(self) -> str:
        """The best row by the metric that comes first; "" where nothing was measured."""
        return self.table.best.get(self.lead.key, "") if self.lead else ""

    @property
    def head(self) -> str:
        """The metric that comes first, and which way it is better."""
        return f"{self.lead.title}, {self.lead.direction}" if self.lead else ""

    @property
    def pictured(self) -> int:
        """Which of the gallery's methods is shown first: the best that draws samples, else the best."""
        if self.gallery is None:
            return 0
        drawing = (i for i, name in enumerate(self.gallery.methods) if name not in self.gallery.estimates)
        return next(drawing, 0)

    def cell(self, name: str) -> tables.Cell | None:
        """A row's figure in the metric that comes first."""
        lines = [line for line in self.table.lines if line.name == name]
        return lines[0].cells.get(self.lead.key) if lines and self.lead else None

    def shade(self, name: str) -> float:
        """The part of the other rows that a row is ahead of in the metric that comes first, of rows with all images.

        nan without a figure, and for rows of fewer images, whose means are those of others.
        """
        cells = {line.name: line.cells[self.lead.key] for line in self.table.lines} if self.lead else {}
        order = [other for other, cell in cells.items() if math.isfinite(cell.value) and not cell.note]
        if self.lead is None or name not in order:
            return math.nan
        losses = [plots.loss(self.table.estimates[self.lead.key][n].mean, self.better) for n in order]
        mine = losses[order.index(name)]
        return sum(other > mine for other in losses) / max(1, len(order) - 1)

    @property
    def better(self) -> str | float:
        """The direction of the metric that comes first."""
        return self.problem.scales[self.lead.key].better if self.lead else "none"


def section(problem: Group, at: int, baseline: str, shown: int) -> Section:
    """All that the page shows of a problem.

    Arguments: problem; at: its place on the page; baseline: of the table; shown: images in the gallery at most.
    """
    table = tables.build(problem, baseline)
    rows = [row for row in problem.rows if row.method != TRUTH]
    order = [line.name for line in table.lines]
    lead = next((c for c in table.columns if c.direction and c.key in problem.scales), None)
    pictures = gallery.build(problem, order, shown)
    by_name = {row.name: row for row in rows}
    ranked = [
        Ranked(name, plots.ranks(found, name), found) for name in order if (found := row_histogram(by_name[name]))
    ]
    name = re.sub(r"[^a-z0-9]+", "-", f"{problem.name}-{problem.prior}".lower()).strip("-")
    return Section(
        f"p{at}-{name}", problem, table, lead, tuple(_tradeoffs(problem, rows, table)), pictures,
        {} if pictures is None else _data(pictures, by_name, problem, lead), tuple(ranked),
        tuple(_settings(by_name[name]) for name in order), tuple(_origins(problem)),
        tuple(failures(rows)), tuple(warnings(rows)),
    )  # fmt: skip


def scale_bar() -> str:
    """The colours of standard deviations, dark to bright, as a picture of one line."""
    return png.uri(png.magma()[None])


def _tradeoffs(problem: Group, rows: Sequence[Row], table: tables.Table) -> list[Tradeoff]:
    found = []
    for column in table.columns:
        scale, made = problem.scales.get(column.key), []
        if scale is None or not column.direction:
            continue
        for cost, words in (("seconds", "seconds per image"), ("nfe", "evaluations of the prior per sample (NFE)")):
            points = [
                plots.Point(row.name, getattr(row, cost), table.estimates[column.key][row.name], row.posterior)
                for row in rows
                if row.name in table.estimates[column.key] and getattr(row, cost) > 0
            ]
            if points:
                made.append(plots.pareto(points, scale, words))
        if made:
            found.append(Tradeoff(column.title, column.direction, tuple(made)))
    return found


def _data(found: gallery.Gallery, rows: Mapping[str, Row], problem: Group, lead: tables.Column | None) -> dict:
    """What the gallery's script reads; scores are those of one image, means over its seeds."""
    written = [[""] * len(found.images) for _ in found.methods]
    if lead is not None:
        scores = [per_image(rows[name].values.get(lead.key, {})) for name in found.methods]
        scale = problem.scales[lead.key]
        written = [[tables.number(of.get(image, math.nan), scale) for image in found.images] for of in scores]
    return {
        "images": found.images, "methods": found.methods, "estimates": found.estimates, "pictures": found.pictures,
        "common": found.common, "shown": found.shown, "scores": written,
    }  # fmt: skip


def _settings(row: Row) -> tuple[str, str, str, str, str]:
    settings = ", ".join(f"{key} {plain(value)}" for key, value in row.settings.items())
    seeds, images = ", ".join(map(str, row.seeds)), spans(row.images)
    return (
        row.name,
        settings or "defaults",
        seeds or "–",
        images or "–",
        tables.duration(sum(r.seconds for r in row.records)),
    )


def spans(numbers: Sequence[int]) -> str:
    """Ascending numbers in few words: 0–3, 7."""
    parts: list[list[int]] = []
    for n in numbers:
        if parts and n == parts[-1][1] + 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in parts)


def _origins(problem: Group) -> list[tuple[dict[str, str], str]]:
    """Each distinct provenance, and whose it is."""
    groups: dict[str, tuple[dict[str, str], set[str]]] = {}
    for row in problem.rows:
        for record in (*row.records, *row.failed):
            facts = {str(key): plain(value) for key, value in record.provenance.items() if key != WARNINGS}
            groups.setdefault(json.dumps(facts, sort_keys=True), (facts, set()))[1].add(row.name)
    every = {row.name for row in problem.rows}
    return [
        (facts, "all methods" if names == every else ", ".join(sorted(names)))
        for _, (facts, names) in sorted(groups.items())
    ]


def failures(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """What failed: (method, which images and seeds, the error), units that failed alike together."""
    return _together((row.name, record, record.error) for row in rows for record in row.failed)


def warnings(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """What finished units were warned of: (method, which images and seeds, the warning), alike ones together."""
    return _together(
        (row.name, record, str(text)) for row in rows for record in row.records
        for text in record.provenance.get(WARNINGS, ())
    )  # fmt: skip


def _together(texts: Iterable[tuple[str, Record, str]]) -> list[tuple[str, str, str]]:
    groups: dict[tuple[str, str], dict[int, set[int]]] = {}
    for name, record, text in texts:
        groups.setdefault((name, text), {}).setdefault(record.seed, set()).update(record.images)
    return [
        (name, "; ".join(f"images {spans(sorted(images))} of seed {seed}" for seed, images in sorted(of.items())), text)
        for (name, text), of in groups.items()
    ]
