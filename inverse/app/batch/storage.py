"""How the results of units are stored: in HDF5, a file for every unit and views of all of them in one more."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

from inverse.app.batch.job import Unit
from priors.files import atomic, hdf5_path
from priors.hdf5 import SEAL, checksum, opened

WHAT, REMEDY = "part of a batch", "remove it and run the batch again, which computes it again"
OF_ONE = (SEAL, "key", "cautions", "seconds")  # attributes of a unit that are not those of all


class Held(Protocol):
    """What is stored of a finished unit: its attributes, and arrays by name, indexed by its measurements from 0."""

    @property
    def attrs(self) -> dict[str, Any]: ...

    def __contains__(self, name: str) -> bool: ...

    def dataset(self, name: str) -> Any: ...


class Storage(Protocol):
    """One format of results.

    Attributes: out: path of the results; folder: of notes, logs and locks; done: ending of the files in it, one for
    every finished unit.
    """

    out: Path
    folder: Path
    done: str

    def prepare(self, n: int, block: int) -> None:
        """Make ready for n measurements in units of ``block``; what is there stays."""

    def write(
        self, unit: Unit, arrays: Mapping[str, np.ndarray], attributes: dict[str, Any], n: int, block: int
    ) -> None:
        """Store a unit; it counts as finished as the last step, at once."""

    def opened(self, unit: Unit) -> AbstractContextManager[Held]:
        """A finished unit, to read from. Raises: FileError where it is damaged."""
        ...

    def check(self, unit: Unit, names: Sequence[str]) -> str:
        """The key of a finished unit, which has these arrays. Raises: FileError where it is damaged."""
        ...

    def discard(self, unit: Unit) -> None:
        """Remove a unit, which then is not finished."""

    def gather(self, done: Sequence[Unit], status: np.ndarray, attributes: dict[str, Any]) -> None:
        """Write what is true of all units, atomically."""

    def remove(self) -> None:
        """Remove the results at `out`, not the folder."""


class InHdf5:
    """A file for every unit, written in one step, and OUT.h5 whose datasets are views of these files; as `Storage`.

    Arguments: out: OUT.h5; the folder is OUT.parts beside it.
    Raises: ValueError for a path with the ending of another format.
    """

    done = ".h5"

    def __init__(self, out: str | Path):
        self.out = hdf5_path(out, "results").absolute()
        self.folder = self.out.with_suffix(".parts")

    def prepare(self, n: int, block: int) -> None:
        pass

    def write(
        self, unit: Unit, arrays: Mapping[str, np.ndarray], attributes: dict[str, Any], n: int, block: int
    ) -> None:
        with atomic(self._path(unit)) as temporary, h5py.File(temporary, "w") as file:
            for name, values in arrays.items():
                file.create_dataset(name, data=values, compression="gzip" if name == "samples" else None)
            file.attrs.update(attributes | {SEAL: checksum(attributes, arrays)})

    def opened(self, unit: Unit) -> AbstractContextManager[Held]:
        return opened(self._path(unit), WHAT, REMEDY)

    def check(self, unit: Unit, names: Sequence[str]) -> str:
        with self.opened(unit) as file:
            for name in names:
                file.dataset(name)
            return str(file.attrs["key"])

    def discard(self, unit: Unit) -> None:
        self._path(unit).unlink(missing_ok=True)

    def gather(self, done: Sequence[Unit], status: np.ndarray, attributes: dict[str, Any]) -> None:
        """Views of "mean", "std" and all other arrays by measurement, missing values nan, and "status" (n,)."""
        with atomic(self.out) as temporary, h5py.File(temporary, "w") as file:
            file["status"] = status
            file.attrs.update(attributes)
            if not done:
                return
            with opened(self._path(done[0]), WHAT, REMEDY) as first:
                kinds = {name: (first.dataset(name).shape[1:], first.dataset(name).dtype) for name in first.names()}
                file.attrs.update({k: v for k, v in first.attrs.items() if k not in OF_ONE})
            for name, (shape, dtype) in kinds.items():
                layout = h5py.VirtualLayout((len(status), *shape), dtype)
                for unit in done:
                    place = f"{self.folder.name}/{self._path(unit).name}"
                    layout[unit.start : unit.end] = h5py.VirtualSource(place, name, (unit.end - unit.start, *shape))
                file.create_virtual_dataset(name, layout, fillvalue=np.nan if dtype.kind == "f" else None)

    def remove(self) -> None:
        self.out.unlink(missing_ok=True)

    def _path(self, unit: Unit) -> Path:
        return self.folder / f"{unit.name}{self.done}"
