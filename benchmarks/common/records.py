"""Resumable records: JSON lines, each under a key of all that it depends on."""

import ast
import hashlib
import inspect
import json
import os
import sys
import textwrap
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from priors.files import regular


class DamagedRecords(UserWarning):
    """A file of records has damaged lines."""


class Records:
    """Records by key in an append-only file, one write per line.

    Truncated lines and lines with a wrong checksum (older lines have none) are skipped, and their work is redone.
    Arguments: path of the file, made with its folder where there is none.
    Raises: ValueError if it is not a regular file.
    Warns: DamagedRecords for complete lines that are skipped.
    """

    def __init__(self, path: Path):
        self.path, self.found = path, {}
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            content = regular(path, "file of records").read_bytes()
        except FileNotFoundError:
            content = b""
        self._torn = bool(content) and not content.endswith(b"\n")
        lines = content.split(b"\n")
        read = [_entry(line) for line in lines]
        self.found = dict(entry for entry in read if entry is not None)
        # a last line without a newline was truncated by a kill
        damaged = [i + 1 for i, entry in enumerate(read) if entry is None and lines[i].endswith(b"}")]
        if damaged:
            warnings.warn(
                f"{path}: lines {damaged[:5]} are damaged and passed over ({len(damaged)} in all): their work is done "
                "again; restore the file, or remove these lines",
                DamagedRecords,
                stacklevel=2,
            )

    def add(self, key: str, record: dict) -> None:
        """Append a record, plain data without nan; it is on the disk when this returns."""
        plain = json.loads(json.dumps(record, allow_nan=False))  # as it will be read
        entry = {"key": key, "record": plain, "sha256": digest(key, plain)}
        line = ("\n" if self._torn else "") + json.dumps(entry) + "\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line.encode())
            os.fsync(file)
        finally:
            os.close(file)
        self.found[key], self._torn = record, False


def _entry(line: bytes) -> tuple[str, dict] | None:
    """Key and record of a line; None where it is damaged."""
    try:
        entry = json.loads(line)
        key, record = entry["key"], entry["record"]
        fits = set(entry) <= {"key", "record", "sha256"} and isinstance(key, str) and isinstance(record, dict)
        return (key, record) if fits and entry.get("sha256", digest(key, record)) == digest(key, record) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def digest(*parts: object) -> str:
    """A short key of plain data."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def code(*things: Callable) -> str:
    """A key of the code of functions and classes, which comments, docstrings and layout do not change."""
    return digest([_bare(inspect.getsource(thing)) for thing in things])


def code_behind(things: tuple[type | Callable, ...], packages: tuple[str, ...]) -> str:
    """A key of the code of whole modules: those that define ``things`` and, of ``packages``, those that these use."""
    found: set[str] = set()
    for thing in things:
        _visit(thing.__module__, packages, found)
    return digest([_module(name) for name in sorted(found)])


def _visit(name: str, packages: tuple[str, ...], found: set[str]) -> None:
    if name in found:
        return
    found.add(name)
    for value in vars(sys.modules[name]).values():
        used = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if isinstance(used, str) and any(used == package or used.startswith(f"{package}.") for package in packages):
            _visit(used, packages, found)


@lru_cache
def _module(name: str) -> str:
    return digest(_bare(inspect.getsource(sys.modules[name])))


def _bare(source: str) -> str:
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            node.body = node.body[1:]
    return ast.dump(tree)
