"""Measurements of real pictures whose posterior is known: the prior is a set of pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

from torch import Tensor
from torch.nn import functional as F

from benchmarks.common.problems import Problem
from operators import (
    JPEG,
    Blur,
    GaussianNoise,
    Identity,
    Masking,
    Operator,
    PhaseRetrieval,
    PoissonNoise,
    Saturation,
)
from priors import VESDE, Empirical, EmpiricalPosterior
from priors.data import ImageSet
from priors.hdf5 import checksum

SDE = VESDE(sigma_min=0.01, sigma_max=30.0)  # from below the smallest distances to above the largest
FEWEST, MOST = 5.0, 500.0  # effective number of pictures of the posterior
ATTEMPTS = 1000  # measurements that are tried for one of these
BANDWIDTH = 0.05  # of linear measurements with Gaussian noise: a fourteenth of a coordinate's standard deviation


@dataclass(frozen=True)
class Task:
    """A kind of measurement, and the bandwidth of the pictures.

    Attributes: name; title; operator, by event shape; bandwidth.
    """

    name: str
    title: str
    operator: Callable[[tuple[int, ...]], Operator]
    bandwidth: float = 0.0


# Noise and numbers of measurements leave some tens of pictures: with more of the one or less of the other the posterior
# is one picture, since pictures are far apart.
TASKS = (
    Task(
        "masking",
        "5 % of the pixels, sigma_y .2",
        lambda shape: Masking.random(shape, 0.05, seed=0, noise=GaussianNoise(0.2)),
        BANDWIDTH,
    ),
    Task(
        "box",
        "all but 12 x 12 pixels, sigma_y .3",
        lambda shape: Masking.box(shape, 12, noise=GaussianNoise(0.3)),
        BANDWIDTH,
    ),
    Task(
        "blur",
        "Gaussian blur of 2 px, sigma_y .5",
        lambda shape: Blur.gaussian(2.0, truncate=2.0, noise=GaussianNoise(0.5)),
        BANDWIDTH,
    ),
    Task("jpeg", "JPEG of quality 20, sigma_y .8", lambda shape: JPEG(20, noise=GaussianNoise(0.8))),
    Task(
        "phase retrieval",
        "magnitudes, oversampled 2 x 2, sigma_y .5",
        lambda shape: PhaseRetrieval(2.0, noise=GaussianNoise(0.5)),
    ),
    Task(
        "saturation",
        "exposed 4 times, clipped softly at 1, sigma_y 1",
        lambda shape: Saturation(4.0, softness=0.2, noise=GaussianNoise(1.0)),
    ),
    Task("poisson", ".3 photons for a white pixel", lambda shape: Identity(noise=PoissonNoise(0.3))),
)


@dataclass(frozen=True, eq=False)
class Pictures:
    """The pictures of the prior, (n, 1, side, side), and their labels (n,)."""

    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, data: ImageSet, n: int, side: int) -> "Pictures":
        """The first n of a set, averaged to side x side pixels, in grey.

        Raises: ValueError for a set that is too small, has no labels, or whose sides are no multiples of ``side``.
        """
        if data.labels is None:
            raise ValueError("the pictures have no labels: expected a set with a class of every picture")
        if not 1 < n <= len(data) or any(size % side for size in data.event_shape[1:]):
            raise ValueError(
                f"{len(data)} pictures {data.event_shape}: expected at least {n}, whose sides are multiples of {side}; "
                "change --pictures or --side"
            )
        factors = [size // side for size in data.event_shape[1:]]
        grey = data.floats(slice(0, n)).mean(1, keepdim=True)
        return cls(F.avg_pool2d(grey, factors), data.labels[:n])

    @cached_property
    def identity(self) -> str:
        """A checksum of them."""
        return checksum({}, {"images": self.images.numpy(), "labels": self.labels.numpy()})[:16]

    @lru_cache  # noqa: B019 (as long as the pictures, which a run holds once)
    def prior(self, bandwidth: float) -> Empirical:
        """The data set as a prior."""
        return Empirical(self.images, SDE, bandwidth)


@dataclass(frozen=True, eq=False, kw_only=True)
class Instance(Problem):
    """A problem of one measurement of one of the pictures, and its exact posterior.

    Attributes: those of `Problem`: y (1, *M) and truth (1, *E); posterior; classes (C,), their exact probabilities.
    """

    prior: Empirical
    posterior: EmpiricalPosterior
    classes: Tensor


def instance(task: Task, pictures: Pictures, number: int) -> Instance:
    """Instance ``number`` (int >= 0): a picture drawn from the prior and measured, the first of those with these
    seeds whose posterior has 5 to 500 effective pictures.

    Raises: ValueError where none of 1,000 has.
    """
    prior, operator = pictures.prior(task.bandwidth), task.operator(tuple(pictures.images.shape[1:]))
    for attempt in range(ATTEMPTS):
        seed = number * ATTEMPTS + attempt
        truth = prior.sample(1, seed=seed)
        y = operator.measure(truth, seed=seed)
        posterior = prior.posterior(operator, y)
        if FEWEST <= posterior.ess <= MOST:
            return Instance(
                name=task.name,
                prior=prior,
                operator=operator,
                y=y,
                truth=truth,
                posterior=posterior,
                classes=posterior.class_probabilities(pictures.labels),
            )
    raise ValueError(
        f"{task.name}: none of {ATTEMPTS} measurements leaves {FEWEST:g} to {MOST:g} pictures: change --pictures"
    )
