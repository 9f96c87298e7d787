"""Sizes of volumes, and arguments that are pairs or triples of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from .arguments import count, number, tensor
from .geometries import LARGEST

Size = tuple[int, int, int]


def last(shape: Sequence[int]) -> Size:
    """The last three entries, such as (D, H, W) of (C, D, H, W)."""
    depth, height, width = shape[-3:]
    return depth, height, width


def whole(size: int | Size) -> Size:
    """(D, H, W) of n or (D, H, W)."""
    return (size, size, size) if isinstance(size, int) else size


def twice(value: Any) -> Any:
    """A number as a pair of it; all else as it is."""
    return (value, value) if isinstance(value, Real) or (isinstance(value, Tensor) and not value.ndim) else value


def numbers(name: str, value: Any, n: int, what: str, interval: str = "(-inf, inf)") -> tuple[float, ...]:
    """n numbers of an interval.

    Arguments: name, as the message gives it; value; what: the n numbers in words.
    Raises: ValueError for another number of them; as `number`.
    """
    value = tensor(name, value).tolist() if hasattr(value, "tolist") else value
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != n:
        raise ValueError(f"{name} = {value!r:.60}: expected {what}")
    return tuple(number(f"{name}, an entry", part, interval, what) for part in value)


def counts(name: str, value: Any, n: int, what: str) -> tuple[int, ...]:
    """n sides in pixels or detectors, given as such or as one number for all.

    Arguments: as of `numbers`.
    Raises: as `numbers` and `count`.
    """
    if not isinstance(value, tuple | list | torch.Size):
        return (count(name, value, most=LARGEST, hint=f"or {what}"),) * n
    if len(value) != n:
        raise ValueError(f"{name} = {value!r:.60}: expected n or {what}")
    return tuple(count(f"{name}, an entry", part, most=LARGEST) for part in value)


def volume(name: str, value: Any) -> int | Size:
    """n or (D, H, W).

    Raises: as `counts`.
    """
    sides = counts(name, value, 3, "(D, H, W); omit it to take it from the volume")
    return last(sides) if isinstance(value, Sequence) else sides[0]
