"""The tiny problem of the audit, with all that the papers' algorithms ask of it in closed form."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor

from benchmarks.exact.problems import smooth_covariance
from operators import GaussianNoise, LinearMap, Masking
from operators import Operator as AnyOperator
from priors import SDE, VESDE, VPSDE, GaussianMixture

SIDE, D, M = 4, 16, 6
SMALLEST, LARGEST = 0.02, 30.0  # noise levels of VE
F64 = torch.float64


@dataclass(frozen=True, eq=False)
class Problem:
    """Smooth pictures of 4 x 4 pixels, a mixture of Gaussians, of which y = A x + sigma_y z is measured.

    Arguments: kind: "vp" or "ve"; weights (K,), means (K, d) and covariances (K, d, d) of the mixture; matrix A (m, d);
    y (m,); sigma_y; seed of the run's random numbers.
    """

    kind: str
    weights: Tensor
    means: Tensor
    covariances: Tensor
    matrix: Tensor
    y: Tensor
    sigma_y: float
    seed: int = 1

    # the library's own view ------------------------------------------------------------------------------------------

    @property
    def sde(self) -> SDE:
        """The noising as ours."""
        return VPSDE() if self.kind == "vp" else VESDE(SMALLEST, LARGEST)

    @property
    def prior(self) -> GaussianMixture:
        """The mixture as ours."""
        return GaussianMixture(self.means, self.covariances, self.weights, self.sde)

    @property
    def masked(self) -> bool:
        """Whether y is a choice of pixels."""
        return bool(((self.matrix == 0) | (self.matrix == 1)).all())

    def measured(self) -> tuple[AnyOperator, Tensor]:
        """The operator as ours, a mask where it is one, and its measurement (1, *M)."""
        noise = GaussianNoise(self.sigma_y)
        if not self.masked:
            return LinearMap(self.matrix, noise), self.y[None]
        return Masking(self.matrix.sum(0), noise=noise), (self.y @ self.matrix)[None]

    # what the papers ask for -----------------------------------------------------------------------------------------

    @cached_property
    def random(self) -> torch.Generator:
        """The run's random numbers."""
        return torch.Generator().manual_seed(self.seed)

    def seeded(self, seed: int) -> Self:
        """The same problem with other random numbers."""
        return replace(self, seed=seed)

    def z(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(*shape, generator=self.random, dtype=F64)

    def alpha(self, t: float) -> float:
        """Of x_t = alpha x0 + sigma z; VP: the root of the papers' alpha bar."""
        return math.exp(-0.5 * (0.1 * t + 9.95 * t**2)) if self.kind == "vp" else 1.0

    def sigma(self, t: float) -> float:
        """Of x_t = alpha x0 + sigma z; 0 at t = 0, the last level of the papers."""
        if self.kind == "vp":
            return (-math.expm1(-(0.1 * t + 9.95 * t**2))) ** 0.5
        return SMALLEST * (LARGEST / SMALLEST) ** t if t != 0 else 0.0

    def time(self, sigma: float) -> float:
        """When the state has this noise (VE)."""
        assert self.kind == "ve"
        return math.log(sigma / SMALLEST) / math.log(LARGEST / SMALLEST)

    @cached_property
    def _axes(self) -> tuple[Tensor, Tensor]:
        return torch.linalg.eigh(self.covariances)

    def components(self, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """Probabilities (N, K) of the components given x_t, x (N, d), and E[x0 | x_t, k] (N, K, d)."""
        values, axes = self._axes
        a, s = self.alpha(t), self.sigma(t)
        z = torch.einsum("nkd,kde->nke", x[:, None] - a * self.means, axes)
        total = a**2 * values + s**2
        log = self.weights.log() - 0.5 * (z.square() / total + total.log()).sum(2)
        return log.softmax(1), self.means + torch.einsum("nke,kde->nkd", a * values / total * z, axes)

    def denoise(self, x: Tensor, t: float) -> Tensor:
        """E[x0 | x_t], x (N, d)."""
        shares, each = self.components(x, t)
        return (shares[:, :, None] * each).sum(1)

    def score(self, x: Tensor, t: float) -> Tensor:
        """grad log p_t(x), x (N, d)."""
        return (self.alpha(t) * self.denoise(x, t) - x) / self.sigma(t) ** 2

    def moments(self, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """E[x0 | x_t] and Cov[x0 | x_t] (N, d, d), x (N, d); the Jacobian of the former is alpha / sigma^2 times it."""
        (values, axes), (shares, each) = self._axes, self.components(x, t)
        mean = (shares[:, :, None] * each).sum(1)
        left = values * self.sigma(t) ** 2 / (self.alpha(t) ** 2 * values + self.sigma(t) ** 2)
        inside = torch.einsum("nk,kde->nde", shares, axes * left[:, None] @ axes.mT)
        off = each - mean[:, None]
        return mean, inside + torch.einsum("nk,nkd,nke->nde", shares, off, off)

    def start(self, n: int) -> Tensor:
        """x at t = 1, (n, d)."""
        return self.sigma(1.0) * self.z(n, D)

    def ancestral(self, x: Tensor, denoised: Tensor, t: float, s: float) -> Tensor:
        """A draw of q(x_s | x_t, x0 = denoised), by Ho et al. 2020, equations 6 and 7; VE: Song et al. 2021, eq. 47."""
        a, left, now, past = self.alpha(t) / self.alpha(s), self.sigma(s) ** 2, self.sigma(t) ** 2, self.alpha(s)
        beta = now - a**2 * left
        mean = a * left / now * x + past * beta / now * denoised
        return mean + (beta * left / now) ** 0.5 * self.z(*x.shape)


Reference = Callable[[Problem, list[float], int], Tensor]  # (problem, times, n) -> (n, d)


def steps(times: list[float]) -> list[tuple[float, float]]:
    """Pairs of times of the papers' loops, which end at t = 0."""
    return list(pairwise([*times, 0.0]))


def smooth(kind: str, sigma_y: float = 0.3, mask: bool = False, components: int = 3) -> Problem:
    """The problem of all methods.

    Arguments: kind: "vp" or "ve"; sigma_y; mask: six pixels are measured, instead of six blurred ones of unequal gains;
    components of the mixture, whose variance per pixel is 1 (the papers' own unit).
    """
    random = torch.Generator().manual_seed(3)
    means = torch.randn(3, D, generator=random, dtype=F64) @ torch.linalg.cholesky(smooth_covariance(SIDE, 2.0, 0.6)).mT
    means = means[:components]
    shapes = torch.stack([smooth_covariance(SIDE, 1.0 + 0.4 * k, 0.7 + 0.15 * k) for k in range(components)])
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=F64)[:components]
    weights = weights / weights.sum()
    off = means - weights @ means
    scale = float((torch.einsum("k,kd->d", weights, shapes.diagonal(dim1=1, dim2=2) + off**2)).mean())
    means, shapes = means / scale**0.5, shapes / scale
    pixels = torch.tensor([1, 3, 4, 9, 11, 14])
    matrix = torch.eye(D, dtype=F64)[pixels]
    if not mask:
        blur = smooth_covariance(SIDE, 0.8, 1.0)[pixels]
        matrix = torch.tensor([0.4, 0.6, 0.8, 1.0, 1.2, 1.4], dtype=F64)[:, None] * blur
    truth = means[0] + torch.linalg.cholesky(shapes[0]) @ torch.randn(D, generator=random, dtype=F64)
    y = matrix @ truth + sigma_y * torch.randn(M, generator=random, dtype=F64)
    return Problem(kind, weights, means, shapes, matrix, y, sigma_y)
