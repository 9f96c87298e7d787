"""Unknown parameters of a measurement: noise level, gain, blur width and the like, with their uncertainty."""

from inverse.unknown.inference import Inference, UncertainParameters, infer
from inverse.unknown.joint import jointly
from inverse.unknown.ranges import LogUniform, Range, Uniform

__all__ = ["Inference", "LogUniform", "Range", "UncertainParameters", "Uniform", "infer", "jointly"]
