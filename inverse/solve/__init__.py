"""solve(prior, operator, y) and sample(prior): batches, seeds, warnings. The checks of arguments are in `checks`."""

import math
import time
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from inverse.auto import alternative
from inverse.methods import METHODS, Sampler
from inverse.quality import PoorFit, misfits
from inverse.quality.grain import grainy
from inverse.quality.instrument import DoubtfulInstrument, doubtful
from inverse.quality.noise_correlated import correlated
from inverse.quality.noise_stated import DoubtfulNoise, misjudged
from inverse.quality.scale import ImplausibleScale, implausible, outside
from inverse.solution import Solution, UncalibratedSpread
from inverse.solve.checks import as_taken, check_numbers, check_prior, checked, computes_in, measurement_numbers
from inverse.solve.unknown import KernelPrior, Range, jointly
from inverse.solve.unknown.family import Make
from inverse.types import State
from inverse.weights import UnreliableWeights, lineages, log_mean_error
from operators import Operator
from operators.kspace import paired
from priors import Evaluations, Prior, RowRNG
from priors.arguments import flag
from priors.arguments import rows as rows_of
from priors.modes import own_modes

ELEMENTS_PER_BATCH = 2**16  # 83 rows of 28 x 28: more rows gain no speed on a CPU and cost memory everywhere


@own_modes
def solve(
    prior: Prior,
    operator: Operator | Make,
    y: Tensor,
    n_samples: int = 8,
    method: str | Sampler = "auto",
    n_steps: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
    budget: str | None = None,
    first: int = 0,
    antithetic: bool = False,
    numbers: Sequence[int] | None = None,
    precision: str = "float32",
    unknown: Mapping[str, Range | tuple[float, float] | KernelPrior] | None = None,
    noise_checks: bool = True,
) -> Solution:
    """Samples of the posterior p(x0 | y).

    Formula: the reverse-time SDE of the prior with the score grad log p_t(x_t) + grad log p_t(y | x_t), the second term
    by ``method``.
    Source: Song et al. 2021, section 5, and the method's own paper (`Solution.cite`).
    Arguments: prior; operator; y (B, *M): measurements in the operator's units, k-space also as complex numbers;
    n_samples K per measurement; method: a name in METHODS, "auto" (what was measured to be nearest to exact posteriors,
    see `inverse.auto`) or a `Method`;
    n_steps (default: the method's); seed (int >= 0): sample k of measurement b is the same whatever the batch size or
    device; batch_size: rows at a time; progress: a bar, and the reason of "auto"; budget of "auto": "fast" (30
    evaluations and backward passes per sample), "balanced" (100, the default) or "exact"; first (int >= 0): the number
    of the first sample, for a solve that goes on where another ended (`Solution.followed_by`); antithetic: samples 2 j
    and 2 j + 1 share their normal draws with opposite signs (Hammersley & Morton 1956): each is a draw of the posterior
    as before, but where that is nearly Gaussian the mean of a pair is as good as that of many independent samples. Not
    for methods that weight samples; numbers (B different integers >= 0, default 0 to B - 1): of the measurements, to
    which their random streams belong. Measurement 3 of a batch is solved again, alone and with the same samples, by
    ``solve(prior, operator.rows(torch.tensor([3])), y[3:4], numbers=[3])``; ``rows`` picks an operator's parameters
    where these differ between measurements, and returns the operator itself where they do not.

    unknown: parameters of the measurement that are not known, by name, each with its range: (low, high), a `Uniform` or
    a `LogUniform` of `inverse`. Those of the noise ("sigma", "peak", "looks") can be unknown for any operator; for
    others ``operator`` is a function of the unknown parameters that returns one, such as ``lambda width:
    Blur(gaussian_kernel(width, 15), noise=...)``. Their posterior is found with the picture integrated out, by Fisher's
    identity; `Solution.unknown` has draws of it, and each sample belongs to one of these draws. This takes 100 to 200
    samples more than the solve itself. The whole kernel of a `Blur` is "kernel" with a `KernelPrior`, alone or with
    "sigma", by Gibbs sampling (docs/unknown.md says when it fails).

    noise_checks: whether noise is looked for that y has and was not stated, and that the samples of photographs hold,
    which takes an evaluation of the prior or two and as many backward passes through it, of a part of a picture; False
    where a solve is one of many of the same y, or `inverse.quality` is asked anyway.

    precision of the network: "float32", "bfloat16", or "auto" (see `priors.at_precision`): bfloat16 where the hardware
    has instructions for it and the loss was measured to be negligible for this prior, as for the shipped ones of
    photographs and scans; states, operators and solves stay float32, and "auto" leaves the network in float32 too for
    methods that weight their samples by a density. In bfloat16 samples of other batch sizes or processors differ by
    rounding, up to about a grey level of 255.

    Torch's modes at the call do not matter: it runs outside ``torch.inference_mode`` and ``torch.autocast``. No
    gradient passes through a solve: y and an operator's buffers that require one are refused, weights are not.
    Threads may solve at once. A forked process must compute in one thread, as the workers of a DataLoader do, or be
    spawned: torch itself hangs in forks of a process whose thread pool was used.
    Returns: `Solution` with samples (B, K, *E) in data units; methods with a weighted population (exact, tds, mcgdiff)
    give them log_weights, and exact and tds an estimate of log p(y). Unreliable weights and particles
    (`Solution.check`) warn by `UnreliableWeights`, and samples whose residual no posterior has by `PoorFit`
    (`inverse.quality.misfits`; `inverse.examine` looks closer), means far outside the range of pictures, or noise in
    the samples of photographs;
    a y of another size than the operator makes of pictures in [0, 1], such as in 0..255 or -1..1, by
    `inverse.ImplausibleScale`; a method that is known to draw too widely for this operator by `UncalibratedSpread`;
    saturated pixels that the operator does not know of, and a kernel that does not sum to 1, by
    `inverse.DoubtfulInstrument`; a sigma_y that is far from the noise seen in y, by `inverse.DoubtfulNoise`.
    Raises: TypeError or ValueError, before the prior is evaluated, for a y that the operator cannot have made, numbers
    out of range, a method that the operator or the prior cannot serve, or a y that requires a gradient; NonFiniteState
    where a state stops being finite.
    """
    if unknown is not None:
        y = paired(y, operator.complex_axis if isinstance(operator, Operator) else None)
        solver = partial(solve, prior, method=method, n_steps=n_steps, seed=seed, batch_size=batch_size, progress=False)
        solver = partial(solver, budget=budget, precision=precision, noise_checks=flag("noise_checks", noise_checks))
        bar = partial(_bar, ", ".join(map(str, unknown)), shown=flag("progress", progress))
        check_numbers(n_samples, n_steps, batch_size, seed)
        named = measurement_numbers(numbers, len(rows_of("y", y)))
        asked = (n_samples, method, seed, budget, first, antithetic)
        return jointly(solver, prior, operator, y, unknown, *asked, named, bar)
    arguments = (n_samples, method, n_steps, seed, batch_size, budget, first, antithetic)
    choice, operator = checked(prior, operator, y, *arguments)
    n_samples, first = int(n_samples), int(first)  # of numpy's integers too
    flag("progress", progress)
    flag("noise_checks", noise_checks)
    named = measurement_numbers(numbers, len(y))
    y = as_taken(operator, y)
    _warn_of(implausible(prior, operator, y), ImplausibleScale, named)
    _warn_of(doubtful(operator, y), DoubtfulInstrument, named)
    if noise_checks:
        _warn_of(misjudged(prior, operator, y), DoubtfulNoise, named)
        _warn_of(correlated(prior, operator, y), DoubtfulNoise, named)
    rows = torch.arange(len(y)).repeat_interleave(n_samples)
    keys = [(b, k) for b in named for k in range(first, first + n_samples)]
    streams = [((b, k // 2), k % 2 == 1) if antithetic else ((b, k), False) for b, k in keys]
    start = time.perf_counter()
    chosen = choice.method.sized(n_samples)
    n_steps = n_steps or choice.n_steps
    if progress and choice.reason:
        Console(stderr=True).print(f"auto: {chosen.name}, {n_steps} steps: {choice.reason}", highlight=False)
    if caution := chosen.caution(operator):
        warnings.warn(caution, UncalibratedSpread, stacklevel=3)
    computing = computes_in(prior, chosen, precision)
    state, (nfe, nvjp) = _run(computing, operator, y, rows, streams, chosen, n_steps, seed, batch_size, progress)
    log_w = state.log_w.view(len(y), n_samples)
    log_z = None if state.log_z is None or not chosen.evidence else state.log_z.view_as(log_w)[:, 0]
    independent = chosen.weighted and not chosen.coupled
    events = state.x.view(len(y), n_samples, *prior.event_shape)
    solution = Solution(
        samples=_pictures(prior, state.x).unflatten(0, (len(y), n_samples)),
        log_weights=log_w,
        log_evidence=None if log_z is None else log_z + log_w.logsumexp(1) - math.log(n_samples),
        log_evidence_std=log_mean_error(log_w) if independent and log_z is not None else None,
        lineages=None if state.origin is None else lineages(log_w, state.origin.view_as(log_w)),
        method=chosen.name,
        nfe=nfe,
        nvjp=nvjp,
        seconds=time.perf_counter() - start,
        seed=seed,
        citation=chosen.citation,
        reason=choice.reason,
        antithetic=antithetic,
        calibrated=chosen.calibrated,
        numbers=torch.tensor(named, device=prior.device) if numbers is not None else None,
    )
    if chosen.weighted:
        _warn_of(solution.check(), UnreliableWeights, named)
    differentiable = chosen.differentiates or prior.differentiable
    other = partial(alternative, operator, tuple(prior.event_shape), chosen.name, differentiable)
    _warn_of(misfits(operator, y, events, log_w, prior.sde.least_noise, other), PoorFit, named)
    _warn_of(outside(prior, operator, solution.mean, n_samples), PoorFit, named)
    if noise_checks:
        _warn_of(grainy(prior, solution.samples), PoorFit, named)
    return solution


@own_modes
def sample(
    prior: Prior,
    n_samples: int = 16,
    method: str | Sampler = "pc",
    n_steps: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> Tensor:
    """Unconditional samples of the prior, (K, *E) in data units.

    Source: Song et al. 2021, algorithm 1.
    Arguments: as `solve`; method: an unconditional name in METHODS or `Method`.
    Raises: TypeError, ValueError and NonFiniteState, as `solve`.
    """
    check_prior(prior)
    unconditional = sorted(name for name, m in METHODS.items() if not m.conditional)
    chosen = METHODS.get(method) if isinstance(method, str) else method
    if not isinstance(chosen, Sampler) or chosen.conditional:
        raise ValueError(
            f"method {method!r}: expected one of {unconditional} or an unconditional Method; for a y use solve()"
        )
    check_numbers(n_samples, n_steps, batch_size, seed)
    flag("progress", progress)
    rows, streams = torch.zeros(n_samples, dtype=torch.long), [((0, k), False) for k in range(n_samples)]
    state, _ = _run(prior, None, None, rows, streams, chosen, n_steps, seed, batch_size, progress)
    return _pictures(prior, state.x)


def _run(
    prior: Prior,
    operator: Operator | None,
    y: Tensor | None,
    rows: Tensor,
    streams: list[tuple[tuple[int, int], bool]],
    method: Sampler,
    n_steps: int | None,
    seed: int,
    batch_size: int | None,
    progress: bool,
) -> tuple[State, tuple[int, int]]:
    """Every row through the engine, a batch at a time: the state of all, nfe and nvjp of one batch.

    rows (N,): whose measurement each is of; streams: of each the key of its random numbers, and whether it is mirrored.
    """
    steps = method.steps(prior, n_steps)
    together = len(rows) if y is None else len(rows) // len(y)
    size = rows_at_once(method, tuple(prior.event_shape), together, batch_size)
    batches = torch.arange(len(rows)).split(size)
    states: list[State] = []
    counter = Evaluations(prior)
    with _bar(method.name, len(batches) * steps, progress) as advance:
        for batch in batches:
            counter = Evaluations(prior, len(batch))
            index = rows[batch]
            measured = (None, None) if operator is None or y is None else (operator.rows(index), _taken(y, index))
            keys, mirrored = zip(*(streams[i] for i in batch.tolist()), strict=True)
            rng = RowRNG(seed, keys, device=prior.device, mirrored=mirrored)
            states.append(method.carry(counter, *measured, rng, len(batch), n_steps, advance))
    log_z = [s.log_z for s in states if s.log_z is not None]
    origin = [s.origin for s in states if s.origin is not None]
    evaluations = (counter.nfe, counter.nvjp)
    if len(states) == 1:
        return replace(states[0], kernel={}, guidance={}, reference={}), evaluations
    whole = State(
        torch.cat([s.x for s in states]),
        torch.cat([s.log_w for s in states]),
        torch.cat(log_z) if log_z else None,
        torch.cat(origin) if origin else None,
    )
    return whole, evaluations


def _taken(y: Tensor, index: Tensor) -> Tensor:
    """Rows of y; y itself, which may be large, for all in their order."""
    return y if torch.equal(index, torch.arange(len(y))) else y[index.to(y.device)]


def rows_at_once(method: Sampler, event_shape: tuple[int, ...], n_samples: int, batch_size: int | None = None) -> int:
    """How many rows a batch has at most; arguments as `solve`, event_shape (E).

    The samples of a measurement that are weighted together share a batch, whatever its size.
    """
    size = batch_size or max(1, ELEMENTS_PER_BATCH // math.prod(event_shape))
    if not method.coupled:
        return size
    return n_samples if method.separate else max(1, size // n_samples) * n_samples


def _pictures(prior: Prior, events: Tensor) -> Tensor:
    """What events (N, *E) look like, a few at a time."""
    if prior.decoder is None:
        return events
    return torch.cat([prior.pictures(part) for part in events.split(max(1, ELEMENTS_PER_BATCH // events[0].numel()))])


def _warn_of(checked: list[str], category: type[Warning], named: list[int]) -> None:
    """Once for all measurements, of these numbers, whose weights or residuals are unreliable."""
    found = [f"measurement {b}: {text}" for b, text in zip(named, checked, strict=True) if text]
    if found:
        see = "" if category in (ImplausibleScale, DoubtfulInstrument, DoubtfulNoise) else ", see inverse.examine"
        more = f" (and {len(found) - 1} more{see})" if len(found) > 1 else ""
        warnings.warn(found[0] + more, category, stacklevel=4)


@contextmanager
def _bar(title: str, total: int, shown: bool) -> Generator[Callable[[], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not shown, transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda: bar.advance(task)
