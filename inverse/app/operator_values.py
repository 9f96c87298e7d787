"""Values of --operator: numbers, strings, tuples and files."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inverse.app.arguments import read_mask, read_psf
from priors.arrays import read_npy

FILES = {"masking": "mask", "blur": "kernel"}  # the argument that file= sets from a picture


def array(name: str, key: str, file: str) -> Tensor:
    """The tensor in a file: an .npy file, or a picture for a mask or a kernel."""
    if FILES.get(name) == key:
        return read_mask(Path(file)) if name == "masking" else read_psf(Path(file))
    found = torch.from_numpy(read_npy(Path(file), f"array {key}"))
    if found.is_complex():
        return found.to(torch.complex64)
    return found.float() if found.is_floating_point() else found


def value_of(text: str) -> int | float | bool | str | tuple[int | float, ...]:
    """Parse a value: true or false, a number, comma-separated numbers, or a string."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    parts = [value_of(part) for part in text.split(",")] if "," in text else []
    numbers = tuple(p for p in parts if isinstance(p, int | float) and not isinstance(p, bool))
    return numbers if parts and len(numbers) == len(parts) else text


def shown(value: Any) -> str:
    """A value as written in --operator; a tensor is that of the first measurement of a file."""
    if isinstance(value, Tensor):
        return "the file's, of each measurement"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(map(shown, value)) if isinstance(value, tuple | list) else str(value)
