"""The cost of evaluating a prior and of a backward pass through it, measured on a small picture."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from inverse.costs.work import Counted, timed
from priors import Evaluations, Prior, Tiled

PROBE = 64  # pixels: networks for any size need the same memory per pixel here as for large pictures
TIMED = 0.15  # seconds: largest time of an evaluation and a backward pass that are timed
HALFWAY = torch.tensor(0.5)
DOUBLED = 2.4  # memory of a backward pass that is differentiated over that of an evaluation (cifar10, fashion-mnist)


@dataclass(frozen=True)
class Evaluation:
    """Seconds of one batched evaluation and of one backward pass, and the memory in bytes that they use."""

    seconds: float
    backward: float
    bytes: float


def evaluation(prior: Prior, rows: int, derivative: bool) -> Evaluation:
    """The cost of evaluating a prior at a batch of ``rows`` states, extrapolated from a smaller evaluation.

    The measured evaluation has a smaller picture, if the prior supports one (`ScorePrior.resized`), and a smaller
    batch, so that it takes a fraction of a second. Time is proportional to the number of pixels; tiles
    include their margins, and several processes share them. Memory is that of one evaluation: `priors.Evaluations` lets
    go of the last before the next.
    Arguments: prior; rows (int): batch size; derivative: whether backward passes are included.
    """
    shape = tuple(prior.event_shape)
    pixels = _pixels(prior)
    part, n = _part(prior, PROBE), 1
    least = _timed(part, n, derivative)
    held = _bytes(part, derivative) * _at_once(prior) / math.prod(part.event_shape[1:])
    more = TIMED / sum(least)
    if more > 2:
        side = round(PROBE * more**0.5)
        part = _part(prior, side)
        if part.event_shape == shape:
            n = max(1, min(rows, int(more * PROBE**2 / pixels))) if _sized(prior) else max(1, min(rows, int(more)))
        least = _timed(part, n, derivative)
    times = _share(prior) * rows * pixels / (n * math.prod(part.event_shape[1:]))
    return Evaluation(times * least[0], times * least[1], rows * held)


def activations(prior: Prior) -> int:
    """Bytes that autograd stores for one evaluation at batch size 1: of one tile, if the prior is `Tiled`."""
    part = _part(prior, PROBE)
    if isinstance(part, Tiled):  # it stores nothing and recomputes its activations
        part = part.prior
    weights = {w.untyped_storage().data_ptr() for w in getattr(part, "parameters", tuple)()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        part.denoise_vjp(torch.zeros(1, *part.event_shape, device=part.device), HALFWAY)
    return round(_at_once(prior) / math.prod(part.event_shape[1:]) * sum(kept.values()))


def kept_graphs(prior: Prior, rows: int, graphs: int, doubled: int) -> float:
    """Bytes of the graphs that a method has in memory beside that of an evaluation.

    Arguments: prior; rows: batch size; graphs of evaluations; doubled: of backward passes that are differentiated.
    """
    more = max(0, graphs - 1) + DOUBLED * doubled
    return rows * activations(prior) * more if more else 0.0


def _sized(prior: Prior) -> bool:
    """Whether the prior supports pictures of any size."""
    inner = prior.prior if isinstance(prior, Tiled) else prior
    return inner.least_size is not None


def _part(prior: Prior, side: int) -> Prior:
    """The same prior on a square picture of at most ``side`` pixels, at most its own size or a tile of it."""
    inner, largest = (prior.prior, prior.tile) if isinstance(prior, Tiled) else (prior, side)
    if inner.least_size is None:
        return prior
    side = max(min(side, largest), inner.least_size)
    height, width = prior.event_shape[1:]
    shape = (prior.event_shape[0], min(height, side), min(width, side))
    return Tiled(prior.prior.resized(shape), side) if isinstance(prior, Tiled) else prior.resized(shape)


def _pixels(prior: Prior) -> int:
    """Pixels evaluated for one batch element, including tile margins."""
    sides = prior.event_shape[1:]
    if not isinstance(prior, Tiled):
        return math.prod(sides)
    return math.prod(sum(along.stop - along.start for along, _ in prior.spans(side)) for side in sides)


def _share(prior: Prior) -> float:
    """Of the tiles, those that one process evaluates; 1 without tiles."""
    if not isinstance(prior, Tiled):
        return 1.0
    tiles = len(prior.tiles(*prior.event_shape[1:]))
    return -(-tiles // prior.processes) / tiles


def _at_once(prior: Prior) -> int:
    """Pixels of one batch element that are in memory at once."""
    sides = prior.event_shape[1:]
    if not isinstance(prior, Tiled):
        return math.prod(sides)
    return math.prod(max(along.stop - along.start for along, _ in prior.spans(side)) for side in sides)


@torch.no_grad()
def _timed(prior: Prior, rows: int, derivative: bool) -> tuple[float, float]:
    """Seconds of an evaluation (recorded for autograd if derivatives are needed) and of a backward pass."""
    x = torch.randn(rows, *prior.event_shape, generator=torch.Generator().manual_seed(0)).to(prior.device)
    if not derivative:
        return timed(lambda: prior.denoise(x, HALFWAY), prior.device), 0.0
    denoised, vjp = prior.denoise_vjp(x, HALFWAY)
    backward = timed(lambda: vjp(denoised), prior.device)
    return timed(lambda: prior.denoise_vjp(x, HALFWAY), prior.device), backward


@torch.no_grad()
def _bytes(prior: Prior, derivative: bool) -> int:
    """Bytes in use at once, for one batch element."""
    counter = Evaluations(prior)

    def once() -> None:
        x = torch.zeros(1, *prior.event_shape, device=prior.device)
        if derivative:
            denoised, vjp = counter.denoise_vjp(x, HALFWAY)
            vjp(denoised)
        else:
            counter.denoise(x, HALFWAY)

    with Counted() as counted:
        for _ in range(2):  # as in a solve, beside what is kept of the last
            once()
    return counted.peak
