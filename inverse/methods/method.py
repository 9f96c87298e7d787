"""A method: one run of the engine, composed of its parts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from inverse import engine
from inverse.grids import Grid, karras
from inverse.methods.sampler import Sampler
from inverse.population import Independent
from inverse.predictors import Ancestral
from inverse.protocols import RNG, Guidance, Kernel, Population, Transition, as_kernel
from inverse.types import State
from operators import Operator
from priors import Prior
from priors.arguments import choice, function, number, sequence, settings
from priors.wording import Concise

ORDERS = ("predict-first", "correct-first")


@dataclass(frozen=True, repr=False)
class Method(Concise, Sampler):
    """A composition that `solve` and `sample` can run; make your own with ``replace(METHODS["mmps"], predictor=...)``.

    Arguments: name; guidance; predictor (None: correctors alone); correctors, in turn at every time that a predictor
    arrived at: ``(Langevin(0.1),) * 3`` for three; grid: a function of `inverse.grids` ((sde, n) -> times); n_steps:
    default number of steps; population; head (float > 0, or None): with a prior whose `Prior.moments` are known, start
    where sigma / alpha is so many standard deviations of one of its coordinates (see `Posterior.start`), because above
    it x_t is nearly Gaussian; tail (float > 0, or None): end where sigma / alpha is so many, of a guidance whose last
    draw is right (`Posterior.finish`), because steps below it are wasted on an SDE that ends at almost no noise;
    order: "predict-first" (Song et al. 2021, algorithm 1) or "correct-first" (their code), which corrects at t = 1 too.
    Otherwise both are the same, since their code's last prediction is our denoising; paper: where it is not that of the
    guidance.
    Raises: ValueError for an unknown order, no kernel at all, a head or tail <= 0, and a population that weights rows
    under a guidance without a likelihood.
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

    def __post_init__(self) -> None:
        choice("order", self.order, ORDERS)
        settings(self, n_steps=1)
        kinds = {"guidance": Guidance, "population": Population, "name": str}
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
        if self.population.weighted and self.conditional and not self.guidance.likelihood:
            raise ValueError(
                f"method {self.name!r}: {type(self.guidance).__name__} does not know p_t(y | x_t), by which "
                f"{type(self.population).__name__} weights rows; take a guidance that does, such as TDS(), or declare "
                "likelihood = True in a class of your own whose posterior has a log_likelihood"
            )

    def times(self, prior: Prior, n_steps: int | None = None, start: float | None = None) -> Tensor:
        """The grid of a solve with this prior, (n + 1,) float64.

        Arguments: prior; n_steps: default the method's; start: the first time, default 1 or that of `head`.
        """
        span = self._start(prior) if start is None else (start,)
        return self.grid(prior.sde, n_steps or self.n_steps, *span, **self._end(prior))

    def _start(self, prior: Prior) -> tuple[float, ...]:
        """The first time, where that is not 1."""
        if self.head is None or prior.moments is None:
            return ()
        start = prior.sde.time(torch.tensor(self.head * prior.variance**0.5)).item()
        return (start,) if prior.sde.t_min < start < 1 else ()

    def _end(self, prior: Prior) -> dict[str, float]:
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
        return self.run(prior, operator, y, rng, n_rows, self.times(prior, n_steps), on_step)

    def run(
        self,
        prior: Prior,
        operator: Operator | None,
        y: Tensor | None,
        rng: RNG,
        n_rows: int,
        times: Tensor,
        on_step: Callable[[], None] = lambda: None,
        x: Tensor | None = None,
    ) -> State:
        """n_rows along given times to data, by the engine (`inverse.engine.run`).

        Arguments: as `carry`; times (n + 1,); x (N, *E): the rows at the first of these, default a draw
        (`Posterior.start`).
        """
        posterior = self.guidance.posterior(prior, operator, y, rng)
        predictor = None if self.predictor is None else as_kernel(self.predictor)
        parts = (predictor, [as_kernel(c) for c in self.correctors], self.population)
        return engine.run(posterior, times, *parts, rng, n_rows, on_step, self.openers, x)

    def steps(self, prior: Prior, n_steps: int | None = None) -> int:
        return len(self.times(prior, n_steps)) - 1

    def sized(self, n_samples: int) -> Self:
        return replace(self, population=self.population.sized(n_samples))

    @property
    def openers(self) -> Sequence[Kernel]:
        """The correctors that work before any prediction."""
        return [as_kernel(c) for c in self.correctors] if self.order == "correct-first" else ()

    @property
    def parts(self) -> tuple[Any, ...]:
        """Guidance, predictor, correctors, population and grid."""
        kernels = () if self.predictor is None else (self.predictor,)
        return (self.guidance, *kernels, *self.correctors, self.population, self.grid)

    @property
    def needs(self) -> frozenset[str]:
        """Operator capabilities that it relies on."""
        return self.guidance.needs

    @property
    def differentiates(self) -> bool:
        """Whether it needs the derivative of the prior's denoiser."""
        kernels = [as_kernel(k) for k in (self.predictor, *self.correctors) if k is not None]
        return any(part.differentiates for part in (self.guidance, self.population, *kernels))

    @property
    def citation(self) -> str:
        """Its paper, most often that of its guidance."""
        return self.paper or self.guidance.citation

    @property
    def conditional(self) -> bool:
        """Whether it uses a measurement at all."""
        return self.guidance.conditional

    @property
    def samples(self) -> bool:
        """Whether its draws claim to be samples of p(x | y)."""
        return self.guidance.samples

    @property
    def calibrated(self) -> bool:
        """Whether the spread of its samples was measured to be right (`Guidance`)."""
        return self.guidance.calibrated

    def caution(self, operator: Operator) -> str:
        """As `Guidance.caution`."""
        return self.guidance.caution(operator)

    @property
    def evidence(self) -> bool:
        """Whether its weights estimate log p(y)."""
        return self.guidance.evidence

    @property
    def weighted(self) -> bool:
        """Whether rows are weighted."""
        return self.population.weighted

    @property
    def coupled(self) -> bool:
        """Whether the samples of one measurement must share a batch."""
        return self.population.coupled

    @property
    def largest(self) -> float:
        """The most numbers that a measurement may have."""
        return self.guidance.largest
