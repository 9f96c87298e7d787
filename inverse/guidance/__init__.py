"""Guidances: maps from a prior to a posterior. One paper, one file."""

from inverse.guidance.classifier import NoisyLikelihood
from inverse.guidance.daps import DAPS
from inverse.guidance.ddnm import DDNM
from inverse.guidance.ddrm import DDRM
from inverse.guidance.diffpir import DiffPIR
from inverse.guidance.dps import DPS
from inverse.guidance.ep import EP
from inverse.guidance.linearized import Linearized
from inverse.guidance.mcg import MCG
from inverse.guidance.mcgdiff import MCGDiff
from inverse.guidance.mmps import MMPS
from inverse.guidance.pigdm import PiGDM
from inverse.guidance.psld import PSLD
from inverse.guidance.reddiff import REDDiff
from inverse.guidance.replacement import Replacement
from inverse.guidance.resample import ReSample
from inverse.guidance.scoremri import ScoreMRI
from inverse.guidance.splitgibbs import SplitGibbs
from inverse.guidance.tds import TDS
from inverse.guidance.tmpd import TMPD
from inverse.guidance.tweedie import Tweedie
from inverse.guidance.unconditional import Unconditional
from inverse.guidance.wiener import WienerMatching

GUIDANCES = {
    "unconditional": Unconditional,
    "replacement": Replacement,
    "scoremri": ScoreMRI,
    "mcg": MCG,
    "dps": DPS,
    "psld": PSLD,
    "pigdm": PiGDM,
    "tmpd": TMPD,
    "mmps": MMPS,
    "wiener": WienerMatching,
    "linearized": Linearized,
    "ep": EP,
    "ddrm": DDRM,
    "ddnm": DDNM,
    "diffpir": DiffPIR,
    "reddiff": REDDiff,
    "daps": DAPS,
    "resample": ReSample,
    "splitgibbs": SplitGibbs,
    "tds": TDS,
    "mcgdiff": MCGDiff,
    "tweedie": Tweedie,
    "classifier": NoisyLikelihood,
}

__all__ = [
    "DAPS",
    "DDNM",
    "DDRM",
    "DPS",
    "EP",
    "GUIDANCES",
    "MCG",
    "MMPS",
    "PSLD",
    "TDS",
    "TMPD",
    "DiffPIR",
    "Linearized",
    "MCGDiff",
    "NoisyLikelihood",
    "PiGDM",
    "REDDiff",
    "ReSample",
    "Replacement",
    "ScoreMRI",
    "SplitGibbs",
    "Tweedie",
    "Unconditional",
    "WienerMatching",
]
