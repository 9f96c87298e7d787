"""p(y | x0): measurements of images, and their noise."""

from .base import LinearOperator, Operator, SVDOperator
from .blur import Blur
from .checks import OperatorCheckError, check
from .classifier import Classifier
from .composition import Composition, Stack
from .downsampling import Downsampling
from .estimation import estimate_sigma
from .grayscale import Grayscale
from .linear import LinearMap
from .masking import Masking
from .noise import Categorical, GaussianNoise, Noise, PoissonNoise
from .registry import available, get, make, register

__all__ = [
    "Blur",
    "Categorical",
    "Classifier",
    "Composition",
    "Downsampling",
    "GaussianNoise",
    "Grayscale",
    "LinearMap",
    "LinearOperator",
    "Masking",
    "Noise",
    "Operator",
    "OperatorCheckError",
    "PoissonNoise",
    "SVDOperator",
    "Stack",
    "available",
    "check",
    "estimate_sigma",
    "get",
    "make",
    "register",
]
