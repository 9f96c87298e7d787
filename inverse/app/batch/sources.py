"""Where the measurements of a batch come from: a tensor, or a file that is read block by block."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from priors import zarr_folders
from priors.files import HDF5, FileError, regular
from priors.hdf5 import NUMBERS, Hdf5, opened
from priors.zarr_folders import Zarr
from priors.zarr_store import is_zarr

WHAT = "measurement file"
REMEDY = 'expected HDF5 or Zarr with a dataset "y" (n, *M), and arrays with one entry per measurement beside it'


class Source(Protocol):
    """Measurements by number. `names` of the arrays that there is one entry of per measurement: "y" and any others."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def read(self, start: int, end: int) -> dict[str, Tensor]:
        """The entries of measurements start to end - 1, by name: y (end - start, *M), and others likewise."""
        ...


@dataclass(frozen=True)
class Held:
    """Measurements in memory, y (n, *M)."""

    y: Tensor

    @property
    def names(self) -> tuple[str, ...]:
        return ("y",)

    def __len__(self) -> int:
        return len(self.y)

    def read(self, start: int, end: int) -> dict[str, Tensor]:
        return {"y": self.y[start:end]}


@dataclass(frozen=True)
class InFile:
    """Measurements in a file of named arrays, of which only the block that is asked for is read.

    Attributes: path; length: number of measurements; names: "y" and the arrays of as many entries to read with it;
    of_y: the dataset that is y.
    """

    path: Path
    length: int
    names: tuple[str, ...]
    of_y: str = "y"

    def __len__(self) -> int:
        return self.length

    def _datasets(self) -> dict[str, str]:
        """Name -> dataset."""
        return {name: self.of_y if name == "y" else name for name in self.names}


class InHdf5(InFile):
    """Of HDF5; as `InFile`."""

    def read(self, start: int, end: int) -> dict[str, Tensor]:
        with opened(self.path, WHAT, REMEDY) as file:
            return {name: _part(file, dataset, start, end) for name, dataset in self._datasets().items()}


class InZarr(InFile):
    """Of a Zarr folder; as `InFile`."""

    def read(self, start: int, end: int) -> dict[str, Tensor]:
        with zarr_folders.opened(self.path, WHAT, REMEDY) as folder:
            found = self._datasets().items()
            return {name: _tensor(self.path, name, folder.rows(dataset, start, end)) for name, dataset in found}


@dataclass(frozen=True)
class InNpy:
    """Measurements in an .npy file, which is mapped, not read as a whole.

    Attributes: path; length: number of measurements.
    """

    path: Path
    length: int

    @property
    def names(self) -> tuple[str, ...]:
        return ("y",)

    def __len__(self) -> int:
        return self.length

    def read(self, start: int, end: int) -> dict[str, Tensor]:
        return {"y": _tensor(self.path, "y", np.array(_mapped(self.path)[start:end]))}


def source_of(y: Tensor | str | Path | Source, wanted: Sequence[str] | None = None) -> Source:
    """The measurements that an argument stands for: a tensor (n, *M), an HDF5 file or a Zarr folder with a dataset "y",
    or an .npy file.

    Of a file with one dataset, that is y whatever its name, unless arrays beside it are wanted.

    Arguments: y; wanted: of HDF5 and Zarr, names of the arrays to read besides y where the file has them; None for all
    that have an entry per measurement.
    Raises: FileNotFoundError; TypeError for another type; ValueError for a file of another format, without
    measurements, or with a wanted array of another length.
    """
    if isinstance(y, Tensor):
        if y.ndim == 0 or len(y) == 0:
            raise ValueError(f"y of shape {tuple(y.shape)}: expected (n, *M) with at least one measurement")
        return Held(y)
    if isinstance(y, Held | InFile | InNpy):
        return y
    if not isinstance(y, str | Path):
        raise TypeError(f"y of type {type(y).__name__}: expected a tensor (n, *M), or the path of a file with them")
    if is_zarr(y):
        with zarr_folders.opened(y, WHAT, REMEDY) as folder:
            return InZarr(*_found(folder, wanted))
    path = regular(y, WHAT)
    if path.suffix.lower() == ".npy":
        found = _mapped(path)
        if found.ndim == 0 or len(found) == 0:
            raise ValueError(f"{path} has shape {found.shape}: expected (n, *M) with at least one measurement")
        return InNpy(path.absolute(), len(found))
    if path.suffix.lower() not in HDF5:
        raise ValueError(
            f"{path}: expected an HDF5 file ({', '.join(HDF5)}) or a Zarr folder with a dataset 'y' (n, *M), or an "
            ".npy file"
        )
    with opened(path, WHAT, REMEDY) as file:
        return InHdf5(*_found(file, wanted))


def _found(file: Hdf5 | Zarr, wanted: Sequence[str] | None) -> tuple[Path, int, tuple[str, ...], str]:
    """Path, number of measurements, names, and the dataset that is y."""
    of_y = _measurements(file) if wanted is None else _named_y(file)
    shape = file.dataset(of_y).shape
    if len(shape) == 0 or shape[0] == 0:
        raise FileError(f"{file.path}: {of_y} has shape {shape}: expected (n, *M) with at least one measurement")
    beside = _beside(file, shape[0], wanted) if of_y == "y" else []
    return file.path.absolute(), shape[0], ("y", *beside), of_y


def _named_y(file: Hdf5 | Zarr) -> str:
    """The dataset "y", or "", the array that a Zarr folder itself is."""
    return "" if "y" not in file and file.datasets() == [""] else "y"


def _measurements(file: Hdf5 | Zarr) -> str:
    """The dataset of the measurements: "y", or the only one of a file."""
    found = file.datasets()
    if "y" in found or not found:
        return "y"
    if len(found) > 1:
        each = ", ".join(f"{name!r} {tuple(file.dataset(name).shape)}" for name in found[:8])
        raise FileError(
            f"{file.path} has no dataset 'y' of measurements (n, *M), but {each}: name the measurements 'y', or save "
            "them alone"
        )
    return found[0]


def _beside(file: Hdf5 | Zarr, n: int, wanted: Sequence[str] | None) -> list[str]:
    found: list[str] = []
    for name in file.datasets():
        if name == "y" or "/" in name or (wanted is not None and name not in wanted):
            continue
        dataset = file.dataset(name)
        fits = dataset.ndim > 0 and dataset.shape[0] == n and dataset.dtype.kind in NUMBERS
        if not fits and wanted is not None:
            raise FileError(
                f"{file.path}: {name!r} is {dataset.dtype} {dataset.shape}: expected numbers with one entry for each "
                f"of the {n} measurements; store what all of them share {n} times, or leave it out of the file and "
                "state it with the operator (sigma: by --sigma)"
            )
        if fits:
            found.append(name)
    return found


def _part(file: Hdf5, name: str, start: int, end: int) -> Tensor:
    dataset = file.dataset(name)
    file.spend((end - start) * dataset.dtype.itemsize * int(np.prod(dataset.shape[1:])))
    return _tensor(file.path, name, np.asarray(dataset[start:end]))


def _tensor(path: Path, name: str, values: np.ndarray) -> Tensor:
    if values.dtype.kind not in NUMBERS:
        raise FileError(
            f"{path}: {name!r} is {values.dtype}: expected real numbers; of complex k-space save "
            "numpy.stack([y.real, y.imag], -3)"
        )
    kind = values.dtype.newbyteorder("=")
    kind = np.dtype(np.float64) if kind.kind == "f" and kind.itemsize > 8 else kind
    if kind.kind == "u" and kind.itemsize > 1:  # torch computes with signed ones only
        kind = np.dtype(np.int64)
    return torch.from_numpy(np.ascontiguousarray(values, kind))


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise FileError(f"{path} is not a numeric .npy file ({error}): expected one by numpy.save") from None
