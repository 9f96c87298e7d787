"""The cost of a solve, predicted before it starts."""

import math
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from inverse.costs import work
from inverse.costs.evaluation import evaluation, kept_graphs
from inverse.costs.rehearsal import SHORT, Counts, Scene, StandIn, counts, smaller
from inverse.costs.work import Counted, Machine, Tally, scaled
from inverse.methods import Sampler
from inverse.quality.noise_stated import ROWS, misjudged
from inverse.solve import rows_at_once, solve
from inverse.solve.checks import as_taken, check_derivatives, checked, computes_in
from operators import Operator
from operators.convolution import LARGE, in_parts
from priors import Prior
from priors.arguments import number
from priors.modes import own_modes
from priors.wording import Concise

LEAST = 5  # steps in a budget of seconds
REPLANS = 4
OWN = 4_000_000  # bytes of torch's libraries that a first solve reads; the plan of a large picture has solved already


@dataclass(frozen=True, repr=False)
class Plan(Concise):
    """The predicted cost of a solve; to run it: ``solve(..., method=plan.method, n_steps=plan.n_steps)``.

    Attributes: method; n_steps; reason: why "auto" chose the method; n_samples per measurement; rows: batch size; nfe
    and nvjp: evaluations of the prior and backward passes through it per sample; seconds: for all samples of all
    measurements; bytes: estimated peak of additional memory; antithetic.
    """

    method: Sampler
    n_steps: int
    reason: str = field(repr=False)
    n_samples: int
    rows: int
    nfe: int
    nvjp: int
    seconds: float
    bytes: int
    antithetic: bool = False


@dataclass(frozen=True)
class Decision:
    """Settings of a solve: method (`Sampler`), n_steps (int), reason of "auto" in one line and its details, and whether
    samples come in antithetic pairs."""

    method: Sampler
    n_steps: int
    reason: str
    details: str
    antithetic: bool


@own_modes
def decide(
    prior: Prior,
    operator: Operator,
    y: Tensor,
    n_samples: int = 8,
    method: str | Sampler = "auto",
    n_steps: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    budget: str | None = None,
    antithetic: bool = False,
) -> Decision:
    """The settings that `solve` uses for these arguments; as `plan`, but without checking the operator's derivative."""
    given = (prior, operator, y, n_samples, method, n_steps, seed, batch_size, budget, 0, antithetic)
    choice, _ = checked(*given, derivatives=False)
    return Decision(choice.method, n_steps or choice.n_steps, choice.reason, choice.details, antithetic)


@own_modes
def plan(
    prior: Prior,
    operator: Operator,
    y: Tensor,
    n_samples: int = 8,
    method: str | Sampler = "auto",
    n_steps: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    budget: str | float | None = None,
    antithetic: bool = False,
    precision: str = "float32",
) -> Plan:
    """The settings that `solve` uses for these arguments and their predicted cost, in a few seconds for any picture.

    Formula: seconds = batches (t_rest + nfe t_evaluation + nvjp t_backward). nfe and nvjp are counted in a solve with a
    stand-in for the prior. Evaluations of the network and backward passes are timed on a small picture; their time is
    proportional to the number of pixels, including the margins of tiles. The rest, mostly the operator and the prior's
    moments, is timed in that solve if the picture is small; for a large one the work of torch is counted on two small
    pictures, extrapolated (`inverse.costs.work.scaled`) and divided by the measured speed of this machine. bytes: of
    tensors in use at once, counted on the small picture and extrapolated, and of the samples.
    Work, time and memory are those of a y that the prior may have given: a solve of another may end iterations early.
    Counts are exact, except for methods whose work depends on the data, such as particles that are resampled when
    needed, and for methods with many steps, which are extrapolated from the first ones. Operators that do not support
    smaller pictures are applied to the picture itself.
    Arguments: as `solve`; y (B, *M); budget: also a number of seconds (> 0) for the whole solve on this machine, of any
    method. The plan is then that of the method's defaults, those of the balanced budget for "auto", if need be with
    fewer steps, down to 5. `solve` takes no seconds, since its samples must not depend on the machine.
    Returns: `Plan`.
    Raises: TypeError and ValueError as `solve`, before the prior is evaluated; ValueError for seconds with n_steps, and
    where 5 steps take longer.
    """
    if isinstance(budget, int | float):
        seconds = number("budget", budget, "(0, inf)", "seconds, or a name such as 'fast'")
        if n_steps is not None:
            raise ValueError(f"budget of {seconds:g} seconds with n_steps = {n_steps}: give one of them")
        planned = partial(
            plan, prior, operator, y, n_samples, seed=seed, batch_size=batch_size, antithetic=antithetic,
            precision=precision,
        )  # fmt: skip
        return _within(seconds, planned, method)
    given = (prior, operator, y, n_samples, method, n_steps, seed, batch_size, budget, 0, antithetic)
    choice, operator = checked(*given, derivatives=False)
    n_steps, y = n_steps or choice.n_steps, as_taken(operator, y)
    rows = min(rows_at_once(choice.method, prior.event_shape, n_samples, batch_size), len(y) * n_samples)
    n = n_samples if choice.method.coupled else rows
    method = choice.method.sized(n)
    one = Scene(prior, operator.rows(torch.zeros(1, dtype=torch.long, device=y.device)), y[:1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the stand-in problem; the solve itself warns
        small = smaller(one)
        first = small[0] if small else one
        check_derivatives(first.operator, method, first.prior.event_shape)
        done = counts(first, method, n_steps, n, seed)
        rest, kept, meanwhile = _rest(one, small, method, n_steps, n, done)
        looked = _looked(one)
    network = evaluation(computes_in(prior, method, precision), rows, done.nvjp > 0)
    graphs = kept_graphs(prior, rows, done.graphs, done.doubled)
    seconds = rest * rows / n + done.nfe * network.seconds + done.nvjp * network.backward
    return Plan(
        choice.method,
        n_steps,
        choice.reason,
        n_samples,
        rows,
        done.nfe,
        done.nvjp,
        len(y) * n_samples / rows * seconds + min(len(y), ROWS) * looked[0],
        (0 if small else OWN)
        + round(max(kept * rows / n, meanwhile * rows / n + network.bytes + graphs, looked[1]))
        + 4 * len(y) * n_samples * math.prod(prior.event_shape),
        antithetic,
    )


def _looked(one: Scene) -> tuple[float, int]:
    """Seconds and bytes of the search for noise in y before the samples, without evaluations of the prior."""
    if one.area >= LARGE.get():  # which is searched in parts
        return 0.0, 0
    stand_in = StandIn(one.prior)
    with Counted() as seen:
        start = work.clock()
        misjudged(stand_in, one.operator, one.y)
    return work.clock() - start, seen.peak


def _within(seconds: float, planned: Callable[..., Plan], method: str | Sampler) -> Plan:
    """The plan of a method at its defaults, or with as many steps as these seconds permit. Raises: ValueError where
    even 5 steps take longer."""
    found = planned(method=method)
    steps, reason = found.n_steps, found.reason
    for _ in range(REPLANS):  # time is not quite proportional to steps
        if found.seconds <= seconds:
            return found if found.n_steps == steps else replace(found, reason=_fewer(reason, found.n_steps, seconds))
        fewer = min(found.n_steps - 1, int(found.n_steps * seconds / found.seconds))
        if fewer < LEAST:
            break
        found = planned(method=found.method, n_steps=fewer)
    least = planned(method=found.method, n_steps=LEAST) if found.n_steps > LEAST else found
    if least.seconds <= seconds:
        return replace(least, reason=_fewer(reason, LEAST, seconds))
    raise ValueError(
        f"budget of {seconds:g} seconds: {LEAST} steps of {least.method.name}, the fewest, take {span(least.seconds)} "
        f"for {least.n_samples} samples; take fewer samples, a smaller picture or a longer budget"
    )


def _fewer(reason: str, n_steps: int, seconds: float) -> str:
    return "; ".join([*filter(None, [reason]), f"{n_steps} steps, fewer than the default, to take {seconds:g} seconds"])


def span(seconds: float) -> str:
    """A duration as text: 42 s, 3 min 10 s, 1 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    return f"{s // 60} min {s % 60} s" if s < 3600 else f"{s // 3600} h {s % 3600 // 60} min"


def _rest(
    one: Scene, small: list[Scene], method: Sampler, n_steps: int, n: int, done: Counts
) -> tuple[float, float, float]:
    """Seconds of everything except the prior's evaluations for a batch of n; bytes of its tensors at most, and of those
    that are in use beside an evaluation, or where its derivative is needed too, at most."""
    # if the picture itself was used, its time was measured, and only memory is counted
    large = one.area >= LARGE.get()
    with in_parts(large):  # as the picture itself
        works = [counted(scene, method, min(n_steps, SHORT), n, large) for scene in small]
    if not small:
        return done.seconds, done.peak, done.peak if done.nvjp else done.beside
    (start_a, step_a, *_), (start_b, step_b, peak, beside) = works
    areas, machine = (small[0].area, small[1].area), Machine(one.prior.event_shape, n, one.prior.device)
    start, step = (scaled(a, b, areas, one.area) for a, b in ((start_a, start_b), (step_a, step_b)))
    seconds = done.seconds + machine.seconds(start) + done.nfe * machine.seconds(step)
    more = one.area / small[1].area
    return seconds, more * peak, more * (peak if done.nvjp else beside)


def counted(scene: Scene, method: Sampler, n_steps: int, n: int, large: bool = False) -> tuple[Tally, Tally, int, int]:
    """The work of a short solve before its first evaluation, that of each evaluation, and the most bytes in use, at any
    time and when an evaluation starts. In place of a large picture: at any time between two evaluations, since what
    comes before and after takes such a picture in parts."""
    with Counted() as seen:
        marks: list[Tally] = []
        beside: list[int] = []
        peaks: list[int] = []

        def mark() -> None:
            marks.append(seen.tally.less(Tally()))
            beside.append(seen.live)
            if len(beside) == 1 and large:
                seen.peak = seen.live
            peaks.append(seen.peak)

        stand_in = StandIn(scene.prior, mark)
        solution = solve(
            stand_in, scene.operator, scene.y, n, method, n_steps, batch_size=n, progress=False, noise_checks=False
        )
    each = seen.tally.less(marks[0]).done
    return (
        marks[0],
        Tally(defaultdict(float, {kind: work / solution.nfe for kind, work in each.items()})),
        peaks[-1] if large else seen.peak,
        max(beside),
    )
