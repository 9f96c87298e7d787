"""Whether samples are draws of the posterior, over many truths, and intervals with a guarantee."""

from inverse.app.calibration.calibrating import calibrate
from inverse.app.calibration.intervals import Conformal, FewPictures, conformal
from inverse.app.calibration.result import Calibration, CalibrationTest

__all__ = ["Calibration", "CalibrationTest", "Conformal", "FewPictures", "calibrate", "conformal"]
