"""METHODS: every method is a composition of the engine's parts, and this is the list."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from inverse import engine
from inverse.correctors import AnnealedLangevin, Langevin
from inverse.grids import Grid, Sawtooth, TimeTravel, karras, log_snr, uniform
from inverse.guidance import (
    DAPS,
    DDNM,
    DDRM,
    DPS,
    MCG,
    MMPS,
    TDS,
    TMPD,
    DiffPIR,
    Linearized,
    MCGDiff,
    NoisyLikelihood,
    PiGDM,
    Pivot,
    REDDiff,
    Replacement,
    ScoreMRI,
    SplitGibbs,
    Tweedie,
    Unconditional,
)
from inverse.population import SMC, Importance, Independent, Renoised
from inverse.predictors import (
    Ancestral,
    DPMSolver,
    Flow,
    ProbabilityFlow,
    Renoise,
    ReverseDiffusion,
    Travelling,
)
from inverse.protocols import RNG, Guidance, Kernel, Population, Transition, as_kernel
from inverse.types import State
from operators import Operator
from priors import Prior
from priors.arguments import choice, function, number, sequence, settings
from priors.wording import Concise

ORDERS = ("predict-first", "correct-first")
REPAINT = (
    "Lugmayr, Danelljan, Romero, Yu, Timofte, Van Gool: RePaint: Inpainting using Denoising Diffusion Probabilistic "
    "Models, CVPR 2022"
)


@dataclass(frozen=True, repr=False)
class Method(Concise):
    """A composition that `solve` and `sample` can run; make your own with ``replace(METHODS["mmps"], predictor=...)``.

    Arguments: name; guidance; predictor (None: correctors alone); correctors, in turn at every time that a predictor
    arrived at: ``(Langevin(0.1),) * 3`` for three; grid: a function of `inverse.grids` ((sde, n) -> times); n_steps:
    default number of steps; population; head (float > 0, or None): with a prior whose `Prior.moments` are known, start
    where sigma / alpha is so many standard deviations of one of its coordinates (see `Posterior.start`), because above
    x_t is as good as Gaussian; tail (float > 0, or None): end where sigma / alpha is so many, of a guidance whose last
    draw is right (`Posterior.finish`), because steps below it are lost on an SDE that goes on to next to no noise;
    order: "predict-first" (Song et al. 2021, algorithm 1) or "correct-first" (their code), which corrects at t = 1 too.
    All else is the same, for their code's last prediction is our denoising; paper: where it is not that of the
    guidance; then: the method that carries the rows on, and from where. n_steps is of both.
    Raises: ValueError for an unknown order, no kernel at all, a head or tail <= 0, a population that weighs
    rows under a guidance without a likelihood, and weights that are made at the last time where another method follows.
    """

    name: str
    guidance: Guidance
    predictor: Transition | None = field(default_factory=Ancestral)
    correctors: Sequence[Transition] = ()
    grid: Grid = karras
    n_steps: int = 100
    population: Population = field(default_factory=Independent)
    head: float | None = None
    tail: float | None = None
    order: str = "predict-first"
    paper: str = field(default="", repr=False)
    then: "Handover | None" = None

    def __post_init__(self):
        choice("order", self.order, ORDERS)
        settings(self, n_steps=1)
        kinds = {"guidance": Guidance, "population": Population, "then": Handover | None, "name": str}
        for part, kind in kinds.items():
            if not isinstance(getattr(self, part), kind):
                raise TypeError(f"{part} of type {type(getattr(self, part)).__name__}: expected {kind}")
        steps = [*([] if self.predictor is None else [self.predictor]), *sequence("correctors", self.correctors)]
        for kernel in steps:
            function("a kernel", kernel, "transition")
        function("grid", self.grid)
        if self.predictor is None and not self.correctors:
            raise ValueError(f"method {self.name!r} has neither a predictor nor correctors: give it one")
        for name, width in (("head", self.head), ("tail", self.tail)):
            if width is not None:
                number(name, width, "(0, inf)", "of the prior's standard deviations, or None")
        if self.population.weighs and self.conditional and not self.guidance.likelihood:
            raise ValueError(
                f"method {self.name!r}: {type(self.guidance).__name__} does not know p_t(y | x_t), by which "
                f"{type(self.population).__name__} weighs rows; take a guidance that does, such as TDS(), or declare "
                "likelihood = True in a class of your own whose posterior has a log_likelihood"
            )
        if self.then is not None and self.population.weighs and not self.population.coupled:
            raise ValueError(f"method {self.name!r}: its weights are made at the last time, so that none can follow")

    def times(self, prior: Prior, n_steps: int | None = None) -> Tensor:
        """The grid of a solve with this prior, (n + 1,) float64; n_steps: default the method's."""
        grids = [grid for _, grid in self.stages(prior, n_steps)]
        apart = self.population.restarts  # the second stage starts above where the first one ended
        return torch.cat([grids[0], *(grid[not apart :] for grid in grids[1:])])

    def stages(self, prior: Prior, n_steps: int | None = None) -> list[tuple["Method", Tensor]]:
        """The methods that carry the rows, one or two, and the times of each.

        Raises: ValueError for fewer steps than stages, and for a foot at which the prior's noise neither starts nor
        ends in between.
        """
        sde, n, span, then = prior.sde, n_steps or self.n_steps, self._span(prior), self.then
        if then is None:
            return [(self, self.grid(sde, n, *span, **self._foot(prior)))]
        spread = (math.prod(prior.event_shape) * prior.variance) ** 0.5
        foot, start = sde.time(torch.tensor(then.foot * spread)).item(), span[0] if span else 1.0
        if not sde.t_min < foot < start:
            raise ValueError(f"method {self.name!r}: foot = {then.foot} is time {foot}, not in {sde.t_min} to {start}")
        after = max(1, round(n * then.share))
        if after >= n:
            raise ValueError(f"n_steps = {n}: method {self.name!r} has two stages, give each at least one")
        end = {"end": foot} if not self.population.restarts else self._foot(prior)
        first = self.grid(sde, n - after, start, **end)
        return [(self, first), (then.method, then.method.grid(sde, after, foot, **then.method._foot(prior)))]

    def _span(self, prior: Prior) -> tuple[float, ...]:
        """The first time, where that is not 1."""
        if self.head is None or prior.moments is None:
            return ()
        start = prior.sde.time(torch.tensor(self.head * prior.variance**0.5)).item()
        return (start,) if prior.sde.t_min < start < 1 else ()

    def _foot(self, prior: Prior) -> dict[str, float]:
        """The last time, where that is not the SDE's t_min."""
        if self.tail is None:
            return {}
        end = prior.sde.time(torch.tensor(self.tail * prior.variance**0.5)).item()
        return {"end": end} if end > prior.sde.t_min else {}

    def carry(
        self,
        prior: Prior,
        operator: Operator | None,
        y: Tensor | None,
        rng: RNG,
        n_rows: int,
        n_steps: int | None = None,
        on_step: Callable[[], None] = lambda: None,
    ) -> State:
        """n_rows from noise to data, stage by stage (`inverse.engine.run`).

        Arguments: prior; operator and y (N, *M) of the rows, or None; rng (`RowRNG` of the rows); n_rows N; n_steps:
        default the method's; on_step: called after every step.
        """
        x, start, origin, stages = None, None, None, self.stages(prior, n_steps)
        for i, (stage, grid) in enumerate(stages, 1):
            posterior = stage.guidance.posterior(prior, operator, y, rng)
            predictor = None if stage.predictor is None else as_kernel(stage.predictor)
            parts = (predictor, [as_kernel(c) for c in stage.correctors], stage.population)
            onward = stages[i][1][0] if i < len(stages) else None
            if start is not None:
                grid = stage.grid(prior.sde, len(grid) - 1, start.item(), **stage._foot(prior))
            state = engine.run(posterior, grid, *parts, rng, n_rows, on_step, stage.openers, x, onward)
            x, start = state.x, state.t
            if state.origin is not None:  # rows descend through both stages
                origin = state.origin if origin is None else origin[state.origin]
        return replace(state, origin=origin)

    def sized(self, n_samples: int) -> "Method":
        """The same for n_samples rows per measurement."""
        then = self.then and replace(self.then, method=self.then.method.sized(n_samples))
        return replace(self, population=self.population.sized(n_samples), then=then)

    @property
    def openers(self) -> Sequence[Kernel]:
        """The correctors that work before any prediction."""
        return [as_kernel(c) for c in self.correctors] if self.order == "correct-first" else ()

    @property
    def needs(self) -> frozenset[str]:
        """Operator capabilities that it relies on."""
        return self.guidance.needs | (frozenset() if self.then is None else self.then.method.needs)

    @property
    def differentiates(self) -> bool:
        """Whether it needs the derivative of the prior's denoiser."""
        kernels = [as_kernel(k) for k in (self.predictor, *self.correctors) if k is not None]
        own = any(part.differentiates for part in (self.guidance, self.population, *kernels))
        return own or (self.then is not None and self.then.method.differentiates)

    @property
    def citation(self) -> str:
        """Its paper, most often that of its guidance."""
        return self.paper or self.guidance.citation

    @property
    def conditional(self) -> bool:
        """Whether it uses a measurement at all."""
        return self.guidance.conditional


@dataclass(frozen=True, repr=False)
class Handover(Concise):
    """Where rows are handed over, and to which method.

    Arguments: method, of which n_steps and head are not asked; foot (float > 0): where sigma / alpha is this fraction
    of the root mean square distance of the prior's draws from its mean, sqrt(d v); share (float in (0, 1)) of all
    steps: the method's.
    Raises: ValueError for numbers out of range, and for a method that hands over itself.
    """

    method: Method
    foot: float
    share: float

    def __post_init__(self):
        settings(self, foot="(0, inf)", share="(0, 1)")
        if not isinstance(self.method, Method):
            raise TypeError(f"method of type {type(self.method).__name__}: expected a Method, such as METHODS['mmps']")
        if self.method.then is not None:
            raise ValueError(f"method {self.method.name!r} hands over itself: expected two stages, not three")


# MMPS takes second-order steps of one evaluation, with more noise than the reverse SDE has, which heals its errors: at
# 100 evaluations and passes it is as near as 100 stochastic Runge-Kutta evaluations with 480 passes (`run oracle`)
PLAIN = Method("mmps", MMPS(), DPMSolver(2.0), (), log_snr, 32, head=6.0, tail=0.005)
# its first walk need not be right, and at most 26 measured numbers keep it within 100 evaluations and passes
ONWARD = replace(PLAIN, guidance=MMPS(2, complete=False))
PIVOT = replace(
    PLAIN, name="pivot", guidance=Pivot(), n_steps=16, population=Renoised(), then=Handover(ONWARD, 0.1, 9 / 16)
)
METHODS: dict[str, Method] = {
    m.name: m
    for m in (
        Method("pc", Unconditional(), ReverseDiffusion(), (Langevin(),), uniform, 500),
        Method("predictor", Unconditional(), ReverseDiffusion(), (), uniform, 1000),
        Method("corrector", Unconditional(), None, (AnnealedLangevin(0.45),), log_snr, 2000),
        Method("ode", Unconditional(), ProbabilityFlow(), (), karras, 50),
        Method("replacement", Replacement(), ReverseDiffusion(), (Langevin(),), uniform, 500),
        Method("repaint", Replacement(), Travelling(Ancestral()), (), TimeTravel(), 1000, paper=REPAINT),
        Method("scoremri", ScoreMRI(), ReverseDiffusion(), (Langevin(),), uniform, 500),
        Method("mcg", MCG(), n_steps=500),
        Method("dps", DPS(), n_steps=500),
        Method("pigdm", PiGDM()),
        Method("tmpd", TMPD()),
        PLAIN,
        replace(PLAIN, name="linearized", guidance=Linearized(), head=None),
        Method("ddrm", DDRM(), Renoise(0.85), n_steps=20),
        Method("ddnm", DDNM(), Renoise(0.85)),
        Method("diffpir", DiffPIR(), Renoise(1.0)),
        Method("reddiff", REDDiff(), Renoise(1.0), n_steps=500),
        Method("daps", DAPS(), Renoise(1.0), n_steps=200),
        Method("splitgibbs", SplitGibbs(), Travelling(Ancestral()), (), Sawtooth(), 1000),
        Method("tds", TDS(), population=SMC()),
        Method("mcgdiff", MCGDiff(), population=SMC()),
        PIVOT,
        Method("exact", Tweedie(), Flow(), n_steps=40, population=Importance()),
        Method("classifier", NoisyLikelihood(), n_steps=200),
    )
}


def composition(part: Any) -> Any:
    """What a method is composed of, as plain data for a key: the same in every process, and not how it shows itself.

    Arguments: part: a `Method`, or anything in one.
    """
    if is_dataclass(part):
        return type(part).__name__, [(field.name, composition(getattr(part, field.name))) for field in fields(part)]
    if isinstance(part, tuple | list):
        return [composition(each) for each in part]
    named = getattr(part, "__qualname__", None)  # of functions, such as grids, whose repr has an address
    return repr(part) if named is None and type(part).__repr__ is not object.__repr__ else named or type(part).__name__


__all__ = ["METHODS", "Handover", "Method", "composition"]
