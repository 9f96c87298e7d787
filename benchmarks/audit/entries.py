"""The audit's registry: for every method the reference, the problem and the settings that both run with."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from benchmarks.audit import coding, gradients, particles, replacing, spectral, unconditional
from benchmarks.audit.problem import D, Problem, Reference, smooth
from inverse import METHODS, Method
from inverse.correctors import AnnealedLangevin, Langevin
from inverse.grids import Sawtooth, TimeTravel, karras
from inverse.guidance import (
    DAPS,
    DDNM,
    DDRM,
    DPS,
    MCG,
    MMPS,
    PSLD,
    TMPD,
    DiffPIR,
    NoisyLikelihood,
    PiGDM,
    REDDiff,
    ReSample,
    ScoreMRI,
    WienerMatching,
)
from inverse.methods import Sampler
from inverse.population import Independent
from inverse.predictors import Ancestral, ReverseDiffusion

SETS, ROWS = 40, 20  # independent sets of samples, and samples of each
Sets = Callable[[Problem, list[float], int, int], Tensor]  # (problem, times, sets, rows) -> (B, K, d)


@dataclass(frozen=True)
class Case:
    """A run of ours beside a run of the reference.

    Arguments: reference: (problem, times of ours, sets, rows) -> samples (B, K, d); source: what of the paper it is;
    problem; method: ours; n_steps of it; other: ours with another setting, which the audit must tell from the
    reference; None: the method as it is, of a measurement that is half of sigma_y off; differs: why the two differ,
    where they do; sets and rows of a quick run; label: of the classifier.
    """

    reference: Sets
    source: str
    problem: Problem
    method: Sampler
    n_steps: int
    other: Sampler | None = None
    differs: str = ""
    sets: int = SETS
    rows: int = ROWS
    label: int | None = None


def rows_of(reference: Reference) -> Sets:
    """A reference of independent rows, as one of sets."""
    return lambda p, times, sets, k: reference(p, times, sets * k).view(sets, k, D)


def exact(p: Problem, times: list[float], n: int) -> Tensor:
    """Draws of the exact posterior."""
    return p.prior.posterior(*p.measured()).sample(n, seed=p.seed).double()


def fine(p: Problem, times: list[float], n: int) -> Tensor:
    """`gradients.mmps` in 300 steps, whatever the times."""
    return gradients.mmps(p, karras(p.sde, 300).tolist(), n)


def fine_wiener(p: Problem, times: list[float], n: int) -> Tensor:
    """`gradients.mmps_wiener` in 300 steps, whatever the times."""
    return gradients.mmps_wiener(p, karras(p.sde, 300).tolist(), n)


VP, VE, MASK = smooth("vp"), smooth("ve"), smooth("vp", mask=True)
CLEAN_VP, CLEAN_VE = smooth("vp", 0.0, mask=True), smooth("ve", 0.0, mask=True)
ONE = smooth("vp", components=1)
BOUND = (
    "algorithm 4's Langevin step, without bound, widens a Gaussian by (d + 2) / d and overshoots in few dimensions; "
    "ours has at most twice the step of Song & Ermon 2019"
)
WEIGHT = (
    "algorithm 1 adds alpha_t r_t^2 times the gradient at every step, however short, so that its guidance grows with "
    "the number of steps; ours is equation 7 as a score"
)
FLOW = (
    "ours is nearer to the exact posterior: steps of second order with more noise, and a last draw; 300 ancestral "
    "steps still lack some of the spread"
)
FEW = "the spread of few steps is 2 to 3 % too large: of linearized 1.021 in 32 steps and 1.009 in 64, of 3,200 samples"
PARTICLES = (
    "80 particles are few: the paper resamples at every step, by which it loses some of them; ours resamples only "
    "where the effective sample size is below half, and systematically"
)
FEWER = (
    "ours takes 16 steps of second order with more noise, and a last draw: 1.02 times the exact spread (.99 in 64 "
    "steps, of 3,200 samples); 300 ancestral steps still lack some of the spread"
)
CLOSED = "exact posterior, closed form"


def altered(name: str, **changes: object) -> Sampler:
    """A method of ours with other parts."""
    return replace(METHODS[name], **changes)


def case(
    name: str, reference: Reference, source: str, problem: Problem, n_steps: int, other: Sampler | None = None, **more
) -> Case:
    """A case of independent rows of the method of this name."""
    more.setdefault("method", METHODS[name])
    return Case(rows_of(reference), source, problem, n_steps=n_steps, other=other, **more)


def particle_case(reference: Sets, source: str, problem: Problem, n_steps: int, method: Sampler, **more) -> Case:
    """A case of 20 sets of 80 particles."""
    return Case(reference, source, problem, method, n_steps, sets=20, rows=80, **more)


def langevin_pair(
    name: str, reference: Callable[..., Tensor], source: str, problem: Problem, other: Sampler
) -> tuple[Case, ...]:
    """A method with Langevin steps, as printed and with ours."""
    printed = case(name, reference, source, problem, 20, other, differs=BOUND, sets=2 * SETS)
    return printed, case(
        name, partial(reference, bounded=True), f"{source}, with the bound", problem, 20, other, sets=2 * SETS
    )


CASES: dict[str, tuple[Case, ...]] = {
    "pc": langevin_pair(
        "pc",
        unconditional.predictor_corrector,
        "algorithms 1, 2 and 4",
        VE,
        altered("pc", predictor=Ancestral()),
    ),
    "predictor": (
        case("predictor", unconditional.predictor, "algorithm 2", VE, 30, altered("predictor", predictor=Ancestral())),
    ),
    "corrector": (
        case(
            "corrector",
            unconditional.corrector,
            "Song & Ermon 2019, algorithm 1",
            VE,
            80,
            altered("corrector", correctors=(AnnealedLangevin(0.25),)),
        ),
    ),
    "ode": (
        case(
            "ode",
            unconditional.probability_flow,
            "equation 13, scipy's RK45",
            VE,
            30,
            altered("ode", predictor=ReverseDiffusion()),
        ),
    ),
    "replacement": langevin_pair(
        "replacement",
        replacing.replacement,
        "appendix I.2",
        CLEAN_VE,
        altered("replacement", correctors=(Langevin(0.4),)),
    ),
    "repaint": (
        case(
            "repaint",
            replacing.repaint,
            "algorithm 1",
            CLEAN_VP,
            120,
            altered("repaint", grid=TimeTravel(10, 1)),
            method=altered("repaint", grid=TimeTravel(10, 4)),
        ),
    ),
    "scoremri": langevin_pair(
        "scoremri",
        replacing.score_mri,
        "equation 8, algorithm 2",
        smooth("ve", 0.0),
        altered("scoremri", guidance=ScoreMRI(0.05)),
    ),
    "mcg": (case("mcg", replacing.mcg, "algorithm 1", CLEAN_VP, 60, altered("mcg", guidance=MCG(25.0))),),
    "dps": (case("dps", gradients.dps, "algorithm 1", VP, 60, altered("dps", guidance=DPS(15.0))),),
    "psld": (case("psld", coding.psld, "algorithm 2", VP, 60, altered("psld", guidance=PSLD(15.0))),),
    "pigdm": (
        case(
            "pigdm", gradients.pigdm_printed, "algorithm 1", VP, 60, altered("pigdm", guidance=TMPD()), differs=WEIGHT
        ),
        case("pigdm", gradients.pigdm, "equation 7 in DDIM, eta 1", VP, 60, altered("pigdm", guidance=TMPD())),
    ),
    "tmpd": (case("tmpd", gradients.tmpd, "equation 9, section 3.2", VP, 60, altered("tmpd", guidance=PiGDM())),),
    "mmps": (
        case("mmps", fine, "algorithm 2, 300 steps", VP, 32, altered("mmps", guidance=PiGDM()), differs=FLOW),
        case(
            "mmps",
            gradients.mmps,
            "algorithm 2, the same steps",
            VP,
            60,
            Method("", PiGDM(), Ancestral()),
            method=Method("", MMPS(6), Ancestral()),
        ),
    ),
    "mmps-wiener": (
        case("mmps-wiener", fine_wiener, "mmps with C_s, 300 steps", MASK, 16, differs=FEWER),
        case(
            "mmps-wiener",
            gradients.mmps_wiener,
            "mmps with C_s, the same steps",
            MASK,
            60,
            Method("", PiGDM(), Ancestral()),
            method=Method("", WienerMatching(), Ancestral()),
        ),
    ),
    "linearized": (case("linearized", exact, CLOSED, ONE, 32, sets=20, differs=FEW),),
    "ep": (case("ep", exact, CLOSED, ONE, 20, sets=20, differs=FEW),),
    "ddrm": (case("ddrm", spectral.ddrm, "equations 4, 7, 8", VP, 20, altered("ddrm", guidance=DDRM(0.85, 0.5))),),
    "ddnm": (case("ddnm", spectral.ddnm, "appendix I", VP, 40, altered("ddnm", guidance=DDNM(0.4))),),
    "diffpir": (case("diffpir", spectral.diffpir, "algorithm 1", VP, 40, altered("diffpir", guidance=DiffPIR(2.0))),),
    "reddiff": (
        case("reddiff", gradients.red_diff, "algorithm 1", VP, 40, altered("reddiff", guidance=REDDiff(1.0)), sets=20),
    ),
    "daps": (
        case(
            "daps",
            partial(gradients.daps, langevin_steps=30),
            "algorithm 1",
            VE,
            15,
            altered("daps", guidance=DAPS(langevin_steps=5)),
            method=altered("daps", guidance=DAPS(langevin_steps=30)),
        ),
    ),
    "resample": (
        case(
            "resample",
            partial(coding.resample, every=4),
            "algorithm 1",
            VP,
            40,
            altered("resample", guidance=ReSample(4.0, every=4)),
            method=altered("resample", guidance=ReSample(every=4)),
        ),
    ),
    "splitgibbs": (
        case(
            "splitgibbs",
            spectral.split_gibbs,
            "algorithm 1",
            VE,
            105,
            altered("splitgibbs", grid=Sawtooth(first=1000.0, last=60.0)),
        ),
    ),
    "tds": (
        particle_case(
            particles.tds,
            "algorithm 1",
            VP,
            15,
            METHODS["tds"],
            other=altered("tds", population=Independent()),
            differs=PARTICLES,
        ),
    ),
    "mcgdiff": (particle_case(particles.mcgdiff, "algorithm 1, section 3.2", MASK, 20, METHODS["mcgdiff"]),),
    "pivot": (case("pivot", exact, CLOSED, VP, 16, sets=8, rows=50, differs=FEW),),
    "pivot-linearized": (case("pivot-linearized", exact, CLOSED, VP, 16, sets=8, rows=50, differs=FEW),),
    "pivot-ep": (case("pivot-ep", exact, CLOSED, VP, 20, sets=6, rows=50, differs=FEW),),
    "exact": (case("exact", exact, CLOSED, VP, 20, sets=12, rows=40),),
    "classifier": (
        case(
            "classifier",
            gradients.classifier,
            "equation 14",
            VP,
            60,
            altered("classifier", guidance=NoisyLikelihood(3.0)),
            label=0,
            method=altered("classifier", predictor=ReverseDiffusion()),
        ),
    ),
}
