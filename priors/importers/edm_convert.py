"""Turn a network pickle of EDM into safetensors, once, in a process of its own:

    python -m priors.importers.edm_convert FILE.pkl OUT.safetensors

Those pickles carry source code, which their own loader runs. Here nothing of a pickle runs: `Reader` rebuilds tensors
and plain containers, takes down classes of networks as records of their name and state, and refuses every other name.
"""

import io
import json
import pickle
import sys
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from priors.files import DAMAGED, FileError, atomic, regular
from priors.parsing import sealed

FORMAT = "edm"
ARGUMENTS = "arguments"
RECORDED = ("torch.nn.", "training.", "torch_utils.", "dnnlib.")  # modules whose classes are taken down, not imported
PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
NUMPY = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
DTYPES = {name for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype)}
WHAT = "network pickle of EDM"


class Record(dict):
    """An object of a pickle that was not made: the name of its class, its arguments, items and state."""

    name = ""

    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any):
        record = super().__new__(cls)
        record.arguments, record.state = arguments, {}
        return record

    def __init__(self, *_: Any):
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Reader(pickle.Unpickler):
    """Unpickles tensors, plain containers and records.

    Raises: ValueError, in `find_class`, for every name that is none of these.
    """

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in REBUILT:
            return REBUILT[full]
        if module == "torch" and name in DTYPES:
            return getattr(torch, name)
        if module.startswith(RECORDED) or full in NAMED:
            return type("Record", (Record,), {"name": full})
        raise Refused(full)


class Refused(ValueError):
    """A name that may run code."""


def _tensor(storage: Any, offset: int, size: tuple, stride: tuple, requires_grad: bool = False, *_: Any) -> Tensor:
    if not isinstance(storage, torch.TypedStorage):
        raise ValueError("a tensor without a storage")
    # which refuses sizes out of the storage's bounds
    return torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage, offset, tuple(size), tuple(stride))


def _parameter(data: Tensor, *_: Any) -> Tensor:
    return data


def _storage(content: bytes) -> Any:
    """A storage as torch writes it inside a pickle: a pickle again, which is read with the same care."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _scalar(dtype: Any, content: bytes = b"") -> Any:
    kind = dtype.arguments[0] if isinstance(dtype, Record) and dtype.arguments else None
    if kind not in NUMPY or not isinstance(content, bytes):
        raise ValueError(f"a number of type {kind!r}")
    order = dtype.state[1] if isinstance(dtype.state, tuple) and len(dtype.state) > 1 else "<"
    return np.frombuffer(content, np.dtype(kind).newbyteorder(order if order in ("<", ">") else "<"), 1)[0].item()


REBUILT: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "__builtin__.set": set,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.storage._load_from_bytes": _storage,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
}
NAMED = {
    "numpy.dtype", "numpy.ndarray", "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct",
    "torch.Size", "torch.device",
}  # fmt: skip


def convert(source: str | Path, target: str | Path) -> dict[str, Any]:
    """Write the averaged network of a pickle as safetensors, with the names and arguments of its classes.

    Arguments: source: a .pkl of EDM's release or training; target: a .safetensors path.
    Returns: what is written beside the tensors: the classes of preconditioning and network, and their arguments.
    Raises: FileNotFoundError; ValueError for a damaged file, another content, or one that names anything but tensors
    and networks, of which nothing was run.
    """
    source = regular(source, WHAT)
    try:
        with source.open("rb") as file:
            found = Reader(file).load()
    except Refused as error:
        raise FileError(
            f"{source} names {error}, which may run code, and is not converted: fetch the official file"
        ) from None
    except (*DAMAGED, AttributeError, AssertionError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise FileError(f"{source} is not a readable {WHAT}, or is truncated ({reason}): fetch it again") from None
    outer = found.get("ema") if isinstance(found, dict) else None
    if (precond := _persistent(outer)) is None or (inner := precond[1].get("_modules", {}).get("model")) is None:
        raise FileError(f"{source} has no network under 'ema': expected a {WHAT}")
    if (network := _persistent(inner)) is None:
        raise FileError(f"{source} has a {type(inner).__name__} as the network: expected one of EDM's classes")
    tensors = {name: value.contiguous().clone() for name, value in _tensors(inner, "")}
    named = {part: {"class": name, ARGUMENTS: _plain(state)} for part, (name, state) in
             {"precond": precond, "network": network}.items()}  # fmt: skip
    metadata = {"format": FORMAT, "edm": json.dumps(named, sort_keys=True)}
    with atomic(target) as temporary:
        save_file(tensors, temporary, sealed(tensors, metadata))
    return named


def _persistent(found: Any) -> tuple[str, dict[str, Any]] | None:
    """(Class, attributes) of a record of one of EDM's classes."""
    if not isinstance(found, Record) or found.name != PERSISTENT or len(found.arguments) != 1:
        return None
    meta = found.arguments[0]
    state = meta.get("state") if isinstance(meta, Mapping) else None
    name = meta.get("class_name") if isinstance(meta, Mapping) else None
    return (name, state) if isinstance(name, str) and isinstance(state, dict) else None


def _tensors(found: Any, prefix: str) -> list[tuple[str, Tensor]]:
    """The state dict of a record of a module."""
    persistent = _persistent(found)
    state = persistent[1] if persistent else found.state if isinstance(found, Record) else None
    if not isinstance(state, dict):
        raise FileError(f"{prefix or 'the network'} is a {type(found).__name__}: expected a module")
    own = {**state.get("_parameters", {}), **state.get("_buffers", {})}
    tensors = [(prefix + name, value) for name, value in own.items() if isinstance(value, Tensor)]
    modules = {name: module for name, module in state.get("_modules", {}).items() if module is not None}
    return tensors + [pair for name, module in modules.items() for pair in _tensors(module, f"{prefix}{name}.")]


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of a class that are numbers, texts, or lists of them."""
    found = state.get("_init_kwargs", {})
    return {name: value for name, value in found.items() if _is_plain(value)} if isinstance(found, Mapping) else {}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    if len(arguments) != 2:
        print("usage: python -m priors.importers.edm_convert FILE.pkl OUT.safetensors", file=sys.stderr)
        return 2
    try:
        named = convert(*arguments)
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{arguments[1]}: {named['precond']['class']} with a {named['network']['class']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
