"""Guidances: maps from a prior to a posterior. One paper, one file."""

from inverse.guidance.classifier import NoisyLikelihood
from inverse.guidance.dps import DPS
from inverse.guidance.mmps import MMPS
from inverse.guidance.pigdm import PiGDM
from inverse.guidance.replacement import Replacement
from inverse.guidance.unconditional import Unconditional

GUIDANCES = {
    "unconditional": Unconditional,
    "replacement": Replacement,
    "dps": DPS,
    "pigdm": PiGDM,
    "mmps": MMPS,
    "classifier": NoisyLikelihood,
}

__all__ = ["DPS", "GUIDANCES", "MMPS", "NoisyLikelihood", "PiGDM", "Replacement", "Unconditional"]
