"""The share of public functions and registry entries that run on the pretend device, in tests/test_pretend*.py.

`python -m tests.pretend_coverage` runs its quick tests; add -m "slow or not slow" for all.
"""

import dataclasses
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from types import CodeType, FrameType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
import torch

from tests import pretend
from tests.test_docstrings import REGISTRIES, TARGETS, Target

# what holds no tensor, whatever it holds; all other types are taken to
PLAIN = (str, bytes, int, float, complex, bool, NoneType, PurePath, torch.dtype, torch.device)
HOLDERS = (list, tuple, dict, set, frozenset, type, Sequence, Mapping, Iterable, Iterator, Literal, Union, UnionType)
REFUSING = {"NotImplementedError", "type", "__name__"}  # names in the code of a method that only refuses
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


def bare(kind: Any, above: tuple[Any, ...] = ()) -> bool:
    """Whether a value of this type cannot hold a tensor: texts, numbers, paths, and what is made of them alone."""
    if kind in (None, ...) or isinstance(kind, str | int | float | bool) or kind in above:
        return True
    if get_origin(kind) is Annotated:
        return bare(get_args(kind)[0], above)
    if (origin := get_origin(kind)) is not None:
        return origin in HOLDERS and all(bare(part, above) for part in get_args(kind))
    if not isinstance(kind, type):
        return False
    if dataclasses.is_dataclass(kind):
        return all(bare(part, (*above, kind)) for part in hints(kind).values())
    return issubclass(kind, PLAIN)


def hints(thing: Any) -> dict[str, Any]:
    """The types of a function's arguments and result, or of a class's fields; "unknown" where one cannot be read."""
    try:
        return get_type_hints(thing, include_extras=True)
    except (NameError, TypeError):
        return {"": object}


def counts(target: Target) -> bool:
    """Whether it can have anything to do with a device. Not so are

    - errors and warnings, which are texts;
    - protocols and abstract methods, which have no code of their own;
    - functions whose arguments and results hold no tensor, by their annotations, those of a method's object included.
    """
    thing, owner = target.thing, target.owner
    kind = owner or (thing if isinstance(thing, type) else None)
    if kind is not None and (issubclass(kind, Exception) or getattr(kind, "_is_protocol", False)):
        return False
    if isinstance(thing, type):
        return bool(codes(thing)) and not bare(thing)
    names = set(thing.__code__.co_names)
    if getattr(thing, "__isabstractmethod__", False) or {"NotImplementedError"} <= names <= REFUSING:
        return False
    found = hints(thing)
    named = set(inspect.signature(thing).parameters) - {"self", "cls"} | {"return"}
    return (owner is not None and not bare(owner)) or not all(bare(found.get(n, object)) for n in named)


if __name__ == "__main__":
    pretend.RECORDER = record
    status = pytest.main([*map(str, sorted(Path("tests").glob("test_pretend*.py"))), "-n", "0", "-q", *sys.argv[1:]])
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
