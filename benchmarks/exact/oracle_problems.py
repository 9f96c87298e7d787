"""Inverse problems with a known posterior: the oracle's problems."""

import math
from abc import ABC, abstractmethod
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.common.problems import Problem
from benchmarks.exact.problems import image_mixture
from operators import Blur, Downsampling, GaussianNoise, LinearMap, Masking, Operator
from priors import SDE, VESDE, VPSDE, GaussianMixture, RowRNG

MODES = tuple((8.0 * i, 8.0 * j) for i in range(-2, 3) for j in range(-2, 3))


@dataclass(frozen=True, eq=False, kw_only=True)
class Instance(Problem):
    """A problem of one measurement and its exact posterior.

    Attributes: those of `Problem`: prior in single precision, which samplers are given, y (1, *M) and truth (1, *E);
    posterior: the exact p(x0 | y), in double precision; log_evidence: the exact log p(y), nats.
    """

    prior: GaussianMixture
    posterior: GaussianMixture
    log_evidence: float

    @classmethod
    def of(cls, name: str, prior: GaussianMixture, operator: Operator, truth: Tensor, seed: int) -> "Instance":
        """The instance of a truth (1, *E), measured with noise of a seed, under a prior in double precision."""
        y = operator.measure(truth, seed=seed)
        return cls(
            name=name,
            prior=deepcopy(prior).float(),
            operator=operator,
            y=y,
            truth=truth,
            posterior=prior.posterior(operator, y),
            log_evidence=prior.log_evidence(operator, y),
        )


class Family(ABC):
    """A family of problems: a prior and a kind of measurement, drawn per instance.

    Attributes: name (of tables and files); title (what is measured).
    """

    name: str
    title: str

    @abstractmethod
    def draw(self, generator: torch.Generator) -> tuple[GaussianMixture, Operator]:
        """The prior and the operator of one instance."""

    def instance(self, number: int) -> Instance:
        """Instance ``number`` (int >= 0): prior and operator, x ~ prior, y ~ p(y | x) and the exact posterior."""
        generator = torch.Generator().manual_seed(number)
        prior, operator = self.draw(generator)
        # seeds from the stream: the instance's number itself would repeat random numbers drawn above
        of_x, of_noise = torch.randint(2**31, (2,), generator=generator).tolist()
        return Instance.of(self.name, prior, operator, draw(prior, of_x), of_noise)


def draw(prior: GaussianMixture, seed: int) -> Tensor:
    """One draw of a mixture, (1, *E) float32, which is the same on every machine.

    `GaussianMixture.sample` multiplies by eigenvectors, whose signs, and bases where eigenvalues are equal, differ
    between LAPACK libraries.
    Formula: mean + V sqrt(lambda) V' z, with the symmetric square root, which does not depend on the choice of V.
    Arguments: prior; seed (int >= 0).
    """
    rng = RowRNG.rows(seed, 1, dtype=torch.float64)
    k = int(torch.searchsorted(prior.weights.cumsum(0)[:-1], rng.uniform((1, 1))[0, 0], right=True))
    of = min(k, len(prior.eigenvalues) - 1)
    root, z = prior.eigenvalues[of].sqrt(), rng.normal((1, prior.means.shape[1]))[0]
    spread = root * z if prior.basis is None else prior.basis[of] @ (root * (prior.basis[of].mT @ z))
    return (prior.means[k] + spread).view(1, *prior.event_shape).float()


@dataclass(frozen=True)
class Mixture(Family):
    """25 unit-covariance modes on a lattice, measured by a random matrix.

    Formula: means (8 i, 8 j) repeated d / 2 times, i, j in -2..2; weights chi^2_1, normalised; A (d_y, d) Gaussian with
    its singular values replaced by sorted draws of U(0, 1); sigma_y = U(0, 1) max s. Weights, A and sigma_y are each
    instance's own.
    The noising is VE, from .02, below the narrowest posteriors, to 10 times the norm of the outermost mode: with 1 and
    3 times that the terminal distribution N(0, sigma^2 I) loses means that the weights depend on, and unconditional
    samples are at 1.5 and 1.2 relative to exact draws. VP of the data's standard deviation is as accurate at equal
    steps, but stops at sigma = .12.
    Source: Cardoso, Janati El Idrissi, Le Corff, Moulines 2024 (MCGdiff), section 5 and appendix C.
    Arguments: d (even) dimensions of x; d_y of y.
    Raises: ValueError for an odd d.
    """

    d: int
    d_y: int

    def __post_init__(self):
        if self.d % 2 or self.d < 2:
            raise ValueError(f"d = {self.d}: expected an even number, because modes repeat a pair of coordinates")

    @property
    def name(self) -> str:
        return f"mixture-{self.d}-{self.d_y}"

    @property
    def title(self) -> str:
        return f"d = {self.d}, d_y = {self.d_y}"

    @property
    def sde(self) -> SDE:
        """VE up to 10 times the norm of the outermost mode."""
        return VESDE(sigma_min=0.02, sigma_max=160 * math.sqrt(self.d))

    def draw(self, generator):
        weights = torch.randn(len(MODES), generator=generator, dtype=torch.float64).square()
        means = torch.tensor(MODES, dtype=torch.float64).repeat(1, self.d // 2)
        identity = torch.eye(self.d, dtype=torch.float64)
        prior = GaussianMixture(means, identity.expand(len(MODES), -1, -1), weights, self.sde)
        gaussian = torch.randn(self.d_y, self.d, generator=generator, dtype=torch.float64)
        left, s, right = torch.linalg.svd(gaussian, full_matrices=False)
        s = torch.rand(len(s), generator=generator, dtype=torch.float64).sort(descending=True).values
        sigma_y = torch.rand(1, generator=generator, dtype=torch.float64).item() * s.max().item()
        return prior, LinearMap((left * s @ right).float(), noise=GaussianNoise(sigma_y))


@dataclass(frozen=True)
class Image(Family):
    """The mixture of smooth random images (`image_mixture`, VP), 8 x 8 pixels in about [-1, 1].

    Arguments: task: a name in `IMAGE_TASKS`.
    Raises: ValueError for another name.
    """

    task: str

    def __post_init__(self):
        if self.task not in IMAGE_TASKS:
            raise ValueError(f"task {self.task!r}: expected one of {sorted(IMAGE_TASKS)}")

    @property
    def name(self) -> str:
        return f"image-mixture-{self.task}"

    @property
    def title(self) -> str:
        return IMAGE_TASKS[self.task]

    def draw(self, generator):
        prior = image_mixture(VPSDE())
        shape, seed = prior.event_shape, int(torch.randint(2**31, (1,), generator=generator))
        if self.task == "masking":
            return prior, Masking.random(shape, keep=0.4, seed=seed, noise=GaussianNoise(0.1))
        if self.task == "blur":
            return prior, Blur.gaussian(1.0, noise=GaussianNoise(0.05), truncate=3.0)
        if self.task == "downsampling":
            return prior, Downsampling(2, noise=GaussianNoise(0.05))
        matrix = torch.randn(16, 64, generator=generator) / 8
        return prior, LinearMap(matrix, noise=GaussianNoise(0.1), event_shape=shape)


IMAGE_TASKS = {
    "masking": "40 % of the pixels, sigma_y .1",
    "blur": "Gaussian blur of 1 px, sigma_y .05",
    "downsampling": "means of 2 x 2 pixels, sigma_y .05",
    "matrix": "16 Gaussian combinations, sigma_y .1",
}
GROUPS: dict[str, tuple[Family, ...]] = {
    **{f"mixture-{d}": tuple(Mixture(d, d_y) for d_y in (1, 2, 4)) for d in (8, 80, 800)},
    "image-mixture": tuple(Image(task) for task in IMAGE_TASKS),
}
SINGLE = {problem.name: (problem,) for group in GROUPS.values() for problem in group}


def find(name: str) -> tuple[Family, ...]:
    """The problems of a group such as "mixture-8" (for d_y = 1, 2, 4), or a single one such as "mixture-8-2".

    Raises: ValueError for an unknown name; lists the known ones.
    """
    found = (GROUPS | SINGLE).get(name)
    if found is None:
        raise ValueError(f"problem {name!r}: expected one of {[*GROUPS, *SINGLE]}")
    return found
