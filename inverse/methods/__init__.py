"""METHODS: every method is a composition of the engine's parts, and this is the list."""

from dataclasses import replace

from inverse.correctors import AnnealedLangevin, Langevin
from inverse.grids import Sawtooth, TimeTravel, karras, log_snr, uniform
from inverse.guidance import (
    DAPS,
    DDNM,
    DDRM,
    DPS,
    EP,
    MCG,
    MMPS,
    PSLD,
    TDS,
    TMPD,
    DiffPIR,
    Linearized,
    MCGDiff,
    NoisyLikelihood,
    PiGDM,
    REDDiff,
    Replacement,
    ReSample,
    ScoreMRI,
    SplitGibbs,
    Tweedie,
    Unconditional,
    WienerMatching,
)
from inverse.methods.composition import composition
from inverse.methods.method import ORDERS, Method
from inverse.methods.pivot import Pivot
from inverse.methods.sampler import Sampler
from inverse.population import SMC, Importance
from inverse.predictors import DDIM, Ancestral, DPMSolver, Flow, ProbabilityFlow, Renoise, ReverseDiffusion, Travelling

REPAINT = (
    "Lugmayr, Danelljan, Romero, Yu, Timofte, Van Gool: RePaint: Inpainting using Denoising Diffusion Probabilistic "
    "Models, CVPR 2022"
)
# MMPS takes second-order steps of one evaluation, with more noise than the reverse SDE has, which corrects errors: at
# 100 evaluations and passes it is as near as 100 stochastic Runge-Kutta evaluations with 480 passes (`run oracle`)
PLAIN = Method("mmps", MMPS(), DPMSolver(2.0), (), log_snr, 32, head=6.0, tail=0.005)
# the first run may be approximate; up to 26 measured numbers take at most 100 evaluations and passes
ONWARD = replace(PLAIN, guidance=MMPS(2, complete=False))
GENERAL = replace(PLAIN, name="ep", guidance=EP(), n_steps=20)  # other noise than Gaussian
THROUGH = replace(PLAIN, name="linearized", guidance=Linearized(), head=None)  # nonlinear operators
METHODS: dict[str, Sampler] = {
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
        Method("psld", PSLD(), n_steps=500),
        Method("pigdm", PiGDM()),
        Method("tmpd", TMPD()),
        PLAIN,
        replace(PLAIN, name="mmps-wiener", guidance=WienerMatching(), n_steps=16),
        THROUGH,
        GENERAL,
        Method("ddrm", DDRM(), Renoise(0.85), n_steps=20),
        Method("ddnm", DDNM(), Renoise(0.85)),
        Method("diffpir", DiffPIR(), Renoise(1.0)),
        Method("reddiff", REDDiff(), Renoise(1.0), n_steps=500),
        Method("daps", DAPS(), Renoise(1.0), n_steps=200),
        Method("resample", ReSample(), DDIM(), (), uniform, 500),
        Method("splitgibbs", SplitGibbs(), Travelling(Ancestral()), (), Sawtooth(), 1000),
        Method("tds", TDS(), population=SMC()),
        Method("mcgdiff", MCGDiff(), population=SMC()),
        Pivot("pivot", PLAIN, ONWARD, share=9 / 16),
        Pivot("pivot-linearized", THROUGH, THROUGH, share=9 / 16),
        Pivot("pivot-ep", GENERAL, GENERAL, share=9 / 16),
        Method("exact", Tweedie(), Flow(), n_steps=40, population=Importance()),
        Method("classifier", NoisyLikelihood(), n_steps=200),
    )
}

__all__ = ["METHODS", "ORDERS", "Method", "Pivot", "Sampler", "composition"]
