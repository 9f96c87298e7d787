"""The gallery: truth, measurement, mean, standard deviation and samples per image."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.common.defaults import SHOWN
from benchmarks.suite.records import Record
from benchmarks.suite.report import png
from benchmarks.suite.report.pooling import TRUTH, Group, Row

SAMPLES = 4
PIXELS = 6 * 10**6  # of all pictures of a problem: more make a page of hundreds of megabytes


@dataclass
class Gallery:
    """Pictures of a problem, each once, and where they stand.

    Attributes: pictures: data: URIs; images: their indices; methods: names; estimates: names of those that draw no
    samples; common: per image the places in ``pictures`` of truth and measurement, None where there is none; shown: per
    method and image those of mean, std and samples; samples: how many are shown; top: the standard deviation at the
    bright end of its scale, 0 without any; size: width and height of the truth in pixels.
    """

    images: list[int]
    methods: list[str]
    estimates: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    common: list[list[int | None]] = field(default_factory=list)
    shown: list[list[list[int | None]]] = field(default_factory=list)
    samples: int = 0
    top: float = 0.0
    size: tuple[int, int] = (1, 1)

    def add(self, pixels: np.ndarray) -> int:
        """Keep a picture, once; its place."""
        address = png.uri(pixels)
        if address not in self._places:
            self._places[address] = len(self.pictures)
            self.pictures.append(address)
        return self._places[address]

    def __post_init__(self):
        self._places: dict[str, int] = {}


def build(problem: Group, order: Sequence[str], shown: int = SHOWN) -> Gallery | None:
    """The gallery of a problem; None where no record kept pictures.

    The scale of the standard deviation is one for the problem, so that methods and images can be compared by eye. It
    ends at the upper quartile over methods of the 99.5th percentile of their pixels, and at twice the median at most:
    one that came out far too wide does not make the others black.
    Arguments: problem; order: names of rows, as they stand in the table; shown: images at most, the first ones; of
    large pictures as many as `PIXELS` leaves, one at least.
    """
    by_name = {row.name: row for row in problem.rows if row.method != TRUTH}
    rows = [by_name[name] for name in order if any(r.pictures for r in by_name[name].records)]
    images = sorted({i for row in rows for r in row.records if r.pictures for i in r.images})[:shown]
    if not images:
        return None
    images = images[: max(1, PIXELS // (_pixels(rows) * (2 + SAMPLES)))]
    kept = {(row.name, image): _find(row, image) for row in rows for image in images}
    found = Gallery(images, [row.name for row in rows], [row.name for row in rows if not row.posterior])
    found.samples = min(SAMPLES, max((len(k["samples"]) for k in kept.values() if "samples" in k), default=0))
    found.top = _top([[kept[row.name, i]["std"] for i in images if "std" in kept[row.name, i]] for row in rows])
    for image in images:
        common = [next((k[kind] for row in rows if kind in (k := kept[row.name, image])), None)
                  for kind in ("truth", "measurement")]  # fmt: skip
        found.common.append([None if p is None else found.add(png.grey_or_colour(p)) for p in common])
        if common[0] is not None:
            found.size = common[0].shape[2], common[0].shape[1]
    for row in rows:
        found.shown.append([_places(found, kept[row.name, image]) for image in images])
    return found


def _pixels(rows: Sequence[Row]) -> int:
    """Of one picture of every row."""
    shapes = [[np.shape(r.pictures["mean"]) for r in row.records if "mean" in r.pictures] for row in rows]
    return sum(max((s[2] * s[3] for s in of if len(s) == 4 and all(s)), default=1) for of in shapes)


def _top(spreads: Sequence[Sequence[np.ndarray]]) -> float:
    tops = []
    for of in spreads:
        pixels = np.concatenate([std.mean(0).ravel() for std in of]) if of else np.zeros(0)
        pixels = pixels[np.isfinite(pixels)]
        tops += [float(np.quantile(pixels, 0.995))] if len(pixels) else []
    return min(float(np.quantile(tops, 0.75)), 2 * float(np.median(tops))) if tops else 0.0


def _find(row: Row, image: int) -> dict[str, np.ndarray]:
    """The pictures of an image in the first seed that kept them; those that are no pictures are left out."""
    for record in sorted(row.records, key=lambda record: record.seed):
        if record.pictures and image in record.images:
            return _of(record, record.images.index(image))
    return {}


def _of(record: Record, at: int) -> dict[str, np.ndarray]:
    wanted = {kind: np.asarray(array[at]) for kind, array in record.pictures.items()}
    return {kind: a for kind, a in wanted.items() if a.ndim == (4 if kind == "samples" else 3) and a.size}


def _places(found: Gallery, kept: dict[str, np.ndarray]) -> list[int | None]:
    mean, std, samples = kept.get("mean"), kept.get("std"), kept.get("samples", ())
    places = [
        None if mean is None else found.add(png.grey_or_colour(mean)),
        None if std is None or not found.top else found.add(png.spread(std, found.top)),
    ]
    drawn = [found.add(png.grey_or_colour(sample)) for sample in samples[: found.samples]]
    return [*places, *drawn, *[None] * (found.samples - len(drawn))]
