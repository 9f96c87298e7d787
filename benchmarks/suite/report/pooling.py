"""Records pooled by problem and method, over blocks of images and seeds."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.suite.records import Record, Scale
from benchmarks.suite.report.stats import Values

# the first columns; then come metrics with a direction, with a target, others
ORDER = ("label_agreement", "psnr_mean", "ssim_mean", "crps", "lpips_sample", "coverage95", "chi2")
TRUTH = "truth"  # a method of this name is the truth itself: its features are what others' are measured against


@dataclass(frozen=True)
class Row:
    """A method on a problem.

    Attributes: name (unique within the problem: the method, and the settings in which it differs from its namesakes);
    method; posterior; records that ended well; failed ones that no other replaces; superseded: how many units
    were left out because a later one is of the same images and seed; values: metric -> (image, seed) -> value;
    missing: metric -> why.
    """

    name: str
    method: str
    posterior: bool
    records: tuple[Record, ...]
    failed: tuple[Record, ...] = ()
    superseded: int = 0
    values: Mapping[str, Values] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def units(self) -> frozenset[tuple[int, int]]:
        """All (image, seed) that were finished."""
        return frozenset((image, record.seed) for record in self.records for image in record.images)

    @property
    def images(self) -> tuple[int, ...]:
        """Indices of the images that were finished with one seed at least, ascending."""
        return tuple(sorted({image for image, _ in self.units}))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the finished units, ascending."""
        return tuple(sorted({seed for _, seed in self.units}))

    @property
    def settings(self) -> dict[str, Any]:
        """What the method was run with, the number of samples included."""
        first = (self.records or self.failed)[0]
        return {**first.settings, **({"samples": first.n_samples} if first.n_samples else {})}

    @property
    def seconds(self) -> float:
        """Seconds per image and seed, nan without any."""
        return sum(r.seconds for r in self.records) / len(self.units) if self.units else math.nan

    @property
    def nfe(self) -> float:
        """Evaluations of the prior per sample, the mean over records; nan without any."""
        return sum(r.nfe for r in self.records) / len(self.records) if self.records else math.nan

    @property
    def nvjp(self) -> float:
        """Backward passes through the prior per sample, the mean over records; nan without any."""
        return sum(r.nvjp for r in self.records) / len(self.records) if self.records else math.nan

    @property
    def memory(self) -> float:
        """The largest peak of memory, bytes; nan where it was not measured."""
        return max((float(r.peak_memory) for r in self.records if r.peak_memory), default=math.nan)


@dataclass(frozen=True)
class Group:
    """The rows of one problem and prior: all that was measured on it.

    Attributes: name; task (its title); prior; scales: metric -> `Scale`, in the order of columns; rows by method.
    """

    name: str
    task: str
    prior: str
    scales: Mapping[str, Scale]
    rows: tuple[Row, ...]

    @property
    def records(self) -> tuple[Record, ...]:
        """All records, failed ones included."""
        return tuple(record for row in self.rows for record in (*row.records, *row.failed))

    def reference(self, metric: str) -> frozenset[int]:
        """The images that most methods have a value of, on which all are compared; see `within`."""
        having = [{image for image, _ in row.values[metric]} for row in self.rows if row.values.get(metric)]
        counts = {image: sum(image in images for images in having) for image in set().union(*having)}
        return frozenset(image for image, n in counts.items() if 2 * n > len(having))


def within(values: Values, images: frozenset[int]) -> Values:
    """The values of some images."""
    return {unit: value for unit, value in values.items() if unit[0] in images}


def pool(records: Iterable[Record]) -> list[Group]:
    """Gather records by problem and prior, and within by method and its settings.

    Of two finished units of the same images and seed the later one counts, by the date of its provenance and then by
    its place; a failed unit is passed over where a finished one covers it.
    Arguments: records.
    Returns: problems by task and name, their rows by name.
    """
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.task, record.problem, record.prior), []).append(record)
    found = []
    for (task, name, prior), members in sorted(groups.items()):
        scales = {metric: scale for record in members for metric, scale in record.scales.items()}
        ordered = {metric: scales[metric] for metric in sorted(scales, key=lambda m: _place(m, scales[m]))}
        found.append(Group(name, task, prior, ordered, tuple(_rows(members))))
    return found


def _place(metric: str, scale: Scale) -> tuple[int, int, str]:
    """The place of a metric's column; records have no order."""
    known = ORDER.index(metric) if metric in ORDER else len(ORDER)
    return known, 2 if scale.better == "none" else 0 if isinstance(scale.better, str) else 1, metric


def _rows(records: Sequence[Record]) -> list[Row]:
    methods: dict[str, list[Record]] = {}
    for record in records:
        methods.setdefault(record.method, []).append(record)
    rows = []
    for method, members in methods.items():
        kinds = _kinds(members)
        settings = [_settings(kind[0]) for kind in kinds]
        rows += [_row(_name(method, mine, settings), kind) for mine, kind in zip(settings, kinds, strict=True)]
    return sorted(rows, key=lambda row: row.name)


def _kinds(records: Sequence[Record]) -> list[list[Record]]:
    """A method's records by its settings. A failed one, which may not know them, goes to those it can be of."""
    kinds: dict[str, list[Record]] = {}
    for record in records:
        if not record.error:
            kinds.setdefault(plain(_settings(record)), []).append(record)
    for record in records:
        if record.error:
            mine = plain(_settings(record))
            kinds.setdefault(next(iter(kinds)) if mine not in kinds and len(kinds) == 1 else mine, []).append(record)
    return list(kinds.values())


def _row(name: str, members: Sequence[Record]) -> Row:
    ordered = sorted(members, key=lambda record: str(record.provenance.get("date", "")))  # stable
    whole = [record for record in ordered if not record.error]
    last = {(image, record.seed): record for record in whole for image in record.images}
    kept = [record for record in whole if any(record is last[image, record.seed] for image in record.images)]
    failed = [r for r in ordered if r.error and any((image, r.seed) not in last for image in r.images)]
    values: dict[str, dict[tuple[int, int], float]] = {}
    for record in kept:
        for metric, array in record.metrics.items():
            for image, value in zip(record.images, np.asarray(array, dtype=np.float64), strict=True):
                if record is last[image, record.seed] and math.isfinite(value):
                    values.setdefault(metric, {})[image, record.seed] = float(value)
    missing = {metric: why for record in kept for metric, why in record.missing.items()}
    first = (kept or ordered)[0]
    return Row(name, first.method, first.posterior, tuple(kept), tuple(failed), len(whole) - len(kept), values, missing)


def _settings(record: Record) -> dict[str, Any]:
    return {**record.settings, "samples": record.n_samples}


def plain(value: Any) -> str:
    """Plain data as a text, the same in every process: where objects were in memory is left out."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)
    return re.sub(r"( object)? at 0x[0-9a-f]+", "", text)


def _name(method: str, settings: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> str:
    """The method's name and, where namesakes have other settings, those in which they differ."""
    differing = [key for key in settings if len({plain({key: other.get(key)}) for other in others}) > 1]
    return " ".join([method, *(f"{key}={plain(settings.get(key))}" for key in sorted(differing))])
