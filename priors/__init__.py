"""p(x0), an image before it was measured, and its noising by an SDE."""

from priors.analytic import Gaussian, GaussianMixture
from priors.base import Evaluations, Prior
from priors.checkpoints import available, labels, load, load_classifier, samples
from priors.density import log_density, log_density_along
from priors.importers.denoiser import from_denoiser
from priors.likelihood import bits_per_dim, log_likelihood
from priors.moments import Moments
from priors.ode import decode, encode, slerp, temper
from priors.precision import at_precision
from priors.rng import RowRNG
from priors.score_prior import DataRange, NoisyClassifier, ScorePrior
from priors.sde import SDE, VESDE, VPSDE, SubVPSDE
from priors.spectrum import Spectrum, StationaryMoments
from priors.tiling import Tiled
from priors.units import Units

__all__ = [
    "SDE",
    "VESDE",
    "VPSDE",
    "DataRange",
    "Evaluations",
    "Gaussian",
    "GaussianMixture",
    "Moments",
    "NoisyClassifier",
    "Prior",
    "RowRNG",
    "ScorePrior",
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
    "from_denoiser",
    "labels",
    "load",
    "load_classifier",
    "log_density",
    "log_density_along",
    "log_likelihood",
    "samples",
    "slerp",
    "temper",
]
