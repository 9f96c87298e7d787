"""Imports that wait until they are needed: help texts and mistakes on a command line need no torch."""

import ast
import importlib
import inspect
import sys
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
_waiting = False  # whether a command line was started, so that its module's imports wait for the command


def now() -> bool:
    """Whether a module of a command line makes its imports at once, as it does wherever it is imported in Python.

    Such a module has them under ``if TYPE_CHECKING or now():`` and its commands are `loaded`.
    """
    return not _waiting


def start(module: str) -> None:
    """Run the command line ``app`` of a module, whose imports wait until a command is called."""
    global _waiting
    _waiting = True
    importlib.import_module(module).app()


def loaded(command: Callable[P, R]) -> Callable[P, R]:
    """Decorate a command so that the imports which its module left waiting are made when it is called."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        global _waiting
        if _waiting:
            _waiting = False
            for module in [m for name, m in sys.modules.items() if name.partition(".")[0] in ROOTS]:
                if block := _block(module, "now"):
                    exec(compile(block, str(module.__file__), "exec"), vars(module))
        return command(*args, **kwargs)

    return wrapped


ROOTS = ("priors", "operators", "inverse", "benchmarks")


def lazily(package: str) -> None:
    """Let a package import what it names under ``if TYPE_CHECKING:`` when that is first asked for (PEP 562).

    Its submodules are found too. A name that is also a submodule's, such as ``inverse.solve``, stays what the block
    says, whoever imports the submodule.
    """
    module = sys.modules[package]
    block = _block(module, "")
    places = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in (block.body if block else ())
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    class Package(ModuleType):
        def __setattr__(self, name: str, value: Any) -> None:
            if not (name in places and isinstance(value, ModuleType)):
                super().__setattr__(name, value)

        def __getattr__(self, name: str) -> Any:
            if name in places:
                source, attribute = places[name]
                value = getattr(importlib.import_module(str(source)), attribute)
                setattr(self, name, value)
                return value
            if not name.startswith("_") and find_spec(f"{package}.{name}"):
                return importlib.import_module(f"{package}.{name}")
            raise AttributeError(f"module {package!r} has no attribute {name!r}")

        def __dir__(self) -> list[str]:
            return sorted({*super().__dir__(), *places})

    module.__class__ = Package


def _block(module: ModuleType, called: str) -> ast.Module | None:
    """The statements under ``if TYPE_CHECKING``, alone or ``or called()``, at the top of a module."""
    if not getattr(module, "__file__", None) or "TYPE_CHECKING" not in vars(module):
        return None
    for node in ast.parse(inspect.getsource(module)).body:
        if not isinstance(node, ast.If):
            continue
        alone = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        either = isinstance(node.test, ast.BoolOp) and ast.unparse(node.test) == f"TYPE_CHECKING or {called}()"
        if either if called else alone:
            return ast.Module(node.body, [])
    return None
