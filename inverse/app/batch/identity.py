"""What the results of a batch depend on, as plain data: the same in every process."""

import json
from dataclasses import fields, is_dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from priors.files import digest
from priors.hdf5 import checksum

__all__ = ["digest", "of", "of_tensors"]

STORED = ("_parameters", "_buffers", "_modules")  # where torch's modules keep what they are made of
SKIPPED = {"training"}


def of_tensors(tensors: dict[str, Tensor]) -> str:
    """A digest of tensors by name: dtypes, shapes and values."""
    return checksum({}, {name: _numbers(value) for name, value in tensors.items()})[:16]


def of(thing: Any) -> Any:
    """What a prior, an operator or a setting is made of, as plain data.

    Formula: tensors by their SHA-256, objects by the name of their class and their public attributes, modules by their
    parameters, buffers and modules too, functions by their name. Values that are cached are no part of it.
    """
    return _plain(thing, ())


def _plain(thing: Any, above: tuple[int, ...]) -> Any:
    if thing is None or isinstance(thing, bool | int | str):
        return thing
    if isinstance(thing, float):
        return repr(thing)
    if isinstance(thing, Tensor | np.ndarray):
        return of_tensors({"": torch.as_tensor(thing)})
    if isinstance(thing, torch.dtype | torch.device | PurePath):
        return str(thing)
    if id(thing) in above:  # an object that contains itself
        return "above"
    above = (*above, id(thing))
    if isinstance(thing, list | tuple):
        return [_plain(each, above) for each in thing]
    if isinstance(thing, set | frozenset):
        return sorted(json.dumps(_plain(each, above), sort_keys=True) for each in thing)
    if isinstance(thing, dict):
        return {str(name): _plain(value, above) for name, value in thing.items()}
    if isinstance(thing, type):
        return f"{thing.__module__}.{thing.__qualname__}"
    named = getattr(thing, "__qualname__", None)  # of functions, whose repr has an address
    if named is not None:
        return named
    kind = type(thing)
    found = _attributes(thing)
    return [f"{kind.__module__}.{kind.__qualname__}", {name: _plain(value, above) for name, value in found.items()}]


def _attributes(thing: Any) -> dict[str, Any]:
    if is_dataclass(thing):
        return {field.name: getattr(thing, field.name) for field in fields(thing)}
    kind, held = type(thing), getattr(thing, "__dict__", {})
    kept = {n: v for n, v in held.items() if not n.startswith("_") and n not in SKIPPED}
    kept = {n: v for n, v in kept.items() if not isinstance(getattr(kind, n, None), cached_property)}
    if isinstance(thing, nn.Module):
        kept |= {name: held[name] for name in STORED}
    return kept


def _numbers(value: Tensor) -> np.ndarray:
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).contiguous().numpy()  # numpy has no bfloat16
