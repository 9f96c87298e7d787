"""The report as Markdown and as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence

from benchmarks.suite.report.pooling import TRUTH, Group
from benchmarks.suite.report.tables import DASH, Cell, Column, Table, build
from benchmarks.suite.report.view import failures

FIELDS = ("problem", "method", "seed", "image", "metric", "value")
SIGNS = {"best": "**{}**", "tie": "{} ○", "": "{}"}


def markdown(problems: Sequence[Group], facts: Mapping[str, str], title: str = "", baseline: str = "") -> str:
    """The tables of the page, with 95 % intervals, and after each the differences to the best or the baseline.

    Arguments: problems; facts: what the report was made with, "command" among them; title; baseline: of `build`.
    """
    parts = [
        f"# {title or 'Posterior sampling, measured'}",
        "Means over images of means over seeds, with the 95 % bootstrap interval over images. **Bold**: best of its "
        "column; ○: not significantly different by a bootstrap of the differences, paired by image and seed. ↑ higher, "
        "↓ lower is better; → the value of a calibrated sampler.",
    ]
    for problem in problems:
        table = build(problem, baseline)
        parts.append(f"## {_line(problem.task)}\n\nProblem `{problem.name}`, prior `{problem.prior}`.")
        parts.append(_grid(table, table.columns, _figure))
        judged = [c for c in table.columns if any(line.cells[c.key].change for line in table.lines)]
        if judged:
            parts.append(f"Differences to {table.against}, paired by image and seed:")
            parts.append(_grid(table, judged, _change))
        failed = [f"{name} failed on {where}: {error}" for name, where, error in failures(problem.rows)]
        if listed := [*table.notes, *_absent(table), *failed]:
            parts.append("\n".join(f"- {_line(note)}" for note in listed))
        commands = sorted({str(r.provenance["command"]) for r in problem.records if "command" in r.provenance})
        if commands:
            parts.append("Measured by " + "; ".join(f"`{_line(command)}`" for command in commands) + ".")
    parts.append("---\n\n" + ", ".join(f"{key}: `{value}`" for key, value in facts.items()))
    return "\n\n".join(parts) + "\n"


def long_form(problems: Sequence[Group]) -> str:
    """Every value that the tables are means of, as CSV of `FIELDS`; the method is the row's name."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(FIELDS)
    for problem in problems:
        for row in problem.rows:
            if row.method == TRUTH:
                continue
            for metric, values in row.values.items():
                for (image, seed), value in sorted(values.items()):
                    writer.writerow((problem.name, row.name, seed, image, metric, repr(value)))
    return file.getvalue()


def _absent(table: Table) -> list[str]:
    """Why figures are not there: those of one reason in one line."""
    whose: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for column in table.columns:
        reasons: dict[str, list[str]] = {}
        for line in table.lines:
            if note := line.cells[column.key].note:
                reasons.setdefault(note, []).append(line.name)
        for note, names in reasons.items():
            whose.setdefault((note, tuple(names)), []).append(column.title)
    return [f"{', '.join(names)}: {note} ({'; '.join(heads)})" for (note, names), heads in whose.items()]


def _grid(table: Table, columns: Sequence[Column], write) -> str:
    head = ["method", *(" ".join(filter(None, (c.title, c.arrow))) for c in columns)]
    rows = [[line.name, *(write(line.cells[c.key]) for c in columns)] for line in table.lines]
    lines = ["| " + " | ".join(map(_line, row)) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "| - |" + " -: |" * len(columns), *lines[1:]])


def _figure(cell: Cell) -> str:
    marked = SIGNS[cell.mark].format(cell.text)
    return f"{marked} [{cell.under}]" if cell.under else marked


def _change(cell: Cell) -> str:
    if not cell.change:
        return DASH
    return cell.around if cell.around == "reference" else f"{cell.change} [{cell.around}]"


def _line(text: str) -> str:
    """A text in one line of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")
