"""p(y | clean): noise models."""

from .base import Noise, noise_model
from .camera import PoissonGaussianNoise
from .categorical import Categorical
from .gaussian import GaussianNoise
from .linked import LinkedNoise
from .poisson import PoissonNoise
from .rician import RicianNoise
from .speckle import SpeckleNoise

__all__ = [
    "Categorical",
    "GaussianNoise",
    "LinkedNoise",
    "Noise",
    "PoissonGaussianNoise",
    "PoissonNoise",
    "RicianNoise",
    "SpeckleNoise",
    "noise_model",
]
