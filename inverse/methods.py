"""METHODS: every method is a composition of the engine's parts, and this is the list."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from inverse.correctors import AnnealedLangevin, Langevin
from inverse.grids import Grid, karras, log_snr, uniform
from inverse.guidance import DPS, MMPS, NoisyLikelihood, PiGDM, Replacement, Unconditional
from inverse.population import Independent
from inverse.predictors import Ancestral, ProbabilityFlow, ReverseDiffusion, StochasticRungeKutta
from inverse.protocols import Guidance, Kernel, Population
from operators import Operator

ORDERS = ("predict-first", "correct-first")


@dataclass(frozen=True)
class Method:
    """A composition that `solve` and `sample` can run; make your own with ``replace(METHODS["mmps"], predictor=...)``.

    Arguments: name; guidance; predictor (None: correctors alone); correctors, in turn at every time that a predictor
    arrived at: ``(Langevin(0.1),) * 3`` for three; grid: a function of `inverse.grids` ((sde, n) -> times); n_steps:
    default number of steps; population; order: "predict-first" (Song et al. 2021, algorithm 1) or "correct-first"
    (their code), which corrects at t = 1 too. All else is the same, for their code's last prediction is our denoising.
    Raises: ValueError for an unknown order or a method without any kernel.
    """

    name: str
    guidance: Guidance
    predictor: Kernel | None = field(default_factory=Ancestral)
    correctors: Sequence[Kernel] = ()
    grid: Grid = karras
    n_steps: int = 100
    population: Population = field(default_factory=Independent)
    order: str = "predict-first"

    def __post_init__(self):
        if self.order not in ORDERS:
            raise ValueError(f"order = {self.order!r}: expected one of {ORDERS}")
        if self.predictor is None and not self.correctors:
            raise ValueError(f"method {self.name!r} has neither a predictor nor correctors: give it one")

    @property
    def openers(self) -> Sequence[Kernel]:
        """The correctors that work before any prediction."""
        return self.correctors if self.order == "correct-first" else ()

    @property
    def needs(self) -> frozenset[str]:
        """Operator capabilities that it relies on."""
        return self.guidance.needs

    @property
    def citation(self) -> str:
        """The paper of its guidance."""
        return self.guidance.citation

    @property
    def conditional(self) -> bool:
        """Whether it uses a measurement at all."""
        return self.guidance.conditional


# MMPS takes stochastic Runge-Kutta steps: at equal evaluations they are nearer to the image mixture's posterior than
# ancestral steps are, and these than the Heun flow, which keeps errors that noise mends: `inverse-bench run exactness`
METHODS: dict[str, Method] = {
    m.name: m
    for m in (
        Method("pc", Unconditional(), ReverseDiffusion(), (Langevin(),), uniform, 500),
        Method("predictor", Unconditional(), ReverseDiffusion(), (), uniform, 1000),
        Method("corrector", Unconditional(), None, (AnnealedLangevin(0.45),), log_snr, 2000),
        Method("ode", Unconditional(), ProbabilityFlow(), (), karras, 50),
        Method("replacement", Replacement(), ReverseDiffusion(), (Langevin(),), uniform, 500),
        Method("dps", DPS(), n_steps=500),
        Method("pigdm", PiGDM()),
        Method("mmps", MMPS(), StochasticRungeKutta(), n_steps=50),
        Method("classifier", NoisyLikelihood(), n_steps=200),
    )
}


def choose(operator: Operator) -> Method:
    """The method that "auto" stands for: the most exact one that the operator can serve.

    Raises: ValueError where no method serves it.
    """
    for name in ("classifier", "mmps", "dps"):
        if METHODS[name].needs <= operator.capabilities:
            return METHODS[name]
    raise ValueError(
        f"{type(operator).__name__} has the capabilities {sorted(operator.capabilities)} and no method serves these: "
        "a differentiable forward with Gaussian noise, or a noisy_log_likelihood, is the least"
    )


def resolve(method: "str | Method", operator: Operator) -> Method:
    """A name from METHODS, "auto" or a composition, checked against the operator.

    Raises: TypeError for another type; ValueError for an unknown name or an operator that the method cannot serve.
    """
    if isinstance(method, str):
        if method != "auto" and method not in METHODS:
            raise ValueError(f"method {method!r}: expected 'auto', a Method or one of {sorted(METHODS)}")
        method = choose(operator) if method == "auto" else METHODS[method]
    if not isinstance(method, Method):
        raise TypeError(f"method of type {type(method).__name__}: expected a name or an inverse.Method")
    if not method.conditional:
        raise ValueError(f"method {method.name!r} ignores y: use it with sample(), or choose a guided method here")
    if missing := method.needs - operator.capabilities:
        able = sorted(name for name, m in METHODS.items() if m.conditional and m.needs <= operator.capabilities)
        raise ValueError(
            f"method {method.name!r} needs an operator that is {sorted(missing)}; {type(operator).__name__} is "
            f"{sorted(operator.capabilities)}: methods that serve it are {able}"
        )
    return method


__all__ = ["METHODS", "Method", "choose", "resolve"]
