"""What the tests of several rooms share: noisings, priors with known answers, distances, priors that watch."""

import copy
from functools import lru_cache

import torch
from torch import Tensor

import priors
from benchmarks.exact.metrics import wasserstein2
from benchmarks.exact.problems import smooth_covariance
from inverse import Method
from operators import Operator
from priors import (
    SDE,
    VESDE,
    VPSDE,
    DataRange,
    Evaluations,
    Gaussian,
    GaussianMixture,
    Prior,
    RectifiedFlowSDE,
    ScorePrior,
    SubVPSDE,
)
from priors.data import ImageSet
from priors.nets import NCSNpp, UNetConfig

SDES: dict[str, SDE] = {"ve": VESDE(), "vp": VPSDE(), "subvp": SubVPSDE(), "flow": RectifiedFlowSDE()}
F64 = torch.float64


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def level(sde: SDE, ratio: float) -> Tensor:
    """The time at which sigma / alpha has this value."""
    return sde.time(torch.tensor(ratio, dtype=F64))


# priors ---------------------------------------------------------------------------------------------------------------


def rotated(variances: Tensor, seed: int = 0) -> Tensor:
    """A covariance with these eigenvalues and random eigenvectors, (d, d)."""
    basis = torch.linalg.qr(normal(len(variances), len(variances), seed=seed)).Q
    return basis * variances @ basis.mT


def gaussian(sde: SDE, d: int = 8) -> Gaussian:
    """A correlated Gaussian: standard deviations .18 to 1, a mean that is nowhere zero."""
    return Gaussian(torch.linspace(-0.7, 0.8, d, dtype=F64), rotated(torch.logspace(-1.5, 0, d, dtype=F64)), sde)


def two_modes(sde: SDE, d: int = 8) -> GaussianMixture:
    """Two Gaussians about 3 standard deviations apart, of weights .3 and .7, each with a shape of its own."""
    means = torch.stack([torch.full((d,), -0.5, dtype=F64), torch.full((d,), 0.5, dtype=F64)])
    shapes = torch.stack([rotated(torch.logspace(-1.5, -0.3, d, dtype=F64), seed=k) for k in range(2)])
    return GaussianMixture(means, shapes, torch.tensor([0.3, 0.7]), sde)


def picture(sde: SDE, size: int = 8) -> Gaussian:
    """Smooth random pictures, one Gaussian."""
    return Gaussian(
        torch.full((size**2,), 0.4, dtype=F64), smooth_covariance(size, 1.5, 0.3), sde, event_shape=(1, size, size)
    )


def score_prior(sde: SDE | None = None) -> ScorePrior:
    """An untrained network of some thousand parameters for 1 x 8 x 8 images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = NCSNpp(
            UNetConfig(image_channels=1, image_size=8, channels=8, multipliers=(1,), res_blocks=1, attention=())
        )
    return ScorePrior(net, sde or VESDE(sigma_max=10.0), (1, 8, 8), range=DataRange(0.4, 0.3)).eval()


class Counting(Prior):
    """Another prior, and how many rows it was asked for."""

    def __init__(self, prior: Prior):
        self.prior, self.sde, self.event_shape, self.variance = prior, prior.sde, prior.event_shape, prior.variance
        self.rows = 0

    def denoise(self, x, t):
        self.rows += len(x)
        return self.prior.denoise(x, t)


class Untouchable(Prior):
    """A prior that must not be evaluated."""

    def __init__(self, event_shape: tuple[int, ...] = (1, 4, 4), sde: SDE = VESDE()):  # noqa: B008 (frozen)
        self.sde, self.event_shape = sde, event_shape

    def denoise(self, x, t):
        raise AssertionError("the prior was evaluated")


class NanFrom(Prior):
    """A prior that fails at all times below ``limit``."""

    def __init__(self, prior: Prior, limit: float):
        self.prior, self.sde, self.event_shape, self.limit = prior, prior.sde, prior.event_shape, limit

    def denoise(self, x, t):
        return self.prior.denoise(x, t) * (float("nan") if float(t) < self.limit else 1.0)


def stand_in(monkeypatch, prior: Prior, room) -> None:
    """``prior`` in place of any trained one, with 12 test images of its own, for ``room``, a module of benchmarks."""
    images = (prior.sample(12, seed=5).clamp(0, 1) * 255).round().to(torch.uint8)
    monkeypatch.setattr(priors, "load", lambda name: prior)
    monkeypatch.setattr(priors, "samples", lambda name: ImageSet(images))
    monkeypatch.setattr(room, "identity", lambda name: "stand-in")


# draws ----------------------------------------------------------------------------------------------------------------


class BatchRNG:
    """One stream for all rows: faster than `RowRNG` for the thousands of rows that moments need."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, shape):
        return torch.randn(shape, generator=self.generator)

    def uniform(self, shape):
        return torch.rand(shape, generator=self.generator)


def draw(
    prior: Prior,
    method: Method,
    n: int,
    n_steps: int | None = None,
    operator: Operator | None = None,
    y: Tensor | None = None,
    seed: int = 1,
) -> Tensor:
    """n samples by a composition, as `solve` and `sample` make them but from one stream: y (1, *M) -> (n, *E)."""
    prior = copy.deepcopy(prior).float() if isinstance(prior, GaussianMixture) else prior  # faster, and exact enough
    rows = None if y is None else y.expand(n, *y.shape[1:])
    return method.carry(Evaluations(prior), operator, rows, BatchRNG(seed), n, n_steps).x.double()


# distances ------------------------------------------------------------------------------------------------------------


def w2_ratio(x: Tensor, truth: GaussianMixture, n: int = 400, distance=wasserstein2, repeats: int = 1) -> float:
    """Distance of n rows of x to exact draws, over that between two exact sets: 1 for a perfect sampler."""
    exact, floor = floor_of(truth, n, distance, repeats)
    return sum(distance(x[:n], e) for e in exact) / floor


@lru_cache(maxsize=8)
def floor_of(truth: GaussianMixture, n: int, distance, repeats: int) -> tuple[list[Tensor], float]:
    """Sets of n exact draws, and their distances to others, summed; kept for tests that share one law."""
    exact = [truth.sample(n, seed=100 + i).double() for i in range(repeats)]
    others = [truth.sample(n, seed=200 + i).double() for i in range(repeats)]
    return exact, sum(map(distance, exact, others))


def moments(x: Tensor, truth: GaussianMixture) -> tuple[float, Tensor]:
    """(largest error of the mean in standard errors, ratios of variances), along the truth's principal axes."""
    variances, axes = torch.linalg.eigh(truth.covariance)
    seen = variances > 1e-8 * variances.max()
    z = ((x.double() - truth.mean).flatten(1) @ axes)[:, seen] / variances[seen].sqrt()
    return float(z.mean(0).abs().max() * len(z) ** 0.5), z.var(0)
