"""What an evaluation of a prior costs, and a backward pass through it: measured on a small picture."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from inverse.costs.work import Counted, timed
from priors import Evaluations, Prior, Tiled

PROBE = 64  # pixels: a network of any size keeps as much per pixel of this picture as of a large one
TIMED = 0.15  # seconds that an evaluation and a backward pass may take together, where they are timed
HALFWAY = torch.tensor(0.5)


@dataclass(frozen=True)
class Evaluation:
    """Seconds of one evaluation of some rows and of one backward pass, and the bytes that are alive in them."""

    seconds: float
    backward: float
    bytes: float


def evaluation(prior: Prior, rows: int, derivative: bool) -> Evaluation:
    """The cost of evaluating a prior at ``rows`` states, from that of a part of them.

    The part is a smaller picture, where the prior serves one (`ScorePrior.resized`), and fewer rows: as much as takes a
    fraction of a second. All are as much longer as they have more pixels; tiles are counted with their margins. The
    bytes are those of two evaluations, of which one is kept while the next is made, as `priors.Evaluations` does.
    Arguments: prior; rows (int); derivative: whether backward passes are made too.
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
    times = rows * pixels / (n * math.prod(part.event_shape[1:]))
    return Evaluation(times * least[0], times * least[1], rows * held)


def activations(prior: Prior) -> int:
    """Bytes that autograd keeps of one evaluation of one row: of one tile, of a prior that is `Tiled`."""
    part = _part(prior, PROBE)
    if isinstance(part, Tiled):  # it keeps nothing but makes them again
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


def _sized(prior: Prior) -> bool:
    """Whether it serves pictures of any size."""
    inner = prior.prior if isinstance(prior, Tiled) else prior
    return inner.least_size is not None


def _part(prior: Prior, side: int) -> Prior:
    """The same prior on a square picture of at most ``side`` pixels, no larger than its own or a tile of it."""
    inner, largest = (prior.prior, prior.tile) if isinstance(prior, Tiled) else (prior, side)
    if inner.least_size is None:
        return prior
    side = max(min(side, largest), inner.least_size)
    height, width = prior.event_shape[1:]
    shape = (prior.event_shape[0], min(height, side), min(width, side))
    return Tiled(prior.prior.resized(shape), side) if isinstance(prior, Tiled) else prior.resized(shape)


def _pixels(prior: Prior) -> int:
    """Of all that is evaluated for one row."""
    sides = prior.event_shape[1:]
    if not isinstance(prior, Tiled):
        return math.prod(sides)
    return math.prod(sum(along.stop - along.start for along, _ in prior.spans(side)) for side in sides)


def _at_once(prior: Prior) -> int:
    """Pixels of one row that are in memory at once."""
    sides = prior.event_shape[1:]
    if not isinstance(prior, Tiled):
        return math.prod(sides)
    return math.prod(max(along.stop - along.start for along, _ in prior.spans(side)) for side in sides)


@torch.no_grad()
def _timed(prior: Prior, rows: int, derivative: bool) -> tuple[float, float]:
    """Seconds of an evaluation, recorded where derivatives are asked for, and of a backward pass."""
    x = torch.randn(rows, *prior.event_shape, generator=torch.Generator().manual_seed(0)).to(prior.device)
    if not derivative:
        return timed(lambda: prior.denoise(x, HALFWAY), prior.device), 0.0
    denoised, vjp = prior.denoise_vjp(x, HALFWAY)
    backward = timed(lambda: vjp(denoised), prior.device)
    return timed(lambda: prior.denoise_vjp(x, HALFWAY), prior.device), backward


@torch.no_grad()
def _bytes(prior: Prior, derivative: bool) -> int:
    """Alive at once, of one row."""
    counter = Evaluations(prior)
    with Counted() as counted:
        for _ in range(2):
            x = torch.zeros(1, *prior.event_shape, device=prior.device)
            if derivative:
                denoised, vjp = counter.denoise_vjp(x, HALFWAY)
                vjp(denoised)
            else:
                counter.denoise(x, HALFWAY)
    return counted.peak
