"""A small cache for tensors derived from an operator's parameters."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Kept:
    """A cache of the latest few values by key.

    Thread-safe without a lock: a caller gets the value of its own key, and entries are only replaced as a whole. Copies
    and pickles start empty.

    Arguments:
        size: number of values kept.
    """

    def __init__(self, size: int = 2) -> None:
        self.size = size
        self._entries: tuple[tuple[Any, Hashable, Any], ...] = ()

    def get(self, key: Hashable, make: Callable[[], T], of: Any = None) -> T:
        """The value of a key, computed if it is missing.

        Arguments:
            key: compared by ==.
            make: called without arguments.
            of: an object that the value belongs to, compared by identity.
        """
        for owner, known, value in self._entries:
            if owner is of and known == key:
                return value
        made = make()
        self._entries = ((of, key, made), *self._entries)[: self.size]
        return made

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return Kept, (self.size,)
