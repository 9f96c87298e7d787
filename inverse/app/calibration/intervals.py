"""Intervals with a guarantee for any prior and method, from pictures that are known: conformal prediction."""

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inverse.app.calibration.draws import Cost, Foreign, Settings, pairs, posteriors
from inverse.app.calibration.quantities import Statistic, by_name, check_statistics, checked_regions, evaluated
from inverse.methods import Sampler
from inverse.quality.risk import averaged, confident, enough, fewest, split
from inverse.solution import Solution, UncalibratedSpread
from operators import Operator
from priors import Prior, sealed
from priors.arguments import choice, count, number, place
from priors.files import hdf5_path
from priors.modes import own_modes
from priors.wording import Concise

FORMAT = "inverse conformal 1"
REMEDY = "calibrate again; expected a file by Conformal.save"
GUARANTEES = ("average", "confident")
PLAIN = ("factor", "factors", "level", "guarantee", "delta", "floor", "n", "n_samples", "method", "before")
WHOLE = "whole"
FLOOR = 1e-3  # of the prior's standard deviation: the least scale of an interval, which no truth decides


class FewPictures(UserWarning):
    """So few pictures that the largest score of one of them decides the intervals, which may be far too wide."""


@dataclass(frozen=True, repr=False)
class Conformal(Concise):
    """Intervals mean +- factor std, whose factors were chosen on pictures that are known.

    What is guaranteed, if a new pair of picture and measurement is exchangeable with those of the calibration, is
    measured by the same operator and solved for in the same way, and whatever the prior, the method or the noise are:

    - "average": the expected part of the pixels of a new picture that are within their intervals is at least ``level``,
      on average over calibrations and pictures;
    - "confident", of pictures that are independent draws: with probability 1 - ``delta`` over the calibration, that
      expectation over new pictures is at least ``level``;
    - `interval_of`, of a region or a statistic: the number of a new picture is within with probability at least
      ``level``, on average over calibrations and pictures.

    None of these is for a given pixel, a given picture or a given y: pixels that are hard may be covered less, if easy
    ones are covered more.

    Attributes: factor of pixels; factors: name of a region or statistic -> its factor; level; guarantee; delta; floor:
    the least standard deviation, data units; n: pictures of the calibration; n_samples K and method: of their solves;
    before: the part of pixels of these pictures within the plain intervals mean +- z std, z the normal quantile of
    ``level``; regions: name -> mask (*E); statistics: name -> function.
    """

    factor: float
    factors: dict[str, float]
    level: float
    guarantee: str
    delta: float
    floor: float
    n: int
    n_samples: int
    method: str
    before: float
    regions: dict[str, Tensor] = field(repr=False)
    statistics: dict[str, Statistic] = field(default_factory=dict, repr=False, compare=False)

    def interval(self, solution: Solution) -> tuple[Tensor, Tensor]:
        """The ends of the intervals of all pixels, (B, *E) each.

        Arguments: solution of new measurements, by the same method and with as many samples as the calibration's.
        Raises: TypeError; ValueError for another method, number of samples or event shape.
        """
        mean, std = self._moments(solution)
        reach = self.factor * std.clamp_min(self.floor)
        return mean - reach, mean + reach

    def interval_of(self, solution: Solution, name: str) -> tuple[Tensor, Tensor]:
        """The ends of the interval of one number of a picture, (B,) each: the mean over a region, or a statistic.

        Arguments: solution; name: a region ("whole" is all of the picture) or a statistic of the calibration.
        Raises: as `interval`; ValueError for an unknown name, and for a statistic without its function.
        """
        self._check(solution)
        choice("name", name, self.factors)
        if name not in self.regions and name not in self.statistics:
            raise ValueError(
                f"the function of statistic {name!r} is not in the file: load(path, {{{name!r}: function}})"
            )
        ends = []
        for samples, log_w in zip(solution.samples, solution.log_weights, strict=True):
            mean, std = _weighted(_number_of(name, samples, self.regions, self.statistics), log_w)
            reach = self.factors[name] * max(std, self.floor)
            ends.append((mean - reach, mean + reach))
        low, high = torch.tensor(ends, dtype=torch.float64).mT
        return low, high

    def save(self, path: str | Path) -> None:
        """Write to HDF5, atomically; statistics by name only.

        Raises: ValueError if the path has the ending of another format.
        """
        path = hdf5_path(path, "calibration")
        told = {name: getattr(self, name) for name in PLAIN} | {"regions": list(self.regions)}
        arrays = {f"region-{i:04d}": mask.numpy() for i, mask in enumerate(self.regions.values())}
        sealed.write(path, FORMAT, arrays, {"facts": json.dumps(told)})

    @classmethod
    def load(cls, path: str | Path, statistics: Mapping[str, Statistic] | None = None) -> "Conformal":
        """Read a file written by `save`.

        Arguments: path; statistics: name -> function, of those that it has.
        Raises: FileNotFoundError; ValueError for a damaged or foreign file.
        """
        attrs, arrays, _ = sealed.read(Path(path), FORMAT, "conformal calibration", REMEDY)
        told: dict[str, Any] = json.loads(str(attrs["facts"]))
        masks = {name: torch.from_numpy(arrays[f"region-{i:04d}"]) for i, name in enumerate(told.pop("regions"))}
        return cls(**told, regions=masks, statistics=by_name("statistics", statistics))

    def _check(self, solution: Solution) -> None:
        if not isinstance(solution, Solution):
            raise TypeError(f"solution of type {type(solution).__name__}: expected an inverse.Solution")
        found, wanted = (solution.method, solution.samples.shape[1]), (self.method, self.n_samples)
        if found != wanted:
            raise ValueError(
                f"a solution by {found[0]!r} with {found[1]} samples: the guarantee is for {wanted[0]!r} with "
                f"{wanted[1]}; solve so, or calibrate anew"
            )
        shape, ours = tuple(solution.samples.shape[2:]), tuple(self.regions[WHOLE].shape)
        if shape != ours:
            raise ValueError(f"a solution of events {shape}: the calibration is of {ours}; calibrate anew")

    def _moments(self, solution: Solution) -> tuple[Tensor, Tensor]:
        self._check(solution)
        return moments(solution)


@own_modes
def conformal(
    prior: Prior,
    operator: Operator,
    truths: Tensor,
    level: float = 0.9,
    guarantee: str = "average",
    delta: float = 0.1,
    method: str | Sampler | Foreign = "auto",
    n_samples: int = 20,
    n_steps: int | None = None,
    seed: int = 0,
    y: Tensor | None = None,
    regions: Mapping[str, Tensor] | None = None,
    statistics: Mapping[str, Statistic] | None = None,
    work: str | Path | None = None,
    batch_size: int | None = None,
    budget: str | None = None,
    precision: str = "float32",
    processes: int = 1,
    overwrite: bool = False,
    progress: bool = True,
) -> Conformal:
    """Intervals that hold what they promise even where the prior is wrong, from pictures that are known.

    Formula: the intervals mean +- f std of a pixel, std at least a small floor. Of a picture, L(f) is the part of its
    pixels outside, which falls with f. "average" takes the least f with (sum_i L_i(f) + 1) / (n + 1) <= 1 - level;
    "confident" the least f whose mean L has a p-value of at most delta against a risk above 1 - level, by the bound of
    Hoeffding and Bentkus. Of one number per picture, the mean over a region or a statistic, f is the k-th smallest
    |number - mean| / std, k = ceil((n + 1) level): split conformal prediction.
    Source: Angelopoulos, Bates, Fisch, Lei & Schuster 2024 (average); Bates, Angelopoulos, Lei, Malik & Jordan 2021 and
    Angelopoulos et al. 2022 (confident, and for images); Vovk, Gammerman & Shafer 2005; Lei et al. 2018 (split).
    Arguments: prior; operator; truths (n, *E): pictures like those to come, which the prior was not trained on; level
    in (0, 1); guarantee: "average" or "confident"; delta in (0, 1) of the latter; y (n, *M): their measurements, where
    these exist, default simulated; regions: name -> mask (bool, broadcastable to E), besides "whole"; statistics: name
    -> function (N, *E) -> (N,); work: a folder where finished solves are kept; the rest as `inverse.solve` and
    `inverse.calibrate`.
    Returns: `Conformal`, which states what exactly is guaranteed.
    Warns: `FewPictures` if one picture alone decides the intervals, with how many would be better.
    Raises: ValueError for too few pictures for the level, with how many are needed; TypeError and ValueError as
    `inverse.calibrate`.
    """
    settings = Settings(
        method, count("n_samples", n_samples, 2), n_steps, seed, batch_size, budget, precision,
        None if work is None else Path(place("work", work)), processes, progress, overwrite,
    )  # fmt: skip
    level, delta = number("level", level, "(0, 1)"), number("delta", delta, "(0, 1)")
    choice("guarantee", guarantee, GUARANTEES)
    given = pairs(prior, operator, 1, truths, y, settings)
    shape, n = tuple(given.truths.shape[1:]), len(given.truths)
    own = by_name("regions", regions)
    if WHOLE in own:
        raise ValueError(f"region {WHOLE!r}: the name is taken by all of the picture; choose another")
    masks = checked_regions({WHOLE: torch.ones(shape, dtype=torch.bool)} | own, shape)
    functions = by_name("statistics", statistics)
    check_statistics(functions, masks)
    if taken := sorted(set(functions) & set(masks)):
        raise ValueError(f"statistics {taken}: the names are taken by regions; choose others")
    needed = fewest(level, guarantee, delta)
    if n < needed:
        extra = f" and delta {delta:g}" if guarantee == "confident" else ""
        raise ValueError(f"{n} truths: level {level:g}{extra} needs {needed} or more; give more, or lower the level")
    if n < (better := enough(level, guarantee, delta)):
        warnings.warn(
            f"{n} truths are few for {guarantee!r} at level {level:g}: the intervals hold, but the largest score of a "
            f"single picture decides them, and they may be far too wide; give {better} or more, or lower the level",
            FewPictures,
            stacklevel=3,
        )
    floor = FLOOR * max(prior.variance**0.5, 1e-9)
    scores, numbers = [], {name: [] for name in (*masks, *functions)}
    cost = Cost()
    for truth, solution in zip(given.truths, posteriors(prior, given, settings, cost), strict=True):
        mean, std = moments(solution)
        scores.append(((truth - mean[0]).abs() / std[0].clamp_min(floor)).flatten().double())
        for name, found in numbers.items():
            values = _number_of(name, torch.cat([truth[None], solution.samples[0]]), masks, functions)
            centre, spread = _weighted(values[1:], solution.log_weights[0])
            found.append(abs(float(values[0]) - centre) / max(spread, floor))
    losses = torch.stack(scores)
    plain = math.sqrt(2) * float(torch.erfinv(torch.tensor(level, dtype=torch.float64)))
    return Conformal(
        factor=averaged(losses, 1 - level) if guarantee == "average" else confident(losses, 1 - level, delta),
        factors={name: split(torch.tensor(found), level) for name, found in numbers.items()},
        level=level,
        guarantee=guarantee,
        delta=delta,
        floor=floor,
        n=n,
        n_samples=settings.n_samples,
        method=cost.method,
        before=float((losses <= plain).double().mean()),
        regions=masks,
        statistics=functions,
    )


def moments(solution: Solution) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, (B, *E) each; whether the spread is right is what is found out here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UncalibratedSpread)
        return solution.mean, solution.std


def _number_of(name: str, x: Tensor, regions: Mapping[str, Tensor], statistics: Mapping[str, Statistic]) -> Tensor:
    """A region's mean, or a statistic, of pictures x (N, *E); (N,) float64 on the CPU."""
    if name in statistics:
        return evaluated(name, statistics[name], x)
    return x.flatten(1)[:, regions[name].flatten().to(x.device)].double().mean(1).cpu()


def _weighted(values: Tensor, log_weights: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of weighted numbers (K,)."""
    w = torch.softmax(log_weights.double().cpu(), 0)
    mean = (w * values).sum()
    unbiased = (1 - w.square().sum()).clamp_min(1e-12)
    return float(mean), float(((w * (values - mean).square()).sum() / unbiased).sqrt())
