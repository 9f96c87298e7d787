"""The folder of a batch: a file for every finished unit, a note for every failed one, and one file over all of them."""

import json
import os
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from inverse.app.batch.job import TITLES, Job, Unit
from priors.claims import LOCKS
from priors.files import FileError, atomic, hdf5_path, reading
from priors.hdf5 import SEAL, checksum, opened

WHAT, REMEDY = "part of a batch", "remove it and run the batch again, which computes it again"
HEADER, DONE, FAILED = "job.json", ".h5", ".error.json"
MISSING, FINISHED, GAVE_UP = 0, 1, 2  # of a measurement, in "status"


class Parts:
    """The results of a batch as they are computed.

    A unit is written to a file of its own, in one step, so that a kill cannot damage what is finished. `gather` writes
    OUT.h5, whose datasets are views of all these files (HDF5's virtual datasets).
    Arguments: out: OUT.h5; the folder is OUT.parts beside it.
    Raises: ValueError for a path with the ending of another format.
    """

    def __init__(self, out: str | Path):
        self.out = hdf5_path(out, "results").absolute()
        self.folder = self.out.with_suffix(".parts")

    def open(self, job: Job, overwrite: bool = False) -> None:
        """Make the folder, or go on in it.

        Raises: ValueError for a folder of another problem, with what differs.
        """
        if overwrite:
            self.remove()
        elif self.out.exists() and not self._header.exists():
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

    def check(self, job: Job, unit: Unit) -> None:
        """Look at the file of a finished unit: a damaged one is removed, so that it is computed again.

        Raises: ValueError if it is of another measurement.
        """
        path = self.path(unit)
        if not path.exists():
            return
        try:
            with opened(path, WHAT, REMEDY) as file:
                there = str(file.attrs["key"])
                for name in ("mean", "std", "quantiles", *(["samples"] if job.settings.keep_samples else [])):
                    file.dataset(name)
        except FileError:
            path.unlink(missing_ok=True)
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
        return sum(n.endswith(DONE) for n in names), sum(n.endswith(FAILED) for n in names)

    def write(self, unit: Unit, arrays: dict[str, np.ndarray], attributes: dict[str, Any]) -> None:
        """Record a finished unit, in one step; a note on an earlier failure is removed."""
        with atomic(self.path(unit)) as temporary, h5py.File(temporary, "w") as file:
            for name, values in arrays.items():
                file.create_dataset(name, data=values, compression="gzip" if name == "samples" else None)
            file.attrs.update(attributes | {SEAL: checksum(attributes, arrays)})
        self._failure(unit).unlink(missing_ok=True)

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
        """Write OUT.h5 over the files of all units, atomically: views of "mean", "std" and all other arrays by
        measurement, missing values nan, and "status" (n,): 1 finished, 2 failed.

        Raises: ValueError if no unit is finished.
        """
        done = [unit for unit in units if self.path(unit).exists()]
        status = np.full(n, MISSING, np.uint8)
        for unit in units:
            failed = GAVE_UP if self._failure(unit).exists() else MISSING
            status[unit.start : unit.end] = FINISHED if self.path(unit).exists() else failed
        with atomic(self.out) as temporary, h5py.File(temporary, "w") as file:
            file.attrs["parts"] = self.folder.name
            file["status"] = status
            errors = {unit.name: text for unit in units if (text := self.failure(unit))}
            file.attrs["errors"] = json.dumps(errors)
            if done:
                with opened(self.path(done[0]), WHAT, REMEDY) as first:
                    kinds = {name: (first.dataset(name).shape[1:], first.dataset(name).dtype) for name in first.names()}
                    file.attrs.update(
                        {k: v for k, v in first.attrs.items() if k not in (SEAL, "key", "cautions", "seconds")}
                    )
                for name, (shape, dtype) in kinds.items():
                    layout = h5py.VirtualLayout((n, *shape), dtype)
                    for unit in done:
                        place = f"{self.folder.name}/{self.path(unit).name}"
                        layout[unit.start : unit.end] = h5py.VirtualSource(place, name, (unit.end - unit.start, *shape))
                    file.create_virtual_dataset(name, layout, fillvalue=np.nan if dtype.kind == "f" else None)
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
            self.out.unlink(missing_ok=True)

    def path(self, unit: Unit) -> Path:
        """The file of a unit."""
        return self.folder / f"{unit.name}{DONE}"

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
