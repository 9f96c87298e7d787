"""Arrays by name in an HDF5 file that has a format and a checksum."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from priors.files import FileError, atomic, reading
from priors.hdf5 import NUMBERS, checksum, opened

SMALL = 64  # numbers: a chunk costs more than it saves


def write(path: Path, form: str, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> str:
    """Write arrays and attributes, atomically; arrays of several axes are compressed in chunks of one row.

    Arguments: path (its folder is made where there is none); form: the format; arrays; attributes: texts and numbers.
    Returns: the checksum of all.
    """
    total = checksum(attributes, arrays)
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        for name, array in arrays.items():
            packed: dict[str, Any] = {}
            if array.ndim > 1 and array.size >= SMALL:
                packed = {"chunks": (1, *array.shape[1:]), "compression": "gzip", "shuffle": True}
            file.create_dataset(name, data=array, **packed)
        file.attrs.update({**attributes, "format": form, "sha256": total})
    return total


def read(path: Path, form: str, what: str, remedy: str, missing: str = "") -> tuple[dict, dict[str, np.ndarray], str]:
    """Read what `write` wrote.

    Arguments: path; form; what it is, for messages; remedy: for a damaged file; missing: for one that is not there.
    Returns: attributes, arrays, checksum.
    Raises: FileNotFoundError; FileError for a file that is truncated, or of another format or content.
    """
    with reading(path, what, remedy, missing) as path, opened(path, what, remedy) as file:
        attributes: dict[str, Any] = file.attrs
        if (found := str(attributes.pop("format", "no format"))) != form:
            raise FileError(f"{path}: its format is {found!r}: expected {form!r}; {remedy}")
        arrays = {name: file.array(name, NUMBERS + "c") for name in file.datasets()}
        given, total = str(attributes.pop("sha256", "")), checksum(attributes, arrays)
        if given != total:
            raise FileError(f"{path}: its content does not match its checksum: {remedy}")
    return attributes, arrays, total
