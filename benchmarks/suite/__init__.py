"""The benchmark suite: problems x methods x metrics x seeds, with resumable runs and reports. See
docs/benchmarks.md."""

from benchmarks.suite import classical, others, perceptual, scores
from benchmarks.suite.methods import Answer, Row, method
from benchmarks.suite.metrics import Judged, Missing, metric
from benchmarks.suite.problems import read
from benchmarks.suite.records import Record, Scale, load
from benchmarks.suite.runner import run
from benchmarks.suite.units import plan

__all__ = [
    "Answer",
    "Judged",
    "Missing",
    "Record",
    "Row",
    "Scale",
    "classical",
    "load",
    "method",
    "metric",
    "others",
    "perceptual",
    "plan",
    "read",
    "run",
    "scores",
]
