"""Checks of arguments: a bad one is refused by name, where it is given.

Each check returns the value, and raises TypeError for another type and ValueError for another value. A bool is not a
number: ``True`` for a width or a count is a mistake. numpy scalars and 0-d tensors are numbers.
"""

import math
from collections.abc import Collection, Sequence
from functools import lru_cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

MOST = 2**31 - 1


def number(name: str, value: Any, interval: str = "(-inf, inf)", hint: str = "") -> float:
    """A finite real number in an interval.

    Arguments: name, as the message gives it; interval: such as "(0, 1]", where inf means no bound; hint: what the
    number is, or how to get a good one.
    Raises: TypeError if it is not a real number; ValueError for nan, infinity and numbers outside the interval.
    """
    if isinstance(value, Tensor) and value.ndim == 0 and not (value.is_complex() or value.dtype == torch.bool):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} = {_shown(value)}: expected {_words(interval, hint)}")
    low, high = _ends(interval)
    found = float(value)
    above = found >= low if interval[0] == "[" else found > low
    below = found <= high if interval[-1] == "]" else found < high
    if not (math.isfinite(found) and above and below):
        raise ValueError(f"{name} = {value}: expected {_words(interval, hint)}")
    return found


def count(name: str, value: Any, least: int = 1, most: int = MOST, hint: str = "") -> int:
    """A whole number from ``least`` to ``most``.

    Arguments: name; value; least, most (int); hint: as `number`.
    Raises: TypeError if it is not an integer; ValueError if it is out of range.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if whole and least <= int(value) <= most:
        return int(value)
    bound = "" if most == MOST else f" and <= {most}"
    expected = f"expected an integer >= {least}{bound}{'; ' + hint if hint else ''}"
    if not whole:
        raise TypeError(f"{name} = {_shown(value)}: {expected}")
    raise ValueError(f"{name} = {value}: {expected}")


def settings(of: Any, **expected: str | int) -> None:
    """The fields of a dataclass, frozen or not, checked and in Python's own types.

    Arguments: of; expected, of each field: an interval for a `number`, or the least of a `count`.
    Raises: as `number` and `count`.
    """
    for name, what in expected.items():
        value = getattr(of, name)
        found = number(name, value, what) if isinstance(what, str) else count(name, value, what)
        object.__setattr__(of, name, found)


def flag(name: str, value: Any) -> bool:
    """True or False; a string such as "no", which is truthy, is refused.

    Raises: TypeError for anything else.
    """
    if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):  # numpy's bool has either name
        raise TypeError(f"{name} = {_shown(value)}: expected True or False")
    return bool(value)


def seed(value: Any) -> int:
    """An integer from 0 to 2^63 - 1: the largest that the HDF5 attribute of a saved solution can store.

    Raises: TypeError if it is not an integer; ValueError if it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"seed = {_shown(value)}: expected an integer >= 0")
    if not 0 <= int(value) < 2**63:
        raise ValueError(f"seed = {value}: expected an integer >= 0 and < 2^63")
    return int(value)


def choice(name: str, value: Any, options: Collection[str]) -> str:
    """One of some names.

    Raises: TypeError if it is not a string; ValueError for an unknown name, listing the known ones.
    """
    expected = f"expected one of {', '.join(options)}"
    if not isinstance(value, str):
        raise TypeError(f"{name} = {_shown(value)}: {expected}")
    if value not in options:
        raise ValueError(f"{name} = {value!r:.60}: {expected}")
    return value


def sequence(name: str, values: Any) -> tuple[Any, ...]:
    """A list, a tuple or another sequence, but not a string.

    Raises: TypeError for anything else.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise TypeError(f"{name} = {_shown(values)}: expected a list")
    return tuple(values)


def counts(name: str, values: Any, least: int = 1, fewest: int = 1) -> tuple[int, ...]:
    """A list of integers, each at least ``least``, and at least ``fewest`` of them.

    Raises: TypeError if it is not a list of integers; ValueError for too few, or one out of range.
    """
    if len(found := sequence(name, values)) < fewest:
        raise ValueError(f"{name} = {_shown(values)}: expected a list of at least {fewest} integers")
    return tuple(count(f"{name} = {_shown(values)}, an entry", value, least) for value in found)


def shape(name: str, value: Any) -> tuple[int, ...]:
    """A shape of at least one axis, all of at least one entry.

    Raises: TypeError if it is not a sequence of integers; ValueError if it is empty or has an entry below 1.
    """
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"{name} = {_shown(value)}: expected a tuple of integers such as (1, 28, 28)")
    if len(value) == 0:
        raise ValueError(f"{name} = {_shown(value)}: expected at least one axis, such as (1, 28, 28)")
    return counts(name, value)


def rows(name: str, x: Any, event_shape: tuple[int, ...] | None = None) -> Tensor:
    """A real floating-point tensor (N, *E) of any batch size; its values are not checked.

    Raises: TypeError for anything else; ValueError for another shape.
    """
    if isinstance(x, Tensor) and x.is_floating_point() and x.ndim > 1 and event_shape in (None, x.shape[1:]):
        return x  # at every step of a solve: without the words of a message
    expected = f"(N, {', '.join(map(str, event_shape))})" if event_shape is not None else "(N, *event)"
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} of type {type(x).__name__}: expected a floating tensor {expected}")
    if not x.is_floating_point():
        stacked = f"torch.stack(({name}.real, {name}.imag), -3) stacks the parts as two channels"
        remedy = stacked if x.is_complex() else f"convert it with {name}.float()"
        raise TypeError(f"{name} of {x.dtype}: expected a real floating tensor {expected}; {remedy}")
    shape = tuple(x.shape)
    if len(shape) < 2 or (event_shape is not None and shape[1:] != tuple(event_shape)):
        remedy = f"; {name}[None] adds the first axis" if event_shape in (None, shape) else ""
        raise ValueError(f"{name} of shape {shape}: expected {expected}{remedy}")
    return x


def flat_rows(x: Any, event_shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Rows x (N, *E) as (N, d) in the dtype of a prior's tensors.

    Arguments: x; event_shape (E); like: a tensor of the prior.
    Raises: TypeError or ValueError as `rows`, and ValueError for x on another device.
    """
    if rows("x", x, event_shape).device != like.device:
        raise ValueError(f"x is on {x.device} and the prior on {like.device}: move one with .to(...)")
    return x.to(like.dtype).flatten(1)


def state(x: Any, t: Any, axes: int, device: torch.device | None = None) -> None:
    """Refuse a state x (N, *E) of ``axes`` axes in E, or times t (0-d or (N,)), of another type, shape or device.

    Values are not checked, since this runs at every step.
    Raises: TypeError or ValueError.
    """
    rows("x", x)
    if x.ndim != 1 + axes:
        raise ValueError(f"x of shape {tuple(x.shape)}: expected (N, *event) with events of {axes} axes")
    if device is not None and x.device != device:
        raise ValueError(f"x is on {x.device} and the prior on {device}: move one with .to(...)")
    if not isinstance(t, Tensor):
        number("t", t, hint="a time of the SDE")
    elif t.is_complex() or t.dtype == torch.bool or t.ndim > 1 or t.numel() not in (1, len(x)):
        raise ValueError(f"t of shape {tuple(t.shape)} and {t.dtype}: expected a scalar or ({len(x)},), one per sample")


def function(name: str, value: Any, method: str = "__call__") -> None:
    """Refuse classes and objects without a method, by default `__call__`.

    Raises: TypeError.
    """
    if isinstance(value, type) or not callable(getattr(value, method, None)):
        raise TypeError(f"{name} = {_shown(value)}: expected an object with {method}")


def place(name: str, value: Any) -> str | Path:
    """A path, as a string or a `Path`.

    Raises: TypeError for anything else.
    """
    if not isinstance(value, str | Path):
        raise TypeError(f"{name} = {_shown(value)}: expected a path")
    return value


def finite(name: str, value: Tensor) -> Tensor:
    """A tensor without nan and infinity.

    Raises: ValueError.
    """
    if value.is_meta:
        raise ValueError(f"{name} is on the meta device, which stores no values: expected a tensor on another device")
    if not bool(value.isfinite().all()):
        raise ValueError(f"{name} has entries that are nan or infinite: expected finite values; check its computation")
    return value


@lru_cache(maxsize=256)
def _ends(interval: str) -> tuple[float, float]:
    """The two numbers of an interval, which is read at every step of a solve."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    return low, high


def _words(interval: str, hint: str) -> str:
    low, high = (end.strip() for end in interval[1:-1].split(","))
    if "inf" not in (low.strip("-"), high):
        words = f"a number in {interval}"
    elif high != "inf":
        words = f"a finite number {'<=' if interval[-1] == ']' else '<'} {high}"
    elif low == "-inf":
        words = "a finite number"
    else:
        words = f"a finite number {'>=' if interval[0] == '[' else '>'} {low}"
    return f"{words}; {hint}" if hint else words


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and {value.dtype}"
    return f"{value!r:.60}"
