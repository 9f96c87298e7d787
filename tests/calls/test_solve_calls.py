"""Bad calls of solve, of methods' parts and of solutions: each is refused at once, by name."""

import math

import numpy as np
import pytest
import torch

import inverse
from inverse import METHODS, Method, correctors, grids, guidance, population, predictors, quality
from inverse.methods import Pivot
from operators import GaussianNoise, Masking
from priors import VESDE
from tests.calls.refusal import refused
from tests.cases import Untouchable

NAN, INF = math.nan, math.inf
G = GaussianNoise(0.1)
X = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
MASKING = Masking(torch.ones(8, 8), G)
PRIOR = Untouchable((1, 8, 8))  # fails if it is evaluated
SOLUTION = inverse.Solution(torch.rand(1, 2, 1, 8, 8), torch.zeros(1, 2), "mmps", 1, 0, 0.0, 0)


def solve(**spoilt):
    given = {"prior": PRIOR, "operator": MASKING, "y": X, "n_samples": 2, "method": "mmps", "progress": False}
    return lambda: inverse.solve(**(given | spoilt))


def plan(**spoilt):
    return lambda: inverse.plan(**({"prior": PRIOR, "operator": MASKING, "y": X} | spoilt))


def sample(**spoilt):
    return lambda: inverse.sample(**({"prior": PRIOR, "n_samples": 2, "progress": False} | spoilt))


# (the call's name, the call, words of its message)
CALLS = [
    # solve, plan, sample
    ("antithetic yes", solve(antithetic="yes"), "antithetic = 'yes'", "True or False"),
    ("antithetic 1", plan(antithetic=1), "antithetic = 1", "True or False"),
    ("progress a text", solve(progress="no"), "progress = 'no'", "True or False"),
    ("n_samples nan", solve(n_samples=NAN), "n_samples = nan", "integer"),
    ("n_samples 10^12", solve(n_samples=10**12), "n_samples", "<= 10000000"),
    ("n_steps 10^12", solve(n_steps=10**12), "n_steps", "<= 1000000"),
    ("n_steps inf", solve(n_steps=INF), "n_steps = inf", "integer"),
    ("batch_size True", solve(batch_size=True), "batch_size = True", "integer"),
    ("first -1", solve(first=-1), "first = -1", ">= 0"),
    ("first 1.5", solve(first=1.5), "first = 1.5", "integer"),
    ("numbers a number", solve(numbers=3), "numbers = 3", "list"),
    ("numbers a text", solve(numbers="01"), "numbers = '01'", "list"),
    ("numbers of floats", solve(numbers=[0.0, 1.0]), "an entry = 0.0", "integer"),
    ("numbers of bools", solve(numbers=[True, False]), "an entry = True", "integer"),
    ("numbers below 0", solve(numbers=[-1, 0]), "an entry = -1", ">= 0"),
    ("numbers that are equal", solve(numbers=[1, 1]), "numbers = [1, 1]", "2 different"),
    ("a number for two", solve(numbers=torch.tensor([3])), "tensor([3])", "2 different"),
    ("budget a number", solve(method="auto", budget=30), "budget 30", "fast"),
    ("budget a list", solve(method="auto", budget=[]), "budget []", "fast"),
    ("y complex", solve(y=X + 0j), "complex64", "torch.stack((y.real, y.imag), -3)"),
    ("y in half a batch axis", solve(y=X[0]), "(1, 8, 8)", "y[None]"),
    ("plan of a text", plan(prior="natural"), "prior of type str", "priors.load"),
    ("plan with a function", plan(operator=torch.relu), "operator of type", "Operator"),
    ("plan of n_samples 0", plan(n_samples=0), "n_samples = 0", ">= 1"),
    ("plan of n_steps a text", plan(n_steps="5"), "n_steps = '5'", "integer"),
    ("plan of seed nan", plan(seed=NAN), "seed = nan", "integer"),
    ("plan of y a list", plan(y=[1.0]), "y", "list", "floating"),
    ("sample of seed nan", sample(seed=NAN), "seed = nan", "integer"),
    ("sample of n_samples 10^12", sample(n_samples=10**12), "n_samples", "<="),
    ("sample with a bar of text", sample(progress="yes"), "progress = 'yes'", "True or False"),
    ("sample by a list", sample(method=["pc"]), "['pc']", "expected one of"),
    # parts of a method
    ("steps True", lambda: guidance.MMPS(True), "steps = True", "integer"),
    ("zeta nan", lambda: guidance.DPS(NAN), "zeta = nan", "> 0"),
    ("zeta inf", lambda: guidance.MCG(INF), "zeta = inf", "finite"),
    ("eta nan", lambda: predictors.DDIM(NAN), "eta = nan", "[0, 1]"),
    ("eta of a solver a text", lambda: predictors.DPMSolver("1"), "eta = '1'", "number"),
    ("snr nan", lambda: correctors.Langevin(NAN), "snr = nan", "(0, 0.5)"),
    ("probes nan", lambda: predictors.Flow(probes=NAN), "probes = nan", "integer"),
    ("threshold nan", lambda: population.SMC(NAN), "threshold = nan", "[0, 1]"),
    ("jump 0", lambda: grids.TimeTravel(0), "jump = 0", ">= 1"),
    ("decay nan", lambda: grids.Sawtooth(decay=NAN), "decay = nan", "(0, 1)"),
    ("a grid of 0 steps", lambda: grids.uniform(VESDE(), 0), "n = 0", ">= 1"),
    ("a grid from nan", lambda: grids.karras(VESDE(), 4, NAN), "start = nan", "(0, 1]"),
    ("a grid of no SDE", lambda: grids.log_snr("VESDE", 4), "sde = 'VESDE'", "VESDE()"),
    ("a grid that ends above its start", lambda: grids.quadratic(VESDE(), 4, 0.5, 0.7), "end = 0.7", "(0, 0.5)"),
    ("a guidance of text", lambda: Method("mine", "dps"), "guidance of type str", "Guidance"),
    ("a class for a kernel", lambda: Method("mine", guidance.DPS(), predictors.Ancestral), "transition", "kernel"),
    ("a corrector alone", lambda: Method("m", guidance.DPS(), correctors=correctors.Langevin()), "correctors", "list"),
    ("a grid of text", lambda: Method("mine", guidance.DPS(), grid="karras"), "grid = 'karras'", "__call__"),
    ("a head of nan", lambda: Method("mine", guidance.DPS(), head=NAN), "head = nan", "> 0"),
    ("a tail of nan", lambda: Method("mine", guidance.DPS(), tail=NAN), "tail = nan", "> 0"),
    ("a tail of 0", lambda: Method("mine", guidance.DPS(), tail=0), "tail = 0", "> 0"),
    ("a tail of text", lambda: Method("mine", guidance.DPS(), tail="1"), "tail = '1'", "number"),
    ("an order of 1", lambda: Method("mine", guidance.DPS(), order=1), "order = 1", "predict-first"),
    ("steps of 0", lambda: Method("mine", guidance.DPS(), n_steps=0), "n_steps = 0", ">= 1"),
    ("a share of nan", lambda: Pivot("mine", METHODS["mmps"], METHODS["mmps"], share=NAN), "share = nan", "(0, 1)"),
    ("a pivot to a text", lambda: Pivot("mine", METHODS["mmps"], "mmps"), "second of type str", "METHODS"),
    # after a solve
    ("quantile of text", lambda: SOLUTION.quantiles("0.5"), "q = '0.5'", "probability"),
    ("quantile of nan", lambda: SOLUTION.quantiles(NAN), "q = nan", "[0, 1]"),
    ("no quantiles", lambda: SOLUTION.quantiles([]), "q = []", "probabilities"),
    ("resampled to 1.5", lambda: SOLUTION.resample(1.5), "n = 1.5", "integer"),
    ("followed by a tensor", lambda: SOLUTION.followed_by(X), "more of type Tensor", "Solution"),
    ("examination of a tensor", lambda: inverse.examine(X, MASKING, X), "solution of type Tensor", "Solution"),
    ("examination of y None", lambda: inverse.examine(SOLUTION, MASKING, None), "y of type NoneType", "Tensor"),
    ("psnr of arrays", lambda: quality.psnr(np.ones((1, 1)), X), "estimate of type ndarray", "tensor"),
    ("ssim of 6 x 6", lambda: quality.ssim(X[..., :6, :6], X[..., :6, :6]), "7 x 7", "psnr"),
    ("ssim of vectors", lambda: quality.ssim(X.flatten(1), X.flatten(1)), "(B, C, H, W)"),
    ("chi2 of another size", lambda: quality.residual_chi2(MASKING, X[..., :5], X), "y", "(2, 1, 8, 5)"),
    ("predictive_p of lists", lambda: quality.predictive_p(MASKING, [1.0], [1.0]), "tensors"),
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=[call[0] for call in CALLS])
def test_a_bad_call_is_refused_by_name(call):
    refused(*call)
