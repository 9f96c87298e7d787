"""The results of a batch, read when they are asked for."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inverse.app.batch.job import Unit
from inverse.app.batch.parts import FINISHED, GAVE_UP, MISSING, Parts
from inverse.solution import RECORDED, Solution, UncalibratedSpread
from priors.arguments import count


class Rows:
    """An array with an entry per measurement, of which only what is indexed is read.

    ``rows[b]`` is the entry of measurement b, ``rows[a:b]`` and ``rows[[3, 7]]`` those of several, (n, ...).
    """

    def __init__(self, results: "BatchResults", name: str):
        self._results, self._name = results, name

    def __len__(self) -> int:
        return len(self._results)

    def __repr__(self) -> str:
        return f"<{self._name} of {len(self)} measurements>"

    def __getitem__(self, index: int | slice | Sequence[int]) -> Tensor:
        if isinstance(index, slice):
            numbers = list(range(*index.indices(len(self))))
        elif isinstance(index, list | tuple | Tensor | np.ndarray):
            numbers = [int(i) for i in index]
        else:
            return self._results.read(self._name, [self._results.number(index)])[0]
        return self._results.read(self._name, [self._results.number(b) for b in numbers])


class BatchResults:
    """The results of `solve_batch`: an entry per measurement, read from the files when it is asked for.

    Attributes: path; n: number of measurements; n_samples K; method, n_steps, seed, reason; quantile_levels (Q).
    Raises: FileNotFoundError if there is no batch at the path; ValueError for damaged files.
    """

    def __init__(self, path: str | Path):
        self._parts = Parts(path)
        self.path = self._parts.out
        held = self._parts.header()
        self.n, self._block, self.n_samples = int(held["n"]), int(held["block"]), int(held["n_samples"])
        self.method, self.n_steps, self.seed = str(held["method"]), int(held["n_steps"]), int(held["seed"])
        self.reason, self._kept = str(held["reason"]), bool(held["samples"])
        self.quantile_levels = tuple(float(q) for q in held["quantiles"])

    def __len__(self) -> int:
        return self.n

    def __repr__(self) -> str:
        return f"BatchResults({self.path.name}: {self.n} measurements, {self.n_samples} samples each, {self.method!r})"

    @property
    def mean(self) -> Rows:
        """Posterior means, (n, *E)."""
        return Rows(self, "mean")

    @property
    def std(self) -> Rows:
        """Posterior standard deviations, (n, *E), as `Solution.std`; nan for a single sample.

        Warns: UncalibratedSpread, if the method is not known to have the posterior's spread.
        """
        if not self.calibrated:
            warnings.warn(
                f"the standard deviation of {self.method!r} samples is not that of the posterior in general: see "
                "Solution.std",
                UncalibratedSpread,
                stacklevel=2,
            )
        return Rows(self, "std")

    @property
    def quantiles(self) -> Rows:
        """Quantiles at `quantile_levels`, (n, Q, *E)."""
        return Rows(self, "quantiles")

    @property
    def ess(self) -> Rows:
        """Effective sample sizes, (n,)."""
        return Rows(self, "ess")

    @property
    def samples(self) -> Rows:
        """The samples, (n, K, *E).

        Raises: ValueError if they were not kept.
        """
        if not self._kept:
            raise ValueError(
                f"{self.path} has no samples, only mean, std and quantiles: run the batch with keep_samples=True"
            )
        return Rows(self, "samples")

    @property
    def calibrated(self) -> bool:
        """Whether the spread of the method was measured to be right (`Solution.calibrated`)."""
        done = next((unit for unit in self._units if self._parts.path(unit).exists()), None)
        return True if done is None else bool(self._attributes(done)["calibrated"])

    @property
    def seconds(self) -> float:
        """Wall time of all finished units, added up over processes."""
        done = [unit for unit in self._units if self._parts.path(unit).exists()]
        return sum(float(self._attributes(unit)["seconds"]) for unit in done)

    @property
    def status(self) -> Tensor:
        """Of every measurement: 0 not computed yet, 1 finished, 2 failed; (n,) int64."""
        found = torch.full((self.n,), MISSING)
        for unit in self._units:
            state = GAVE_UP if self._parts.failure(unit) else MISSING
            found[unit.start : unit.end] = FINISHED if self._parts.path(unit).exists() else state
        return found

    @property
    def failures(self) -> dict[range, str]:
        """Numbers of measurements that failed -> their error; a unit fails as a whole."""
        found = {range(unit.start, unit.end): self._parts.failure(unit) for unit in self._units}
        return {numbers: text for numbers, text in found.items() if text and not self._done(numbers.start)}

    @property
    def cautions(self) -> list[str]:
        """What the solves warned of, in the order of the measurements."""
        done = [unit for unit in self._units if self._parts.path(unit).exists()]
        return [str(text) for unit in done for text in json.loads(self._attributes(unit)["cautions"])]

    def solution(self, b: int) -> Solution:
        """The `Solution` of measurement b, with samples (1, K, *E).

        Raises: IndexError; ValueError if it is not computed, or samples were not kept.
        """
        b = self.number(b)
        arrays = {"samples": self.samples[b : b + 1]}
        with self._parts.opened(self._unit(b)) as file:
            row = b - self._unit(b).start
            for name in ("log_weights", "log_evidence", "log_evidence_std", "lineages"):
                if name in file:
                    arrays[name] = torch.from_numpy(file.dataset(name)[row : row + 1])
            told: dict[str, Any] = {name: kind(file.attrs[name]) for name, kind in RECORDED.items()}
        return Solution(**arrays, **told, numbers=torch.tensor([b]))

    def number(self, b: Any) -> int:
        """A number of a measurement, counted from the end if negative.

        Raises: TypeError; IndexError.
        """
        b = count("measurement", b, -(2**63))
        if not -self.n <= b < self.n:
            raise IndexError(f"measurement {b}: there are {self.n}, numbered from 0")
        return b % self.n

    def read(self, name: str, numbers: list[int]) -> Tensor:
        """The entries of an array for some measurements, (len(numbers), ...).

        Raises: ValueError for a measurement that is not computed.
        """
        found: dict[int, Tensor] = {}
        for unit in dict.fromkeys(map(self._unit, numbers)):
            with self._parts.opened(unit) as file:
                dataset = file.dataset(name)
                for b in {b for b in numbers if unit.start <= b < unit.end}:
                    found[b] = torch.from_numpy(np.asarray(dataset[b - unit.start]))
        return torch.stack([found[b] for b in numbers]) if numbers else torch.empty(0)

    @property
    def _units(self) -> list[Unit]:
        return [self._unit(start) for start in range(0, self.n, self._block)]

    def _unit(self, b: int) -> Unit:
        start = b // self._block * self._block
        return Unit(start, min(start + self._block, self.n))

    def _done(self, b: int) -> bool:
        return self._parts.path(self._unit(b)).exists()

    def _attributes(self, unit: Unit) -> dict[str, Any]:
        with self._parts.opened(unit) as file:
            return file.attrs
