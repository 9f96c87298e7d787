"""Count the work of a computation on a small picture, and scale it to a large one."""

import math
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
PRODUCTS = {"mm", "bmm", "mv", "dot", "addmm", "baddbmm", "addmv"}
# operations whose time is not determined by reading and writing their tensors
DEAR = ("convolution", "_sparse", "sparse", "normal", "uniform", "rand", "sort", "topk", "linalg", "grid_sampler")
MOST = 2**22  # entries of the tensors used to measure the speed of the machine
REPEATS = 2
clock = time.perf_counter  # benchmarks on a shared machine replace it by process time


@dataclass
class Tally:
    """Work by kind: "memory" (bytes read and written), "product" (multiplications of matrix products), "fft" (n log n),
    "timed" (seconds), and the number of products."""

    done: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def less(self, other: "Tally") -> "Tally":
        """The difference."""
        return Tally(defaultdict(float, {kind: work - other.done[kind] for kind, work in self.done.items()}))


class Counted(TorchDispatchMode):
    """A context that counts the work of torch operations inside it, and their memory.

    Attributes: tally; live: bytes in use by tensors created inside; peak: the most of them at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tally, self.peak, self.live = Tally(), 0, 0
        self._known: dict[int, weakref.ref] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """A hook of torch; its default implementation imports the compiler, for seconds, at the first operation."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kind = _kind(func)
        if kind == "view":
            return func(*args, **(kwargs or {}))
        start = clock()
        out = func(*args, **(kwargs or {}))
        took = clock() - start
        given, made = _tensors(args), _tensors((out,))
        before = {tensor.untyped_storage()._cdata for tensor in given if tensor.layout is torch.strided}
        for tensor in made:
            if tensor.layout is not torch.strided:  # sparse ones have no storage
                continue
            storage = tensor.untyped_storage()
            if storage._cdata not in before:
                self._hold(storage)
        if func is aten._fft_c2r.default:  # torch copies what it transforms
            self.peak = max(self.peak, self.live + sum(t.numel() * t.element_size() for t in given))
        done = self.tally.done
        if kind == "product":
            done["product"] += sum(t.numel() for t in made) * given[-2].shape[-1]
            done["products"] += 1
        elif kind == "fft":
            done["fft"] += _fft_work(max(t.numel() for t in (*given, *made)), given[0].shape)
        elif kind == "timed":
            done["timed"] += took
        else:
            done["memory"] += sum(t.numel() * t.element_size() for t in (*given, *made))
        return out

    def _hold(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def gone(_: Any) -> None:
            self.live -= size
            self._known.pop(key, None)

        self._known[key] = weakref.ref(storage, gone)
        self.live += size
        self.peak = max(self.peak, self.live)


@cache
def _kind(func: Any) -> str:
    name = func.overloadpacket.__name__
    if func.is_view or name == "_unsafe_view":
        return "view"
    if name in PRODUCTS:
        return "product"
    return "fft" if name.startswith("_fft") else "timed" if name.startswith(DEAR) else "memory"


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, tuple | list):
            found += _tensors(value)
    return found


def _fft_work(numbers: int, shape: tuple[int, ...]) -> float:
    return numbers * math.log2(max(2, math.prod(shape[-2:])))


def scaled(small: Tally, large: Tally, areas: tuple[int, int], area: int) -> Tally:
    """Extrapolate the work to a picture of ``area`` pixels from that of the same calls on two smaller pictures.

    Formula: memory and times are proportional to the area, Fourier transforms grow with an additional factor log(area).
    Matrix products have a part proportional to the area and one that also grows with the side of the picture; the two
    sizes determine both parts. Iterations may stop earlier on one of the pictures, so products are matched call by
    call; their number is that of the larger picture.
    Arguments: small and large (`Tally`); areas of the two (pixels); area (pixels).
    """
    less, more = areas
    growth = area / more
    done = defaultdict(float, {kind: growth * large.done[kind] for kind in ("memory", "timed")})
    done["fft"] = growth * large.done["fft"] * math.log2(area) / math.log2(more)
    calls = large.done["products"]
    if calls and small.done["products"]:
        a, b = small.done["product"] / small.done["products"] / less, large.done["product"] / calls / more
        rising = min(max(0.0, (b - a) / (more**0.5 - less**0.5)), b / more**0.5)
        done["product"] = calls * area * (b + rising * (area**0.5 - more**0.5))
    return Tally(done)


class Machine:
    """Speed of torch on this machine for pictures of one size.

    Arguments: rows (batch size) and size (H, W) of the pictures; channels; device.
    Attributes: rates: units of `Tally` per second, by kind.
    """

    def __init__(self, shape: tuple[int, ...], rows: int, device: torch.device) -> None:
        channels, height, width = shape
        shrink = min(1.0, (MOST / (channels * height * width * rows)) ** 0.5)
        h, w = max(8, round(height * shrink)), max(8, round(width * shrink))
        x = torch.full((rows, channels, h, w), 0.5, device=device)
        plane = x[:1, :1]
        side = min(h, w, 768)
        square, stack = x.new_full((side, side), 0.5), x.new_full((channels, side, side), 0.5)
        self.rates = {
            "memory": 12 * x.numel() / timed(lambda: x * x.flip(0) if rows > 1 else x * x, device),
            "product": channels * side**3 / timed(lambda: square @ stack, device),
            "fft": 2
            * _fft_work(plane.numel(), plane.shape)
            / timed(lambda: torch.fft.irfft2(torch.fft.rfft2(plane), s=plane.shape[-2:]), device),
            "timed": 1.0,
        }

    def seconds(self, tally: Tally) -> float:
        """Seconds for some work."""
        return sum(max(0.0, tally.done[kind]) / rate for kind, rate in self.rates.items())


def timed(call: Callable[[], object], device: torch.device, repeats: int = REPEATS) -> float:
    """Seconds per call, averaged over a few calls after a first one."""
    call()
    start = clock()
    for _ in range(repeats):
        call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return max((clock() - start) / repeats, 1e-9)
