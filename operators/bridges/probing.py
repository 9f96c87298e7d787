"""What a deepinv physics does, found by applying it to random events of the given shape."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .packing import Packing

Map = Callable[[Any], Any]
REAL, COMPLEX = (torch.float32, torch.float64), (torch.complex64, torch.complex128)


@dataclass(frozen=True)
class Layout:
    """How a physics is called.

    Arguments:
        events, measurements: their layouts.
        batch: B where its parameters are for B measurements; None: they are shared.
        batched: the names of the buffers that have B rows.
        alone: whether it must be applied row by row, because a row depends on the others, or several rows fail.
    """

    events: Packing
    measurements: Packing
    batch: int | None = None
    batched: tuple[str, ...] = ()
    alone: bool = False

    def apply(self, call: Map, x: Tensor, source: Packing, target: Packing) -> Tensor:
        """`call`, which maps deepinv's tensors, as a map of our rows."""
        if source.plain and target.plain:
            return torch.cat([call(row) for row in x.split(1)]) if self.alone and len(x) > 1 else call(x)
        if self.alone and len(x) > 1:
            return torch.cat([self.apply(call, row, source, target) for row in x.split(1)])
        given = source.unpack(x)
        return target.pack(call(tensor_list(given) if source.listed else given)).to(x.dtype)


def tensor_list(parts: list[Tensor]) -> Any:
    from deepinv.utils import TensorList

    return TensorList(parts)


def snapshot(physics: Any, memo: dict[int, Any] | None = None) -> Any:
    """A copy of a physics that later changes of the original do not reach, without its random generators: these cannot
    be copied, and ours draw from their own. An object of another library that cannot be copied, such as the plan of a
    Fourier transform, is shared.

    Arguments:
        physics: the original.
        memo: as of `copy.deepcopy`.
    """
    memo = {} if memo is None else memo
    known = memo | {id(found): None for found in _generators(physics)}
    try:
        memo.update(known)
        return copy.deepcopy(physics, memo).requires_grad_(False)
    except Exception:  # third-party code may raise anything
        shared = {id(found): found for module in physics.modules() for found in _uncopied(module, known)}
        memo.clear()  # of copies in the making
        memo.update(known | shared)
        return copy.deepcopy(physics, memo).requires_grad_(False)


def _uncopied(module: nn.Module, known: dict[int, Any]) -> Iterator[Any]:
    """The attributes of a module that cannot be copied; known: as the memo of `copy.deepcopy`."""
    for name, value in vars(module).items():
        try:
            copy.deepcopy(value, dict(known))
        except Exception:  # third-party code may raise anything
            if name != "_modules":  # whose own attributes are looked at
                yield value


def _generators(physics: Any) -> Iterator[torch.Generator]:
    """The random generators in the attributes of a module, its parts and deepinv's own objects."""
    queue, seen = [physics], set()
    while queue:
        found = queue.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, torch.Generator):
            yield found
        elif isinstance(found, dict):
            queue.extend(found.values())
        elif isinstance(found, list | tuple):
            queue.extend(found)
        elif isinstance(found, nn.Module) or type(found).__module__.startswith("deepinv"):
            queue.extend(getattr(found, "__dict__", {}).values())


def substituted(module: nn.Module, values: dict[str, Tensor]) -> Any:
    """A shallow copy of a module with other buffers, by their full names; the module itself is unchanged."""
    twin = copy.copy(module)
    twin.__dict__["_buffers"] = {name: values.get(name, buffer) for name, buffer in module._buffers.items()}
    twin.__dict__["_modules"] = {
        name: child
        if child is None
        else substituted(child, {k.removeprefix(f"{name}."): v for k, v in values.items() if k.startswith(f"{name}.")})
        for name, child in module._modules.items()
    }
    return twin


def find_layout(physics: Any, event_shape: Any, complex_images: bool | None) -> Layout:
    """The layout of a physics for events of a shape.

    Arguments:
        physics: as `snapshot` makes it.
        event_shape: of one image, or a tuple of shapes where A takes a list.
        complex_images: whether images are complex; None: found by trying.

    Raises:
        ValueError: A fails on such events, with deepinv's error.
    """
    listed = bool(event_shape) and not isinstance(event_shape[0], int)
    shapes = tuple(tuple(shape) for shape in event_shape) if listed else (tuple(event_shape),)
    named = {n: b for n, b in physics.named_buffers() if b.ndim > 1 and len(b) > 1 and not n.startswith("noise_model.")}
    kinds = {None: (REAL[0], COMPLEX[0], REAL[1], COMPLEX[1]), True: COMPLEX, False: REAL}[complex_images]
    said: list[str] = []
    for dtype in kinds:
        events = Packing(shapes, (dtype,) * len(shapes), listed)
        for rows in (1, *sorted({len(b) for b in named.values()})):
            try:
                y = _applied(physics.A, events, _events(events, rows))
            except Exception as error:  # third-party code may raise anything
                said.append(f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}")
                continue
            first = y if isinstance(y, Tensor) else y[0]
            if first.ndim < 2 or len(first) != rows:
                said.append(f"{len(first) if first.ndim else 'no'} rows of measurements for {rows} images")
                continue
            measurements = Packing.of(y)
            if rows > 1:
                return Layout(events, measurements, rows, tuple(n for n, b in named.items() if len(b) == rows))
            return Layout(events, measurements, alone=_alone(physics, events, measurements))
    raise ValueError(
        f"from_deepinv: {type(physics).__name__}.A fails on events of shape {event_shape}: {said[0]}. Give the "
        "event_shape of one image of this physics, without the batch axis; a tuple of shapes where A takes a list"
    )


def _events(events: Packing, rows: int, seed: int = 0) -> Tensor:
    return torch.rand(rows, *events.shape, generator=torch.Generator().manual_seed(seed))


def _applied(call: Map, events: Packing, x: Tensor) -> Any:
    given = events.unpack(x.to(torch.float64) if events.dtypes[0] in (REAL[1], COMPLEX[1]) else x)
    with torch.no_grad():
        return call(tensor_list(given) if events.listed else given)


def _alone(physics: Any, events: Packing, measurements: Packing) -> bool:
    """Whether a row of A depends on the other rows, or several rows fail."""
    x = _events(events, 3)
    try:
        together = measurements.pack(_applied(physics.A, events, x))
        alone = measurements.pack(_applied(physics.A, events, x[1:2]))
        return len(together) != 3 or bool((together[1:2] - alone).norm() > 1e-4 * alone.norm())
    except Exception:  # third-party code may raise anything
        return True


def is_linear(forward: Callable[[Tensor], Tensor], a: Tensor, b: Tensor) -> bool:
    """Whether A(2 a - 3 b) = 2 A(a) - 3 A(b) and A(0) = 0; a, b (N, *E)."""
    with torch.no_grad():
        left, right = forward(2 * a - 3 * b), 2 * forward(a) - 3 * forward(b)
        size = right.norm()
        return bool((left - right).norm() <= 1e-4 * size) and bool(forward(0 * a).norm() <= 1e-5 * size)


def measured(physics: Any, layout: Layout) -> Tensor | None:
    """Where a physics measures, bool (N, *M) or (1, *M); None: everywhere.

    Some physics set the noise to 0 outside their mask, which shows where they measure.
    """
    if hasattr(physics, "physics_list") and layout.measurements.listed:
        return None  # noise models of several physics
    x = layout.events.unpack(_events(layout.events, layout.batch or 1) * 0)
    clean = physics.A(tensor_list(x) if layout.events.listed else x)
    seen = layout.measurements.pack(_noisy(physics, lambda twin: twin.noise(clean * 0))) != 0
    return None if bool(seen.all()) else seen


def adds_noise_last(physics: Any, layout: Layout) -> bool:
    """Whether a measurement is A(x) plus noise: no sensor model after the noise, and no noise before A."""
    x = layout.events.unpack(4 * _events(layout.events, layout.batch or 1))
    x = tensor_list(x) if layout.events.listed else x
    pack = layout.measurements.pack
    if hasattr(physics, "physics_list"):
        return torch.equal(pack(physics.sensor(physics.A(x))), pack(physics.A(x)))
    found = [pack(_noisy(physics, call)) for call in (lambda twin: twin(x), lambda twin: twin.noise(twin.A(x)))]
    return torch.equal(*found)


def _noisy(physics: Any, call: Map) -> Any:
    """What `call` makes of the physics with Gaussian noise of sigma = 1 and always the same seed."""
    from deepinv import physics as theirs

    twin = copy.copy(physics)
    twin.__dict__["_modules"] = dict(physics._modules)
    twin.noise_model = theirs.GaussianNoise(1.0)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return call(twin)
