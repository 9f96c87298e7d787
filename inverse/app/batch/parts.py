"""The folder of a batch: a file for every finished unit, a note for every failed one, and logs."""

import json
import os
import shutil
import socket
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from inverse.app.batch.job import TITLES, Job, Unit
from inverse.app.batch.sources import InZarr as FromZarr
from inverse.app.batch.sources import Source
from inverse.app.batch.storage import REMEDY, Held, InHdf5, Storage
from inverse.app.batch.zarr_storage import InZarr
from priors.arguments import place
from priors.claims import LOCKS
from priors.files import HDF5, FileError, atomic, reading
from priors.zarr_store import SUFFIX

HEADER, FAILED = "job.json", ".error.json"
MISSING, FINISHED, GAVE_UP = 0, 1, 2  # of a measurement, in "status"


def results_path(out: str | Path, source: Source) -> Path:
    """Where results are written: ``out``, by whose ending they are HDF5 or Zarr; without a known one they get the
    format of the measurements, of Zarr OUT.zarr."""
    path = Path(place("out", out))
    if isinstance(source, FromZarr) and path.suffix.lower() not in (SUFFIX, *HDF5):
        return path.with_name(f"{path.name}{SUFFIX}")
    return path


class Parts:
    """The results of a batch as they are computed.

    A unit becomes finished in one step, so that a kill cannot damage what is finished. `gather` writes what is true of
    all of them.
    Arguments: out: OUT.h5 (`inverse.app.batch.storage.InHdf5`), or OUT.zarr (`inverse.app.batch.zarr_storage.InZarr`).
    Attributes: out; storage; folder: of the parts, beside ``out``.
    Raises: ValueError for a path with the ending of another format.
    """

    def __init__(self, out: str | Path):
        zarr = Path(place("out", out)).suffix.lower() == SUFFIX
        self.storage: Storage = InZarr(out) if zarr else InHdf5(out)
        self.out, self.folder = self.storage.out, self.storage.folder

    def open(self, job: Job, overwrite: bool = False) -> None:
        """Make the folder, or go on in it.

        Raises: ValueError for a folder of another problem, with what differs.
        """
        if overwrite:
            self.remove()
        if self.out.exists() and not self._header.exists() and (not overwrite or self.out.is_dir()):
            raise ValueError(f"{self.out} exists and is no batch of measurements: choose another --out")
        self.folder.mkdir(parents=True, exist_ok=True)
        if (found := self._read_header()) is not None:
            _refuse_other(self.out, found["facts"], json.loads(json.dumps(job.facts)))
        header = {
            "facts": job.facts, "n": len(job.source), "block": job.settings.block, "n_samples": job.settings.n_samples,
            "seed": job.settings.seed, "method": job.settings.method.name, "n_steps": job.settings.n_steps,
            "reason": job.settings.reason, "quantiles": job.settings.quantiles, "samples": job.settings.keep_samples,
        }  # fmt: skip
        if found is None or found["n"] != header["n"]:
            with atomic(self._header) as temporary:
                temporary.write_text(json.dumps(header, indent=1))
        self.storage.prepare(len(job.source), job.settings.block)

    def check(self, job: Job, unit: Unit) -> None:
        """Look at the file of a finished unit: a damaged one is removed, so that it is computed again.

        Raises: ValueError if it is of another measurement.
        """
        if not self.path(unit).exists():
            return
        try:
            samples = ["samples"] if job.settings.keep_samples else []
            there = self.storage.check(unit, ["mean", "std", "quantiles", *samples])
        except FileError:
            self.storage.discard(unit)
            return
        if there != job.key(unit):
            raise ValueError(
                f"{self.out} has results of other measurements, at {unit.start} to {unit.end - 1}: choose another "
                "--out, or pass --overwrite"
            )

    def ended(self, unit: Unit) -> bool:
        """Whether a unit is finished or has failed."""
        return self.path(unit).exists() or self._failure(unit).exists()

    def counted(self) -> tuple[int, int]:
        """How many units have finished and how many have failed, by any process."""
        names = [entry.name for entry in os.scandir(self.folder) if not entry.name.startswith(".")]
        return sum(n.endswith(self.storage.done) for n in names), sum(n.endswith(FAILED) for n in names)

    def write(self, unit: Unit, arrays: dict[str, np.ndarray], attributes: dict[str, Any]) -> None:
        """Record a finished unit, in one step; a note on an earlier failure is removed."""
        held = self.header()
        self.storage.write(unit, arrays, attributes, int(held["n"]), int(held["block"]))
        self._failure(unit).unlink(missing_ok=True)

    def opened(self, unit: Unit) -> AbstractContextManager[Held]:
        """A finished unit, to read from.

        Raises: ValueError for one that is not, with its error.
        """
        if not self.path(unit).exists():
            text = self.failure(unit) or "it is not computed yet: run the batch again"
            raise ValueError(f"{self.out}: measurements {unit.start} to {unit.end - 1}: {text}")
        return self.storage.opened(unit)

    def fail(self, unit: Unit, error: BaseException, text: str) -> None:
        """Record that a unit failed; text: where and how."""
        note = {"type": type(error).__name__, "error": str(error), "traceback": text}
        with atomic(self._failure(unit)) as temporary:
            temporary.write_text(json.dumps(note, indent=1))

    def failure(self, unit: Unit) -> str:
        """The error of a failed unit in one line, "" for others."""
        try:
            with reading(self._failure(unit), "note on a failure", REMEDY) as path:
                found = json.loads(path.read_text())
                return " ".join(f"{found['type']}: {found['error']}".split())
        except (FileNotFoundError, FileError):
            return ""

    def forgive(self, units: list[Unit]) -> None:
        """Remove the notes on failures, so that these units are tried again."""
        for unit in units:
            self._failure(unit).unlink(missing_ok=True)

    def log(self, event: str, unit: Unit) -> None:
        """Append to this process's own log: one line for the start and the end of every unit."""
        line = json.dumps({"event": event, "unit": unit.name, "time": round(time.time(), 3)}) + "\n"
        with (self.folder / f"log-{socket.gethostname()}-{os.getpid()}.jsonl").open("a") as file:
            file.write(line)

    def logged(self) -> list[dict[str, Any]]:
        """The lines of all processes' logs, by time; lines that a kill cut short are left out."""
        found: list[dict[str, Any]] = []
        for path in sorted(self.folder.glob("log-*.jsonl")):
            for line in path.read_text().splitlines():
                with suppress(ValueError):
                    found.append(json.loads(line))
        return sorted(found, key=lambda entry: entry["time"])

    def gather(self, units: list[Unit], n: int) -> None:
        """Write what is true of all units: "status" (n,), 1 finished, 2 failed; and in OUT.h5 views of their files."""
        done = [unit for unit in units if self.path(unit).exists()]
        status = np.full(n, MISSING, np.uint8)
        for unit in units:
            failed = GAVE_UP if self._failure(unit).exists() else MISSING
            status[unit.start : unit.end] = FINISHED if self.path(unit).exists() else failed
        errors = {unit.name: text for unit in units if (text := self.failure(unit))}
        self.storage.gather(done, status, {"parts": self.folder.name, "errors": json.dumps(errors)})
        shutil.rmtree(self.folder / LOCKS, ignore_errors=True)

    def header(self) -> dict[str, Any]:
        """What the batch is: see `open`.

        Raises: FileNotFoundError; ValueError for a damaged file.
        """
        found = self._read_header()
        if found is None:
            raise FileNotFoundError(
                f"no batch at {self.folder}: expected the folder that inverse batch wrote beside {self.out.name}"
            )
        return found

    def remove(self) -> None:
        """Remove all results, of a folder that a batch was written to and no other."""
        if self._header.exists():
            shutil.rmtree(self.folder)
            self.storage.remove()

    def path(self, unit: Unit) -> Path:
        """The file of a unit."""
        return self.folder / f"{unit.name}{self.storage.done}"

    @property
    def _header(self) -> Path:
        return self.folder / HEADER

    def _failure(self, unit: Unit) -> Path:
        return self.folder / f"{unit.name}{FAILED}"

    def _read_header(self) -> dict[str, Any] | None:
        if not self._header.exists():
            return None
        with reading(self._header, "batch", "remove the folder, or choose another --out") as path:
            found = json.loads(path.read_text())
            if not isinstance(found["facts"], dict) or min(int(found[k]) for k in ("n", "block", "n_samples")) < 1:
                raise ValueError("its header is incomplete")
        return found


def _refuse_other(out: Path, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    different = [title for name, title in TITLES.items() if theirs.get(name) != ours.get(name)]
    if different:
        raise ValueError(
            f"{out} has results of another problem ({', '.join(different)} differ): choose another --out, pass "
            "--overwrite, or repeat the first call as it was"
        )
