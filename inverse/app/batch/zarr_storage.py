"""The results of units in Zarr: one folder of arrays, of which every unit writes chunks of its own."""

import itertools
import json
import math
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inverse.app.batch.job import Unit
from inverse.app.batch.storage import OF_ONE, REMEDY, WHAT
from priors.arguments import place
from priors.files import FileError, atomic, reading
from priors.zarr_store import V3, need

CHUNKS, ATTRIBUTES = "chunks", "attributes"  # of the note on a finished unit
LARGEST = 2**26  # bytes of a chunk, before compression
STATUS = "status"  # the array of all units
UNFINISHED = ".partial"  # ending of a chunk that zarr was writing


class InZarr:
    """Arrays by measurement in a Zarr folder (format 3), and a note on every finished unit; as `Storage`.

    A chunk belongs to one unit, so that processes write side by side. A unit's note is written after its chunks, in one
    step, and has their sizes: chunks without a note are written again.
    Arguments: out: OUT.zarr; the notes are in OUT.zarr.parts beside it.
    Raises: ValueError without the package zarr.
    """

    done = ".done.json"

    def __init__(self, out: str | Path):
        self.out = Path(place("out", out)).absolute()
        self.folder = self.out.with_name(f"{self.out.name}.parts")
        need(self.out)

    def prepare(self, n: int, block: int) -> None:
        if not (self.out / V3).exists():
            self._describe({})
        for path in self.out.glob(f"*/{V3}"):  # of fewer or more measurements
            held = json.loads(path.read_text())
            if held["shape"][0] != n:
                self._declare(path, held | {"shape": [n, *held["shape"][1:]]})

    def write(
        self, unit: Unit, arrays: Mapping[str, np.ndarray], attributes: dict[str, Any], n: int, block: int
    ) -> None:
        sizes: dict[str, int] = {}
        for name, values in arrays.items():
            self._store(name, values, unit.start, n, block)
            sizes |= {str(p.relative_to(self.out)): p.stat().st_size for p in self._chunks(name, unit)}
        with atomic(self._note(unit)) as temporary:
            temporary.write_text(json.dumps({ATTRIBUTES: attributes, CHUNKS: sizes}, default=_plain, indent=1))

    @contextmanager
    def opened(self, unit: Unit) -> Generator["_Held"]:
        with reading(self._note(unit), WHAT, REMEDY) as path:
            held = json.loads(path.read_text())
            if not isinstance(held[ATTRIBUTES], dict) or not isinstance(held[CHUNKS], dict):
                raise FileError(f"{path} is no note on a finished unit: {REMEDY}")
        yield _Held(self.out, unit, held[ATTRIBUTES], held[CHUNKS])

    def check(self, unit: Unit, names: Sequence[str]) -> str:
        with self.opened(unit) as held, reading(self._note(unit), WHAT, REMEDY):
            for name in names:
                held.dataset(name)
            for chunk, size in held.chunks.items():
                if (self.out / chunk).lstat().st_size != size:
                    raise FileError(f"{self.out / chunk} has another size than was written: {REMEDY}")
            return str(held.attrs["key"])

    def discard(self, unit: Unit) -> None:
        self._note(unit).unlink(missing_ok=True)
        for path in self.out.glob(f"*/{V3}"):
            with suppress(FileError, OSError, ValueError, KeyError):  # damaged metadata are written again
                for chunk in self._chunks(path.parent.name, unit) if path.parent.name != STATUS else []:
                    chunk.unlink(missing_ok=True)

    def gather(self, done: Sequence[Unit], status: np.ndarray, attributes: dict[str, Any]) -> None:
        """Attributes of the folder, and "status" (n,); chunks that killed processes were writing are removed."""
        self._store(STATUS, status, 0, len(status), len(status))
        if done:
            with self.opened(done[0]) as first:
                attributes = attributes | {k: v for k, v in first.attrs.items() if k not in OF_ONE}
        self._describe(attributes)
        for path in self.out.rglob(f"*{UNFINISHED}"):
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        shutil.rmtree(self.out, ignore_errors=True)

    def _store(self, name: str, values: np.ndarray, start: int, n: int, block: int) -> None:
        """Write the entries of an array from ``start`` on; its metadata are written first if they are not there."""
        import zarr

        place, shape = self.out / name / V3, [n, *values.shape[1:]]
        if not place.exists() or json.loads(place.read_text())["shape"] != shape:
            self._declare(place, _metadata(values, shape, block))
        with zarr.config.set({"array.write_empty_chunks": True}):  # without, a chunk of nan alone would look lost
            array = zarr.open_array(str(place.parent), mode="r+")
        array[start : start + len(values)] = values

    def _chunks(self, name: str, unit: Unit) -> list[Path]:
        """The files of a unit's chunks of an array."""
        held = json.loads((self.out / name / V3).read_text())
        sides = held["chunk_grid"]["configuration"]["chunk_shape"]
        first = range(unit.start // sides[0], -(-unit.end // sides[0]))
        others = [range(-(-size // side)) for size, side in zip(held["shape"][1:], sides[1:], strict=True)]
        return [self.out.joinpath(name, "c", *map(str, index)) for index in itertools.product(first, *others)]

    def _declare(self, path: Path, metadata: dict[str, Any]) -> None:
        with atomic(path) as temporary:  # the same content by every process
            temporary.write_text(json.dumps(metadata, indent=1))

    def _describe(self, attributes: dict[str, Any]) -> None:
        held = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        with atomic(self.out / V3) as temporary:
            temporary.write_text(json.dumps(held, default=_plain, indent=1))

    def _note(self, unit: Unit) -> Path:
        return self.folder / f"{unit.name}{self.done}"


@dataclass(frozen=True)
class _Held:
    """A finished unit, as `inverse.app.batch.storage.Held`."""

    out: Path
    unit: Unit
    attrs: dict[str, Any]
    chunks: dict[str, int]

    @property
    def names(self) -> set[str]:
        return {Path(each).parts[0] for each in self.chunks}

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def dataset(self, name: str) -> "_Rows":
        if name not in self.names:
            raise FileError(f"{self.out}: measurements {self.unit.start} to {self.unit.end - 1} have no {name!r}")
        return _Rows(self.out / name, self.unit)


@dataclass(frozen=True)
class _Rows:
    """An array's entries of a unit, of which what is indexed is read."""

    path: Path
    unit: Unit

    def __getitem__(self, index: int | slice) -> np.ndarray:
        import zarr

        try:
            array: Any = zarr.open_array(str(self.path), mode="r")
            if isinstance(index, slice):
                start, end, _ = index.indices(self.unit.end - self.unit.start)
                return np.asarray(array[self.unit.start + start : self.unit.start + end])
            return np.asarray(array[self.unit.start + index])
        except Exception as error:  # zarr and its codecs raise many types for damaged content
            raise FileError(
                f"{self.path} is damaged ({error}): run the batch again, which computes it again"
            ) from error


def _metadata(values: np.ndarray, shape: list[int], block: int) -> dict[str, Any]:
    """The metadata of an array by measurement, with chunks of one unit each, or of parts of one."""
    import zarr
    from zarr.codecs import ZstdCodec
    from zarr.storage import MemoryStore

    made = zarr.create_array(
        MemoryStore(), shape=shape, chunks=chunks_of(block, tuple(shape[1:]), values.dtype.itemsize),
        dtype=values.dtype, fill_value=np.nan if values.dtype.kind == "f" else 0,
        compressors=ZstdCodec(level=3, checksum=True), zarr_format=3,
    )  # fmt: skip
    return json.loads(json.dumps(made.metadata.to_dict(), default=_plain))


def chunks_of(block: int, shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Chunks of at most 64 MB, none of which belongs to two units.

    Arguments: block: measurements in a unit; shape of the entry of one; itemsize: bytes of a number.
    Returns: a divisor of ``block``, and a length along each axis of ``shape``, halved from the first on.
    """
    sides = [block, *(max(1, n) for n in shape)]
    most = max(1, LARGEST // itemsize)
    if math.prod(sides) > most:
        sides[0] = max(d for d in range(1, block + 1) if block % d == 0 and (d == 1 or d * math.prod(shape) <= most))
    for axis in range(1, len(sides)):
        while math.prod(sides) > most and sides[axis] > 1:
            sides[axis] = -(-sides[axis] // 2)
    return tuple(sides)


def _plain(value: Any) -> Any:
    """A number of numpy, or an enumeration of zarr, as JSON has it."""
    return value.value if hasattr(value, "value") else value.item()
