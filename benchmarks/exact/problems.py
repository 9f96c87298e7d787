"""Priors and measurements with a known posterior."""

import math

import torch
from torch import Tensor

from operators import GaussianNoise, LinearMap, Masking
from priors import SDE, Gaussian, GaussianMixture


def smooth_covariance(size: int, length: float, std: float) -> Tensor:
    """The covariance of smooth random pictures of size x size pixels.

    Formula: std^2 (exp(-r^2 / 2 length^2) + .02 [r = 0]) for pixels r apart.
    Arguments: size and length in pixels; std in data units.
    Returns: (size^2, size^2) float64.
    """
    line = torch.arange(size, dtype=torch.float64)
    pixels = torch.cartesian_prod(line, line)
    squares = (pixels[:, None] - pixels).square().sum(2)
    return std**2 * (torch.exp(-0.5 * squares / length**2) + 0.02 * torch.eye(size**2, dtype=torch.float64))


def image_mixture(sde: SDE, size: int = 8, components: int = 20, seed: int = 0) -> GaussianMixture:
    """A mixture of smooth random images in about [-1, 1].

    Formula: means from a smooth field of length 2 px and standard deviation .5; the components' own fields have lengths
    of 1 to 3 px and standard deviations of .15 to .4; weights proportional to U(.5, 1.5).
    Arguments: sde (for data of this size, such as VPSDE()); size (pixels); components K; seed.
    Returns: GaussianMixture with event shape (1, size, size).
    """
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(components, size**2, generator=generator, dtype=torch.float64)
    means = z @ torch.linalg.cholesky(smooth_covariance(size, 2.0, 0.5)).mT
    generator.manual_seed(seed)
    lengths = 1 + 2 * torch.rand(components, generator=generator)
    stds = 0.15 + 0.25 * torch.rand(components, generator=generator)
    shapes = [smooth_covariance(size, length, std) for length, std in zip(lengths.tolist(), stds.tolist(), strict=True)]
    weights = 0.5 + torch.rand(components, generator=generator)
    return GaussianMixture(means, torch.stack(shapes), weights, sde, event_shape=(1, size, size))


def correlated_gaussian(sde: SDE, d: int = 16, seed: int = 0) -> Gaussian:
    """A Gaussian of d dimensions whose standard deviations span about two decades.

    Arguments: sde; d; seed.
    Returns: Gaussian with event shape (d,).
    """
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(d, d, generator=generator, dtype=torch.float64) * torch.logspace(0, -1, d, dtype=torch.float64)
    covariance = 2 * factor @ factor.T / d + 0.01 * torch.eye(d, dtype=torch.float64)
    return Gaussian(torch.randn(d, generator=generator, dtype=torch.float64), covariance, sde=sde)


def two_moons(sde: SDE, components: int = 48) -> GaussianMixture:
    """Two interleaved half circles in the unit square: pictures of two pixels in [0, 1], beads of .02 along two arcs.

    Formula: angles a_i in (0, pi), K / 2 per moon; means .5 + .28 (+-(cos a - .5), +-(sin a - .25)); covariance
    .02^2 I; weights 3 : 2 for the moons, so that modes differ.
    Source: scikit-learn's make_moons (Pedregosa et al. 2011), here as a density.
    Arguments: sde (for data of this size, such as VESDE()); components K, even, half of them on each moon: the first
    half is the heavier.
    Returns: GaussianMixture with event shape (2,).
    Raises: ValueError for an odd or too small K.
    """
    if components < 2 or components % 2:
        raise ValueError(f"components = {components}: expected an even number, half of them on each moon")
    angle = math.pi * (torch.arange(components // 2, dtype=torch.float64) + 0.5) / (components // 2)
    moon = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], 1)
    means = 0.5 + 0.28 * torch.cat([moon, -moon])
    weights = torch.tensor([0.6, 0.4], dtype=torch.float64).repeat_interleave(components // 2)
    covariances = 0.02**2 * torch.eye(2, dtype=torch.float64).expand(components, -1, -1)
    return GaussianMixture(means, covariances, weights, sde)


def random_map(d: int, m: int, sigma: float, seed: int = 0) -> LinearMap:
    """A Gaussian random matrix (m, d) with noise sigma."""
    matrix = torch.randn(m, d, generator=torch.Generator().manual_seed(seed))
    return LinearMap(matrix, noise=GaussianNoise(sigma))


def two_pixels(sde: SDE) -> tuple[Gaussian, Masking, Tensor]:
    """N(0, [[1, .8], [.8, 1]]) with the first pixel seen exactly as 1.5: the second is N(1.20, .60^2).

    Returns: prior, operator, y (1, 2).
    """
    prior = Gaussian(torch.zeros(2), torch.tensor([[1.0, 0.8], [0.8, 1.0]]), sde=sde)
    return prior, Masking(torch.tensor([1, 0]), noise=GaussianNoise(0.0)), torch.tensor([[1.5, 0.0]])
