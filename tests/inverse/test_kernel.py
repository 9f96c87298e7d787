"""An unknown kernel: its draws against quadrature under a Gaussian prior, the draws on the simplex, refusals."""

from contextlib import nullcontext

import pytest
import torch

import inverse
import operators
import priors
from inverse import KernelPrior, Solution, solve
from inverse.solve.unknown import UncertainParameters
from inverse.solve.unknown.blind import Blind, Length, ascended, spectrum
from inverse.solve.unknown.kernels import centred, quadratic, replaced
from inverse.solve.unknown.ranges import LogUniform
from inverse.solve.unknown.simplex import drawn, noise_level, projected, truncated_normal
from operators import Blur, GaussianNoise
from priors import RowRNG

F64 = torch.float64
SHAPE = (1, 6, 8)
D = 48
TRUTH = torch.tensor([[0.2, 0.5, 0.3]])
CHAINS = 64


@pytest.fixture(scope="module")
def prior():
    """Of a mean with contrast, so that a kernel and its mirror image differ in their evidence."""
    at = torch.cartesian_prod(torch.arange(6), torch.arange(8)).to(F64)
    covariance = 0.02 * torch.exp(-torch.cdist(at, at) / 1.5)
    mean = torch.rand(D, generator=torch.Generator().manual_seed(5), dtype=F64)
    return priors.Gaussian(mean.float(), covariance.float(), sde=priors.VPSDE(), event_shape=SHAPE)


def measured(prior, sigma):
    return Blur(TRUTH, noise=GaussianNoise(sigma)).measure(prior.sample(1, seed=0), seed=1)


def matrices(kernels):
    """Periodic convolutions with kernels (n, 3) along the rows of a picture, (n, d, d), double precision."""
    eye = torch.eye(D, dtype=F64).view(D, *SHAPE[1:])
    shifted = torch.stack([eye.roll(by, 2).reshape(D, D).T for by in (-1, 0, 1)])
    return torch.einsum("nj,jab->nab", kernels.to(F64).view(-1, 3), shifted)


def exact_solver(prior):
    """A solver of exact draws, by Matheron's rule."""
    mean, covariance = prior.mean.to(F64).flatten(), prior.covariance.to(F64)
    root = torch.linalg.cholesky(covariance + 1e-9 * torch.eye(D, dtype=F64))
    generator = torch.Generator().manual_seed(0)

    def solver(operator, y, n_samples, first, numbers, antithetic=False):
        n = len(y) * n_samples
        z, e = (torch.randn(n, D, generator=generator, dtype=F64) for _ in range(2))
        if antithetic:
            z[1::2], e[1::2] = -z[::2], -e[::2]
        a = matrices(operator.kernel).repeat_interleave(n_samples, 0)
        sigma = torch.as_tensor(operator.noise.sigma).to(F64).expand(len(y)).repeat_interleave(n_samples)
        x = mean + z @ root.T
        rest = y.to(F64).flatten(1).repeat_interleave(n_samples, 0) - torch.einsum("nij,nj->ni", a, x)
        rest = rest - sigma[:, None] * e
        gram = a @ covariance @ a.mT + sigma[:, None, None] ** 2 * torch.eye(D, dtype=F64)
        x = x + (covariance @ a.mT @ torch.linalg.solve(gram, rest[..., None]))[..., 0]
        samples = x.view(len(y), n_samples, *SHAPE).float()
        return Solution(samples, torch.zeros(len(y), n_samples), "exact draws", 1, 0, 0.0, 0)

    return solver


def by_quadrature(prior, y, sigmas, concentration=1.0, n=40):
    """Mean and standard deviation of the kernel (3,) and of sigma, on a grid of the simplex and log-uniform sigmas."""
    i, j = (v.flatten() for v in torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij"))
    k = (torch.stack([i, j], 1)[i + j < n].to(F64) + 1 / 3) / n
    k = torch.cat([k, 1 - k.sum(1, keepdim=True)], 1)
    a = matrices(k)
    values, vectors = torch.linalg.eigh(a @ prior.covariance.to(F64) @ a.mT)
    rest = y.to(F64).flatten() - a @ prior.mean.to(F64).flatten()
    rest = torch.einsum("nji,nj->ni", vectors, rest)
    variance = values.clamp_min(0)[:, None] + sigmas[:, None] ** 2
    log_p = -0.5 * (rest[:, None] ** 2 / variance + variance.log()).sum(2) - sigmas.log()
    p = (log_p + (concentration - 1) * k.log().sum(1)[:, None]).flatten().softmax(0).view_as(log_p)
    found = []
    for weights, v in ((p.sum(1), k), (p.sum(0), sigmas[:, None])):
        mean = weights @ v
        found += [mean, (weights @ (v - mean) ** 2).sqrt()]
    return found


@pytest.mark.parametrize(("concentration", "unknown_sigma"), [(1.0, False), (0.5, False), (1.0, True)])
def test_draws_of_a_kernel_agree_with_quadrature(prior, concentration, unknown_sigma):
    """Tolerance: 4 standard errors of the mean over independent chains, and those of a standard deviation."""
    sigma, y = 0.1, measured(prior, 0.1)
    spread = LogUniform(0.03, 0.4) if unknown_sigma else None
    grid = torch.linspace(0.03, 0.4, 100, dtype=F64) if unknown_sigma else torch.tensor([sigma], dtype=F64)
    mean, std, s_mean, s_std = by_quadrature(prior, y, grid, concentration)
    operator = Blur(torch.ones(1, 3) / 3, noise=GaussianNoise(sigma))
    blind = Blind(exact_solver(prior), operator, KernelPrior((1, 3), concentration), spread, 0, Length(5, 30, 60))
    found = blind.one(y, CHAINS, 0, no_bar)
    draws = found.unknown["kernel"][0, :, 0].to(F64).view(-1, CHAINS, 3)
    compared = [(draws, mean, std)]
    if unknown_sigma:
        compared.append((found.unknown["sigma"][0].to(F64).view(-1, CHAINS, 1), s_mean, s_std))
    for each, right, width in compared:
        error = each.mean(0).std(0) / CHAINS**0.5
        assert bool((error < 0.2 * width).all())
        assert bool(((each.mean((0, 1)) - right).abs() < 4 * error + 0.02 * width).all()), (each.mean((0, 1)), right)
        spread_of = (each - right).square().mean(0)
        error = spread_of.std(0) / CHAINS**0.5
        assert bool(((spread_of.mean(0) - width**2).abs() < 4 * error + 0.04 * width**2).all()), (spread_of, width)


def no_bar(total):
    return nullcontext(lambda: None)
