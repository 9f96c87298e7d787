"""Keys of records: of plain data, of code, of tensors."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch

from priors import Prior
from priors.files import digest
from priors.hdf5 import checksum

VERSION = 1  # of what a key is made of: another one makes all records anew


def key(kind: str, **facts: Any) -> str:
    """The key of a record: a digest of all that the record depends on, by name, with its kind and the keys' version.

    Arguments: kind of record, such as "oracle"; facts: plain data (texts, finite numbers, lists, dictionaries).
    Returns: 16 hexadecimal digits, which do not depend on the order of names.
    Raises: TypeError or ValueError for what is not plain data: its repr could change between processes.
    """
    return digest({"version": VERSION, "kind": kind, "facts": facts})


def fingerprint(network: torch.nn.Module | Prior) -> str:
    """A key of a network's weights and buffers, and of a prior's noising and moments."""
    found = dict(network.state_dict()) if isinstance(network, torch.nn.Module) else {}
    moments = getattr(network, "moments", None)
    found |= {} if moments is None else {f"moments.{name}": value for name, value in vars(moments).items()}
    arrays = {name: value.detach().cpu().contiguous().numpy() for name, value in found.items()}
    return checksum({"sde": repr(getattr(network, "sde", None))}, arrays)[:16]


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
