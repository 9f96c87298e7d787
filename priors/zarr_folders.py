"""Untrusted Zarr folders, of formats 2 and 3: links, codecs that run code and implausible sizes are refused."""

import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from priors.arguments import place
from priors.files import FREE, REMEDY, FileError, check_size
from priors.hdf5 import DEEPEST, NUMBERS
from priors.zarr_store import ARRAY, ATTRIBUTES, GROUP, V3, guarded, need, regular_within

LARGEST = 2**26  # bytes of metadata
MOST_CHUNKS = 2**17  # that are read at once: half a minute, by about a quarter of a millisecond each
# that only change bytes; others, such as pickle, can run code
CODECS = {
    "adler32", "astype", "bitround", "blosc", "bytes", "bz2", "crc32", "crc32c", "delta", "fixedscaleoffset",
    "fletcher32", "gzip", "lz4", "lzma", "packbits", "quantize", "sharding_indexed", "shuffle", "transpose", "zlib",
    "zstd",
}  # fmt: skip
NUMERIC = re.compile(r"[<>|=]?[biufc]\d+|bool|u?int\d+|float\d+|complex\d+")


@dataclass(frozen=True)
class ZarrArray:
    """What the metadata of an array say.

    Attributes: name; shape; dtype, object for what is no number; chunks: shape of what is stored in one file;
    parts: shape of what is read at once, less where a file has several chunks; form: 2 or 3; attributes.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    chunks: tuple[int, ...]
    parts: tuple[int, ...]
    form: int
    attributes: dict[str, Any]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Zarr:
    """A Zarr folder that is open for reading, with the methods of `priors.hdf5.Hdf5`.

    The array of a folder that is itself one has the name "". Links are refused, since they could be to any file.
    Attributes: path.
    """

    def __init__(self, path: Path):
        self.path, self._root, self._spent = path, path.resolve(), 0

    def attributes(self, name: str = "") -> dict[str, Any]:
        """The attributes of the folder, or of an array or group in it."""
        return self._node(name)[2]

    def form(self, name: str = "") -> int:
        """The format of Zarr of a node, 2 or 3."""
        return self._node(name)[1]

    def __contains__(self, name: str) -> bool:
        return self._found(name) is not None

    def names(self, group: str = "") -> list[str]:
        """The names of arrays and groups in the folder or in a group, sorted; nothing is read."""
        if self._node(group)[0] == "array":
            return [""] if group == "" else []
        folder = self._root / group
        each = sorted(e.name for e in os.scandir(folder) if not e.name.startswith(".") and e.is_dir())
        return [name for name in each if self._found(f"{group}/{name}" if group else name) is not None]

    def datasets(self, group: str = "") -> list[str]:
        """The names of all arrays in a group and its subgroups; nothing is read."""
        if group.count("/") > DEEPEST:
            raise FileError(f"{self.path}: {group[:80]!r}... is nested too deeply")
        if self._node(group)[0] == "array":
            return [group]
        return [n for each in self.names(group) for n in self.datasets(f"{group}/{each}" if group else each)]

    def dataset(self, name: str) -> ZarrArray:
        """The metadata of an array, which are checked; its values are not read.

        Raises: FileError where it is missing, damaged, or stored by a codec that is not known to be safe.
        """
        found = self._found(name)
        if found is None or found[0] != "array":
            what = "missing" if found is None else "a group"
            raise FileError(f"{self.path}: {name!r} is {what}: expected an array; the folder has {self.names()[:8]}")
        _, form, attributes, held = found
        with _parsed(self.path, name or "its metadata"):
            shape = tuple(_whole(n, 0) for n in held["shape"])
            if form == 2:
                chunks = parts = tuple(_whole(n, 1) for n in held["chunks"])
                used = [*(held.get("filters") or []), *([held["compressor"]] if held.get("compressor") else [])]
                kind = held["dtype"]
            else:
                chunks = parts = tuple(_whole(n, 1) for n in held["chunk_grid"]["configuration"]["chunk_shape"])
                used, kind = held["codecs"], held["data_type"]
                for codec in used:
                    if isinstance(codec, dict) and codec.get("name") == "sharding_indexed":
                        parts = tuple(_whole(n, 1) for n in codec["configuration"]["chunk_shape"])
            if not len(shape) == len(chunks) == len(parts):
                raise ValueError(f"shape {shape} and chunks {chunks}")
            self._check_codecs(name, used)
            numeric = isinstance(kind, str) and NUMERIC.fullmatch(kind) is not None
            array = ZarrArray(name, shape, np.dtype(kind if numeric else object), chunks, parts, form, attributes)
        self._check(math.prod(parts) * array.dtype.itemsize)
        return array

    def array(self, name: str, kinds: str = NUMBERS) -> np.ndarray:
        """The values of an array, in this machine's byte order.

        Arguments: name; kinds of dtypes that are expected (numpy's letters).
        Raises: FileError as `dataset`, for other kinds, and for an implausible size.
        """
        return self._read(self.dataset(name), None, kinds)

    def rows(self, name: str, start: int, end: int, kinds: str = NUMBERS) -> np.ndarray:
        """The entries start to end - 1 of an array's first axis; as `array`."""
        return self._read(self.dataset(name), (start, end), kinds)

    def spend(self, size: int) -> None:
        """Count bytes that are about to be read.

        Raises: as `priors.files.check_size`.
        """
        self._spent += size
        self._check(self._spent)

    def _read(self, array: ZarrArray, rows: tuple[int, int] | None, kinds: str) -> np.ndarray:
        import zarr

        if array.dtype.kind not in kinds:
            kind = "not of numbers" if array.dtype == object else str(array.dtype)
            raise FileError(
                f"{self.path}: {array.name!r} is {kind}: expected a numeric dtype, one of the kinds {list(kinds)}; of "
                "complex values save real and imaginary parts, numpy.stack([y.real, y.imag], -3)"
            )
        shape = array.shape if rows is None else (max(0, rows[1] - rows[0]), *array.shape[1:])
        self.spend(math.prod(shape) * array.dtype.itemsize)
        pieces = math.prod(-(-n // c) + (rows is not None and i == 0)
                           for i, (n, c) in enumerate(zip(shape, array.parts, strict=True)))  # fmt: skip
        if pieces > MOST_CHUNKS:
            raise FileError(
                f"{self.path}: {array.name!r} has {pieces:,} chunks {array.parts} in what is read at once, at most "
                f"{MOST_CHUNKS:,} are: save it with larger chunks"
            )
        store = guarded()(self._root, math.prod(array.chunks) * array.dtype.itemsize)
        found = zarr.open_array(store, path=array.name, mode="r", zarr_format=2 if array.form == 2 else 3)
        if tuple(found.shape) != array.shape:
            raise FileError(f"{self.path}: {array.name!r} changes while it is read: wait until it is written")
        values = np.asarray(found[...] if rows is None else found[rows[0] : rows[1]])
        return np.ascontiguousarray(values, values.dtype.newbyteorder("=")).reshape(values.shape)

    def _check(self, declared: int) -> None:
        if declared > FREE:
            check_size(self.path, declared, self._size)

    @cached_property
    def _size(self) -> int:
        """Bytes of all files."""
        return sum((Path(folder) / name).lstat().st_size for folder, _, names in os.walk(self._root) for name in names)

    def _check_codecs(self, name: str, used: list[Any]) -> None:
        for codec in used:
            held: dict[str, Any] = {"name": codec} if isinstance(codec, str) else codec
            label = str(held.get("id", held.get("name")))
            if label.removeprefix("numcodecs.") not in CODECS:
                raise FileError(
                    f"{self.path}: {name!r} is stored by the codec {label[:40]!r}, which is not read, as it may run "
                    f"code: save the array with another compressor, such as zstd"
                )
            inner = held.get("configuration") or {}
            self._check_codecs(name, [*inner.get("codecs", []), *inner.get("index_codecs", [])])

    def _node(self, name: str) -> tuple[str, int, dict[str, Any], dict[str, Any]]:
        found = self._found(name)
        if found is None:
            where = f"{name!r}" if name else "the folder"
            raise FileError(
                f"{self.path}: {where} has no metadata of Zarr ({V3}, {GROUP} or {ARRAY}): expected a Zarr folder, of "
                "format 2 or 3; copy it again, with hidden files"
            )
        return found

    def _found(self, name: str) -> tuple[str, int, dict[str, Any], dict[str, Any]] | None:
        """Kind ("array" or "group"), format, attributes and metadata of a node; None where there is none."""
        if name and any(part in ("", ".", "..") or "\\" in part for part in name.split("/")):
            raise FileError(
                f"{self.path}: the path {name[:80]!r} leaves the folder, or is none: expected the name of an array in "
                "it; copy the array into the folder, and name it so in the metadata"
            )
        folder = self._root / name
        if (held := self._metadata(folder / V3)) is not None:
            kind, form, attributes = held.get("node_type"), held.get("zarr_format"), held.get("attributes", {})
        else:
            held = self._metadata(folder / ARRAY)
            kind = "group" if held is None else "array"
            if held is None and (held := self._metadata(folder / GROUP)) is None:
                return None
            form, attributes = held.get("zarr_format"), self._metadata(folder / ATTRIBUTES) or {}
        if kind not in ("array", "group") or form not in (2, 3) or not isinstance(attributes, dict):
            raise FileError(f"{self.path}: the metadata of {name!r} are no array's or group's of Zarr: {REMEDY}")
        return str(kind), int(form), attributes, held

    def _metadata(self, path: Path) -> dict[str, Any] | None:
        if not regular_within(self._root, path):
            return None
        with _parsed(self.path, str(path.relative_to(self._root))):
            if path.stat().st_size > LARGEST:
                raise ValueError(f"more than {LARGEST:,} bytes")
            held = json.loads(path.read_bytes())
            if not isinstance(held, dict):
                raise ValueError(f"a {type(held).__name__} in place of an object")
        return held


@contextmanager
def opened(path: str | Path, what: str, remedy: str = REMEDY, missing: str = "") -> Iterator[Zarr]:
    """A Zarr folder to read from; a context as `priors.hdf5.opened`.

    Raises: FileNotFoundError; ValueError without the package zarr; FileError for what is no folder, and whatever the
    block raises on damaged content.
    """
    path = Path(place("path", path))
    if not path.exists():
        raise FileNotFoundError(f"no {what} at {path}" + (f": {missing}" if missing else ""))
    if not path.is_dir():
        raise FileError(f"{path} is a file: expected a Zarr folder; unpack an archive, zarr reads folders here")
    need(path)
    try:
        yield Zarr(path)
    except FileError:
        raise
    except Exception as error:  # zarr and its codecs raise many types for damaged content
        reason = (str(error).strip().splitlines() or [""])[0][:200] or type(error).__name__
        raise FileError(f"{path} is not a readable {what}, or is damaged ({reason}): {remedy}") from error


def _whole(value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**62:
        raise ValueError(f"{str(value)[:40]} as the length of an axis")
    return value


@contextmanager
def _parsed(path: Path, name: str) -> Iterator[None]:
    try:
        yield
    except FileError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        raise FileError(f"{path}: {name} is not readable metadata of Zarr ({reason}): {REMEDY}") from error
