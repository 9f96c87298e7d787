"""Why PSNR alone misleads: images of two pixels, with every method's samples plotted over the exact posterior."""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property

import torch
from rich.progress import track
from torch import Tensor

from benchmarks.common.intervals import db, gain
from benchmarks.exact.metrics import equally_weighted, responsibilities, sliced_wasserstein
from benchmarks.exact.oracle import REFERENCES
from benchmarks.exact.oracle_entries import EXACT, PRIOR
from benchmarks.exact.problems import two_moons
from inverse import METHODS, solve
from inverse.auto import serves
from inverse.methods import Sampler
from inverse.quality.ranks import ranks
from operators import GaussianNoise, LinearMap
from priors import VESDE, GaussianMixture

MEAN = "the exact mean"
SIGMA_Y, TILT = 0.03, math.radians(5)  # a tilt, so that no two modes are mirror images
LEVEL = 0.95  # of the intervals
# a truth that shared noise with the samples would not be independent of them
MEASURE_SEED, DRAW_SEED, REFERENCE_SEED, THRESHOLD_SEED = 10**6, 2 * 10**6, 5 * 10**6, 6 * 10**6


@dataclass(frozen=True)
class Plane:
    """Two-moons prior seen through one noisy linear combination, and measurements of draws of it.

    Formula: y = x_1 sin(5 deg) + x_2 cos(5 deg) + .03 z. The line of one y crosses each moon up to twice, so that the
    posterior has up to four modes, one per `limb`.
    Arguments: n measurements (int >= 1); seed (int >= 0).
    """

    n: int
    seed: int = 0

    @cached_property
    def law(self) -> GaussianMixture:
        """The prior, of K components, in double precision; noised from below the width of its beads."""
        return two_moons(VESDE(sigma_min=0.002, sigma_max=20.0))

    @cached_property
    def operator(self) -> LinearMap:
        """The combination that is measured."""
        return LinearMap(torch.tensor([[math.sin(TILT), math.cos(TILT)]]), noise=GaussianNoise(SIGMA_Y))

    @cached_property
    def x(self) -> Tensor:
        """The truths, (n, 2), in [0, 1]."""
        return self.law.sample(self.n, seed=self.seed)

    @cached_property
    def y(self) -> Tensor:
        """Their measurements, (n, 1)."""
        return self.operator.measure(self.x, seed=self.seed + MEASURE_SEED)

    @cached_property
    def posteriors(self) -> list[GaussianMixture]:
        """The exact p(x | y) of each."""
        return [self.law.posterior(self.operator, y[None]) for y in self.y]

    @cached_property
    def thresholds(self) -> Tensor:
        """The log-density at the edge of the smallest region that contains 99 % of each posterior, (n,) nats.

        Formula: the 1 % quantile of log p(x | y) over 1000 exact draws.
        Source: Box & Tiao 1965 (regions of highest density).
        """
        drawn = [law.sample(1000, seed=self.seed + THRESHOLD_SEED + i) for i, law in enumerate(self.posteriors)]
        levels = [law.log_prob(x.double()).quantile(0.01) for law, x in zip(self.posteriors, drawn, strict=True)]
        return torch.stack(levels)

    @cached_property
    def limb(self) -> Tensor:
        """The limb of each component, (K,): the halves of the two moons on which y rises or falls."""
        half = len(self.law.means) // 2
        along = self.law.means @ self.operator.matrix.double()[0]
        top, bottom = along[:half].argmax(), half + along[half:].argmin()
        index = torch.arange(2 * half)
        return torch.where(index < half, (index > top).long(), 2 + (index > bottom).long())


Draw = Callable[[Plane, int, int, int], tuple[Tensor, Tensor]]


def samplers(plane: Plane) -> dict[str, Draw]:
    """Exact draws, the exact mean, the prior, and every method of METHODS that supports the operator.

    Arguments: plane.
    Returns: name -> function of (plane, its first b measurements, n draws of each, seed), which returns samples
    (b, n, 2) and log_weights (b, n).
    """

    def exact(plane: Plane, b: int, n: int, seed: int) -> tuple[Tensor, Tensor]:
        drawn = [law.sample(n, seed=seed + i) for i, law in enumerate(plane.posteriors[:b])]
        return torch.stack(drawn), torch.zeros(b, n)

    def mean(plane: Plane, b: int, n: int, seed: int) -> tuple[Tensor, Tensor]:
        means = torch.stack([law.mean for law in plane.posteriors[:b]]).float()
        return means[:, None].expand(-1, n, -1), torch.zeros(b, n)

    def prior(plane: Plane, b: int, n: int, seed: int) -> tuple[Tensor, Tensor]:
        return plane.law.sample(b * n, seed=seed).view(b, n, 2), torch.zeros(b, n)

    def by(method: Sampler) -> Draw:
        def draw(plane: Plane, b: int, n: int, seed: int) -> tuple[Tensor, Tensor]:
            single = deepcopy(plane.law).float()
            found = solve(single, plane.operator, plane.y[:b], n, method, seed=seed, progress=False)
            return found.samples, found.log_weights

        return draw

    able = {name: m for name, m in METHODS.items() if serves(m, plane.operator)}
    return {EXACT: exact, MEAN: mean, PRIOR: prior, **{name: by(method) for name, method in able.items()}}


@dataclass(frozen=True)
class Score:
    """The scores of one method.

    Attributes: of_mean, of_sample (n,): squared error per pixel of the mean of the draws, and of one draw on average;
    coverage (n,): the fraction of pixels in the central 95 % intervals; outside (n,): as `outside`; relative: sliced W1
    relative to exact draws (1 is a second set of exact draws); weights: as `limb_error`.
    """

    of_mean: Tensor
    of_sample: Tensor
    coverage: Tensor
    outside: Tensor
    relative: float
    weights: float


def errors(x: Tensor, samples: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Squared errors of the mean and of one draw, and coverage of the central intervals, by measurement.

    Formula: |x - sum_k w_k x_k|^2 / d and sum_k w_k |x - x_k|^2 / d; coverage as `Ranks.coverage`,
    which is .95 in expectation for exact draws whatever their number.
    Arguments: x (n, d): truths; samples (n, K, d); log_weights (n, K).
    Returns: three tensors (n,).
    """
    w = log_weights.double().softmax(1)[..., None]
    truth, samples = x.double(), samples.double()
    of_mean = ((w * samples).sum(1) - truth).square().mean(1)
    of_sample = (w * (samples - truth[:, None]).square()).sum(1).mean(1)
    return of_mean, of_sample, ranks(truth, samples, log_weights).coverage(LEVEL)


def outside(samples: Tensor, log_weights: Tensor, plane: Plane) -> Tensor:
    """The fraction of draws outside the 99 % highest-density region of the exact posterior, by measurement: .01 for
    exact draws.

    Arguments: samples (n, K, 2); log_weights (n, K); plane: of n measurements.
    Returns: (n,) float64.
    """
    density = torch.stack([law.log_prob(x.double()) for law, x in zip(plane.posteriors, samples, strict=True)])
    return (log_weights.double().softmax(1) * (density < plane.thresholds[:, None])).sum(1)


def limb_weights(law: GaussianMixture, limb: Tensor, shares: Tensor | None = None) -> Tensor:
    """Component weights summed by limb.

    Arguments: law; limb (K,) long; shares (K,) -> (4,) float64.
    """
    shares = law.weights if shares is None else shares
    return torch.zeros(4, dtype=torch.float64).index_add_(0, limb, shares)


def limb_error(x: Tensor, law: GaussianMixture, limb: Tensor) -> float:
    """Error of the fractions of draws per limb: 0 is exact, 1 is all in wrong limbs.

    Formula: 1/2 sum_l |mean_i r_l(x_i) - w_l|, the total variation, with r_l(x) the probability of limb l given x.
    Arguments: x (n, 2); law: the exact posterior, of K components; limb (K,) long.
    """
    shares = responsibilities(x, law).mean(0)
    return float(0.5 * (limb_weights(law, limb, shares) - limb_weights(law, limb)).abs().sum())


def exact_sets(plane: Plane, pictured: int, n: int) -> tuple[list[list[Tensor]], float]:
    """Reference sets of exact draws, and the mean distance of further exact draws to them.

    Arguments: plane; pictured: for so many first measurements; n draws per set.
    Returns: `REFERENCES` sets (n, 2) per measurement, and the mean sliced W1 of as many other exact sets to them.
    """
    sets = []
    for i, law in enumerate(plane.posteriors[:pictured]):
        seeds = range(REFERENCE_SEED + 2 * REFERENCES * i, REFERENCE_SEED + 2 * REFERENCES * (i + 1))
        sets.append([law.sample(n, seed=plane.seed + seed) for seed in seeds])
    others = [[sliced_wasserstein(a, b, 1) for a in s[REFERENCES:] for b in s[:REFERENCES]] for s in sets]
    return [s[:REFERENCES] for s in sets], torch.tensor(others).mean().item()


def judge(plane: Plane, draw: Draw, n: int, references: list[list[Tensor]], floor: float) -> tuple[Score, list[Tensor]]:
    """The score of a sampler, and the draws that its distances are computed from.

    Arguments: plane; draw; n draws per measurement for errors and coverage; references, floor: as `exact_sets`.
    Returns: `Score`, and equally weighted draws, a set as large as its references for each measurement that has some.
    """
    drawn = draw(plane, plane.n, n, plane.seed + DRAW_SEED)
    samples, log_weights = draw(plane, len(references), len(references[0][0]), plane.seed + 2 * DRAW_SEED)
    sets = [equally_weighted(x, w, plane.seed) for x, w in zip(samples, log_weights, strict=True)]
    pairs = [(x, reference) for x, many in zip(sets, references, strict=True) for reference in many]
    distance = torch.tensor([sliced_wasserstein(x, reference, 1) for x, reference in pairs]).mean().item()
    weights = [limb_error(x, law, plane.limb) for x, law in zip(sets, plane.posteriors, strict=False)]
    score = Score(
        *errors(plane.x, *drawn), outside(*drawn, plane), distance / floor, torch.tensor(weights).mean().item()
    )
    return score, sets


@dataclass(frozen=True)
class Found:
    """The results: scores, and the draws for the most ambiguous of the pictured measurements.

    Attributes: plane; scores by name; draws by name, (n, 2) each; number of the measurement that they are for.
    """

    plane: Plane
    scores: dict[str, Score]
    draws: dict[str, Tensor]
    number: int


def run(
    n: int, n_samples: int, pictured: int, n_pictured: int, seed: int = 0, progress: bool = True
) -> tuple[list[dict[str, str]], Found]:
    """A row for exact draws, the exact mean, the prior and every method that supports the operator.

    Arguments: n measurements and n_samples of each for PSNR and coverage; pictured: of so many of them, n_pictured
    draws each for the distances, and of one a picture; seed; progress: a bar.
    Returns: table rows, and the data of the figures.
    Raises: ValueError for numbers that are too small.
    """
    if min(n, n_samples, n_pictured) < 2 or not 1 <= pictured <= n:
        raise ValueError(
            f"{n} measurements of {n_samples} samples, {pictured} pictured of {n_pictured}: expected at least 2 of "
            "each, and 1 to all of them pictured"
        )
    plane = Plane(n, seed)
    able, references = samplers(plane), exact_sets(plane, pictured, n_pictured)
    listed = track(able.items(), "plane", total=len(able), transient=True, disable=not progress)
    judged = {name: judge(plane, draw, n_samples, *references) for name, draw in listed}
    scores = {name: score for name, (score, _) in judged.items()}
    open_limbs = [limb_weights(law, plane.limb).min().item() for law in plane.posteriors[:pictured]]
    number = open_limbs.index(max(open_limbs))
    rows = [row(name, score, scores[EXACT]) for name, score in scores.items()]
    return rows, Found(plane, scores, {name: sets[number] for name, (_, sets) in judged.items()}, number)


def rank_correlation(a: list[float], b: list[float]) -> float:
    """Spearman's rank correlation of two lists without ties.

    Source: Spearman 1904.
    Arguments: a, b: as many numbers, at least 2.
    """
    orders = torch.tensor([a, b], dtype=torch.float64).argsort(1).argsort(1)
    return torch.corrcoef(orders.double())[0, 1].item()


def summary(found: Found) -> str:
    """A sentence on whether PSNR ranks the methods as the distance does. Arguments: found as `run` returns it."""
    scores = [score for name, score in found.scores.items() if name not in (EXACT, MEAN, PRIOR)]
    distances = [-score.relative for score in scores]
    means, ones = (
        rank_correlation([db(getattr(score, what)) for score in scores], distances) for what in ("of_mean", "of_sample")
    )
    return (
        f"Rank correlation over the {len(scores)} methods between nearness to the posterior and PSNR: {means:+.2f} "
        f"with that of the mean, {ones:+.2f} with that of one draw."
    )


def row(name: str, score: Score, exact: Score) -> dict[str, str]:
    """A line of the table, as texts. Arguments: name; score; exact: that of exact draws."""
    above, low, high = gain(score.of_mean, exact.of_mean)
    return {
        "draws": name,
        "PSNR of their mean, dB": f"{db(score.of_mean):.2f}",
        "above exact draws' mean, dB": f"{above:+.2f} [{low:+.2f}, {high:+.2f}]",
        "PSNR of one, dB": f"{db(score.of_sample):.2f}",
        "sliced W1, relative to exact draws": f"{score.relative:.1f}",
        "limb weights, error": f"{score.weights:.3f}",
        "outside the 99 % region, %": f"{100 * score.outside.mean():.1f}",
        "coverage of 95 % intervals, %": f"{100 * score.coverage.mean():.1f}",
    }
