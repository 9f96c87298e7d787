"""Samples of p(x0 | y) for imaging inverse problems, from score-SDE priors."""

from typing import TYPE_CHECKING

from priors.lazy import attach

if TYPE_CHECKING:
    from inverse.app.batch import BatchResults, solve_batch
    from inverse.app.calibration import (
        Calibration,
        CalibrationTest,
        Conformal,
        FewPictures,
        calibrate,
        conformal,
    )
    from inverse.app.deepinv import to_deepinv
    from inverse.app.evidence import Comparison, Evidence, compare, log_evidence
    from inverse.app.learning import learn_gaussian, learn_prior
    from inverse.app.mean import PosteriorMean, posterior_mean
    from inverse.app.variants import compare_variants
    from inverse.examination import Examination, examine
    from inverse.methods import METHODS, Method
    from inverse.plan import Plan, plan
    from inverse.quality import PoorFit
    from inverse.quality.instrument import DoubtfulInstrument
    from inverse.quality.noise_stated import DoubtfulNoise
    from inverse.quality.scale import ImplausibleScale
    from inverse.solution import Solution, UncalibratedSpread
    from inverse.solve import sample, solve
    from inverse.solve.unknown import KernelPrior, LogUniform, UncertainParameters, Uniform
    from inverse.types import NonFiniteState
    from inverse.weights import UnreliableWeights
else:
    __getattr__, __dir__ = attach(
        __name__,
        {
            "app.batch": ["BatchResults", "solve_batch"],
            "app.calibration": ["Calibration", "CalibrationTest", "Conformal", "FewPictures", "calibrate", "conformal"],
            "app.deepinv": ["to_deepinv"],
            "app.evidence": ["Comparison", "Evidence", "compare", "log_evidence"],
            "app.learning": ["learn_gaussian", "learn_prior"],
            "app.mean": ["PosteriorMean", "posterior_mean"],
            "app.variants": ["compare_variants"],
            "examination": ["Examination", "examine"],
            "methods": ["METHODS", "Method"],
            "plan": ["Plan", "plan"],
            "quality": ["PoorFit"],
            "quality.instrument": ["DoubtfulInstrument"],
            "quality.noise_stated": ["DoubtfulNoise"],
            "quality.scale": ["ImplausibleScale"],
            "solution": ["Solution", "UncalibratedSpread"],
            "solve": ["sample", "solve"],
            "solve.unknown": ["KernelPrior", "LogUniform", "UncertainParameters", "Uniform"],
            "types": ["NonFiniteState"],
            "weights": ["UnreliableWeights"],
        },
    )

__version__ = "0.1.0"
__all__ = [
    "METHODS",
    "BatchResults",
    "Calibration",
    "CalibrationTest",
    "Comparison",
    "Conformal",
    "DoubtfulInstrument",
    "DoubtfulNoise",
    "Evidence",
    "Examination",
    "FewPictures",
    "ImplausibleScale",
    "KernelPrior",
    "LogUniform",
    "Method",
    "NonFiniteState",
    "Plan",
    "PoorFit",
    "PosteriorMean",
    "Solution",
    "UncalibratedSpread",
    "UncertainParameters",
    "Uniform",
    "UnreliableWeights",
    "calibrate",
    "compare",
    "compare_variants",
    "conformal",
    "examine",
    "learn_gaussian",
    "learn_prior",
    "log_evidence",
    "plan",
    "posterior_mean",
    "sample",
    "solve",
    "solve_batch",
    "to_deepinv",
]
