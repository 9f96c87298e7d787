"""`inverse-bench report` and `inverse-bench compare`, on folders of records."""

import math
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.table import Table

from benchmarks.common.defaults import TOLERANCE
from benchmarks.common.provenance import provenance
from benchmarks.suite.compare import Change, Comparison, Tolerance
from benchmarks.suite.compare import compare as compare_records
from benchmarks.suite.records import load
from benchmarks.suite.report import write_report
from benchmarks.suite.report.tables import duration, number, title
from priors.terminal import console, explained, printable, say

STYLES = {"REGRESSION": "bold red", "worse, tolerated": "yellow", "better": "green", "within chance": "dim"}


def report(
    records: Path, out: Path, markdown: Path | None, csv: Path | None, heading: str, baseline: str, pictures: int
) -> None:
    """`inverse-bench report`."""
    facts = {key: str(value) for key, value in provenance().items()}
    with explained():
        written = write_report(load(records), out, facts, markdown, csv, heading, baseline, pictures)
    for path in written:
        say(f"written to {path} ({path.stat().st_size / 1e6:.1f} MB)")


def compare(first: Path, second: Path, tolerance: list[str] | None, costs: float | None, everything: bool) -> None:
    """`inverse-bench compare`."""
    with explained():
        found = compare_records(load(first), load(second), parse(tolerance or []), costs)
    show(found, everything)
    if found.regressions:
        raise typer.Exit(1)


def parse(given: Sequence[str]) -> Tolerance:
    """A tolerance from its options, "0.01" or "psnr_mean=0.1".

    Arguments: given.
    Raises: ValueError for what is no number of 0 or more.
    """
    part, absolute = TOLERANCE, {}
    for text in given:
        metric, _, value = text.rpartition("=")
        try:
            number_ = float(value)
        except ValueError:
            number_ = -1.0
        if not number_ >= 0:
            raise ValueError(f"tolerance {text!r}: expected a number of 0 or more, or METRIC=NUMBER")
        if metric:
            absolute[metric] = number_
        else:
            part = number_
    return Tolerance(part, absolute)


def show(found: Comparison, everything: bool = False) -> None:
    """Print a comparison.

    Arguments: found; everything: also what stayed the same or within chance.
    """
    shown = [c for c in found.changes if everything or c.verdict not in ("same", "within chance")]
    for where in dict.fromkeys((c.task, c.problem, c.prior) for c in shown):
        console.print(_table(where, [c for c in shown if (c.task, c.problem, c.prior) == where]))
    grown = [c for c in found.costs if c.regression or everything or not math.isclose(c.before, c.after)]
    if grown:
        table = Table("problem", "method", "cost", title="Costs", title_justify="left")
        for head in ("first", "second", "change"):
            table.add_column(head, justify="right")
        for c in grown:
            ratio = f"{100 * (c.after / c.before - 1):+.0f} %" if c.before else "-"
            style = "bold red" if c.regression else None
            table.add_row(c.problem, c.row, c.name, duration(c.before), duration(c.after), ratio, style=style)
        console.print(table)
    for where, row, side in found.only:
        say(f"only in the {side}: {' / '.join(filter(None, (where, row)))}")
    for where, row in found.apart:
        say(f"no image and seed in common: {where} / {row}")
    for where, row, metric in found.gone:
        say(f"no longer measured: {where} / {row} / {metric}")
    for folder, where, row, error in dict.fromkeys(found.failed):
        say(f"failed in the {folder}: {where} / {row}: {error}")
    for where, row, units in found.failing:
        say(f"REGRESSION: {where} / {row}: {units} images and seeds fail now", "bold red")
    verdicts = [c.verdict for c in found.changes]
    counts = ", ".join(f"{verdicts.count(v)} {v.lower()}" for v in dict.fromkeys(verdicts))
    say(f"{len(verdicts)} figures compared: {counts or 'nothing in common'}.")
    say(f"{found.regressions or 'no'} regression{'s' * (found.regressions != 1)}")


def _table(where: tuple[str, str, str], changes: Sequence[Change]) -> Table:
    table = Table("method", "metric", title=printable(f"{where[0]} ({where[1]}, {where[2]})"), title_justify="left")
    for head in ("first", "second", "change", "95 % interval"):
        table.add_column(head, justify="right")
    table.add_column("images", justify="right")
    table.add_column("verdict")
    for c in changes:
        d = c.difference
        interval = f"{number(d.low, c.scale, True)} … {number(d.high, c.scale, True)}" if math.isfinite(d.low) else "-"
        table.add_row(
            printable(c.row), title(c.scale), number(c.before, c.scale), number(c.after, c.scale),
            number(d.change, c.scale, True), interval, str(d.n), c.verdict, style=STYLES.get(c.verdict),
        )  # fmt: skip
    return table
