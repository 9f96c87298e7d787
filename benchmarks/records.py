"""Finished work that outlives a killed run: JSON lines, each under a key of all that it depends on."""

import ast
import hashlib
import inspect
import json
import os
import sys
import textwrap
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType


class Records:
    """Records by key in a file to which lines are only ever appended, each by one write.

    A last line that a kill cut short is passed over, and its work done again.
    Arguments: path of the file, made with its folder where there is none.
    """

    def __init__(self, path: Path):
        self.path, self.found = path, {}
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text() if path.exists() else ""
        self._torn = bool(text) and not text.endswith("\n")
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                self.found[entry["key"]] = entry["record"]
            except (ValueError, KeyError, TypeError):  # cut short
                continue

    def add(self, key: str, record: dict) -> None:
        """Append a record, plain data without nan; it is on the disk when this returns."""
        line = ("\n" if self._torn else "") + json.dumps({"key": key, "record": record}, allow_nan=False) + "\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line.encode())
            os.fsync(file)
        finally:
            os.close(file)
        self.found[key], self._torn = record, False


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
