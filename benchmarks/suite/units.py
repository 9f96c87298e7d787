"""Units of a run: problem x method x seed x block of images, each under a key of all that it depends on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

import priors
from benchmarks.common import features
from benchmarks.common.keys import fingerprint
from benchmarks.common.keys import key as key_of
from benchmarks.common.problems import Problem
from benchmarks.suite import measurements, methods, metrics
from benchmarks.suite.methods import Row, Truth, source_of
from benchmarks.suite.problems import COMMON, Config, Spec
from benchmarks.suite.records import name_of, stem
from priors import NoisyClassifier, Prior, ScorePrior
from priors.checkpoints import SHIPPED

SEEDS = 10**6  # block seed = run seed * this + first image: blocks do not share noise


@dataclass(frozen=True, eq=False)
class SuiteProblem(Problem):
    """A problem of the suite, with what its samples are judged by.

    Attributes: those of `Problem`: prior on the device to run on, the rest on the CPU; spec: its specification.
    """

    spec: Spec = field(kw_only=True)

    @cached_property
    def judge_name(self) -> str | None:
        """The classifier that judges samples: the problem's, or NAME-judge beside a shipped prior NAME."""
        if self.spec.judge is not None:
            return self.spec.judge
        beside = f"{self.spec.prior}-judge"
        return beside if (SHIPPED / beside).is_dir() else None

    @cached_property
    def judge(self) -> NoisyClassifier | None:
        """The classifier of that name."""
        return None if self.judge_name is None else priors.load_classifier(self.judge_name).to(self.prior.device)

    @cached_property
    def features(self) -> features.Features | None:
        """The space of set metrics: Inception's, where its weights are at hand, else the judge's; None without both."""
        return None if self.judge_name is None else features.find("auto", self.judge_name)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that its units depend on besides measurements, method, seed and images, as plain data."""
        return {
            "prior": [fingerprint(self.prior), source_of(type(self.prior), ("priors",))],
            "operator": source_of(type(self.operator), ("operators",)),
            "judge": None if self.judge is None else fingerprint(self.judge),
            "features": None if self.features is None else self.features.title,
            "device": self.prior.device.type,
            "metrics": metrics.identity(),
        }

    @property
    def resolution(self) -> float:
        """The noise at the prior's last time, in which truths and samples are ranked."""
        return float(self.prior.sde.sigma(self.prior.sde.t_min))


@dataclass(frozen=True)
class Unit:
    """A unit of work and of records: one row on some images of one problem with one seed.

    Attributes: problem; row; seed; images; n_samples.
    """

    problem: SuiteProblem
    row: Row
    seed: int
    images: tuple[int, ...]
    n_samples: int

    @cached_property
    def key(self) -> str:
        """Of all that its record depends on; the row's name is none of it."""
        problem, part = self.problem, self.problem.part(self.images)
        return key_of(
            "suite",
            **problem.identity,
            measurements=measurements.identity(problem.spec, part),
            row=self.row.identity(part.operator, problem.prior, self.n_samples),
            samples=self.n_samples if self.row.posterior else 0,
            seed=self.seed,
            images=list(self.images),
        )

    @property
    def stem(self) -> str:
        """The head of its record's name: what it is, whatever it depends on."""
        return stem(self.problem.name, self.row.name, self.seed)

    @property
    def name(self) -> str:
        """Its record's name in the store."""
        return name_of(self.stem, self.images, self.key)

    @property
    def stream(self) -> int:
        """The seed of its samples."""
        return self.seed * SEEDS + self.images[0]


def plan(
    config: Config,
    problems: Sequence[str] | None = None,
    rows: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    measured: Path | None = None,
    device: torch.device | str = "cpu",
) -> tuple[list[Unit], list[str]]:
    """All units of a benchmark, the first block of every row and problem before any second one.

    Arguments: config; problems, rows, seeds: only these (default: the file's; a row that the file has not is run with
    its own settings); measured: a folder of published measurement sets to read in place of making them; device.
    Returns: units, among them one per problem for the features of its truths (where there is a space of these), and a
    line for each row that a problem's operator cannot be served by.
    Raises: ValueError for unknown names; and as priors, images and measurements do.
    """
    place = torch.device(device)
    chosen = [_problem(config.problems[n], measured, place) for n in _chosen(problems, config.problems)]
    table = {name: config.methods.get(name, {}) for name in rows or config.methods or methods.available()}
    units: list[Unit] = []
    left_out: list[str] = []
    for problem in chosen:
        if problem.features is not None:
            units.append(Unit(problem, Truth(), 0, tuple(range(problem.spec.images)), 0))
        for name, settings in table.items():
            if problem.spec.methods is not None and name not in problem.spec.methods and rows is None:
                continue
            units += _of_row(config, problem, name, settings, seeds or config.seeds, left_out)
    return sorted(units, key=lambda u: (u.seed, u.images[0])), left_out


def _of_row(
    config: Config,
    problem: SuiteProblem,
    name: str,
    settings: Mapping[str, Any],
    seeds: Sequence[int],
    left_out: list[str],
) -> list[Unit]:
    settings = {**settings, **problem.spec.settings.get(name, {})}
    place = f"{config.path}: methods.{name}"
    for key in COMMON:
        value = settings.get(key, 2)
        if not isinstance(value, int) or isinstance(value, bool) or value < (2 if key == "samples" else 1):
            raise ValueError(f"{place}.{key} = {value!r}: expected a whole number of at least {2 - (key != 'samples')}")
    try:
        row = methods.find(name, {key: value for key, value in settings.items() if key not in COMMON})
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    if not row.serves(problem.operator, problem.prior):
        left_out.append(f"{problem.name}: {name} does not serve {type(problem.operator).__name__}")
        return []
    n = min(settings.get("images", problem.spec.images), problem.spec.images)
    blocks = [tuple(range(start, min(start + config.block, n))) for start in range(0, n, config.block)]
    samples = settings.get("samples", config.samples) if row.posterior else 0
    return [Unit(problem, row, seed, block, samples) for seed in seeds for block in blocks]


def _chosen(names: Sequence[str] | None, known: Mapping[str, Any]) -> list[str]:
    if unknown := [name for name in names or () if name not in known]:
        raise ValueError(f"problems {unknown}: expected of {list(known)}")
    return list(names or known)


def prior_of(spec: Spec) -> ScorePrior:
    """The prior of a problem, for pictures of its size.

    Raises: FileNotFoundError; ValueError for a size that the prior does not serve.
    """
    prior = priors.load(spec.prior)
    return prior if spec.size is None else prior.resized((prior.event_shape[0], *spec.size))


_loaded: dict[tuple[str, tuple[int, int] | None, str], Prior] = {}


def _problem(spec: Spec, measured: Path | None, device: torch.device) -> SuiteProblem:
    place = (spec.prior, spec.size, str(device))
    if place not in _loaded:
        _loaded[place] = prior_of(spec).to(device)
    prior = _loaded[place]
    if measured is None:
        found = measurements.make(spec, prior)
    else:
        found = measurements.read(measured / f"{spec.name}.h5", spec, prior)
    return SuiteProblem(**vars(found), spec=spec)
