"""What a run leaves behind: an HDF5 file per finished unit, whole or not there at all, and all that a report needs."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from priors.files import atomic

FORMAT = "inverse-bench record 1"
PICTURED = 4  # samples per image that a record keeps to be looked at
PICTURES = ("truth", "measurement", "mean", "std", "samples")


@dataclass(frozen=True)
class Scale:
    """How a metric is to be read.

    Attributes: title (a column's head, with its unit); better: "higher", "lower", "none", or a number, which is the
    value of a right sampler (.95 of a coverage); digits after the point; percent: whether it is shown as one.
    """

    title: str
    better: str | float = "none"
    digits: int = 2
    percent: bool = False


@dataclass(frozen=True)
class Record:
    """One unit: one method on some images of one problem with one seed.

    Attributes: key: of all that the unit depends on (problem, measurements, method and its code, samples, steps, seed,
    images); problem (name) and task (a title to group by); prior (name); method (name of a row); posterior: whether
    it draws samples, or is a single estimate; seed; images: indices of the problem's images, B of them; n_samples K (0
    of an estimate); settings: plain data about the method (steps, guidance); metrics: name -> (B,) float64, nan where
    an image has none; scales: name -> `Scale` of each; missing: metrics that could not be had -> why; pictures: of
    `PICTURES`, float32 (B, C, H, W), samples (B, at most PICTURED, C, H, W), where the events are pictures; ranks (B,
    bins): how many of an image's pixels had the truth's rank among their samples in each of the bins (posteriors
    only); features (B, d) of one sample per image, for set metrics; nfe and nvjp per sample; seconds of all; peak
    memory in bytes; error: what a failed unit ended with, else ""; provenance: versions, commit, command, machine,
    date.
    """

    key: str
    problem: str
    task: str
    prior: str
    method: str
    posterior: bool
    seed: int
    images: tuple[int, ...]
    n_samples: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, np.ndarray] = field(default_factory=dict)
    scales: Mapping[str, Scale] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)
    ranks: np.ndarray | None = None
    features: np.ndarray | None = None
    nfe: int = 0
    nvjp: int = 0
    seconds: float = 0.0
    peak_memory: int = 0
    error: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
