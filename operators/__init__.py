"""p(y | x0): measurements of images, and their noise."""

from .base import Operator
from .bayer import Bayer
from .blur import Blur
from .bridges.exporting import to_deepinv
from .bridges.importing import from_deepinv
from .bridges.physics import BridgedPhysics
from .checks import check
from .classifier import Classifier
from .composition import Composition, Stack
from .compressed_sensing import CompressedSensing
from .cone_beam import ConeBeam
from .decoder import Decoder, Linearization
from .downsampling import Downsampling
from .estimation import estimate_sigma
from .exam import OperatorCheckError
from .fan_beam import FanBeam
from .fourier import Fourier
from .grayscale import Grayscale
from .identity import Identity
from .jpeg import JPEG
from .linear import LinearMap
from .linear_operator import LinearOperator
from .masking import Masking
from .noise import Categorical, GaussianNoise, Noise, PoissonGaussianNoise, PoissonNoise, RicianNoise, SpeckleNoise
from .noncartesian import NonCartesian
from .phase_retrieval import PhaseRetrieval
from .radon import Radon, TransposedSinogram
from .registry import available, get, make, register
from .resize import Resize
from .saturation import Saturation
from .solvers import NotConverged
from .svd import SVDOperator
from .transmission import FewPhotons, Transmission, attenuation
from .trials import InexactAdjoint
from .variation import variants
from .varying_blur import VaryingBlur
from .volumes import AlongAxis, Slicewise

__all__ = [
    "JPEG",
    "AlongAxis",
    "Bayer",
    "Blur",
    "BridgedPhysics",
    "Categorical",
    "Classifier",
    "Composition",
    "CompressedSensing",
    "ConeBeam",
    "Decoder",
    "Downsampling",
    "FanBeam",
    "FewPhotons",
    "Fourier",
    "GaussianNoise",
    "Grayscale",
    "Identity",
    "InexactAdjoint",
    "LinearMap",
    "LinearOperator",
    "Linearization",
    "Masking",
    "Noise",
    "NonCartesian",
    "NotConverged",
    "Operator",
    "OperatorCheckError",
    "PhaseRetrieval",
    "PoissonGaussianNoise",
    "PoissonNoise",
    "Radon",
    "Resize",
    "RicianNoise",
    "SVDOperator",
    "Saturation",
    "Slicewise",
    "SpeckleNoise",
    "Stack",
    "Transmission",
    "TransposedSinogram",
    "VaryingBlur",
    "attenuation",
    "available",
    "check",
    "estimate_sigma",
    "from_deepinv",
    "get",
    "make",
    "register",
    "to_deepinv",
    "variants",
]
