"""Tensors of other people's files: pickles of torch under `weights_only`, safetensors, and npz."""

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from priors.files import DAMAGED, regular
from priors.parsing import opened_npz, read_tensors

# The globals of a pickled numpy float, such as an optimizer's learning rate, under old and new names
NUMPY_FLOAT = [
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    np.dtype,
    type(np.dtype(np.float64)),
]
NESTED = ("state_dict", "params_ema", "params", "model")  # where training code puts a network's tensors


def unpickled(path: Path) -> Any:
    """What a torch file holds: tensors, plain containers and numpy floats. Nothing else is unpickled.

    Raises: FileNotFoundError; ValueError for a file that is damaged, of another kind, or would run code.
    """
    try:
        with torch.serialization.safe_globals(NUMPY_FLOAT):
            # mapped, so that what is not used, such as an optimizer's moments, is not read
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        # torch's own message recommends unsafe loading
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise ValueError(
            f"{path} is no pickle of tensors and numbers alone, and is not opened: it "
            f"{f'names {named[1]}, which may run code' if named else 'may be damaged'}; fetch the official file"
        ) from None
    except (*DAMAGED, AttributeError, AssertionError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(
            f"{path} is not a readable torch file ({reason}): it is truncated or of another kind; fetch it again"
        ) from None


def is_tensors(found: object) -> bool:
    """Whether this is a dict of named tensors."""
    return isinstance(found, dict) and len(found) > 0 and all(isinstance(value, Tensor) for value in found.values())


def state_dict(path: str | Path, what: str) -> dict[str, Tensor]:
    """The named tensors of a network, from a torch pickle (.pt, .pth), a safetensors file or an npz of arrays.

    Arguments: path; what is expected there, for the message. A dict under one of `NESTED` and the prefix "module." of
    parallel training are unwrapped.
    Raises: FileNotFoundError; ValueError as `unpickled`, and for a file without such a dict.
    """
    path = regular(path, what)
    if path.suffix == ".safetensors":
        return read_tensors(path, what)
    if path.suffix == ".npz":
        with opened_npz(path, what) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    found = unpickled(path)
    if isinstance(found, dict) and not is_tensors(found):
        found = next((found[name] for name in NESTED if is_tensors(found.get(name))), found)
    if not is_tensors(found):
        given = f"a dict of {sorted(map(str, found))[:8]}" if isinstance(found, dict) else f"a {type(found).__name__}"
        raise ValueError(f"{path} has {given}: expected the named tensors of a {what}; fetch the official file")
    return {name.removeprefix("module."): value for name, value in found.items()}


def fill(network: nn.Module, weights: Mapping[str, Tensor], path: str | Path, what: str) -> nn.Module:
    """The network with these weights, in evaluation mode and without parameter gradients.

    Raises: ValueError that counts and names what is missing, unknown, or of another shape.
    """
    expected = network.state_dict()
    lists = {
        "missing": [name for name in expected if name not in weights],
        "unknown": [name for name in weights if name not in expected],
        "of another shape": [
            f"{name}, {tuple(weights[name].shape)} for {tuple(value.shape)}"
            for name, value in expected.items()
            if name in weights and weights[name].shape != value.shape
        ],
    }
    if problems := [f"{len(names)} tensors {kind}, the first {names[0]}" for kind, names in lists.items() if names]:
        raise ValueError(f"{path} is not a {what} as expected: {'; '.join(problems)}")
    network.load_state_dict(dict(weights))
    return network.eval().requires_grad_(False)


class Uninitialised(TorchFunctionMode):
    """Skip random initialisation, for networks whose weights are loaded or irrelevant."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))
