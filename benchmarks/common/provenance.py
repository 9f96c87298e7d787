"""Provenance of a figure: machine, versions, command."""

import json
import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch

import inverse
from priors.files import atomic

_OURS = Path(__file__).parents[1] / "results"
RESULTS = _OURS if _OURS.is_dir() else Path("results")  # an installed package has none of its own


def provenance(**settings) -> dict:
    """What is needed to reproduce a figure, as plain data."""
    return {
        "command": shlex.join(["inverse-bench", *sys.argv[1:]]),
        "version": inverse.__version__,
        "torch": torch.__version__,
        "machine": f"{os.cpu_count()} CPU cores ({platform.machine()}), {torch.get_num_threads()} threads",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        **settings,
    }


def write_table(
    name: str, title: str, rows: list[dict[str, str]], facts: dict, notes: str = "", out: Path = RESULTS
) -> Path:
    """Write a table as Markdown beside its rows as JSON, both atomically.

    Arguments: name of the files; title; rows (all with the same keys); facts (`provenance`); notes: what the columns
    mean.
    Returns: the Markdown file's path.
    Raises: ValueError for no rows.
    """
    if not rows:
        raise ValueError(f"{name}: no rows to write: the benchmark measured nothing")
    head = list(rows[0])
    lines = [f"# {title}", "", notes, "", "| " + " | ".join(head) + " |", "|" + " - |" * len(head)]
    lines += ["| " + " | ".join(row[key] for key in head) + " |" for row in rows]
    lines += ["", "Made by `uv run {command}` on {machine}, torch {torch}, {date}.".format(**facts), ""]
    with atomic(out / f"{name}.json") as temporary:
        temporary.write_text(json.dumps({"facts": facts, "rows": rows}, indent=1) + "\n")
    with atomic(out / f"{name}.md") as temporary:
        temporary.write_text("\n".join(lines))
    return out / f"{name}.md"
