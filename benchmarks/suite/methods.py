"""The rows of the benchmark: a method has a name, the operators that it supports, and an answer to a measurement."""

import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from benchmarks.common.keys import code, code_behind
from inverse import METHODS, Method, solve
from inverse.auto import Choice, choose, serves
from inverse.engine import run as engine
from inverse.methods import Sampler, composition
from inverse.solution import Solution, UncalibratedSpread
from operators import Operator
from priors import Prior


@dataclass(frozen=True)
class Answer:
    """The answer of a row to B measurements.

    Attributes: mean (B, *E); samples (B, K, *E), or None of a single estimate; std (B, *E) or None; log_weights (B, K),
    None where samples are equally weighted; nfe and nvjp: evaluations of the prior and backward passes per sample;
    antithetic: whether samples 2 j and 2 j + 1 are a pair, as `inverse.solve` makes them, in place of independent.
    """

    mean: Tensor
    samples: Tensor | None = None
    std: Tensor | None = None
    log_weights: Tensor | None = None
    nfe: int = 0
    nvjp: int = 0
    antithetic: bool = False


class Row(ABC):
    """A method of the benchmark.

    Arguments: name of the row; settings: of its table in the TOML, each a keyword.
    Attributes: posterior: whether it draws samples, or is a single estimate.
    """

    posterior: ClassVar[bool] = True

    def __init__(self, name: str):
        self.name = name

    @abstractmethod
    def serves(self, operator: Operator, prior: Prior) -> bool:
        """Whether it supports this operator and prior."""

    @abstractmethod
    def run(self, prior: Prior, operator: Operator, y: Tensor, n_samples: int, seed: int) -> Answer:
        """Answer y (B, *M): n_samples K per measurement, or an estimate; ``seed`` fixes all that is random."""

    def facts(self, operator: Operator, prior: Prior, n_samples: int) -> dict[str, Any]:
        """Its entries in a record for this problem, plain data: steps, settings."""
        return {}

    def identity(self, operator: Operator, prior: Prior, n_samples: int) -> list[Any]:
        """All that its answer depends on besides prior, measurement, n_samples and seed, as plain data.

        By default its class, its code and its facts. A row whose identity is another's has its answer.
        """
        kind = type(self)
        return [kind.__module__, kind.__qualname__, self.facts(operator, prior, n_samples), source_of(kind)]


class Truth(Row):
    """The truths themselves: the reference of set metrics."""

    posterior = False

    def __init__(self) -> None:
        super().__init__(TRUTH)

    def serves(self, operator, prior):
        return True

    def run(self, prior, operator, y, n_samples, seed):
        raise ValueError(f"{TRUTH!r} answers no measurement: the runner takes it from the images")


TRUTH = "truth"
OURS = ("inverse", "benchmarks", "priors", "operators")  # packages whose modules' code is part of a key
USED = (
    "benchmarks.common.tv",
    "benchmarks.common.baselines",
    "benchmarks.suite.metrics",
    "inverse.quality",
    "inverse.gaussian",
)
ROWS: dict[str, Callable[..., Row]] = {}


def method(name: str) -> Callable[[type[Row]], type[Row]]:
    """Decorator: give a `Row` a name by which TOML files and the command line find it.

    Arguments: name: not that of a method of `inverse.METHODS`, which are rows already.
    Raises: ValueError for a name that is taken.
    """
    if name in METHODS or name in ("auto", TRUTH):
        raise ValueError(f"method {name!r} is one of inverse.METHODS, 'auto' or 'truth', rows already; choose another")

    def add(kind: type[Row]) -> type[Row]:
        taken = ROWS.setdefault(name, kind)
        if (taken.__module__, getattr(taken, "__qualname__", "")) != (kind.__module__, kind.__qualname__):
            raise ValueError(f"method {name!r} is taken by {taken!r}; choose another name")
        ROWS[name] = kind  # a module that is executed again replaces its own
        return kind

    return add


def available() -> list[str]:
    """The names of all rows: "auto", the conditional methods of `inverse.METHODS`, and what is registered."""
    return ["auto", *(name for name, m in METHODS.items() if m.conditional), *ROWS]


def find(name: str, settings: Mapping[str, Any] | None = None) -> Row:
    """The row of a name.

    Arguments: name: of the row; settings: its keywords. With `method` among them, that is what it runs, and the name is
    a title: several rows of one method.
    Raises: ValueError for an unknown name, and for settings that it does not take.
    """
    if name == TRUTH:
        raise ValueError(f"method {name!r}: the truth has a row of its own; choose another name")
    keywords = dict(settings or {})
    kind = keywords.pop("method", name)
    if kind not in available():
        raise ValueError(f"method {kind!r}: expected one of {available()}")
    try:
        return ROWS[kind](name, **keywords) if kind in ROWS else Solver(name, kind, **keywords)
    except TypeError as error:
        raise ValueError(f"method {name!r}: settings {keywords}: {error}") from None


class Solver(Row):
    """`inverse.solve` by a method of METHODS, or by "auto".

    Arguments: name; method (name); steps: default the method's own; budget: of "auto"; guidance: settings of the
    method's guidance that differ from its own, such as {"steps": 2} of MMPS; batch: rows at a time; antithetic:
    samples in pairs, of an even number of samples and where the method gives them equal weights.
    Raises: ValueError for a guidance setting that there is not, and a budget of another method than "auto".
    """

    def __init__(
        self,
        name: str,
        method: str,
        steps: int | None = None,
        budget: str | None = None,
        guidance: Mapping[str, Any] | None = None,
        batch: int | None = None,
        antithetic: bool = False,
    ):
        super().__init__(name)
        self.method, self.steps, self.budget = method, steps, budget
        self.guidance, self.batch, self.antithetic = dict(guidance or {}), batch, antithetic
        if method == "auto":
            if self.guidance or steps is not None:
                raise ValueError(f"method {name!r}: 'auto' chooses steps and guidance itself: give it a budget only")
            return
        if budget is not None:
            raise ValueError(f"method {name!r}: budget = {budget!r} is for 'auto'; give steps")
        one = METHODS[method]
        part = one.guidance if isinstance(one, Method) else None  # the others have several
        known = {f.name for f in fields(part)} if is_dataclass(part) else set() if part is None else set(vars(part))
        if unknown := set(self.guidance) - known:
            raise ValueError(f"method {name!r}: guidance {sorted(unknown)}: expected of {sorted(known)}")

    def serves(self, operator, prior):
        numbers = torch.Size(operator.measurement_shape(tuple(prior.event_shape))).numel()
        if self.method == "auto":
            return any(serves(m, operator, numbers=numbers) for m in METHODS.values())
        return serves(METHODS[self.method], operator, numbers=numbers)

    def chosen(self, operator: Operator, prior: Prior, n_samples: int) -> Choice:
        """The method and steps that it means here."""
        if self.method == "auto":
            budget, network = self.budget or "balanced", not prior.has_log_prob
            return choose(operator, tuple(prior.event_shape), n_samples, budget, network=network)
        method = METHODS[self.method]
        if self.guidance and isinstance(method, Method):
            method = replace(method, guidance=replace(method.guidance, **self.guidance))  # type: ignore  # a dataclass
        return Choice(method, self.steps or method.n_steps, "")

    def facts(self, operator, prior, n_samples):
        choice = self.chosen(operator, prior, n_samples)
        found = {"method": choice.method.name, "steps": choice.n_steps, "guidance": repr(choice.method.parts[0])}
        asked = {"batch": self.batch, "antithetic": self.antithetic}
        return found | {name: value for name, value in asked.items() if value}

    def identity(self, operator, prior, n_samples):
        choice = self.chosen(operator, prior, n_samples)
        made = composition(replace(choice.method, n_steps=choice.n_steps))  # whatever its default is
        return ["solve", made, choice.n_steps, self.batch, self.antithetic, *_behind(choice.method)]

    def run(self, prior, operator, y, n_samples, seed):
        choice = self.chosen(operator, prior, n_samples)
        given = (prior, operator, y, n_samples, choice.method, choice.n_steps, seed, self.batch)
        return answer(solve(*given, progress=False, antithetic=self.antithetic))


def answer(solution: Solution) -> Answer:
    """A solution as an answer. Arguments: solution of B measurements with K samples each."""
    weighted = bool((solution.log_weights != solution.log_weights[:, :1]).any())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UncalibratedSpread)  # what the suite measures
        std = solution.std if solution.samples.shape[1] > 1 else None
    return Answer(
        solution.mean,
        solution.samples,
        std,
        solution.log_weights if weighted else None,
        solution.nfe,
        solution.nvjp,
        solution.antithetic,
    )


_code = lru_cache(maxsize=None)(code)  # which reads a file anew each time


def source_of(thing: Callable, packages: tuple[str, ...] = USED) -> str:
    """A key of the code of a class or function, and of what it uses of ours; its name where no source is kept.

    Arguments: thing; packages: modules and packages whose code counts where it is used.
    """
    try:
        if thing.__module__.split(".")[0] in OURS and thing.__module__ in sys.modules:
            return code_behind((thing,), packages)
        return _code(thing)
    except (OSError, TypeError):  # typed in, or made by exec
        return f"{thing.__module__}.{thing.__qualname__}"


def _behind(method: Sampler) -> list[str]:
    """The code that a method's draws depend on: its parts and what they use, the engine, `solve`."""
    kinds: list[Any] = [part if hasattr(part, "__name__") else type(part) for part in (*method.parts, method)]
    ours = tuple(kind for kind in kinds if kind.__module__.split(".")[0] in OURS)
    others = [source_of(kind) for kind in kinds if kind not in ours]
    return [code_behind((engine, *ours), ("inverse",)), code_behind((solve,), ()), *others]
