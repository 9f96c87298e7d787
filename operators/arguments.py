"""Checks of arguments: a bad one is refused by name, where it is given.

Each check returns the value, and raises TypeError for another type and ValueError for another value. A bool is not a
number: ``True`` for a width or a count is a mistake. numpy scalars and 0-d tensors are numbers. (`priors.arguments` has
    the same checks: neither package imports the other.)
"""

import math
from collections.abc import Collection, Sequence
from functools import lru_cache
from numbers import Integral, Real
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


def shape(name: str, value: Any) -> tuple[int, ...]:
    """A shape of at least one axis, all of at least one entry.

    Raises: TypeError if it is not a sequence of integers; ValueError if it is empty or has an entry below 1.
    """
    if type(value) is tuple and value and all(type(size) is int and 1 <= size <= MOST for size in value):
        return value  # at every step of a solve: without the words of a message
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"{name} = {_shown(value)}: expected a tuple of integers such as (1, 28, 28)")
    if len(value) == 0:
        raise ValueError(f"{name} = {_shown(value)}: expected at least one axis, such as (1, 28, 28)")
    return tuple(count(f"{name} = {_shown(value)}, an entry", size) for size in value)


def rows(name: str, x: Any, what: str) -> Tensor:
    """A batch of real floating-point values, (N, *E) or (N, *M); its values are not checked.

    Arguments: name, which ends in that of the variable; x; what: "event" or "measurement".
    Raises: TypeError for anything else; ValueError for too few axes, or an empty batch.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        given, variable = x.dtype if isinstance(x, Tensor) else type(x).__name__, name.rpartition(" ")[2]
        stacked = f"torch.stack(({variable}.real, {variable}.imag), -3) makes two channels of the two parts"
        remedy = f"convert it with torch.as_tensor({variable}).float()"
        remedy = stacked if isinstance(x, Tensor) and x.is_complex() else remedy
        raise TypeError(f"{name} must be a floating tensor, given {given}; {remedy}")
    if x.ndim < 2 or len(x) == 0:
        raise ValueError(
            f"{name}: expected shape (N, *{what}) with N >= 1, given {tuple(x.shape)}; x[None] adds the axis"
        )
    return x


def variance(name: str, value: Any, n: int) -> Tensor | float:
    """A variance, or one for each of n batch elements: finite and >= 0.

    Raises: TypeError if it is not a number or floating tensor; ValueError for a negative number, nan, infinity or a
    shape other than (n,).
    """
    if not isinstance(value, Tensor) or value.ndim == 0:
        number(name, value, "[0, inf)", "it is a variance")
        return value
    if not value.is_floating_point():
        raise TypeError(f"{name} of {value.dtype}: expected floating-point values")
    if value.shape != (n,) or not bool(((value >= 0) & value.isfinite()).all()):
        raise ValueError(
            f"{name} of shape {tuple(value.shape)}: expected a number, or a tensor ({n},), finite and >= 0; it is a "
            "variance"
        )
    return value


def tensor(name: str, value: Any, complex_: bool = False) -> Tensor:
    """A parameter as a floating tensor without nan and infinity, from anything `torch.as_tensor` takes; not empty.

    Arguments: name; value: a tensor, an array, nested lists or a number; complex_: whether it may be complex.
    Raises: TypeError if it is not a tensor of numbers, or is complex; ValueError if it is empty or not finite.
    """
    try:
        made = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} = {_shown(value)}: expected a tensor, an array or nested lists of numbers") from None
    if made.dtype == torch.bool or (made.is_complex() and not complex_):
        kinds = "real or complex" if complex_ else "real"
        raise TypeError(f"{name} of {made.dtype}: expected {kinds} values; convert bools with .float()")
    made = made if made.is_floating_point() or made.is_complex() else made.float()
    _has_values(name, made)
    if made.numel() == 0 or not bool(made.isfinite().all()):
        given = f"shape {tuple(made.shape)}" if made.numel() != 1 else str(made.item())
        raise ValueError(f"{name} must be finite and not empty, given {given}; check its computation")
    return made


def picture(name: str, measurement_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """A measurement's shape (C, H, W).

    Raises: ValueError for another number of axes.
    """
    if len(measurement_shape) != 3:
        raise ValueError(f"{name}: expected measurements (N, C, H, W), given (N, *{tuple(measurement_shape)})")
    channels, height, width = measurement_shape
    return channels, height, width


def mask(name: str, value: Any) -> Tensor:
    """A bool tensor, from bools or numbers that are 0 or 1, 1 where something was measured; not empty.

    Raises: TypeError if it is not a tensor; ValueError for other numbers, or an empty one.
    """
    try:
        made = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} = {_shown(value)}: expected a tensor, an array or nested lists of 0 and 1") from None
    if made.is_complex():
        raise TypeError(f"{name} of {made.dtype}: expected bools, or values 0 and 1")
    _has_values(name, made)
    if made.numel() == 0 or not bool(((made == 0) | (made == 1)).all()):
        raise ValueError(
            f"{name}: expected a non-empty mask of 0 and 1 (1 where measured), given shape {tuple(made.shape)}; "
            "threshold it first, e.g. mask > 0.5"
        )
    return made.bool()


def _has_values(name: str, value: Tensor) -> None:
    if value.is_meta:
        raise ValueError(f"{name} is on the meta device, which stores no values: expected a tensor on another device")


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
