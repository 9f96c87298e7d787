"""METHODS: every method is a composition of the engine's parts, and this is the list."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from inverse.correctors import AnnealedLangevin, Langevin
from inverse.flow import Flow
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
    MCGDiff,
    NoisyLikelihood,
    PiGDM,
    REDDiff,
    Replacement,
    ScoreMRI,
    SplitGibbs,
    Tweedie,
    Unconditional,
)
from inverse.population import SMC, Importance, Independent
from inverse.predictors import (
    Ancestral,
    DPMSolver,
    ProbabilityFlow,
    Renoise,
    ReverseDiffusion,
    Travelling,
)
from inverse.protocols import Guidance, Kernel, Population
from priors import Prior

ORDERS = ("predict-first", "correct-first")
REPAINT = (
    "Lugmayr, Danelljan, Romero, Yu, Timofte, Van Gool: RePaint: Inpainting using Denoising Diffusion Probabilistic "
    "Models, CVPR 2022"
)


@dataclass(frozen=True)
class Method:
    """A composition that `solve` and `sample` can run; make your own with ``replace(METHODS["mmps"], predictor=...)``.

    Arguments: name; guidance; predictor (None: correctors alone); correctors, in turn at every time that a predictor
    arrived at: ``(Langevin(0.1),) * 3`` for three; grid: a function of `inverse.grids` ((sde, n) -> times); n_steps:
    default number of steps; population; head (float > 0, or None): with a prior whose `Prior.moments` are known, start
    where sigma / alpha is so many standard deviations of one of its coordinates (see `Posterior.start`), because above
    x_t is as good as Gaussian; order: "predict-first" (Song et al. 2021, algorithm 1) or "correct-first" (their code),
    which corrects at t = 1 too. All else is the same, for their code's last prediction is our denoising; paper: where
    it is not that of the guidance.
    Raises: ValueError for an unknown order, no kernel at all, a head <= 0, and a predictor that remembers its last step
    (`DPMSolver`) where rows are resampled.
    """

    name: str
    guidance: Guidance
    predictor: Kernel | None = field(default_factory=Ancestral)
    correctors: Sequence[Kernel] = ()
    grid: Grid = karras
    n_steps: int = 100
    population: Population = field(default_factory=Independent)
    head: float | None = None
    order: str = "predict-first"
    paper: str = field(default="", repr=False)

    def __post_init__(self):
        if self.order not in ORDERS:
            raise ValueError(f"order = {self.order!r}: expected one of {ORDERS}")
        if self.predictor is None and not self.correctors:
            raise ValueError(f"method {self.name!r} has neither a predictor nor correctors: give it one")
        if self.head is not None and not self.head > 0:
            raise ValueError(f"head = {self.head}: expected a number > 0 of the prior's standard deviations, or None")
        if self.population.coupled and getattr(self.predictor, "remembers", False):
            raise ValueError(f"method {self.name!r}: its predictor remembers rows that its population resamples")

    def times(self, prior: Prior, n_steps: int | None = None) -> Tensor:
        """The grid of a solve with this prior, (n + 1,) float64; n_steps: default the method's."""
        sde, n = prior.sde, n_steps or self.n_steps
        if self.head is None or prior.moments is None:
            return self.grid(sde, n)
        start = sde.time(torch.tensor(self.head * prior.variance**0.5)).item()
        return self.grid(sde, n, start) if sde.t_min < start < 1 else self.grid(sde, n)

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
        """Its paper, most often that of its guidance."""
        return self.paper or self.guidance.citation

    @property
    def conditional(self) -> bool:
        """Whether it uses a measurement at all."""
        return self.guidance.conditional


# MMPS takes second-order steps of one evaluation, with more noise than the reverse SDE has, which heals its errors: at
# 100 evaluations and passes it is as near as 100 stochastic Runge-Kutta evaluations with 480 passes (`run oracle`)
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
        Method("mmps", MMPS(), DPMSolver(2.0), (), log_snr, 32, head=6.0),
        Method("ddrm", DDRM(), Renoise(0.85), n_steps=20),
        Method("ddnm", DDNM(), Renoise(0.85)),
        Method("diffpir", DiffPIR(), Renoise(1.0)),
        Method("reddiff", REDDiff(), Renoise(1.0), n_steps=500),
        Method("daps", DAPS(), Renoise(1.0), n_steps=200),
        Method("splitgibbs", SplitGibbs(), Travelling(Ancestral()), (), Sawtooth(), 1000),
        Method("tds", TDS(), population=SMC()),
        Method("mcgdiff", MCGDiff(), population=SMC()),
        Method("exact", Tweedie(), Flow(), n_steps=40, population=Importance()),
        Method("classifier", NoisyLikelihood(), n_steps=200),
    )
}


__all__ = ["METHODS", "Method"]
