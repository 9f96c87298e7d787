"""The store of resumable records: JSON lines, each under a key of all that it depends on, with arrays beside them."""

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.common.keys import digest
from priors import sealed as files
from priors.files import FileError, regular

FORMAT = "inverse-bench arrays 1"
REMEDY = "remove it and run the command again, which makes it anew"


class DamagedRecords(UserWarning):
    """A file of records has damaged lines."""


class Records:
    """Records by key in an append-only file, one write per line; arrays of a record are a file of their own.

    Of lines with the same key the last one counts. Truncated lines and lines with a wrong checksum (older lines have
    none) are skipped, and their work is redone. Any number of processes may append to a file.
    Arguments: path of the file (.jsonl), made with its folder where there is none; arrays of the record KEY are in
    KEY.h5 of a folder beside it, named as the file without its suffix.
    Attributes: path; found: key -> record, as of the last `refresh`.
    Raises: ValueError if it is not a regular file.
    Warns: DamagedRecords for complete lines that are skipped.
    """

    def __init__(self, path: Path):
        self.path = path
        self.found: dict[str, dict] = {}
        self._sums: dict[str, str] = {}  # of the arrays
        self._end = self._lines = 0  # of what was read: bytes and lines
        path.parent.mkdir(parents=True, exist_ok=True)
        self.refresh()

    def refresh(self) -> None:
        """Read what any process has appended since it was last read."""
        try:
            with regular(self.path, "file of records").open("rb") as file:
                file.seek(self._end)
                content = file.read()
        except FileNotFoundError:
            return
        lines = content.split(b"\n")
        damaged = []
        for number, line in enumerate(lines, self._lines + 1):
            entry = _entry(line)
            if entry is not None:
                self._take(*entry)
            elif line.endswith(b"}"):  # other lines were truncated by a kill
                damaged.append(number)
        # a last line without its newline is read again: another process may be writing it
        self._end += len(content) - len(lines[-1])
        self._lines += len(lines) - 1
        if damaged:
            warnings.warn(
                f"{self.path}: lines {damaged[:5]} are damaged and are skipped ({len(damaged)} in all): their work is "
                "done again; restore the file, or remove these lines",
                DamagedRecords,
                stacklevel=2,
            )

    def add(self, key: str, record: dict, arrays: Mapping[str, np.ndarray] | None = None) -> None:
        """Append a record; it is on the disk when this returns, and its arrays before it.

        Arguments: key (a file name, if there are arrays); record: plain data without nan; arrays by name.
        Raises: ValueError for nan, and for a key that cannot be a file name.
        """
        total = None
        if arrays:
            total = files.write(self._place(key), FORMAT, arrays, {})
        self._append(key, json.loads(json.dumps(record, allow_nan=False)), total)  # as it will be read

    def withdraw(self, key: str) -> None:
        """Append that a record no longer counts; its line and its arrays stay where they are."""
        self._append(key, None, None)

    def arrays(self, key: str) -> dict[str, np.ndarray]:
        """The arrays of a record; none if it was added without.

        Raises: FileNotFoundError; ValueError for a file that is truncated or changed.
        """
        if key not in self._sums:
            return {}
        path = self._place(key)
        _, found, total = files.read(path, FORMAT, "file of arrays", REMEDY, REMEDY)
        if total != self._sums[key]:
            raise FileError(f"{path}: its arrays are not those of the record in {self.path}: {REMEDY}")
        return found

    def _append(self, key: str, record: dict | None, total: str | None) -> None:
        entry = {"key": key, "record": record, "sha256": _checksum(key, record, total)}
        entry |= {} if total is None else {"arrays": total}
        line = (json.dumps(entry) + "\n").encode()
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            if os.lseek(file, 0, os.SEEK_END) > 0:
                os.lseek(file, -1, os.SEEK_END)
                line = line if os.read(file, 1) == b"\n" else b"\n" + line  # the process that wrote last was killed
            if os.write(file, line) != len(line):
                raise OSError(f"{self.path}: the record of {key} was written in part; is the disk full?")
            os.fsync(file)
        finally:
            os.close(file)
        self._take(key, record, total)

    def _take(self, key: str, record: dict | None, total: str | None) -> None:
        self.found.pop(key, None)
        self._sums.pop(key, None)
        if record is not None:
            self.found[key] = record
        if total is not None:
            self._sums[key] = total

    def _place(self, key: str) -> Path:
        if Path(key).name != key:
            raise ValueError(f"key {key!r}: expected a file name, because the record has arrays")
        return self.path.with_suffix("") / f"{key}.h5"


def _entry(line: bytes) -> tuple[str, dict | None, str | None] | None:
    """Key, record (None: withdrawn) and checksum of the arrays of a line; None where it is damaged."""
    try:
        entry = json.loads(line)
        key, record, total = entry["key"], entry["record"], entry.get("arrays")
        fits = set(entry) <= {"key", "record", "arrays", "sha256"} and isinstance(key, str)
        fits &= isinstance(record, dict | None) and isinstance(total, str | None)
        expected = _checksum(key, record, total)
        given = entry.get("sha256", expected if record is not None and total is None else "")
        return (key, record, total) if fits and given == expected else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _checksum(key: str, record: dict | None, total: str | None) -> str:
    return digest([key, record] if total is None else [key, record, total])
