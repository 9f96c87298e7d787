"""The `repr` of objects: one line, scalars in full and tensors by their shape."""

from dataclasses import MISSING, Field, fields
from typing import Any, ClassVar

from torch import Tensor, nn

FEW = 4  # tensors of at most this many entries are shown in full


def shown(value: Any) -> str:
    """A short text for a value: small tensors in full, others as <(shape)>, a long list as how many entries it
    has, a network as how many parameters."""
    if isinstance(value, Tensor):
        if value.is_meta or value.is_complex() or value.ndim > 1 or not 0 < value.numel() <= FEW:
            return f"<{tuple(value.shape)}>"
        numbers = [f"{number:.6g}" for number in value.detach().reshape(-1).tolist()]
        return f"[{', '.join(numbers)}]" if value.ndim else numbers[0]
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, nn.Module) and type(value).__repr__ is nn.Module.__repr__:
        return f"<{type(value).__name__}, {sum(p.numel() for p in value.parameters()):,} parameters>"
    if isinstance(value, list | tuple):
        long = len(value) > 8 or any(isinstance(entry, Tensor) for entry in value)
        entries = ", ".join(map(shown, value)) + "," * (isinstance(value, tuple) and len(value) == 1)
        return f"<{len(value)} entries>" if long else f"[{entries}]" if isinstance(value, list) else f"({entries})"
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__)
    text = repr(value)
    return f"{type(value).__name__}()" if " object at 0x" in text or len(text) > 500 else text


def call(name: str, facts: dict[str, Any]) -> str:
    """Name(fact=..., ...)."""
    return f"{name}({', '.join(f'{fact}={shown(value)}' for fact, value in facts.items())})"


class Concise:
    """A dataclass (with repr=False) whose `repr` omits default values and shows tensors by their shape."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]  # a class that has it must be a dataclass

    def __repr__(self) -> str:
        kept = {}
        for field in fields(self):
            value = getattr(self, field.name)
            default = field.default if field.default_factory is MISSING else field.default_factory()
            same = not isinstance(value, Tensor) and default is not MISSING and bool(value == default)
            if field.repr and not same:
                kept[field.name] = value
        return call(type(self).__name__, kept)
