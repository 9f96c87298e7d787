"""Reports of records: an HTML page, Markdown, CSV."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.common.defaults import SHOWN
from benchmarks.suite.records import Record
from benchmarks.suite.report.page import render
from benchmarks.suite.report.pooling import pool
from benchmarks.suite.report.text import long_form, markdown
from priors.files import atomic


def write_report(
    records: Sequence[Record],
    page: str | Path | None,
    facts: Mapping[str, str],
    markdown_file: str | Path | None = None,
    csv_file: str | Path | None = None,
    title: str = "",
    baseline: str = "",
    shown: int = SHOWN,
) -> list[Path]:
    """Write a report of records; each file whole or not at all.

    Arguments: records; page: of the HTML file; facts: of the report itself, key -> text (`provenance`); markdown_file,
    csv_file: likewise; title; baseline: the method that differences are taken to (default: each column's best); shown:
    images per gallery at most.
    Returns: the files that were written.
    Raises: ValueError for no records, and for a baseline that no problem has.
    """
    problems = pool(records)
    if not problems:
        raise ValueError("no records: there is nothing to report")
    names = sorted({row.name for problem in problems for row in problem.rows})
    if baseline and baseline not in names:
        raise ValueError(f"baseline {baseline!r}: no method of this name, expected one of {', '.join(names)}")
    texts = {
        page: lambda: render(problems, facts, title, baseline, shown),
        markdown_file: lambda: markdown(problems, facts, title, baseline),
        csv_file: lambda: long_form(problems),
    }
    written = []
    for path, text in texts.items():
        if path is not None:
            with atomic(path) as temporary:
                temporary.write_text(text(), encoding="utf-8")
            written.append(Path(path))
    return written
