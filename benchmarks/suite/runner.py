"""The runner: unit by unit, in any number of processes, each recorded when it is finished."""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from benchmarks.common.provenance import provenance
from benchmarks.common.records import Records
from benchmarks.suite import records
from benchmarks.suite.clock import Clock, span
from benchmarks.suite.execute import execute
from benchmarks.suite.records import Record
from benchmarks.suite.units import Unit
from priors.claims import claimed
from priors.threads import one_thread

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """The result of a run: units done here, read, failed (of all), and locked by other processes."""

    done: int
    found: int
    failed: int
    elsewhere: int


def run(units: Sequence[Unit], folder: Path, retry: bool = False, console: Console | None = None) -> Outcome:
    """Execute the units without a record in a folder, and record each when it is finished.

    A kill loses only the current unit. Any number of processes may share a folder: a unit is claimed by a lock that the
    system releases when its process ends. A record that has the same key under another row's name (what "auto" chose,
    say) is copied. Records of the same row, problem, seed and images that depend on something else, such as older code,
    are withdrawn: they no longer count, but stay in the file.
    Arguments: units; folder of records; retry: do again the units that ended with an error; console: where progress is
    shown, None for none.
    Raises: ValueError for a folder of records of an older version.
    """
    kept = records.opened(folder)
    with one_thread():
        return _run(list(units), kept, retry, console)


def _run(units: list[Unit], kept: Records, retry: bool, console: Console | None) -> Outcome:
    _withdraw_superseded(units, kept)
    clock, done = Clock(), 0
    failed: dict[str, bool] = {}  # of the units that have ended, by name
    for unit in units:
        if (record := _kept(unit.name, kept, retry, console)) is not None:
            failed[unit.name] = bool(record.error)
            clock.add(record)
    found, pending = len(failed), [unit for unit in units if unit.name not in failed]
    facts = facts_of_run()

    def left() -> list[Unit]:  # other processes finish units too
        return [unit for unit in units if unit.name not in failed and unit.name not in kept.found]

    with _shown(console, len(units)) as show:
        show(found, f"{found} of {len(units)} units found; left: {clock.left(pending, processes())}")
        while pending:
            waiting: list[Unit] = []
            for unit in pending:
                start = time.perf_counter()
                with claimed(kept.path.parent, unit.key) as mine:
                    if not mine:
                        waiting.append(unit)
                        continue
                    kept.refresh()
                    record, here = _kept(unit.name, kept, retry, None), False
                    if record is None:
                        record, here = _copied(unit, kept) or execute(unit, facts), True
                        records.write(record, kept)
                failed[unit.name] = bool(record.error)
                done += here
                clock.add(record, time.perf_counter() - start if here else None)
                rest = left()
                text = f"{unit.stem} {span(record.seconds)}{_failed(record)}"
                show(len(units) - len(rest), f"{text}; left: {clock.left(rest, processes())}")
            if len(waiting) == len(pending):  # all that is left is being done by others
                break
            pending = waiting
        else:
            waiting = []
    return Outcome(done, found, sum(failed.values()), len(waiting))


def processes() -> int:
    """How many processes torchrun started, 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def first() -> bool:
    """Whether this process is the one that prints."""
    return os.environ.get("RANK", "0") == "0"


def device_of(name: str = "auto") -> torch.device:
    """Where this process runs: "auto" is its own GPU where there are any, else the CPU; or "cpu", "cuda".

    Raises: ValueError for more processes than GPUs, and for "cuda" without one.
    """
    local, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device {name!r}: expected auto, cpu or cuda")
    if name == "cpu" or (name == "auto" and gpus == 0):
        return torch.device("cpu")
    if local >= gpus:
        raise ValueError(f"process {local} of {gpus} GPUs: start at most one process per GPU, or pass --device cpu")
    return torch.device("cuda", local)


def facts_of_run() -> dict[str, Any]:
    """`provenance`, and the commit that is checked out where there is one, with "+" for changes that are not in it."""
    facts = provenance()
    if (ROOT / ".git").exists():
        try:
            commit, changes = (
                subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
                for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
            )
            facts["commit"] = commit + ("+" if changes else "")
        except (OSError, subprocess.CalledProcessError):  # no git here
            pass
    return facts


def _kept(name: str, kept: Records, retry: bool, console: Console | None) -> Record | None:
    """The record of a name, if it is whole and, with ``retry``, no error."""
    if name not in kept.found:
        return None
    try:
        record = records.read(kept, name)
    except (ValueError, FileNotFoundError) as error:  # its arrays
        if console:
            console.print(f"done again: {error}", highlight=False, markup=False)
        return None
    return None if retry and record.error else record


def _copied(unit: Unit, kept: Records) -> Record | None:
    """The record of another row with the same key: the same computation under another name."""
    for name, plain in kept.found.items():
        same = plain["key"] == unit.key and plain["problem"] == unit.problem.name
        if same and (record := _kept(name, kept, True, None)) is not None:
            return replace(record, method=unit.row.name)
    return None


def _withdraw_superseded(units: Sequence[Unit], kept: Records) -> None:
    """Withdraw the records of the units' rows, problems, seeds and images that are not the units' own."""
    wanted: dict[tuple[str, str, int], list[Unit]] = {}
    for unit in units:
        wanted.setdefault((unit.problem.name, unit.row.name, unit.seed), []).append(unit)
    for name, plain in list(kept.found.items()):
        rivals = wanted.get((plain["problem"], plain["method"], plain["seed"]), ())
        overlapping = [unit for unit in rivals if set(unit.images) & set(plain["images"])]
        if overlapping and name not in {unit.name for unit in overlapping}:
            kept.withdraw(name)


def _failed(record: Record) -> str:
    return f" FAILED: {record.error.splitlines()[0][:100]}" if record.error else ""


@contextmanager
def _shown(console: Console | None, total: int) -> Iterator:
    """A function (units finished, text) that shows progress: a bar on a terminal, a line per unit elsewhere."""
    if console is None:
        yield lambda n, text: None
        return
    if not console.is_terminal:
        yield lambda n, text: console.print(f"{n}/{total} {text}", highlight=False, markup=False, soft_wrap=True)
        return
    columns = (BarColumn(20), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console) as bar:
        task: TaskID = bar.add_task("", total=total)
        yield lambda n, text: bar.update(task, completed=n, description=text)
