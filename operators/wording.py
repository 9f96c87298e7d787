"""The `repr` of objects: one line, scalars in full and tensors by their shape. (As `priors.wording`.)"""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

FEW = 4  # tensors of at most this many entries are shown in full


def shown(value: Any) -> str:
    """A short text for a value: small tensors in full, others as <(shape)>, masks as <part of (shape)>."""
    if isinstance(value, Tensor):
        return _tensor(value.detach())
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, nn.Module) and type(value).__repr__ is nn.Module.__repr__:
        return f"<{type(value).__name__}, {sum(p.numel() for p in value.parameters()):,} parameters>"
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__)
    text = repr(value)
    return f"{type(value).__name__}()" if " object at 0x" in text or len(text) > 500 else text


def _tensor(value: Tensor) -> str:
    shape = tuple(value.shape)
    if value.is_meta or value.numel() == 0:
        return f"<{shape}>"
    if value.dtype.is_floating_point and value.ndim < 2 and value.numel() <= FEW:
        numbers = [f"{number:.6g}" for number in value.reshape(-1).tolist()]
        return f"[{', '.join(numbers)}]" if value.ndim else numbers[0]
    return f"<{100 * value.float().mean():.4g} % of {shape}>" if value.dtype.itemsize == 1 else f"<{shape}>"


def arguments_of(thing: nn.Module) -> dict[str, Any]:
    """The arguments of a module's constructor that it stores under their own names, in order, except None.

    Properties are not evaluated.
    """
    kept = {**vars(thing), **thing._buffers, **thing._parameters, **thing._modules}
    names = [name for name in inspect.signature(type(thing).__init__).parameters if name in kept]
    return {name: kept[name] for name in names if kept[name] is not None}


def call(name: str, facts: dict[str, Any]) -> str:
    """Name(fact=..., ...)."""
    return f"{name}({', '.join(f'{fact}={shown(value)}' for fact, value in facts.items())})"
