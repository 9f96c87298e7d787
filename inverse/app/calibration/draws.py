"""Truths, their measurements and samples of their posteriors, of which finished ones are kept in a folder."""

import copy
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inverse.app.batch import identity, solve_batch
from inverse.app.batch.job import block_of, operator_of
from inverse.app.devices import moved, solve_there
from inverse.grids import karras
from inverse.guidance import Unconditional
from inverse.methods import Method, Sampler, composition
from inverse.plan import decide
from inverse.predictors import StochasticRungeKutta
from inverse.quality.scale import ImplausibleScale, out_of_range
from inverse.solution import Solution
from inverse.solve import sample
from inverse.solve.checks import check_numbers, check_prior
from operators import Operator
from operators.batching import device_of
from priors import Prior, sealed
from priors.arguments import count, finite, flag, rows
from priors.files import FileError

# (operator, y (1, *M), n_samples, seed) -> samples (K, *E), or a Solution of one measurement
Foreign = Callable[[Operator, Tensor, int, int], "Tensor | Solution"]
FORMAT = "inverse truths 1"
DRAWING = Method("draws", Unconditional(), StochasticRungeKutta(), (), karras, 100)  # of a prior without a closed form
TRUTHS, NOISE, SAMPLES, RANKS, TESTS = range(5)  # streams: a truth that shares noise with its samples is no truth


def stream(seed: int, use: int) -> int:
    """The seed of one use of random numbers, independent of those of other uses."""
    return int(np.random.SeedSequence(seed, spawn_key=(use,)).generate_state(1, np.uint64)[0] >> 1)


@dataclass
class Cost:
    """What samples have cost so far, and what their solves warned of. Attributes: method; seconds; nfe, nvjp: per
    sample; cautions."""

    method: str = ""
    seconds: float = 0.0
    nfe: int = 0
    nvjp: int = 0
    cautions: list[str] = field(default_factory=list)

    def add(self, solution: Solution) -> None:
        """Count a solution."""
        self.method, self.nfe, self.nvjp = solution.method, solution.nfe, solution.nvjp
        self.seconds += solution.seconds


@dataclass(frozen=True)
class Settings:
    """How truths are drawn, measured and solved for: method (a name, a `Sampler` or a function); the rest as
    `inverse.solve`, and work, processes: see `posteriors`."""

    method: "str | Sampler | Foreign"
    n_samples: int
    n_steps: int | None
    seed: int
    batch_size: int | None
    budget: str | None
    precision: str
    work: Path | None
    processes: int
    progress: bool
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not (isinstance(self.method, str | Sampler) or callable(self.method)) or isinstance(self.method, type):
            raise TypeError(
                f"method = {self.method!r:.60}: expected a name in METHODS, a Method, or a function (operator, y, "
                "n_samples, seed) -> samples"
            )
        check_numbers(self.n_samples, self.n_steps, self.batch_size, self.seed)
        count("processes", self.processes)
        flag("progress", self.progress)
        flag("overwrite", self.overwrite)
        if self.processes > 1 and (self.work is None or self.foreign is not None):
            raise ValueError(
                f"processes = {self.processes}: expected work=, a folder that they share, and a method of this package"
            )

    @property
    def foreign(self) -> Foreign | None:
        """The method, where it is a function."""
        return None if isinstance(self.method, str | Sampler) else self.method

    @property
    def own(self) -> str | Sampler:
        """The method, where it is none.

        Raises: TypeError for a function.
        """
        if not isinstance(self.method, str | Sampler):
            raise TypeError(f"method {self.method!r:.60} is a function: expected a name in METHODS, or a Method")
        return self.method


@dataclass(frozen=True)
class Pairs:
    """Truths (B, *E) and measurements y (B, *M) of them, on the CPU, and the operator there."""

    operator: Operator
    truths: Tensor
    y: Tensor

    def operator_of(self, b: int, n: int = 1) -> Operator:
        """The operator of measurement b for n rows."""
        return self.operator.rows(torch.full((n,), b)) if self.operator.batch else self.operator


def pairs(
    prior: Prior, operator: Operator, n: int, truths: Tensor | None, y: Tensor | None, settings: Settings
) -> Pairs:
    """Truths and their measurements, each drawn here where it is not given.

    Raises: TypeError and ValueError for what does not fit.
    """
    check_prior(prior)
    if not isinstance(operator, Operator):
        raise TypeError(f"operator of type {type(operator).__name__}: expected an operators.Operator")
    if device_of(operator) not in (None, torch.device("cpu")):
        operator = copy.deepcopy(operator).cpu()
    if truths is None and y is not None:
        raise ValueError("y without truths: expected both, for measurements of pictures that are known")
    if truths is None:
        drawn = _drawn(prior, n, settings)
    else:
        shape = None if prior.decoder is not None else tuple(prior.event_shape)
        drawn = finite("truths", rows("truths", truths, shape)).detach().cpu()
        if text := out_of_range(prior, drawn):
            warnings.warn(text, ImplausibleScale, stacklevel=4)
    if operator.batch not in (None, len(drawn)):
        raise ValueError(
            f"the operator has parameters of {operator.batch} measurements, and there are {len(drawn)} truths: "
            "expected the same number, or parameters that all share"
        )
    operator = operator.at(tuple(drawn.shape[1:]))
    if y is None:
        y = operator.measure(drawn, seed=stream(settings.seed, NOISE))
    else:
        operator.validate_y(y, tuple(drawn.shape[1:]))
        if len(y) != len(drawn):
            raise ValueError(f"{len(y)} measurements y of {len(drawn)} truths: expected one of each")
    return Pairs(operator, drawn, y.detach().cpu())


def posteriors(prior: Prior, given: Pairs, settings: Settings, cost: Cost) -> Iterator[Solution]:
    """The solution of each measurement in turn, with samples (1, K, *E) on the CPU.

    With a folder ``work``, finished ones are kept there by `inverse.solve_batch`, which may use several processes, and
    those of a function in a file each.
    Raises: ValueError for a folder of another problem, and where a solve failed.
    """
    if settings.foreign is not None:
        found = _foreign(prior, given, settings, settings.foreign)
    elif settings.work is None:
        found = _solved(prior, given, settings, cost)
    else:
        found = _kept(prior, given, settings, cost, settings.work)
    for solution in found:
        cost.add(solution)
        yield solution


def _drawn(prior: Prior, n: int, settings: Settings) -> Tensor:
    seed = stream(settings.seed, TRUTHS)
    exact = getattr(prior, "sample", None)  # of analytic priors
    if callable(exact):
        return rows("prior.sample(n, seed)", exact(n, seed), tuple(prior.event_shape)).cpu()
    facts = {"prior": identity.digest(identity.of(prior)), "how": identity.digest(composition(DRAWING)), "seed": seed}
    path = None if settings.work is None else settings.work / "truths.h5"
    if path is not None and (held := _read(path, facts)) is not None and len(held) >= n:
        return held[:n]
    drawn = sample(prior, n, DRAWING, seed=seed, batch_size=settings.batch_size, progress=settings.progress).cpu()
    if path is not None:
        sealed.write(path, FORMAT, {"truths": drawn.numpy()}, facts)
    return drawn


def _read(path: Path, facts: dict[str, Any]) -> Tensor | None:
    """Truths that were drawn before; None where there are none, or those of another problem, or a damaged file."""
    try:
        told, arrays, _ = sealed.read(path, FORMAT, "file of truths", "they are drawn again")
    except (FileNotFoundError, FileError):
        return None
    return torch.from_numpy(arrays["truths"]) if told == facts else None


def _solved(prior: Prior, given: Pairs, s: Settings, cost: Cost) -> Iterator[Solution]:
    chosen = decide(
        prior, *moved(prior.device, given.operator_of(0), given.y[:1]), s.n_samples, s.own, s.n_steps,
        stream(s.seed, SAMPLES), s.batch_size, s.budget,
    )  # fmt: skip
    size = block_of(chosen.method, tuple(prior.event_shape), s.n_samples, s.batch_size)
    for start in range(0, len(given.y), size):
        end = min(start + size, len(given.y))
        operator = operator_of(given.operator, {}, start, end)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            solution = solve_there(
                prior, operator, given.y[start:end], s.n_samples, chosen.method, chosen.n_steps,
                stream(s.seed, SAMPLES), s.batch_size, s.progress, numbers=range(start, end), precision=s.precision,
            )  # fmt: skip
        cost.cautions += [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
        yield from _split(solution)


def _kept(prior: Prior, given: Pairs, s: Settings, cost: Cost, work: Path) -> Iterator[Solution]:
    results = solve_batch(
        prior, given.operator, given.y, work / "posteriors.h5", s.n_samples, s.own, s.n_steps,
        stream(s.seed, SAMPLES), s.batch_size, s.progress, s.budget, precision=s.precision, keep_samples=True,
        processes=s.processes, overwrite=s.overwrite,
    )  # fmt: skip
    if results.failures:
        numbers, text = next(iter(results.failures.items()))
        raise ValueError(f"{results.path}: measurements {numbers.start} to {numbers.stop - 1} failed: {text}")
    cost.cautions += results.cautions
    cost.seconds += results.seconds
    for b in range(len(given.y)):
        yield replace(results.solution(b), seconds=0.0)  # those of a file are of several measurements


def _foreign(prior: Prior, given: Pairs, s: Settings, method: Foreign) -> Iterator[Solution]:
    name = getattr(method, "__name__", type(method).__name__)
    if s.work is not None and name == "<lambda>":  # others would have the same name
        raise ValueError(
            f"method {name}: a function is known in work by its name, and this one has none: define it with def, and "
            "give another function another name or folder"
        )
    shape = (s.n_samples, *given.truths.shape[1:])
    for b in range(len(given.y)):
        y, seed = given.y[b : b + 1], stream(stream(s.seed, SAMPLES), b)
        path = None if s.work is None else s.work / f"{name}-{b:06d}.h5"
        operator = given.operator_of(b)
        key = "" if path is None else identity.digest(
            [identity.of(prior), identity.of(operator), identity.of_tensors({"y": y}), s.n_samples, seed]
        )  # fmt: skip
        if path is not None and key and Solution.fact(path, "key") == key:
            yield Solution.load(path)
            continue
        start = time.perf_counter()
        found = method(*moved(prior.device, operator, y), s.n_samples, seed)
        if isinstance(found, Solution):
            if (returned := tuple(found.samples.shape)) != (1, *shape):
                raise ValueError(f"method {name!r} returned samples {returned} in a Solution: expected {(1, *shape)}")
        else:
            x = found.detach().cpu() if isinstance(found, Tensor) else found
            if not isinstance(x, Tensor) or tuple(x.shape) != shape:
                given_ = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
                raise ValueError(f"method {name!r} returned {given_}: expected samples {shape}, or a Solution")
            seconds = time.perf_counter() - start
            found = Solution(x[None], torch.zeros(1, len(x)), name, nfe=0, nvjp=0, seconds=seconds, seed=seed)
        if path is not None:
            found.save(path, {"key": key})
        yield found


def _split(solution: Solution) -> Iterator[Solution]:
    """A solution per measurement; samples and weights are all that is looked at."""
    n = len(solution.samples)
    for b in range(n):
        yield Solution(
            solution.samples[b : b + 1], solution.log_weights[b : b + 1], solution.method, solution.nfe, solution.nvjp,
            solution.seconds / n, solution.seed, calibrated=solution.calibrated,
        )  # fmt: skip
