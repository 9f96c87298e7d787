"""The report as one self-contained HTML file."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.common.defaults import SHOWN
from benchmarks.suite.report.pooling import Group
from benchmarks.suite.report.view import Section, scale_bar, section

TEMPLATES = Path(__file__).parent / "templates"


def render(
    problems: Sequence[Group], facts: Mapping[str, str], title: str = "", baseline: str = "", shown: int = SHOWN
) -> str:
    """The page.

    Arguments: problems, one at least; facts: what the report itself was made with, key -> text; title; baseline: the
    method that differences are taken to (default: each column's best); shown: images per gallery at most.
    Returns: HTML that contains its style, scripts and pictures.
    """
    sections = [section(problem, i, baseline, shown) for i, problem in enumerate(problems)]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    filters: Any = environment.filters  # jinja2 infers the type of its own filters alone
    filters.update(finite=_finite, percent=_percent)
    return environment.get_template("page.html").render(
        title=title or "Posterior sampling, measured", sections=sections, facts=facts, matrix=matrix(sections),
        scale_bar=scale_bar(), counts=counts(problems), dates=dates(problems),
    )  # fmt: skip


def matrix(sections: Sequence[Section]) -> list[str]:
    """The methods of all problems, those first that are ahead of most others."""
    names = {line.name for found in sections for line in found.table.lines}

    def ahead(name: str) -> float:
        shades = [shade for found in sections if math.isfinite(shade := found.shade(name))]
        return sum(shades) / len(shades) if shades else -1.0

    return sorted(names, key=lambda name: (-ahead(name), name))


def counts(problems: Sequence[Group]) -> list[tuple[int, str]]:
    """How much was measured: (number, of what)."""
    methods = {row.method for problem in problems for row in problem.rows}
    images = {(p.name, p.prior, image) for p in problems for row in p.rows for image in row.images}
    seeds = {record.seed for problem in problems for record in problem.records}
    failed = sum(len(row.failed) for problem in problems for row in problem.rows)
    units = sum(len(row.records) for problem in problems for row in problem.rows)
    found = [(len(problems), "problem"), (len(methods), "method"), (len(images), "measurement"), (len(seeds), "seed"),
             (units, "finished unit")]  # fmt: skip
    found += [(failed, "failed unit")] if failed else []
    return [(n, word + "s" * (n != 1)) for n, word in found]


def dates(problems: Sequence[Group]) -> str:
    """From when to when it was measured."""
    found = sorted({str(r.provenance["date"])[:10] for p in problems for r in p.records if "date" in r.provenance})
    return "" if not found else found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else ""


def _percent(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.1f}%"
