"""Parameters that may differ from measurement to measurement."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from .wording import arguments_of, call


class Batched(nn.Module):
    """A module whose tensors are shared by all measurements or have a leading axis with one entry per measurement.

    Register such tensors with `batched_buffer`; `batch` and `rows` then work for this module and for every `Batched`
    inside it (an operator's noise, the parts of a composition).
    """

    def __init__(self) -> None:
        super().__init__()
        self._event_ndims: dict[str, int] = {}

    def batched_buffer(self, name: str, value: Any, event_ndim: int) -> None:
        """Register a buffer, remembering whether it has a leading axis of measurements.

        Arguments:
            name: attribute name.
            value: anything `torch.as_tensor` takes. With more than `event_ndim` axes, the first is the batch axis
                (one of length 1 is dropped: the value is shared). event_ndim: number of axes that belong to one
                measurement.

        Raises:
            ValueError: more than one axis beyond `event_ndim`.
        """
        value = torch.as_tensor(value)
        if value.is_inference():  # autograd cannot use inference tensors in any mode
            with torch.inference_mode(False):
                value = value.clone()
        if value.ndim > event_ndim + 1:
            raise ValueError(
                f"{type(self).__name__}.{name} has shape {tuple(value.shape)}: expected at most {event_ndim} axes, or "
                f"{event_ndim + 1} with a leading batch axis. Reshape it, or set event_ndim."
            )
        if value.ndim == event_ndim + 1 and value.shape[0] == 1:
            value = value.squeeze(0)
        self.register_buffer(name, value)
        self._event_ndims[name] = event_ndim

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """`.to`, `.double` and the like; of complex buffers part by part, since a real dtype would drop the second.
        Modules of others inside are left to themselves."""
        for child in self.children() if recurse else ():
            child._apply(fn)
        return super()._apply(lambda t: _by_parts(fn, t) if t.is_complex() else fn(t), recurse=False)

    def aligned(self, name: str, x: Tensor) -> Tensor:
        """The buffer `name` in x's dtype, broadcastable to x (N, ...): a batch axis is put opposite x's own."""
        value = getattr(self, name)
        if self._is_batched(name):
            value = value.reshape(value.shape[0], *[1] * (x.ndim - value.ndim), *value.shape[1:])
        if value.ndim > x.ndim or any(
            a != b and 1 not in (a, b) for a, b in zip(value.shape[::-1], x.shape[::-1], strict=False)
        ):
            raise ValueError(
                f"{type(self).__name__}.{name} of shape {tuple(getattr(self, name).shape)} does not broadcast to "
                f"{tuple(x.shape)}: expected the same size on each axis, or 1"
            )
        return value.to(x.dtype)

    @property
    def batch(self) -> int | None:
        """The number of measurements that the parameters are for; None if they are shared by any number.

        Raises:
            ValueError: two parameters are batched to different lengths.
        """
        batched = self._batched_names()
        if not batched:  # at every step of a solve: without the words of a message
            return None
        sizes = [len(getattr(part, name)) for part, name in batched]
        if len(set(sizes)) > 1:
            named = {f"{type(p).__name__}.{name}": size for (p, name), size in zip(batched, sizes, strict=True)}
            raise ValueError(f"parameters have different batch sizes: {named}; expected the same for all")
        return sizes[0]

    def rows(self, index: Tensor) -> Self:
        """This module for rows of measurements `index`: every batched parameter indexed by it, the rest shared.

        Arguments:
            index: (N,) int64, the measurement each row belongs to.

        Raises:
            TypeError: index is not an int64 tensor of one axis.
            ValueError: an entry outside 0..batch-1.
        """
        if not isinstance(index, Tensor) or index.dtype != torch.int64 or index.ndim != 1:
            raise TypeError(
                f"rows: expected a LongTensor (N,) of measurement indices, given {index!r:.80}; e.g. torch.arange(B)"
            )
        batch = self.batch
        if batch is None:
            return self
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < batch:
            raise ValueError(f"rows: measurement indices must be in 0..{batch - 1}, given {index.tolist()[:8]}")
        return shallow(self, index)

    def __repr__(self) -> str:
        return call(type(self).__name__, self._facts())

    def _facts(self) -> dict[str, Any]:
        """What `repr` shows, by name: by default the arguments of its constructor."""
        return arguments_of(self)

    def _is_batched(self, name: str) -> bool:
        return getattr(self, name).ndim > self._event_ndims[name]

    def _batched_names(self) -> list[tuple[Batched, str]]:
        buffers = self._buffers
        found: list[tuple[Batched, str]] = []
        for name, event_ndim in self._event_ndims.items():  # at every step of a solve: buffers need no search
            value = buffers.get(name)
            value = getattr(self, name) if value is None else value
            if value.ndim > event_ndim:
                found.append((self, name))
        for child in _children(self):
            found += child._batched_names()
        return found


def _children(module: nn.Module) -> list[Batched]:
    # Only lists are searched: networks inside an operator are never batched, and are large.
    found: list[Batched] = []
    for child in module._modules.values():  # nn.Module.children also looks for repetitions, at every step of a solve
        if isinstance(child, Batched):
            found.append(child)
        elif isinstance(child, nn.ModuleList):
            found += _children(child)
    return found


def device_of(module: nn.Module) -> torch.device | None:
    """The device of a module's first parameter or, without one, of its first buffer; None without either."""
    first = _first(module, "_parameters")
    first = _first(module, "_buffers") if first is None else first
    return None if first is None else first.device


def _first(module: nn.Module, kind: str) -> Tensor | None:
    """The first of a module's ``_parameters`` or ``_buffers``, its own before its parts': as `nn.Module.parameters`
    has them, in a tenth of the time."""
    for tensor in getattr(module, kind).values():
        if tensor is not None:
            return tensor
    for child in module._modules.values():
        if child is not None and (found := _first(child, kind)) is not None:
            return found
    return None


def shallow(module: Any, index: Tensor | None = None) -> Any:
    """A copy of a `Batched` module and of those inside it that shares every parameter and buffer.

    Arguments:
        module: the module; one that is not `Batched` (nor a list of modules) is shared as it is.
        index: (N,) int64; batched buffers are then indexed by it.
    """
    if not isinstance(module, (Batched, nn.ModuleList)):
        return module
    twin = copy.copy(module)
    twin.__dict__["_modules"] = {name: shallow(child, index) for name, child in module._modules.items()}
    twin.__dict__["_parameters"] = dict(module._parameters)
    twin.__dict__["_buffers"] = dict(module._buffers)
    if index is not None and isinstance(module, Batched):
        for name in filter(module._is_batched, module._event_ndims):
            buffer = getattr(module, name)
            twin._buffers[name] = buffer[index.to(buffer.device)]
    return twin


def _by_parts(fn: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    """fn of the real and imaginary part of a complex tensor.

    Raises: TypeError for a dtype that has no complex one.
    """
    parts = fn(torch.view_as_real(value))
    if parts.dtype not in (torch.float16, torch.float32, torch.float64):
        raise TypeError(f"complex parameters in {parts.dtype}: expected float32 or float64")
    return torch.view_as_complex(parts.contiguous())
