"""A pretend device: tensors that report the device "pretend:0", compute on the CPU, and refuse to be mixed with tensors
of the CPU, as those of a GPU do. Code that runs under it moves what it makes to where its arguments are."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend


class Backend(_DummyBackendModule):
    """What torch asks a device for. It has no random numbers of its own."""

    def get_rng_state(self, device: Any = None) -> Tensor:
        return torch.empty(0, dtype=torch.uint8)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        pass


_setup_privateuseone_for_python_backend("pretend", Backend())
RECORDER: Any = None  # of `tests.pretend_coverage`: what runs on the device
DEVICE = torch.device("pretend:0")
aten = torch.ops.aten
MAKERS = {torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor}
MOVES = {aten._to_copy.default, aten.copy_.default, aten._copy_from.default}  # between devices
# views whose bit "conjugate" or "negative" is not seen at the level of `compute`
RESOLVED = {aten._conj.default: torch.conj_physical, aten._neg_view.default: torch.neg}
INDEXED = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default}


class Pretend(Tensor):
    """A tensor on the pretend device, around one on the CPU (`held`)."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor):
        kind = {"dtype": held.dtype, "device": DEVICE, "layout": held.layout, "requires_grad": held.requires_grad}
        if held.layout is torch.strided:
            kind |= {"strides": held.stride(), "storage_offset": held.storage_offset()}
        made = Tensor._make_wrapper_subclass(cls, held.shape, **kind)
        made.held = held
        return made

    def __repr__(self, **_: Any) -> str:
        return f"pretend({self.held!r})"

    def __format__(self, spec: str) -> str:  # torch's is for its own class alone
        return format(self.item(), spec) if self.ndim == 0 else format(repr(self), spec)

    def tolist(self) -> Any:  # torch has none for subclasses
        return self.held.tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError(f"can't convert {DEVICE} type tensor to numpy: use Tensor.cpu() first")

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.numpy()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


class Mode(TorchDispatchMode):
    """Makes tensors on the pretend device where one is asked for."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and torch's wrapper takes longer than many an operation

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


class Makers(TorchFunctionMode):
    """`torch.tensor` and what is like it copy their data to a device below the level at which `Mode` looks."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if func is Tensor.new_tensor and device is None:
            device = args[0].device
        if func in MAKERS and device is not None and torch.device(device).type == DEVICE.type:
            return func(*args, **kwargs | {"device": "cpu"}).to(device)
        return func(*args, **kwargs)


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation on the CPU; its result is where its arguments are, or where ``device`` says.

    Raises: RuntimeError for arguments on both devices, but for numbers (0-d) and indices.
    """
    flat: list[Tensor] = []
    plain_args = tuple([unwrapped(x, flat) for x in args])
    plain_kwargs = {name: unwrapped(x, flat) for name, x in kwargs.items()}
    here = any(isinstance(x, Pretend) for x in flat)
    device = kwargs.get("device")
    if here and func not in MOVES:
        checked = flat[:1] + flat[2:] if func in INDEXED else flat
        if any(not isinstance(x, Pretend) and x.ndim > 0 for x in checked):
            raise RuntimeError(
                f"{func}: tensors on {DEVICE} and on cpu: {[(tuple(x.shape), str(x.device)) for x in flat]}"
            )
    there = here if device is None else torch.device(device).type == DEVICE.type
    if device is not None and there:
        plain_kwargs["device"] = torch.device("cpu")
    if func is aten.copy_.default:
        there = isinstance(args[0], Pretend)
    if here and func in RESOLVED:
        return Pretend(RESOLVED[func](*plain_args))
    out = func(*plain_args, **plain_kwargs)
    if not there:
        return out
    out = wrapped(out)
    return return_and_correct_aliasing(func, args, kwargs, out) if here else out


def unwrapped(x: Any, found: list[Tensor]) -> Any:
    """An argument on the CPU; its tensors are added to those found. Far faster than torch's maps of trees."""
    if isinstance(x, Tensor):
        found.append(x)
        return x.held if isinstance(x, Pretend) else x
    return type(x)([unwrapped(part, found) for part in x]) if type(x) in (list, tuple) else x


def wrapped(x: Any) -> Any:
    """A result on the pretend device."""
    if isinstance(x, Tensor):
        return Pretend(x)
    return type(x)([wrapped(part) for part in x]) if type(x) in (list, tuple) else x


@contextmanager
def pretended() -> Iterator[torch.device]:
    """The pretend device, which exists within the block."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a tensor's `held` does not follow its `data`
    try:
        with Makers(), Mode():
            if RECORDER:
                sys.settrace(RECORDER)
            yield DEVICE
    finally:
        if RECORDER:
            sys.settrace(None)
        torch.__future__.set_overwrite_module_params_on_conversion(before)
