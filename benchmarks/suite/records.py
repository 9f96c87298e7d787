"""Records of the suite: a line per finished unit, and its arrays beside it, with all that a report needs."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.records import Records

FILE = "records.jsonl"
PICTURED = 4  # samples per image that a record keeps to be looked at
PICTURES = ("truth", "measurement", "mean", "std", "samples")
OPTIONAL = ("ranks", "features")  # arrays that not every unit has


@dataclass(frozen=True)
class Scale:
    """The scale of a metric.

    Attributes: title (a column's head, with its unit); better: "higher", "lower", "none", or a number, which is the
    value of a calibrated sampler (.95 of a coverage); digits after the point; percent: whether it is shown as one.
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

    @property
    def name(self) -> str:
        """Its key in the store: readable, and unique for the unit and what it depends on."""
        return name_of(stem(self.problem, self.method, self.seed), self.images, self.key)


PLAIN = tuple(f.name for f in fields(Record) if f.name not in ("metrics", "scales", "pictures", *OPTIONAL))


def stem(problem: str, method: str, seed: int) -> str:
    """The head of a record's name."""
    row = re.sub(r"[^-+.\w]", "_", method)
    return f"{problem}--{row}--s{seed}"


def name_of(head: str, images: Sequence[int], key: str) -> str:
    """A record's name. Arguments: head (`stem`); images; key."""
    return f"{head}--i{images[0]:04d}-{images[-1]:04d}--{key}"


def opened(folder: str | Path) -> Records:
    """The store of the records of a folder, which is made where there is none.

    Raises: ValueError for a folder of the old kind, one HDF5 file per unit.
    """
    folder = Path(folder)
    if not (folder / FILE).exists() and any(folder.glob("*--i*--*.h5")):
        raise ValueError(
            f"{folder}: its records are of an older version, one HDF5 file per unit: expected {FILE}; run the suite "
            "into another folder, or report these with the version that made them"
        )
    return Records(folder / FILE)


def write(record: Record, kept: Records) -> None:
    """Add a record to a store.

    Arguments: record; kept (`opened`).
    Raises: ValueError for metrics, pictures, ranks or features that are not one row per image.
    """
    arrays = {f"pictures/{name}": np.asarray(a) for name, a in record.pictures.items()}
    arrays |= {name: np.asarray(a) for name in OPTIONAL if (a := getattr(record, name)) is not None}
    metrics = {name: np.asarray(a, dtype=np.float64) for name, a in record.metrics.items()}
    for name, array in {**metrics, **arrays}.items():
        if array.ndim < 1 or len(array) != len(record.images):
            raise ValueError(
                f"{name} of shape {array.shape} in a record of {len(record.images)} images: expected one row per image"
            )
    plain = {name: getattr(record, name) for name in PLAIN}
    plain["scales"] = {name: asdict(scale) for name, scale in record.scales.items()}
    plain["metrics"] = {name: [_text(value) for value in a.tolist()] for name, a in metrics.items()}
    kept.add(record.name, plain, arrays)


def read(kept: Records, name: str) -> Record:
    """The record of a name in a store.

    Raises: FileNotFoundError, ValueError: as `Records.arrays`.
    """
    values, arrays = dict(kept.found[name]), kept.arrays(name)
    values["images"] = tuple(values["images"])
    values["scales"] = {metric: Scale(**scale) for metric, scale in values["scales"].items()}
    values["metrics"] = {metric: np.array([float(v) for v in a]) for metric, a in values["metrics"].items()}
    values |= {array: arrays.pop(array, None) for array in OPTIONAL}
    return Record(**values, pictures={picture.removeprefix("pictures/"): a for picture, a in arrays.items()})


def load(folder: str | Path) -> list[Record]:
    """All records of a folder, by problem, method, seed, images and key.

    Raises: FileNotFoundError for a folder that is not there; ValueError as `opened` and `read`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: records are made by `inverse-bench run suite --records {folder}`")
    kept = opened(folder)
    found = [read(kept, name) for name in kept.found]
    return sorted(found, key=lambda r: (r.problem, r.method, r.seed, r.images, r.key))


def _text(value: float) -> float | str:
    """A number of a metric; as a text where JSON has none such ("nan", "inf")."""
    return value if math.isfinite(value) else str(value)
