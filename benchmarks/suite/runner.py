"""The runner: unit by unit, in any number of processes, each recorded when it is finished."""

import fcntl
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
from benchmarks.suite import records
from benchmarks.suite.clock import Clock, span
from benchmarks.suite.execute import execute
from benchmarks.suite.records import Record
from benchmarks.suite.threads import one_thread
from benchmarks.suite.units import Unit
from priors.files import clear

LOCKS, SUPERSEDED = ".locks", "superseded"
ABANDONED = 3600.0  # seconds after which a file that is being written is one that a kill left behind
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
    system takes back when its holder dies. A record that has the same key under another row's name (what "auto" chose,
    say) is copied. Records of the same row, problem, seed and images that depend on something else, such as older code,
    are moved to FOLDER/superseded.
    Arguments: units; folder of records; retry: do again the units that ended with an error; console: where progress is
    shown, None for none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with one_thread():
        return _run(list(units), folder, retry, console)


def _run(units: list[Unit], folder: Path, retry: bool, console: Console | None) -> Outcome:
    _tidy(units, folder)
    clock, held, done = Clock(), {}, 0
    for unit in units:
        if (record := _held(folder / unit.file, retry, console)) is not None:
            held[unit.file] = record
            clock.add(record)
    found, pending = len(held), [unit for unit in units if unit.file not in held]
    facts = facts_of_run()

    def left() -> list[Unit]:  # other processes finish units too
        return [unit for unit in units if unit.file not in held and not (folder / unit.file).exists()]

    with _shown(console, len(units)) as show:
        show(found, f"{found} of {len(units)} units found; left: {clock.left(pending, processes())}")
        while pending:
            waiting: list[Unit] = []
            for unit in pending:
                path, start = folder / unit.file, time.perf_counter()
                with _claimed(folder, unit.key) as mine:
                    if not mine:
                        waiting.append(unit)
                        continue
                    record, here = _held(path, retry, None), False
                    if record is None:
                        record, here = _copied(unit, folder) or execute(unit, facts), True
                        records.write(record, path)
                held[unit.file] = record
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
    failed = sum(bool(record.error) for record in held.values())
    return Outcome(done, found, failed, len(waiting))


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


@contextmanager
def _claimed(folder: Path, key: str) -> Iterator[bool]:
    """Whether this process may do a unit: by a lock on a file, which dies with its holder."""
    place = folder / LOCKS / key
    place.parent.mkdir(exist_ok=True)
    try:  # a lock that is a link would be one on another file
        number = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError as error:
        raise ValueError(f"{place} is no lock of ours ({error.strerror}): remove it") from None
    with os.fdopen(number, "r+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def _held(path: Path, retry: bool, console: Console | None) -> Record | None:
    """The record at a path, if it is whole and, with ``retry``, no error."""
    if not path.exists():
        return None
    try:
        record = records.read(path)
    except ValueError as error:
        if console:
            console.print(f"done again: {error}", highlight=False, markup=False)
        return None
    return None if retry and record.error else record


def _copied(unit: Unit, folder: Path) -> Record | None:
    """The record of another row with the same key: the same computation under another name."""
    for path in folder.glob(f"*--{unit.key}.h5"):
        if (record := _held(path, True, None)) is not None and record.problem == unit.task.problem.name:
            return replace(record, method=unit.row.name)
    return None


def _tidy(units: Sequence[Unit], folder: Path) -> None:
    """Move superseded records, and remove partial files of killed processes."""
    wanted: dict[str, list[Unit]] = {}
    for unit in units:
        wanted.setdefault(unit.stem, []).append(unit)
    for path in folder.glob("[!.]*.h5"):
        stem, _, rest = path.stem.rpartition("--i")
        first, last = (int(n) for n in rest.partition("--")[0].split("-")) if rest else (0, -1)
        rivals = [u for u in wanted.get(stem, ()) if u.images[0] <= last and first <= u.images[-1]]
        if rivals and path.name not in {u.file for u in rivals}:
            (folder / SUPERSEDED).mkdir(exist_ok=True)
            _quietly(lambda path=path: os.replace(path, folder / SUPERSEDED / path.name))
    clear(folder)
    for path in folder.glob(".*.tmp"):  # of other machines, whose processes cannot be seen from here
        if path.exists() and time.time() - path.stat().st_mtime > ABANDONED:
            _quietly(path.unlink)


def _quietly(move) -> None:
    try:
        move()
    except FileNotFoundError:  # another process was there first
        return


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
