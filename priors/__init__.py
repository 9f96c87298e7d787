"""Priors p(x0) and their diffusion by an SDE."""

from typing import TYPE_CHECKING

from priors.lazy import attach

if TYPE_CHECKING:
    from priors.analytic import Gaussian, GaussianMixture
    from priors.base import Prior
    from priors.checkpoints import available, labels, load_classifier, samples
    from priors.density import log_density, log_density_along
    from priors.empirical import Empirical
    from priors.empirical_posterior import EmpiricalPosterior
    from priors.evaluations import Evaluations
    from priors.formats import load, save_pretrained
    from priors.importers.calling import DoubtfulDenoiser
    from priors.importers.deepinv import from_deepinv, to_deepinv
    from priors.importers.denoiser import from_denoiser
    from priors.importers.flow import from_velocity
    from priors.latent import Latent
    from priors.likelihood import bits_per_dim, log_likelihood
    from priors.moments import Moments
    from priors.ode import decode, encode, slerp, temper
    from priors.precision import at_precision
    from priors.rng import RowRNG
    from priors.score_prior import DataRange, NoisyClassifier, ScorePrior
    from priors.sde import SDE, VESDE, VPSDE, RectifiedFlowSDE, SubVPSDE
    from priors.spectrum import Spectrum, StationaryMoments
    from priors.tiling import Tiled
    from priors.units import Units
    from priors.volumes import Slices
else:
    __getattr__, __dir__ = attach(
        __name__,
        {
            "analytic": ["Gaussian", "GaussianMixture"],
            "base": ["Prior"],
            "checkpoints": ["available", "labels", "load_classifier", "samples"],
            "density": ["log_density", "log_density_along"],
            "empirical": ["Empirical"],
            "empirical_posterior": ["EmpiricalPosterior"],
            "evaluations": ["Evaluations"],
            "formats": ["load", "save_pretrained"],
            "importers.calling": ["DoubtfulDenoiser"],
            "importers.deepinv": ["from_deepinv", "to_deepinv"],
            "importers.denoiser": ["from_denoiser"],
            "importers.flow": ["from_velocity"],
            "latent": ["Latent"],
            "likelihood": ["bits_per_dim", "log_likelihood"],
            "moments": ["Moments"],
            "ode": ["decode", "encode", "slerp", "temper"],
            "precision": ["at_precision"],
            "rng": ["RowRNG"],
            "score_prior": ["DataRange", "NoisyClassifier", "ScorePrior"],
            "sde": ["SDE", "VESDE", "VPSDE", "RectifiedFlowSDE", "SubVPSDE"],
            "spectrum": ["Spectrum", "StationaryMoments"],
            "tiling": ["Tiled"],
            "units": ["Units"],
            "volumes": ["Slices"],
        },
    )

__all__ = [
    "SDE",
    "VESDE",
    "VPSDE",
    "DataRange",
    "DoubtfulDenoiser",
    "Empirical",
    "EmpiricalPosterior",
    "Evaluations",
    "Gaussian",
    "GaussianMixture",
    "Latent",
    "Moments",
    "NoisyClassifier",
    "Prior",
    "RectifiedFlowSDE",
    "RowRNG",
    "ScorePrior",
    "Slices",
    "Spectrum",
    "StationaryMoments",
    "SubVPSDE",
    "Tiled",
    "Units",
    "at_precision",
    "available",
    "bits_per_dim",
    "decode",
    "encode",
    "from_deepinv",
    "from_denoiser",
    "from_velocity",
    "labels",
    "load",
    "load_classifier",
    "log_density",
    "log_density_along",
    "log_likelihood",
    "samples",
    "save_pretrained",
    "slerp",
    "temper",
    "to_deepinv",
]
