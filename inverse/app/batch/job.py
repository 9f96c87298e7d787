"""A batch: its measurements, how they are solved, and the units that its work is divided into."""

import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from inverse.app.batch import identity
from inverse.app.batch.sources import Source
from inverse.app.devices import solve_there
from inverse.methods import Sampler, composition
from inverse.solution import Solution
from inverse.solve import rows_at_once
from operators import Operator
from priors import Prior

VERSION = 1  # of what a key is made of
MakeOperator = Callable[[dict[str, Tensor]], Operator]
# of what differs, in the order in which a refusal names them
TITLES = {
    "prior": "the prior", "operator": "the operator", "method": "the method", "n_steps": "the number of steps",
    "seed": "the seed", "n_samples": "the number of samples", "block": "the block size",
    "quantiles": "the quantiles", "keep_samples": "whether samples are kept", "antithetic": "antithetic pairs",
    "precision": "the precision", "batch_size": "the batch size", "version": "the version of the format",
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """How every measurement of a batch is solved and what is kept of it.

    Attributes: method (`Sampler`) and n_steps, decided once for all; reason: why "auto" chose them; n_samples, seed,
    antithetic, precision, batch_size: as `inverse.solve`; block: measurements in a unit; quantiles: probabilities;
    keep_samples: whether samples are stored.
    """

    method: Sampler
    n_steps: int
    reason: str
    n_samples: int
    seed: int
    antithetic: bool
    precision: str
    batch_size: int | None
    block: int
    quantiles: tuple[float, ...]
    keep_samples: bool

    @property
    def plain(self) -> dict[str, Any]:
        """As plain data, for a key."""
        held = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "reason"}
        # through JSON, which has no tuples
        return held | {"method": composition(self.method), "quantiles": list(self.quantiles)}


@dataclass(frozen=True)
class Unit:
    """A unit of work: the measurements start to end - 1, with all samples of each."""

    start: int
    end: int

    @property
    def name(self) -> str:
        """Its name in the folder of results."""
        return f"{self.start:09d}-{self.end - 1:09d}"


@dataclass(frozen=True)
class Job:
    """A batch of measurements and how they are solved.

    Attributes: prior; operator: for all measurements, or with parameters of each, or a function that makes that of a
    block from its arrays (see `solve_batch`); source; settings; device: where processes compute, None for the prior's.
    """

    prior: Prior
    operator: Operator | MakeOperator
    source: Source
    settings: Settings
    device: str | None = None

    @cached_property
    def facts(self) -> dict[str, Any]:
        """All that the results depend on besides the measurements, as plain data."""
        made_of = {"prior": identity.of(self.prior), "operator": identity.of(self.operator)}
        return {"version": VERSION, **self.settings.plain} | {k: identity.digest(v) for k, v in made_of.items()}

    @property
    def units(self) -> list[Unit]:
        n, block = len(self.source), self.settings.block
        return [Unit(start, min(start + block, n)) for start in range(0, n, block)]

    def key(self, unit: Unit, arrays: dict[str, Tensor] | None = None) -> str:
        """The key of a unit, a digest of all that its results depend on; arrays: its measurements, read if None."""
        arrays = self.source.read(unit.start, unit.end) if arrays is None else arrays
        return identity.digest([identity.digest(self.facts), unit.start, unit.end, identity.of_tensors(arrays)])

    def on(self, device: torch.device) -> "Job":
        """The same with its prior on a device."""
        if self.prior.device == device:
            return self
        if not isinstance(self.prior, torch.nn.Module):
            raise ValueError(
                f"{type(self.prior).__name__} is on {self.prior.device} and has no .to(device): omit device"
            )
        moved = replace(self, prior=deepcopy(self.prior).to(device))
        moved.__dict__["facts"] = self.facts  # results are the same, to rounding
        return moved

    def solve(self, unit: Unit, arrays: dict[str, Tensor]) -> tuple[Solution, list[str]]:
        """The solution of a unit, on the CPU, and what it warned of.

        Raises: as `inverse.solve`.
        """
        s = self.settings
        operator = operator_of(self.operator, arrays, unit.start, unit.end)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            solution = solve_there(
                self.prior, operator, arrays["y"], s.n_samples, s.method, s.n_steps, s.seed, s.batch_size,
                progress=False, antithetic=s.antithetic, numbers=range(unit.start, unit.end), precision=s.precision,
            )  # fmt: skip
        told = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
        return replace(solution, reason=s.reason), list(dict.fromkeys(told))


def check_one_each(operator: Operator | MakeOperator, source: Source) -> None:
    """Refuse, by a ValueError, an operator with parameters for another number of measurements."""
    if isinstance(operator, Operator) and operator.batch not in (None, len(source)):
        raise ValueError(
            f"the operator's parameters are for {operator.batch} measurements, and there are {len(source)}"
        )


def operator_of(given: Operator | MakeOperator, arrays: dict[str, Tensor], start: int, end: int) -> Operator:
    """The operator of a block of measurements.

    Raises: TypeError where the function that makes it returns something else.
    """
    if isinstance(given, Operator):
        return given.rows(torch.arange(start, end)) if given.batch is not None else given
    made = given(arrays)
    if not isinstance(made, Operator):
        raise TypeError(f"operator(arrays) returned a {type(made).__name__}: expected an operators.Operator")
    return made


def block_of(method: Sampler, event_shape: tuple[int, ...], n_samples: int, batch_size: int | None) -> int:
    """How many measurements a unit has by default: one batch of `inverse.solve`, so that a kill loses little."""
    return max(1, rows_at_once(method, event_shape, n_samples, batch_size) // n_samples)
