"""Methods as plain data, for the keys of resumable work."""

from dataclasses import fields, is_dataclass
from typing import Any


def composition(part: Any) -> Any:
    """What a method is composed of, as plain data for a key: the same in every process, and independent of its `repr`.

    Arguments: part: a `Sampler` such as a `Method`, or anything in one.
    """
    if is_dataclass(part):
        return type(part).__name__, [(field.name, composition(getattr(part, field.name))) for field in fields(part)]
    if isinstance(part, tuple | list):
        return [composition(each) for each in part]
    named = getattr(part, "__qualname__", None)  # of functions, such as grids, whose repr has an address
    return repr(part) if named is None and type(part).__repr__ is not object.__repr__ else named or type(part).__name__
