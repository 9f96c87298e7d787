"""A cheap trial solve: with a stand-in for the prior, and on a small picture in place of a large one."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverse.costs import work
from inverse.methods import Sampler
from operators import Operator
from operators.batching import Batched, shallow
from operators.kept import Kept
from priors import Evaluations, Prior, RowRNG, Tiled
from priors.base import VJP, Wrapped, expand

AREA, LARGE = 32**2, 128**2  # pixels: of the smaller small picture, and up to which a picture is taken as it is
UNITS = (8, 12, 20)  # of which sides are multiples, so that they divide as the picture's own do
ALIKE = 0.3  # by how much the numbers measured per pixel may differ
LIMIT, SHORT = 0.3, 2  # seconds, after which the rest of the steps are taken to be as those before; steps
UNSERVED = (ValueError, TypeError, RuntimeError, IndexError)  # what operators raise on pictures that they do not serve


class Alive:
    """How many graphs of a kind are in memory, and the most of them at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def watch(self, result: Tensor) -> Tensor:
        """Count the graph that a tensor has, if it has one, until it is let go."""
        graph: Any = result.grad_fn
        if graph is not None:
            graph.metadata["alive"] = _Token(self)
        return result


class _Token:
    def __init__(self, of: Alive) -> None:
        self.of = of
        of.now += 1
        of.most = max(of.most, of.now)

    def __del__(self) -> None:
        self.of.now -= 1


class StandIn(Wrapped):
    """Nearly a Gaussian in place of a prior: of its shape and noising, its coordinates independent.

    Their variances are unlike, a hundredth of the prior's to all of it, so that iterations which end early on a simple
    law do not; and the denoiser is slightly bent, so that a derivative of its derivative exists and is counted.
    Arguments: prior; on_call: called before every evaluation.
    Attributes: graphs: of evaluations; doubled: of backward passes that a method differentiates.
    """

    same_law = False

    def __init__(self, prior: Prior, on_call: Callable[[], None] = lambda: None) -> None:
        super().__init__(prior)
        drawn = torch.rand(prior.event_shape, generator=torch.Generator().manual_seed(0))
        self.variances, self.on_call = (prior.variance * 10 ** (-2 * drawn)).to(prior.device), on_call
        self.graphs, self.doubled = Alive(), Alive()

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        self.on_call()
        alpha, sigma = expand(self.sde.alpha(t), x), expand(self.sde.sigma(t), x)
        variances = self.variances.to(x.dtype)
        gain = (alpha**2 * variances).add_(sigma**2).reciprocal_().mul_(variances).mul_(alpha)
        # in place: the memory that is counted is the method's
        return self.graphs.watch(x.sin().mul_(0.01).add_(x).mul_(gain))

    def denoise_vjp(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, VJP]:
        denoised, vjp = super().denoise_vjp(x, t)
        return denoised, lambda v: self.doubled.watch(vjp(v))


@dataclass(frozen=True)
class Scene:
    """What is solved: prior, operator and y (1, *M) of one measurement."""

    prior: Prior
    operator: Operator
    y: Tensor

    @property
    def area(self) -> int:
        """Pixels, of an event that is a picture."""
        return math.prod(self.prior.event_shape[1:])


@dataclass(frozen=True)
class Counts:
    """nfe and nvjp of a solve, per row, the seconds of all that is not the prior, and the most bytes of tensors in use,
    at any time of the first steps and when an evaluation starts; graphs, doubled: the most graphs of evaluations, and
    of backward passes that are differentiated, at once."""

    nfe: int
    nvjp: int
    seconds: float
    peak: int
    beside: int
    graphs: int = 0
    doubled: int = 0


class _Enough(Exception):
    pass


def counts(scene: Scene, method: Sampler, n_steps: int, rows: int, seed: int = 0) -> Counts:
    """What all steps cost with a stand-in for the prior.

    A solve of few steps comes first. If it is quick, all steps are walked, for a fraction of a second: each remaining
    step is assumed to cost as much as the last ones, and the end as much as that of the short solve. If it is slow, as
    of volumes, it is extrapolated itself, by its later steps: the first one includes the start, which may take as long
    as many of them.
    """
    with work.Counted() as seen:
        beside: list[int] = []
        stand_in = StandIn(scene.prior, lambda: beside.append(seen.live))
        walked = _walked(scene, method, min(n_steps, SHORT), rows, seed, math.inf, stand_in)
    marks, total = walked
    assert total is not None
    memory = seen.peak, max(beside, default=0), stand_in.graphs.most, stand_in.doubled.most
    end = [after - before for after, before in zip(total, marks[-1], strict=True)]
    if total[2] < LIMIT:
        marks, whole = _walked(scene, method, n_steps, rows, seed, LIMIT, StandIn(scene.prior))
        if whole is not None:
            return Counts(round(whole[0]), round(whole[1]), whole[2], *memory)
    first = marks[0] if len(marks) > 1 else (0, 0, 0.0)
    each = [(last - before) / max(1, len(marks) - 1) for last, before in zip(marks[-1], first, strict=True)]
    ahead = method.steps(scene.prior, n_steps) - len(marks)
    nfe, nvjp, seconds = (last + ahead * a + e for last, a, e in zip(marks[-1], each, end, strict=True))
    return Counts(round(nfe), round(nvjp), seconds, *memory)


def _walked(
    scene: Scene,
    method: Sampler,
    n_steps: int,
    rows: int,
    seed: int,
    limit: float,
    stand_in: StandIn,
) -> tuple[list[tuple[float, ...]], tuple[float, ...] | None]:
    """nfe, nvjp and seconds after every step, and at the end, or None where the limit (seconds) comes first."""
    counter = Evaluations(stand_in, rows)
    index = torch.zeros(rows, dtype=torch.long)
    start, marks = work.clock(), []

    def on_step() -> None:
        marks.append((counter.nfe, counter.nvjp, work.clock() - start))
        if marks[-1][2] > limit:
            raise _Enough

    rng = RowRNG(seed, [(0, k) for k in range(rows)], device=str(scene.prior.device))
    given = (scene.operator.rows(index), scene.y.expand(rows, *scene.y.shape[1:]))
    try:
        method.carry(counter, *given, rng, rows, n_steps, on_step)
    except _Enough:
        return marks, None
    return marks, (counter.nfe, counter.nvjp, work.clock() - start)


def smaller(scene: Scene) -> list[Scene]:
    """The same problem on two small pictures, the second of twice the sides; none where the picture is small itself, or
    prior or operator serve no other size."""
    shape = scene.prior.event_shape
    if len(shape) != 3 or scene.area <= LARGE:
        return []
    for sides in _sides(shape[1], shape[2]):
        found = [_cut(scene, (shape[0], *(factor * side for side in sides))) for factor in (1, 2)]
        if None not in found:
            return [small for small in found if small is not None]
    return []


def _sides(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Sides (h, w) of small pictures of about the same aspect, the smallest first."""
    area = AREA
    while 16 * area <= height * width:
        for unit in UNITS:
            factor = (area / (height * width)) ** 0.5
            h, w = (unit * max(1, round(side * factor / unit)) for side in (height, width))
            if 2 * h < height and 2 * w < width:
                yield h, w
        area *= 4


def _cut(scene: Scene, shape: tuple[int, ...]) -> Scene | None:
    """The problem on a picture of another shape; None where prior or operator do not serve it."""
    prior = scene.prior
    while isinstance(prior, Tiled):
        prior = prior.prior
    if prior.least_size is None or min(shape[1:]) < prior.least_size:
        return None
    small = prior.resized(shape)
    whole = scene.prior.event_shape
    try:
        operator = _fitted(scene.operator, whole[1:], shape[1:]).at(shape)
        _fit_noise(operator, tuple(scene.y.shape[1:]), operator.measurement_shape(shape))
        x = small.moments.draw(1, RowRNG.rows(0, 1)) if small.moments is not None else torch.rand(1, *shape)
        y = operator.measure(x.clamp(0, 1).to(scene.y.device), seed=0)
    except UNSERVED:
        return None
    share = (y.numel() / math.prod(shape)) / (scene.y[0].numel() / math.prod(whole))
    return Scene(small, operator, y) if abs(share - 1) < ALIKE else None


def _fitted(module: Batched, whole: tuple[int, ...], small: tuple[int, ...]) -> Operator:
    """A copy of an operator whose tensors of the picture's sides are cut to smaller ones."""
    twin = shallow(module)
    for part in twin.modules():
        if not isinstance(part, Batched):
            continue
        for name, value in part._buffers.items():
            if value is not None and tuple(value.shape[-2:]) == whole:
                part._buffers[name] = value[..., : small[0], : small[1]]
        for name, value in list(vars(part).items()):
            if isinstance(value, Kept):  # of the whole picture
                part.__dict__[name] = Kept(value.size)
        if isinstance(part, Operator):
            part.event_shape = None
    return twin


def _fit_noise(operator: Operator, whole: tuple[int, ...], small: tuple[int, ...]) -> None:
    """Cut parameters of the noise that differ from entry to entry; whole and small: shapes M."""
    noise = operator.noise
    for name, value in noise._buffers.items():
        if value is not None and value.ndim > 1 and value.shape[-2:] == whole[-2:]:
            noise._buffers[name] = value[..., : small[-2], : small[-1]]
