"""Packages whose public names are imported when they are first used, so that help texts need no torch (PEP 562)."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """A package whose public names hide its modules of the same name: `inverse.plan` is the function, even after
    `import inverse.plan`, for which Python would set the attribute to the module."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in self.__all__):
            super().__setattr__(name, value)


def attach(package: str, homes: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package that imports its names on first use.

    The package imports the same names under ``if TYPE_CHECKING:``, where type checkers and editors find them.

    Arguments: package: its ``__name__``; homes: module of the package -> the public names that come from it.
    Returns: the two functions; `__getattr__` raises AttributeError for other names.
    """
    module = sys.modules[package]
    module.__class__ = _Package
    places = {name: home for home, names in homes.items() for name in names}

    def __getattr__(name: str) -> Any:
        if name in places:
            value = getattr(import_module(f"{package}.{places[name]}"), name)
            setattr(module, name, value)
            return value
        if name in homes:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*vars(module), *places})

    return __getattr__, __dir__
