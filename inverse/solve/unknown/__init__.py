"""Unknown parameters of a measurement: noise level, gain, blur width and the like, with their uncertainty."""

from inverse.solve.unknown.inference import Inference, UncertainParameters, infer
from inverse.solve.unknown.joint import jointly
from inverse.solve.unknown.ranges import LogUniform, Range, Uniform

__all__ = ["Inference", "LogUniform", "Range", "UncertainParameters", "Uniform", "infer", "jointly"]
