"""Values in the text of an operator: numbers, words, tuples and files."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inverse.app.arguments import read_mask, read_psf
from priors.arrays import read_npy

FILES = {"masking": "mask", "blur": "kernel"}  # what a picture behind file= is to an operator


def array(name: str, key: str, file: str) -> Tensor:
    """The tensor in the file of an argument: an .npy file, or a picture for a mask or a kernel."""
    if FILES.get(name) == key:
        return read_mask(Path(file)) if name == "masking" else read_psf(Path(file))
    found = torch.from_numpy(read_npy(Path(file), f"array {key}"))
    if found.is_complex():
        return found.to(torch.complex64)
    return found.float() if found.is_floating_point() else found


def value_of(text: str) -> int | float | bool | str | tuple[int | float, ...]:
    """What a text states: true or false, a number, numbers with commas between them, or a word."""
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
    """A value as a text states it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(map(shown, value)) if isinstance(value, tuple | list) else str(value)
