"""Untrusted HDF5 files: links to other files are refused and sizes are checked."""

import hashlib
import math
import mmap
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from priors.files import REMEDY, FileError, check_size, reading

DEEPEST = 8  # slashes in a name
SEAL = "seal"  # the attribute with the `checksum` of a file
HEAP, ENTRY = b"GCOL\x01\0\0\0", struct.Struct("<H6xQ")
NUMBERS = "biuf"  # kinds of dtypes


class Hdf5:
    """An open HDF5 file.

    Names may contain slashes; all reads count towards `priors.files.check_size`. Links and externally stored datasets
    are refused, since they could read any file. Attributes: path; file (h5py.File); attrs: its attributes, of the root.
    """

    def __init__(self, path: Path, file: h5py.File):
        self.path, self.file, self._spent, self._walked = path, file, 0, False

    @property
    def attrs(self) -> dict[str, Any]:
        """All attributes of the root."""
        return self.attributes(tuple(self.file.attrs))

    def attributes(self, names: tuple[str, ...]) -> dict[str, Any]:
        """The attributes of the root with these names, if present."""
        kept = [name for name in names if name in self.file.attrs]
        if any(self.file.attrs.get_id(name).dtype.kind == "O" for name in kept):
            self._check_heaps()
        return {name: self.file.attrs[name] for name in kept}

    def attribute(self, dataset: str, name: str) -> Any:
        """An attribute of a dataset."""
        self._check_heaps()
        return self.dataset(dataset).attrs[name]

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def names(self, group: str = "") -> list[str]:
        """The names in the root or in a group, sorted; nothing is read."""
        node = self._find(group) if group else self.file
        if not isinstance(node, h5py.Group):
            raise FileError(
                f"{self.path}: {group!r} is {'missing' if node is None else 'not a group'}: expected a group"
            )
        return sorted(node)

    def datasets(self, group: str = "") -> list[str]:
        """The names of all datasets in a group and its subgroups; nothing is read."""
        found = []
        for part in self.names(group):
            name = f"{group}/{part}" if group else part
            if isinstance(self._find(name), h5py.Group):
                if name.count("/") >= DEEPEST:
                    raise FileError(f"{self.path}: {name[:80]!r}... is nested too deeply, or groups contain each other")
                found += self.datasets(name)
            else:
                found.append(name)
        return found

    def dataset(self, name: str) -> h5py.Dataset:
        """A dataset; its values are not read.

        Raises: FileError where it is missing, not a dataset, or not in this file.
        """
        node = self._find(name)
        if not isinstance(node, h5py.Dataset) or node.shape is None:
            what = "missing" if node is None else "empty" if isinstance(node, h5py.Dataset) else "a group"
            raise FileError(f"{self.path}: {name!r} is {what}: expected a dataset; the file has {self.names()[:8]}")
        if node.external is not None or node.is_virtual:
            raise FileError(
                f"{self.path}: {name!r} is stored in external files, which are not read: copy its values to this file, "
                f"file[{name!r}] = values"
            )
        if node.chunks:
            check_size(self.path, math.prod(node.chunks) * node.dtype.itemsize)
        return node

    def array(self, name: str, kinds: str = NUMBERS) -> np.ndarray:
        """The values of a dataset, in this machine's byte order.

        Arguments: name; kinds of dtypes that are expected (numpy's letters).
        Raises: FileError as `dataset`, for other kinds, and for an implausible size.
        """
        dataset = self.dataset(name)
        if dataset.dtype.kind not in kinds:
            raise FileError(
                f"{self.path}: {name!r} is {dataset.dtype}: expected a numeric dtype, one of the kinds {list(kinds)}"
            )
        self.spend(dataset.size * dataset.dtype.itemsize)
        values = np.asarray(dataset[()])
        return values.astype(values.dtype.newbyteorder("="), copy=False)

    def texts(self, name: str) -> list[str]:
        """A dataset of texts (n,)."""
        dataset = self.dataset(name)
        if h5py.check_string_dtype(dataset.dtype) is None or dataset.ndim != 1:
            raise FileError(f"{self.path}: {name!r} is {dataset.dtype} {dataset.shape}: expected strings (n,)")
        self.spend(dataset.size * dataset.dtype.itemsize)
        self._check_heaps()
        return [str(text) for text in dataset.asstr()[()]]

    def spend(self, size: int) -> None:
        """Count bytes that are about to be read.

        Raises: as `check_size`.
        """
        self._spent += size
        check_size(self.path, self._spent)

    def _check_heaps(self) -> None:
        """Check the global heaps that strings are stored in: the HDF5 library loops forever on an entry of size 0.

        A heap is "GCOL", version 1, three zeros and its size, then entries of number, count, four bytes, size and
        content, in eights; entry 0 is the free rest, whose size is with its header.
        """
        if self._walked or not self.path.stat().st_size:
            return
        with self.path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            start = content.find(HEAP)
            while start >= 0:
                place, end = start + 16, start + struct.unpack_from("<Q", content[start + 8 : start + 16])[0]
                while place + ENTRY.size <= min(end, len(content)):
                    number, size = ENTRY.unpack(content[place : place + ENTRY.size])
                    step = size if number == 0 else ENTRY.size + size + -size % 8
                    if not ENTRY.size <= step <= end - place:
                        raise FileError(f"{self.path}: its strings are damaged, at byte {place}: {REMEDY}")
                    place += step
                start = content.find(HEAP, start + 1)
        self._walked = True

    def _find(self, name: str) -> h5py.Group | h5py.Dataset | None:
        """Resolve links one by one, so that none leaves the file."""
        node: Any = self.file
        for part in name.split("/"):
            if not isinstance(node, h5py.Group) or not node.id.links.exists(part.encode()):
                return None
            if node.id.links.get_info(part.encode()).type != h5py.h5l.TYPE_HARD:  # type: ignore  # h5py.h5l is compiled
                raise FileError(
                    f"{self.path}: {name!r} is a link, which is not followed: copy its values into "
                    f"this file, file[{name!r}] = values"
                )
            node = node[part]
        return node


@contextmanager
def opened(path: str | Path, what: str, remedy: str = REMEDY, missing: str = "") -> Iterator[Hdf5]:
    """An HDF5 file to read from; a context as `priors.files.reading`.

    Raises: as `priors.files.reading`.
    """
    with reading(path, what, remedy, missing) as path, h5py.File(path, "r") as file:
        yield Hdf5(path, file)


def checksum(attributes: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of attributes and arrays: names, types, shapes and bytes.

    Arguments: attributes: name -> text, number or array; arrays: name -> array.
    """
    sha = hashlib.sha256()
    for name, value in [*sorted(attributes.items()), *sorted(arrays.items())]:
        array = np.asarray(value)
        if array.dtype.kind in "OUS":  # HDF5 returns strings with a different type
            sha.update(f"{name} text {value}".encode())
        else:
            sha.update(f"{name} {array.dtype.str} {array.shape}".encode())
            sha.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)  # without a copy
    return sha.hexdigest()
