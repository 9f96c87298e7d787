"""Distance of every method's samples to the exact posterior, relative to exact draws (1 is a second set of exact
draws)."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from benchmarks.common.keys import code, code_behind, digest, key
from benchmarks.common.records import Records
from benchmarks.exact import metrics, oracle_problems, problems
from benchmarks.exact.oracle_entries import Entry, Exact, PriorDraws, Theirs, ours, theirs
from benchmarks.exact.oracle_problems import Family, Instance
from benchmarks.peers import PEERS

REFERENCES = 4  # exact sets that each set is compared with
TUNING = (1000, 1001, 1002)  # instances for tuning peers; reported ones start at 0
# separate streams from those of the instances
REFERENCE_SEED, FLOOR_SEED = 10**6, 2 * 10**6


@dataclass(frozen=True)
class Unit:
    """A unit of work and of records: n samples by one entry for one instance.

    Attributes: family of problems; number of the instance; entry; n.
    """

    family: Family
    number: int
    entry: Entry
    n: int

    @property
    def key(self) -> str:
        """Of all that its record depends on: the family of problems, the samples, the entry, and the code of each."""
        family = [type(self.family).__name__, vars(self.family)]
        facts = {"problem": family, "instance": self.number, "samples": self.n, "entry": self.entry.identity}
        return key("oracle", **facts, **_codes(self.family))


@dataclass(frozen=True)
class Truth:
    """An instance, and exact sets to compare with, (n, *E) each."""

    instance: Instance
    references: list[Tensor]


@lru_cache(maxsize=2)
def truth(family: Family, number: int, n: int) -> Truth:
    """The references for one instance. Arguments: family; number of the instance; n per set."""
    instance = family.instance(number)
    seeds = range(REFERENCE_SEED + REFERENCES * number, REFERENCE_SEED + REFERENCES * (number + 1))
    return Truth(instance, [instance.posterior.sample(n, seed=seed) for seed in seeds])


def measure(x: Tensor, known: Truth) -> dict[str, float]:
    """Five distances of n samples to the exact posterior, independent of their order.

    Formula: sw1, sw2: sliced 1- and 2-Wasserstein distance to exact draws, mean over `REFERENCES` sets, data units;
    weights: total variation error of the component weights; mean and covariance: errors relative to the spread.
    Source: Cardoso et al. 2024 (sliced W1, 1000 samples); see `benchmarks.exact.metrics`.
    Arguments: x (n, *E); known: of sets of as many.
    """
    law = known.instance.posterior
    distances = [[metrics.sliced_wasserstein(x, reference, p) for reference in known.references] for p in (1, 2)]
    return {
        **{f"sw{p}": sum(found) / len(found) for p, found in enumerate(distances, 1)},
        "weights": metrics.weight_error(x, law),
        "mean": metrics.mean_error(x, law),
        "covariance": metrics.covariance_error(x, law),
    }


def execute(unit: Unit) -> dict:
    """The record of a unit: its measures and costs, or the error that it ended with, as plain data."""
    known = truth(unit.family, unit.number, unit.n)
    seed = unit.number if unit.entry.repeats == 1 else FLOOR_SEED + unit.entry.repeats * unit.number
    sets = []
    try:
        for repeat in range(unit.entry.repeats):
            drawn = unit.entry.draw(known.instance, unit.n, seed + repeat)
            if not bool(drawn.samples.isfinite().all()):
                raise ArithmeticError("samples are not finite")
            sets.append(measure(drawn.samples, known))
    except Exception as error:  # a failure is recorded, and the others continue
        return {"error": f"{type(error).__name__}: {error}"}
    record = {name: sum(found[name] for found in sets) / len(sets) for name in sets[0]}
    record |= {"nfe": drawn.nfe, "nvjp": drawn.nvjp, "seconds": drawn.seconds}
    if drawn.ess is not None:
        record["ess"] = drawn.ess
    if drawn.log_evidence is not None:
        record["log_evidence_error"] = drawn.log_evidence - known.instance.log_evidence
    if drawn.log_evidence_std is not None:
        record["log_evidence_std"] = drawn.log_evidence_std
    return record


def finish(units: Sequence[Unit], work: Path, workers: int = 1, progress: bool = True) -> list[dict]:
    """The records of units; those in ``work`` are read, the others are computed and stored there.

    Arguments: units; work (folder): a file per family; workers: processes, of one thread each; progress: a bar.
    Raises: ValueError for workers < 1.
    """
    if workers < 1:
        raise ValueError(f"workers = {workers}: expected at least 1")
    names = dict.fromkeys(unit.family.name for unit in units)
    kept = {name: Records(work / f"{name}.jsonl") for name in names}
    keys = [unit.key for unit in units]
    pending = {k: u for u, k in zip(units, keys, strict=True) if k not in kept[u.family.name].found}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not progress, transient=True) as bar, _executed(pending, workers) as results:
        task = bar.add_task("oracle", total=len(pending))
        for key, record in results:
            kept[pending[key].family.name].add(key, record)
            bar.advance(task)
    return [kept[unit.family.name].found[key] for unit, key in zip(units, keys, strict=True)]


def run(
    chosen: Sequence[Family],
    names: Sequence[str] | None = None,
    peers: bool = True,
    n_instances: int = 20,
    n_samples: int = 1000,
    n_steps: Sequence[int | None] = (100,),
    work: Path = Path("runs/oracle"),
    workers: int = 1,
    tuning: Sequence[int] = TUNING,
    peer_steps: int | None = None,
    progress: bool = True,
) -> list[dict]:
    """A record for every family of problems, entry and instance; all entries see the same instances and seeds.

    Source: Cardoso et al. 2024, whose protocol the defaults are: 20 instances, 1000 samples, 100 steps, sliced W1.
    Arguments: chosen families; names of methods (None: all that support the operator; "auto" is always included);
    peers: whether to include installed toolkits, at their defaults and at the best of their grids; n_instances;
    n_samples; n_steps: the most that our methods take, None for their defaults (`ours`); work, workers, progress: as
    `finish`; tuning: numbers of the instances on which the best of a peer's grid is chosen (none: at its defaults
    only); peer_steps: override of the peers' steps, for smoke tests.
    Returns: plain data: what the entry is (problem, title, capabilities, method, n_steps, settings, instance), then its
    measures and costs or its error.
    Raises: ValueError for an unknown method or numbers below 1.
    """
    if min(n_instances, n_samples - 1) < 1:
        raise ValueError(f"{n_instances} instances of {n_samples} samples: expected at least 1 and 2")
    entries = {}
    names = None if names is None else [*dict.fromkeys(["auto", *names])]
    for family in chosen:
        first = family.instance(0)
        entries[family] = [Exact(), PriorDraws(), *ours(first, names, n_steps, n_samples)]
        if peers:
            settings = {} if peer_steps is None else {"steps": peer_steps}
            entries[family] += [Theirs(name, name, json.dumps(settings)) for name in theirs(first.operator)]
    if peers and tuning:
        for family, best in _tuned(entries, n_samples, tuning, work, workers, progress).items():
            entries[family] += best
    units = [Unit(p, i, e, n_samples) for p, listed in entries.items() for i in range(n_instances) for e in listed]
    return [described(u) | r for u, r in zip(units, finish(units, work, workers, progress), strict=True)]


def described(unit: Unit) -> dict:
    """What a unit is, as plain data."""
    family, capabilities = unit.family, sorted(_first(unit.family).operator.capabilities)
    first = _first(family)
    about = {"problem": family.name, "title": family.title, "capabilities": capabilities, "method": unit.entry.name}
    about["measured"] = first.operator.measured_numbers(first.prior.event_shape)
    return about | unit.entry.facts | {"instance": unit.number, "samples": unit.n}


def _tuned(entries, n: int, numbers, work: Path, workers: int, progress: bool) -> dict[Family, list[Entry]]:
    """Every peer at the settings of its grid with the least mean sliced W1 on the tuning instances."""
    tried: dict[tuple[Family, str], list[Entry]] = {}
    for family, listed in entries.items():
        for entry in listed:
            if isinstance(entry, Theirs):
                grid = PEERS[entry.peer].grid
                name = f"{entry.peer}, best of {len(grid)}"
                tried[family, entry.peer] = [Theirs(name, entry.peer, json.dumps(settings)) for settings in grid]
    # by instance and then entry, so that an instance is computed once
    units = [
        Unit(p, i, e, n) for p in entries for i in numbers for (q, _), grid in tried.items() if q == p for e in grid
    ]
    found = dict(zip(units, finish(units, work, workers, progress), strict=True))

    def loss(family: Family, entry: Entry) -> float:
        return sum(found[Unit(family, i, entry, n)].get("sw1", float("inf")) for i in numbers)

    best: dict[Family, list[Entry]] = {family: [] for family in entries}
    for (family, _), grid in tried.items():
        best[family].append(min(grid, key=lambda entry, family=family: loss(family, entry)))
    return best


@lru_cache
def _first(family: Family) -> Instance:
    return family.instance(0)


@lru_cache
def _codes(family: Family) -> dict[str, str]:
    """Keys of the code of the problem (its prior, operator and noise) and of the measures."""
    known = _first(family)
    kinds = (type(known.prior), type(known.operator), type(known.operator.noise))
    posed = [code_behind(kinds, ("priors", "operators")), code_behind((type(family),), (oracle_problems.__name__,))]
    measured = (
        metrics.sliced_wasserstein, metrics.weight_error, metrics.responsibilities, metrics.mean_error,
        metrics.covariance_error, metrics.equally_weighted, measure, execute, truth.__wrapped__,
    )  # fmt: skip
    posed.append(code(problems.image_mixture, problems.smooth_covariance))
    measures = [code(*measured), REFERENCES, REFERENCE_SEED, FLOOR_SEED]
    return {"code of the problem": digest(posed), "code of the measures": digest(measures)}


@contextmanager
def _executed(pending: dict[str, Unit], workers: int) -> Iterator[Iterator[tuple[str, dict]]]:
    """(key, record) of each as it is done, by one thread each, which the last digits depend on."""
    if workers == 1 or len(pending) < 2:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield map(_keyed, pending.items())
        finally:
            torch.set_num_threads(threads)
        return
    with get_context("spawn").Pool(workers, torch.set_num_threads, (1,)) as pool:
        yield pool.imap_unordered(_keyed, pending.items())


def _keyed(item: tuple[str, Unit]) -> tuple[str, dict]:
    return item[0], execute(item[1])
