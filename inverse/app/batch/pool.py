"""Processes on one machine: started, watched, and their progress shown."""

import io
import multiprocessing
import os
import pickle
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from inverse.app.batch.job import Job
from inverse.app.batch.parts import Parts
from inverse.app.batch.work import placed, work
from inverse.plan import span
from priors.terminal import printable
from priors.threads import one_thread

LOOK = 0.5  # seconds between looks at the progress of other processes
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def pickled(job: Job) -> bytes:
    """The job for another process.

    Raises: TypeError for a prior or operator that cannot be pickled.
    """
    held = io.BytesIO()
    try:
        job.facts  # noqa: B018 (computed once, here)
        pickle.dump(job, held)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(
            f"the prior or the operator cannot be sent to another process ({error}): define its functions and classes "
            "at the top of a module, or use one process, or torchrun, where each process builds its own"
        ) from None
    return held.getvalue()


def spread(job: Job, parts: Parts, processes: int, on_end: Callable[[], None]) -> None:
    """Work in processes of one thread each until all units have ended.

    A process that is killed leaves its unit to the others.
    Arguments: job; parts; processes; on_end: called every now and then.
    Raises: RuntimeError if all processes were killed before the end.
    """
    content, context = pickled(job), multiprocessing.get_context("spawn")
    started: list[BaseProcess] = []
    with _single_threaded():
        for rank in range(processes):
            started.append(
                context.Process(target=_member, args=(content, str(parts.out), rank, processes), daemon=True)
            )
            started[-1].start()
    try:
        alive = list(started)
        while alive:
            wait([process.sentinel for process in alive], LOOK)
            alive = [process for process in alive if process.is_alive()]
            on_end()
    finally:
        for process in started:
            process.terminate()
            process.join()
    left = sum(not parts.ended(unit) for unit in job.units)
    if left:
        codes = [process.exitcode for process in started]
        raise RuntimeError(
            f"all processes ended, with the exit codes {codes}, and {left} of {len(job.units)} units are left: run the "
            "same again; -9 is often a lack of memory: then take fewer processes, or smaller units by block"
        )


def _member(content: bytes, out: str, rank: int, world: int) -> None:
    """The work of a started process."""
    job: Job = pickle.loads(content)  # from the process that started this one
    with one_thread():
        work(placed(job, rank), Parts(out), rank, world)


@contextmanager
def _single_threaded() -> Generator[None]:
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


@contextmanager
def shown(parts: Parts, total: int, progress: bool) -> Generator[Callable[[], None]]:
    """A function that shows how many units have ended, of all processes, and the time left: a bar on a terminal, a line
    for every twentieth elsewhere."""
    console = Console(stderr=True)
    found, start, said = sum(parts.counted()), time.monotonic(), [-1]

    def text() -> tuple[int, str]:
        done, failed = parts.counted()
        ended, passed = done + failed, time.monotonic() - start
        left = f", {span(passed / (ended - found) * (total - ended))} left" if found < ended < total else ""
        return ended, f"{f'{failed} failed' if failed else ''}{left}".removeprefix(", ")

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
    )
    if not progress or console.is_terminal:
        with Progress(*columns, console=console, disable=not progress, transient=True) as bar:
            task = bar.add_task("units", total=total, note="")

            def draw() -> None:
                if progress:
                    ended, note = text()
                    bar.update(task, completed=ended, note=note)

            yield draw
        return

    def say() -> None:
        ended, note = text()
        if ended // max(1, total // 20) > said[0]:
            said[0] = ended // max(1, total // 20)
            console.print(printable(f"{ended}/{total} units {note}"), highlight=False, markup=False, soft_wrap=True)

    yield say
