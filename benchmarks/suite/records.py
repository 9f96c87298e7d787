"""Records: one HDF5 file per finished unit, written atomically, with all that a report needs."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from priors.files import FileError, atomic, reading
from priors.hdf5 import NUMBERS, checksum, opened

FORMAT = "inverse-bench record 1"
PICTURED = 4  # samples per image that a record keeps to be looked at
PICTURES = ("truth", "measurement", "mean", "std", "samples")
GROUPS = ("metrics", "pictures")  # of arrays by name
OPTIONAL = ("ranks", "features")  # arrays that not every unit has
MAPS = ("settings", "scales", "missing", "provenance")  # plain data, kept as JSON
REMEDY = "it was cut short, or something else wrote it: remove it and run the benchmark again, which resumes"


@dataclass(frozen=True)
class Scale:
    """The scale of a metric.

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


PLAIN = tuple(f.name for f in fields(Record) if f.name not in (*GROUPS, *OPTIONAL, *MAPS))


def write(record: Record, path: str | Path) -> None:
    """Write a record to HDF5, atomically: pictures compressed in chunks of one image, plain data as attributes.

    Arguments: record; path (its folder is made where there is none).
    Raises: ValueError for metrics or ranks that are not one row per image.
    """
    _check_rows(record)
    arrays = _arrays(record)
    attributes = {name: getattr(record, name) for name in PLAIN}
    attributes["images"] = np.asarray(record.images, dtype=np.int64)
    maps = {name: dict(getattr(record, name)) for name in MAPS}
    maps["scales"] = {name: asdict(scale) for name, scale in record.scales.items()}
    attributes |= {name: json.dumps(value, sort_keys=True) for name, value in maps.items()}
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        for name, array in arrays.items():
            small = array.size < 64  # a chunk costs more than it saves
            chunks = None if small else (1, *array.shape[1:])
            file.create_dataset(name, data=array, chunks=chunks, compression=None if small else "gzip")
        file.attrs.update(attributes)
        file.attrs["format"] = FORMAT
        file.attrs["sha256"] = checksum(attributes, arrays)


def read(path: str | Path) -> Record:
    """Read what `write` wrote.

    Raises: FileNotFoundError; ValueError for a file that is truncated, foreign, or of other content than its checksum.
    """
    with reading(path, "record", REMEDY) as path:
        held, arrays = contents(path, FORMAT, REMEDY)
        values: dict[str, Any] = {name: _plain(held[name]) for name in PLAIN}
        values["images"] = tuple(int(i) for i in held["images"])
        values.update({name: json.loads(held[name]) for name in MAPS})
        values["scales"] = {name: Scale(**scale) for name, scale in values["scales"].items()}
        for group in GROUPS:
            values[group] = {n.removeprefix(f"{group}/"): a for n, a in arrays.items() if n.startswith(f"{group}/")}
        values.update({name: arrays.get(name) for name in OPTIONAL})
        return Record(**values)


def load(folder: str | Path) -> list[Record]:
    """All records of a folder, by problem, method, seed, images and key.

    Raises: FileNotFoundError for a folder that is not there; ValueError as `read`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: records are made by `inverse-bench run suite --records {folder}`")
    found = [read(path) for path in folder.glob("[!.]*.h5")]  # a leading dot: a file that is being written
    return sorted(found, key=lambda r: (r.problem, r.method, r.seed, r.images, r.key))


def contents(path: Path, expected: str, remedy: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Attributes and arrays of an HDF5 file that has a format and a checksum of its content.

    Arguments: path; expected: the format; remedy: for another one.
    Raises: as `priors.files.reading`; FileError for another format or content.
    """
    with opened(path, f"file of format {expected!r}", remedy) as file:
        attributes: dict[str, Any] = file.attrs
        if (found := str(attributes.pop("format", "no format"))) != expected:
            raise FileError(f"{path}: its format is {found!r}: expected {expected!r}; {remedy}")
        arrays = {name: file.array(name, NUMBERS + "c") for name in file.datasets()}
    if str(attributes.pop("sha256", "")) != checksum(attributes, arrays):
        raise FileError(f"{path}: its content does not match its checksum: {remedy}")
    return attributes, arrays


def _arrays(record: Record) -> dict[str, np.ndarray]:
    found = {f"{group}/{name}": np.asarray(a) for group in GROUPS for name, a in getattr(record, group).items()}
    return found | {name: np.asarray(a) for name in OPTIONAL if (a := getattr(record, name)) is not None}


def _check_rows(record: Record) -> None:
    for name, array in _arrays(record).items():
        if array.ndim < 1 or len(array) != len(record.images):
            raise ValueError(
                f"{name} of shape {array.shape} in a record of {len(record.images)} images: expected one row per image"
            )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
