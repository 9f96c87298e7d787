"""The result of `inverse.calibrate`: ranks, tests, a verdict, its file."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inverse.app.calibration import drawing
from inverse.app.calibration.quantities import FAMILIES, MEAN, POINTS
from inverse.quality.bands import binomial_interval, ecdf_band, holm
from priors import sealed
from priors.arguments import choice
from priors.files import hdf5_path
from priors.wording import Concise

FORMAT = "inverse calibration 1"
REMEDY = "calibrate again; expected a file by Calibration.save"
PLAIN = (
    "accuracy",
    "n_draws",
    "n_samples",
    "method",
    "seed",
    "false_alarm",
    "nfe",
    "nvjp",
    "seconds",
    "notes",
    "cautions",
)
CENTRAL = 0.8  # of the intervals whose coverage is told
HALF_Z = 1.96


@dataclass(frozen=True)
class CalibrationTest:
    """One test of a calibration.

    Attributes: name; p_value; adjusted: the p-value among all tests of the calibration (`inverse.quality.bands.holm`);
    passed; text: what was found, in words.
    """

    name: str
    p_value: float
    adjusted: float
    passed: bool
    text: str


@dataclass(frozen=True, repr=False)
class Calibration(Concise):
    """Whether a method's samples are draws of the posterior, over draws of truth and measurement.

    Attributes: ranks: name -> ranks of the truths among their samples (B, d), uniform on [0, 1] for exact samples;
    p_values: name -> p-value of that, before the number of tests is accounted for; histograms: of families of many
    numbers, name -> (3, bins): the histogram of all ranks, and the ends of the central 99 % of each bin for exact
    samples; accuracy of the classifier, 1/2 by chance, or None; n_draws B, n_samples K, method, seed; false_alarm: the
    probability that an exact method fails any test; nfe, nvjp: cost per sample; seconds of all solves; notes: what was
    not tested, and why; cautions: what solves warned of.
    """

    ranks: dict[str, Tensor] = field(repr=False)
    p_values: dict[str, float] = field(repr=False)
    histograms: dict[str, Tensor] = field(repr=False)
    accuracy: float | None
    n_draws: int
    n_samples: int
    method: str
    seed: int
    false_alarm: float
    nfe: int
    nvjp: int
    seconds: float
    notes: dict[str, str] = field(default_factory=dict, repr=False)
    cautions: list[str] = field(default_factory=list, repr=False)

    @property
    def tests(self) -> list[CalibrationTest]:
        """All tests, with p-values adjusted for their number (Holm 1979)."""
        adjusted = holm(list(self.p_values.values()))
        return [
            CalibrationTest(name, p, q, q > self.false_alarm, self._text(name, q > self.false_alarm))
            for (name, p), q in zip(self.p_values.items(), adjusted, strict=True)
        ]

    @property
    def passed(self) -> bool:
        """Whether no test fails. Few draws pass easily: see `unseen`."""
        return all(test.passed for test in self.tests)

    @property
    def unseen(self) -> float:
        """The largest error that so few draws can hide, of the share of truths below a quantile of their samples.

        Formula: the largest distance of the ends of the simultaneous band (`inverse.quality.bands.ecdf_band`) from the
        uniform distribution function."""
        band = ecdf_band(self.n_draws, 1 - self.false_alarm)
        ends = self.n_draws * band.edges[1:]
        return float(torch.maximum(ends - band.low, band.high - ends).max()) / self.n_draws

    def coverage(self, name: str, level: float = CENTRAL) -> tuple[float, float, float]:
        """The part of truths within central intervals of their samples, and its 95 % confidence interval.

        Formula: the part of ranks within [1/2 - level/2, 1/2 + level/2]; of one number per image the interval is exact
        (Clopper & Pearson 1934), of families it is that of a mean over images.
        Arguments: name of a quantity; level in (0, 1) of the intervals.
        Raises: ValueError for an unknown name.
        """
        choice("name", name, self.ranks)
        inside = ((self.ranks[name] - 0.5).abs() <= level / 2).double().mean(1)
        covered = float(inside.mean())
        if self.ranks[name].shape[1] == 1:
            return covered, *binomial_interval(round(float(inside.sum())), self.n_draws)
        error = HALF_Z * float(inside.std()) / math.sqrt(self.n_draws) if self.n_draws > 1 else math.inf
        return covered, max(0.0, covered - error), min(1.0, covered + error)

    def summary(self) -> str:
        """The verdict and every test, a line each."""
        tests = self.tests
        failed = [test for test in tests if not test.passed]
        verdict = f"{len(failed)} of {len(tests)} tests fail" if failed else f"all {len(tests)} tests pass"
        lines = [
            f"{'Calibrated' if not failed else 'Not calibrated'}: {self.method}, {self.n_draws} draws, "
            f"{self.n_samples} samples each: {verdict} (an exact method fails any with probability "
            f"{self.false_alarm:g} at most)."
        ]
        width = max(len(test.name) for test in tests)
        for test in sorted(tests, key=lambda test: (test.passed, test.adjusted)):
            mark = "ok  " if test.passed else "FAIL"
            lines.append(
                f"{mark} {test.name:<{width}}  p = {test.p_value:.2g}, adjusted {test.adjusted:.2g}; {test.text}"
            )
        lines.append(
            f"With {self.n_draws} draws, shares of truths below a quantile of their samples may be wrong by up to "
            f"{self.unseen:.2f} unseen; more draws see more."
        )
        lines += [f"not tested: {name}: {why}" for name, why in self.notes.items()]
        lines += [f"caution of {len(self.cautions)}: {self.cautions[0]}"] if self.cautions else []
        return "\n".join(lines)

    def draw(self, path: str | Path, title: str = "") -> None:
        """Draw all quantities to a PNG: histograms of ranks, and their distribution functions less the uniform one,
        with simultaneous bands; for distances to points the expected coverage by random points (TARP).

        Source: Säilynoja, Bürkner & Vehtari 2022; Lemos et al. 2023.
        Arguments: path; title.
        """
        drawing.draw(self.ranks, self.histograms, {t.name: t for t in self.tests}, 1 - self.false_alarm, path, title)

    def save(self, path: str | Path) -> None:
        """Write to HDF5, atomically.

        Raises: ValueError if the path has the ending of another format.
        """
        path = hdf5_path(path, "calibration")
        plain = {name: getattr(self, name) for name in PLAIN}
        told = plain | {"p_values": self.p_values, "ranks": list(self.ranks), "histograms": list(self.histograms)}
        arrays = {f"{kind}-{i:04d}": value.numpy() for kind, i, value in self._arrays()}
        sealed.write(path, FORMAT, arrays, {"facts": json.dumps(told)})

    @classmethod
    def load(cls, path: str | Path) -> "Calibration":
        """Read a file written by `save`.

        Raises: FileNotFoundError; ValueError for a damaged or foreign file.
        """
        attrs, arrays, _ = sealed.read(Path(path), FORMAT, "calibration", REMEDY)
        told: dict[str, Any] = json.loads(str(attrs["facts"]))
        kept = {
            kind: {name: torch.from_numpy(arrays[f"{kind}-{i:04d}"]) for i, name in enumerate(told.pop(kind))}
            for kind in ("ranks", "histograms")
        }
        return cls(**kept, **told)

    def _arrays(self) -> list[tuple[str, int, Tensor]]:
        kinds = {"ranks": self.ranks, "histograms": self.histograms}
        return [(kind, i, value) for kind, held in kinds.items() for i, value in enumerate(held.values())]

    def _text(self, name: str, passed: bool) -> str:
        """What was found, and for a test that failed in which way."""
        if name not in self.ranks:
            told = 100 * (self.accuracy or 0.0)
            return f"it tells the truth from a sample in {told:.0f} % of pairs, 50 by chance"
        u = self.ranks[name]
        covered, low, high = self.coverage(name)
        shift = float(u.mean()) - 0.5
        if name in POINTS:
            found = f"mean rank of the distance {0.5 + shift:.2f}, 0.50 expected"
        else:
            found = f"{100 * CENTRAL:.0f} % intervals hold {100 * covered:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
            found += f", mean rank {0.5 + shift:.2f}" if name not in FAMILIES else ""
        return found if passed else f"{self._fault(name, shift, covered)}: {found}"

    def _fault(self, name: str, shift: float, covered: float) -> str:
        n = self.n_draws
        moved, spread = shift * math.sqrt(12 * n), (covered - CENTRAL) / math.sqrt(CENTRAL * (1 - CENTRAL) / n)
        if max(abs(moved), abs(spread)) < HALF_Z:
            return "ranks are not uniform"
        larger = moved > 0
        if name == MEAN:  # of truths that are farther from it than samples, these are too narrow or elsewhere
            return "samples are too narrow, or off" if larger else "samples are too wide"
        if name in POINTS:
            return f"truths are {'farther from it' if larger else 'nearer to it'} than samples"
        if abs(moved) >= abs(spread):
            return f"truths have {'larger' if larger else 'smaller'} values than samples"
        return "samples are too narrow" if spread < 0 else "samples are too wide"
