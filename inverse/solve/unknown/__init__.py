"""Unknown parameters of a measurement: noise level, gain, blur width and the like, with their uncertainty."""

from inverse.solve.unknown.doubts import doubts
from inverse.solve.unknown.inference import Inference, UncertainParameters, infer
from inverse.solve.unknown.joint import check_method, effort, jointly
from inverse.solve.unknown.kernels import KernelPrior
from inverse.solve.unknown.ranges import LogUniform, Range, Uniform

__all__ = [
    "Inference",
    "KernelPrior",
    "LogUniform",
    "Range",
    "UncertainParameters",
    "Uniform",
    "check_method",
    "doubts",
    "effort",
    "infer",
    "jointly",
]
