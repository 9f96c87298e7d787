"""Computations that do not depend on the caller's torch modes (inference, autocast, grad, default device)."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

P = ParamSpec("P")
R = TypeVar("R")


def own_modes(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that its result does not depend on torch's modes at the call.

    It runs outside ``torch.inference_mode`` and ``torch.autocast``, without recording gradients, and creates its
    tensors on the CPU whatever the default device is. It enables gradients itself where it needs them. Tensors that
    were created in inference mode are replaced by copies, in arguments and inside priors and operators.
    Raises: ValueError where an argument requires a gradient in grad mode, because the result has none; and for a tensor
    or prior whose values cannot be read: on the meta device, or inside ``torch.func.vmap``.
    """
    bind = signature(function).bind

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        recorded = torch.is_grad_enabled()
        with ExitStack() as stack:
            for context in _contexts():
                stack.enter_context(context)
            try:
                bound = bind(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # reported by a later check
            for name, value in bound.arguments.items():
                bound.arguments[name] = _ordinary(name, value, function.__name__, recorded)
            return function(*bound.args, **bound.kwargs)

    return wrapped


def _contexts() -> Iterator[Any]:
    yield torch.inference_mode(False)
    yield torch.no_grad()
    for device in ("cpu", "cuda", "mps", "xpu"):
        if torch.is_autocast_enabled(device):
            yield torch.autocast(device, enabled=False)
    if torch.get_default_device().type != "cpu":
        yield torch.device("cpu")


def _ordinary(name: str, value: Any, function: str, recorded: bool) -> Any:
    """An argument, checked and copied where necessary."""
    if isinstance(value, Tensor):
        if recorded and value.requires_grad:
            raise ValueError(
                f"{name} requires a gradient, {function} is not differentiable: pass {name}.detach(), or call under "
                "torch.no_grad()"
            )
        _check_readable(name, value, function)
        if value.is_inference():
            return value.clone()
        # the same object if possible: `Evaluations` caches by identity
        return value.detach() if value.requires_grad else value
    device = getattr(value, "device", None)
    if isinstance(device, torch.device) and device.type == "meta":
        raise ValueError(f"{name} is on the meta device, without values: load its weights on another device")
    release(value)
    return value


def _check_readable(name: str, value: Tensor, function: str) -> None:
    try:
        value.detach().flatten()[:1].tolist()
    except (RuntimeError, NotImplementedError) as error:
        raise ValueError(
            f"{name}, on {value.device}, has no values here (the meta device, torch.func.vmap, or "
            f"another transform): pass an ordinary tensor, such as {name}.to('cpu'), and call {function} "
            "once on the whole batch"
        ) from error


def release(holder: Any) -> None:
    """Replace tensors that were created in inference mode by ordinary ones of the same values, since autograd refuses
    them.

    Arguments: holder: a prior, an operator or a network, changed in place; or a wrapper of one, in its ``prior``.
    """
    made: dict[int, Tensor] = {}  # shared weights stay shared
    with torch.inference_mode(False), torch.no_grad():
        for module in holder.modules() if isinstance(holder, nn.Module) else ():
            for held in (module._parameters, module._buffers, vars(module)):
                _release(held, made)
        if not isinstance(holder, type) and hasattr(holder, "__dict__"):
            _release(vars(holder), made)
    inner = getattr(holder, "prior", None)
    if inner is not None and inner is not holder:
        release(inner)


def _release(held: dict[str, Any], made: dict[int, Tensor]) -> None:
    for name, value in held.items():
        if isinstance(value, Tensor) and value.is_inference():
            if id(value) not in made:
                copied = value.clone()
                weight = isinstance(value, nn.Parameter)
                made[id(value)] = nn.Parameter(copied, value.requires_grad) if weight else copied
            held[name] = made[id(value)]
