"""Processes of their own for measurements of time and memory."""

import multiprocessing
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any


def apart(call: Callable[..., Any], *arguments: Any) -> Any:
    """A call in a process of its own, whose peak of memory is that of this call, and which leaves none behind."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


def resident() -> int:
    """Bytes of this process that are in memory now. Linux alone."""
    page = resource.getpagesize()
    return int(Path("/proc/self/statm").read_text().split()[1]) * page
