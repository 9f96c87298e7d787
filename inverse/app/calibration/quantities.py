"""What truths and samples are compared by: test quantities of an image, reference points, features."""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from inverse.quality.ranks import frequencies
from inverse.solve import ELEMENTS_PER_BATCH
from operators import Operator
from priors import Prior, RowRNG
from priors.arguments import number
from priors.moments import SecondMoments

Statistic = Callable[[Tensor], Tensor]  # (N, *E) -> (N,)
PIXELS, LOWEST = 64, 6  # pixels; lowest cosines a side, or that many squared projections
COARSE = 3  # cosines a side among the features of the classifier
RANDOM, DATA, MEAN = "distance to a random point", "distance to a point from y", "distance to the posterior mean"
POINTS = (RANDOM, DATA, MEAN)
INTENSITY, LIKELIHOOD, DENSITY, SCORE = "mean intensity", "log-likelihood of y", "log density", "norm of the score"
FAMILIES = ("pixels", "frequencies", "projections")
BUILT_IN = (*FAMILIES, INTENSITY, LIKELIHOOD, DENSITY, SCORE, *POINTS, "classifier")


@dataclass(frozen=True)
class Row:
    """What one truth and its samples are reduced to, the truth first.

    Attributes: values: name -> (K + 1, d); log_weights (K,); nearer: name of a reference point -> distances (1 + n,) to
    it, of the truth and the samples that did not make it, and their log weights (n,); features (2, f): of the truth and
    of one sample; given (e,): features of y.
    """

    values: dict[str, Tensor]
    log_weights: Tensor
    nearer: dict[str, tuple[Tensor, Tensor]]
    features: Tensor
    given: Tensor


@dataclass
class Quantities:
    """All test quantities of a problem.

    Arguments: prior; event_shape E of the images; regions: name -> mask, broadcastable to E; statistics: name ->
    function (N, *E) -> (N,); resolution: standard deviation of the noise that all members get, data units; seed.
    Attributes: notes: what was left out, and why.
    Raises: TypeError or ValueError for names that are taken and masks of another shape.
    """

    prior: Prior
    event_shape: tuple[int, ...]
    regions: Mapping[str, Tensor]
    statistics: Mapping[str, Statistic]
    resolution: float
    seed: int
    notes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.regions = checked_regions(self.regions, self.event_shape)
        check_statistics(self.statistics, self.regions)
        d = math.prod(self.event_shape)
        order = RowRNG.rows(self.seed, 1, dtype=torch.float64).uniform((1, d))[0].argsort()
        self._pixels = order[: min(PIXELS, d)].sort().values
        self._slow = "frequencies" if len(self.event_shape) == 3 else "projections"

    def of(self, b: int, truth: Tensor, samples: Tensor, log_weights: Tensor, operator: Operator, y: Tensor) -> Row:
        """The `Row` of draw b: truth (*E), samples (K, *E), log_weights (K,), operator and y (1, *M) of it."""
        members = torch.cat([truth[None], samples.to(truth)])
        if self.resolution:
            noise = self._rng(b, 0).normal((1, members.numel())).view(members.shape)
            members = members + self.resolution * noise.to(members)
        values = self._values(members, operator, y)
        point = backprojected(operator, y, self._middle())
        nearer = self._nearer(members, log_weights, point, self._rng(b, 1))
        chosen = _one(log_weights, float(self._rng(b, 2).uniform((1, 1))))
        return Row(values, log_weights, nearer, self._features(values, members)[[0, 1 + chosen]], _given(y, point))

    def _rng(self, b: int, use: int) -> RowRNG:
        return RowRNG(self.seed, [(b, use)])

    def _values(self, x: Tensor, operator: Operator, y: Tensor) -> dict[str, Tensor]:
        flat = x.flatten(1).double()
        found = {
            "pixels": flat[:, self._pixels],
            self._slow: _lowest(x, LOWEST),
            INTENSITY: flat.mean(1, keepdim=True),
        }
        found |= {
            f"region {name}": flat[:, mask.flatten()].mean(1, keepdim=True) for name, mask in self.regions.items()
        }
        likelihood = self._likelihood(x, operator, y)
        found |= {} if likelihood is None else {LIKELIHOOD: likelihood[:, None]}
        if self.prior.decoder is None:
            found |= self._typical(x)
        for name, statistic in self.statistics.items():
            found[name] = evaluated(name, statistic, x)[:, None]
        return {
            name: value.double().nan_to_num(nan=math.nan, posinf=1e300, neginf=-1e300) for name, value in found.items()
        }

    def _likelihood(self, x: Tensor, operator: Operator, y: Tensor) -> Tensor | None:
        if LIKELIHOOD in self.notes:
            return None
        try:
            return torch.cat([operator.log_likelihood(y, part) for part in _parts(x)])
        except ValueError as error:  # no noise, no density
            self.notes[LIKELIHOOD] = str(error)
            return None

    def _typical(self, x: Tensor) -> dict[str, Tensor]:
        """log p_t(x_t) where it is known, else the norm of the prior's score, at the time of the noise that x has."""
        prior, sde = self.prior, self.prior.sde
        t = max(sde.t_min, float(sde.time(torch.tensor(self.resolution)))) if self.resolution else sde.t_min
        parts = [part.to(prior.device) for part in _parts(x)]
        noised = [sde.alpha(torch.tensor(t)).to(part) * part for part in parts]
        if prior.has_log_prob and DENSITY not in self.notes:
            try:
                if self.resolution:
                    found = [prior.log_prob(part, t) for part in noised]
                else:
                    found = [prior.log_prob(part) for part in parts]
                return {DENSITY: torch.cat(found)[:, None].cpu()}
            except ValueError as error:  # a singular covariance
                self.notes[DENSITY] = str(error)
        found = [prior.score(part, t).flatten(1).double().norm(dim=1) for part in noised]
        return {SCORE: torch.cat(found)[:, None].cpu()}

    def _nearer(
        self, x: Tensor, log_weights: Tensor, point: Tensor | None, rng: RowRNG
    ) -> dict[str, tuple[Tensor, Tensor]]:
        flat, k = x.flatten(1).double(), len(log_weights)
        points = {RANDOM: self._random(rng)} | ({} if point is None else {DATA: point})
        found = {name: ((flat - p.flatten().double()).norm(dim=1), log_weights) for name, p in points.items()}
        if k >= 4:  # the mean is of one half of the samples, and the truth is compared with the other
            half = k // 2
            w = torch.softmax(log_weights[:half].double(), 0)
            mean = w @ flat[1 : 1 + half]
            others = torch.cat([flat[:1], flat[1 + half :]])
            found[MEAN] = ((others - mean).norm(dim=1), log_weights[half:])
        return found

    def _random(self, rng: RowRNG) -> Tensor:
        """A point that knows nothing of the draw: of the Gaussian of the prior's moments, or of uniform noise."""
        moments = self._moments
        if moments is not None:
            return moments.to(torch.device("cpu")).draw(1, rng)[0]
        return rng.uniform((1, *self.event_shape))[0]

    def _middle(self) -> Tensor:
        moments = self._moments
        return torch.full(self.event_shape, 0.5) if moments is None else moments.mean.cpu().float()

    @property
    def _moments(self) -> SecondMoments | None:
        """The prior's, where they are of the pictures that are compared."""
        moments = self.prior.moments if self.prior.decoder is None else None
        return moments if moments is not None and tuple(moments.mean.shape) == self.event_shape else None

    def _features(self, values: dict[str, Tensor], members: Tensor) -> Tensor:
        """(K + 1, f): the coarsest frequencies and all single numbers."""
        coarse = _lowest(members, COARSE)
        single = [v for name, v in values.items() if name not in FAMILIES]
        return torch.cat([coarse, *single], 1)


def backprojected(operator: Operator, y: Tensor, middle: Tensor) -> Tensor | None:
    """An image made of y: one step of steepest descent of |y - A(x)|^2 from an image that does not depend on y.

    Formula: m + c g, g = J'(y - A(m)), c = <J g, y - A(m)> / |J g|^2, J g by a finite difference.
    Arguments: operator; y (1, *M); middle m (*E).
    Returns: (*E), or None where the operator has no derivative, and for labels.
    """
    if not y.is_floating_point() or "differentiable" not in operator.structure:
        return None
    m = middle[None]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = operator(m)
        support = operator.at(tuple(middle.shape)).support
        residual = y.to(start) - start
        residual = residual if support is None else torch.where(support, residual, 0)
        try:
            g = operator.vjp(m, residual)
        except ValueError:
            return None
        size = float(g.norm())
        if not 0 < size < math.inf:
            return middle
        step = 1e-2 * max(float(m.norm()), 1.0) / size
        along = (operator(m + step * g) - start) / step
        along = along if support is None else torch.where(support, along, 0)
        power = float(along.square().sum())
        c = float((along * residual).sum()) / power if power > 0 else 0.0
    return (m + c * g)[0]


def by_name(what: str, given: Any) -> dict[str, Any]:
    """An optional dictionary with names as keys, {} for None.

    Raises: TypeError for anything else.
    """
    if given is not None and not (isinstance(given, Mapping) and all(isinstance(name, str) for name in given)):
        raise TypeError(f"{what} of type {type(given).__name__}: expected a dictionary, name -> value")
    return dict(given or {})


def checked_regions(regions: Mapping[str, Tensor], event_shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Masks of bool, of the shape of an image.

    Raises: TypeError or ValueError for others, and for empty ones.
    """
    found: dict[str, Tensor] = {}
    for name, mask in regions.items():
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            raise TypeError(f"region {name!r}: expected a bool tensor, such as a mask (H, W), True inside")
        try:
            found[name] = mask.detach().cpu().expand(event_shape)
        except RuntimeError:
            raise ValueError(
                f"region {name!r} of shape {tuple(mask.shape)}: expected one that broadcasts to images {event_shape}"
            ) from None
        if not bool(mask.any()):
            raise ValueError(f"region {name!r} is empty: expected at least one True")
    return found


def check_statistics(statistics: Mapping[str, Statistic], regions: Mapping[str, Tensor]) -> None:
    """Refuse names that are taken and what is no function, by a TypeError or ValueError."""
    for name, statistic in statistics.items():
        if not callable(statistic):
            raise TypeError(f"statistic {name!r}: expected a function (N, *E) -> (N,), given {statistic!r:.60}")
        if name in BUILT_IN or name in {f"region {region}" for region in regions}:
            raise ValueError(f"statistic {name!r}: the name is taken; choose another")


def evaluated(name: str, statistic: Statistic, x: Tensor) -> Tensor:
    """A user's statistic of images x (N, *E), (N,) float64 on the CPU.

    Raises: ValueError for a result of another shape.
    """
    found = statistic(x)
    if not isinstance(found, Tensor) or found.shape != (len(x),):
        given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"statistic {name!r} returned {given}: expected a tensor ({len(x)},), a number for each image")
    return found.detach().cpu().double()


def least_noise(prior: Prior) -> float:
    """The standard deviation of the noise below which a prior without a closed form is not defined, data units."""
    return 0.0 if prior.has_log_prob else prior.sde.least_noise


def checked_resolution(resolution: float | None, prior: Prior) -> float:
    """As given, or that of the prior. Raises: TypeError or ValueError for no number >= 0."""
    return least_noise(prior) if resolution is None else number("resolution", resolution, "[0, inf)", "in data units")


def _lowest(x: Tensor, n: int) -> Tensor:
    """The lowest n x n cosines of pictures, their channels averaged, or n^2 projections of others."""
    picture = x.mean(1, keepdim=True) if x.ndim == 4 else x
    return frequencies(picture.double(), n)


def _given(y: Tensor, point: Tensor | None) -> Tensor:
    if point is not None:
        return _lowest(point[None], COARSE)[0]
    return frequencies(y.reshape(1, -1).double(), COARSE)[0]


def _one(log_weights: Tensor, u: float) -> int:
    """The sample that a uniform number chooses by the weights."""
    w = torch.softmax(log_weights.double(), 0).cumsum(0)
    return int(torch.searchsorted(w, torch.tensor(u * float(w[-1]), dtype=w.dtype), right=True).clamp_max(len(w) - 1))


def _parts(x: Tensor) -> tuple[Tensor, ...]:
    return x.split(max(1, ELEMENTS_PER_BATCH // x[0].numel()))
