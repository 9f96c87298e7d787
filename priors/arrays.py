"""Arrays from untrusted files: only regular files, and no more memory than the file's size justifies."""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from priors import files
from priors.files import check_size, regular

# raised by decoders for damaged content, in addition to errors of the file readers
DAMAGED = (*files.DAMAGED, AssertionError, AttributeError)


def read_npy(path: str | Path, what: str = "array") -> np.ndarray:
    """The array of an .npy file, in this machine's byte order.

    Arguments: path; what: the expected content, for messages.
    Raises: FileNotFoundError; ValueError for a damaged or truncated file, and for an array of objects, texts or
    records.
    """
    path = regular(path, what)
    try:
        with path.open("rb") as file:
            shape, dtype = _header(file)
            left = path.stat().st_size - file.tell()
            expected = math.prod(shape) * dtype.itemsize
            if expected != left:
                raise ValueError(f"its header states {expected} bytes, but {left} follow")
            file.seek(0)
            found = np.load(file, allow_pickle=False)
    except DAMAGED as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"{path} is not a numeric .npy file ({reason}): expected a numeric array written by numpy.save"
        ) from None
    if found.dtype.kind not in "biufc":
        raise ValueError(f"{path} has dtype {found.dtype}: expected a numeric array")
    return np.ascontiguousarray(found, found.dtype.newbyteorder("=")).reshape(found.shape)


def _header(file) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format: expected (1, 0) or (2, 0), as for numeric arrays")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject or any(n < 0 for n in shape):
        raise ValueError(f"shape {shape} and dtype {dtype}: expected a numeric dtype")
    return shape, dtype


@contextmanager
def open_npz(path: str | Path, what: str = "archive") -> Iterator[dict[str, np.ndarray]]:
    """The arrays of an .npz file, each unpacked on access.

    Arguments: path; what: the expected content, for messages.
    Raises: FileNotFoundError; ValueError for another format, for damaged content on access, and for arrays whose
    unpacked size is implausible for the file (`priors.files.check_size`).
    """
    path = regular(path, what)
    try:
        archive = zipfile.ZipFile(path)
    except DAMAGED as error:
        raise ValueError(
            f"{path} is not a readable npz archive ({error}): expected a file written by numpy.savez"
        ) from None
    with archive:
        check_size(path, sum(entry.file_size for entry in archive.infolist()))
        yield _Arrays(path, archive)


class _Arrays(dict):
    """Name -> array of an archive; values are read on access and not cached."""

    def __init__(self, path: Path, archive: zipfile.ZipFile):
        super().__init__({info.filename.removesuffix(".npy"): info for info in archive.infolist()})
        self.path, self.archive = path, archive

    def __getitem__(self, name: str) -> np.ndarray:
        info: zipfile.ZipInfo = super().__getitem__(name)
        try:
            with self.archive.open(info) as file:
                shape, dtype = _header(file)
            if math.prod(shape) * dtype.itemsize > info.file_size:
                raise ValueError(f"its header states {math.prod(shape) * dtype.itemsize} bytes")
            with self.archive.open(info) as file:
                found = np.lib.format.read_array(file, allow_pickle=False)
        except DAMAGED as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise ValueError(
                f"{self.path}: {name!r} is not a readable array of numbers or strings ({reason})"
            ) from None
        return found
