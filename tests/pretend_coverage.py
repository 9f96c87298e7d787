"""The share of public functions and registry entries that run on the pretend device, in tests/test_pretend*.py.

`python -m tests.pretend_coverage` runs its quick tests; add -m "slow or not slow" for all.
"""

import inspect
import sys
from types import CodeType, FrameType
from typing import Any

import pytest

from tests import pretend
from tests.test_docstrings import REGISTRIES, TARGETS, Target

# nothing of these is on a device: errors, warnings, texts, files and what is read from them, protocols, deprecated
# names, ranges of unknown parameters, and what benchmarks only print
APART = (
    "benchmarks", "Error", "Warning", "protocols", "cite", "__repr__", "BatchResults", "Calibration", "save", "load",
    "rough", "fact", "LogUniform", "Uniform", "Basis", "validate", "capabilities", "least_size", "Comparison.best",
)  # fmt: skip
SEEN: set[CodeType] = set()


def record(frame: FrameType, event: str, _: Any) -> None:
    if event == "call":
        SEEN.add(frame.f_code)


def codes(thing: Any) -> set[CodeType]:
    """The code of a function, or of all that a class defines and inherits from ours."""
    if inspect.isfunction(thing):
        return {thing.__code__}
    ours = [cls for cls in thing.__mro__ if cls.__module__.split(".")[0] in ("inverse", "priors", "operators")]
    plain = [
        inspect.unwrap(getattr(member, "fget", None) or getattr(member, "__func__", None) or member)
        for cls in ours
        for member in vars(cls).values()
        if callable(member) or isinstance(member, property | classmethod | staticmethod)
    ]
    return {f.__code__ for f in plain if inspect.isfunction(f)}


def counts(target: Target) -> bool:
    """Whether it has anything to do with tensors."""
    thing = target.thing
    if any(word in target.name for word in APART) or (isinstance(thing, type) and issubclass(thing, Exception)):
        return False
    return bool(codes(thing))


if __name__ == "__main__":
    pretend.RECORDER = record
    status = pytest.main(["tests/test_pretend.py", "tests/test_pretend_parts.py", "-n", "0", "-q", *sys.argv[1:]])
    wanted = {name: target for name, target in TARGETS.items() if counts(target)}
    functions = {n: t for n, t in wanted.items() if inspect.isfunction(t.thing) and t.owner is None}
    methods = {n: t for n, t in wanted.items() if t.owner is not None}
    classes = {n: t for n, t in wanted.items() if isinstance(t.thing, type)}
    for title, group in {"functions": functions, "classes": classes, "methods and properties": methods}.items():
        unseen = [name for name, target in group.items() if not codes(target.thing) & SEEN]
        print(f"{title}: {len(group) - len(unseen)} of {len(group)} ran on the device; not: {unseen}")
    entries = {f"{r}[{n}]": thing for r, held in REGISTRIES.items() for n, thing in held.items()}
    entries = {n: codes(t) for n, t in entries.items() if inspect.isfunction(t) or isinstance(t, type)}
    unseen = [name for name, of in entries.items() if of and not of & SEEN]
    print(f"registry entries: {len(entries) - len(unseen)} of {len(entries)}; not: {unseen}; tests ended with {status}")
