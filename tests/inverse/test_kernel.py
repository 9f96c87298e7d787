"""An unknown kernel: its draws against quadrature under a Gaussian prior, the draws on the simplex, refusals."""

import sys
from contextlib import nullcontext

import pytest
import torch

import operators
import priors
from inverse import KernelPrior, Solution, solve
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

    def solver(operator, y, n_samples, first, numbers, antithetic=False, noise_checks=True):
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
    blind = Blind(exact_solver(prior), operator, KernelPrior((1, 3), concentration), spread, 0, Length(5, 15, 40))
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


@pytest.mark.parametrize("boundary", ["circular", "reflect", "valid"])
def test_the_quadratic_is_the_residual_of_the_operator(boundary):
    generator = torch.Generator().manual_seed(1)
    x, k = torch.rand(3, 2, 14, 13, generator=generator), torch.rand(3, 15, generator=generator, dtype=F64)
    k = k / k.sum(1, keepdim=True)
    operator = replaced(Blur(torch.ones(5, 3) / 15, boundary), k.view(3, 5, 3), torch.full((3,), 0.1))
    y = operator.rows(torch.tensor([0]))(x[:1]) + 0.1
    found = quadratic(x, y, (5, 3), boundary).residual(k)
    right = (y - operator(x)).double().square().flatten(1).sum(1)
    assert torch.allclose(found, right, rtol=1e-4)


def test_a_row_of_each_chain_has_its_own_kernel_and_noise():
    k, sigma = torch.rand(2, 3, 3), torch.tensor([0.1, 0.2])
    made = replaced(Blur(torch.ones(3, 3), "valid"), k, sigma).rows(torch.tensor([1]))
    assert torch.equal(made.kernel.flatten(), k[1].flatten()) and float(made.noise.sigma) == pytest.approx(0.2)


def test_truncated_normals_have_the_quantiles_of_the_closed_form():
    """Against quadrature of the density, where the interval is in the middle, in a tail and far in a tail."""
    for mean, std, low, high in (
        (0.0, 1.0, -1.0, 2.0),
        (0.0, 1.0, 3.0, 5.0),
        (5.0, 0.5, 0.0, 1.0),
        (0.0, 0.1, 2.0, 3.0),
    ):
        u = torch.linspace(0.05, 0.95, 7, dtype=F64)
        given = [torch.full_like(u, v) for v in (mean, std, low, high)]
        found = truncated_normal(*given, u)
        grid = torch.linspace(low, high, 2_000_001, dtype=F64)
        log_p = -0.5 * ((grid - mean) / std) ** 2
        total = (log_p - log_p.max()).exp().cumsum(0)
        right = grid[torch.searchsorted(total, u * total[-1])]
        spread = min(std, high - low, std**2 / max(abs(mean - low), abs(mean - high)))
        assert torch.allclose(found, right, atol=0.06 * spread), (found, right)


def test_draws_on_the_simplex_without_data_are_dirichlet():
    n, a = 4, 0.6
    k, none = torch.full((400, n), 1 / n, dtype=F64), torch.zeros(400, n, n, dtype=F64)
    rng = RowRNG.rows(0, 400, dtype=F64)
    order = torch.Generator().manual_seed(0)
    kept = torch.cat([k := drawn(k, none, none[:, 0], a, rng, 4, order) for _ in range(12)][4:])
    assert torch.allclose(kept.sum(1), torch.ones(len(kept), dtype=F64)) and float(kept.min()) >= 0
    right = a * (a * n - a) / ((a * n) ** 2 * (a * n + 1))  # variance of an entry
    assert float(kept.var(0).mean()) == pytest.approx(right, rel=0.08)


def test_noise_levels_follow_the_inverse_gamma_law():
    """1 / s^2 is a Gamma(n / 2) of rate squares / 2 where the range does not matter."""
    u = (torch.arange(4000, dtype=F64) + 0.5) / 4000
    s = noise_level(torch.full((4000,), 2.0, dtype=F64), 200, 1e-3, 10.0, 1.0, u)
    precision = s**-2
    assert float(precision.mean()) == pytest.approx(100.0, rel=2e-3)
    assert float(precision.std()) == pytest.approx(100 * (2 / 200) ** 0.5, rel=1e-2)
    assert float(noise_level(torch.tensor([2.0]), 200, 0.2, 0.3, 1.0, u[:1])) >= 0.2


def test_a_projection_is_the_nearest_point_of_the_simplex():
    v = torch.tensor([[0.4, 0.4, -1.0], [2.0, 0.0, 0.0]], dtype=F64)
    assert torch.allclose(projected(v), torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]], dtype=F64))


def test_a_kernel_is_centred_by_its_centre_of_mass():
    kernel = torch.zeros(5, 7, dtype=F64)
    kernel[0, 5], kernel[1, 6] = 0.5, 0.5
    moved = centred(kernel)
    assert float(moved.sum()) == 1 and float(moved.max()) == 0.5
    assert torch.equal(centred(moved), moved)


def test_the_spectrum_of_white_pictures_is_flat_and_a_step_stays_on_the_simplex():
    x = torch.randn(1, 1, 120, 120, generator=torch.Generator().manual_seed(0))
    found = quadratic(x, x[..., 2:-2, 2:-2], (5, 5), "valid")
    assert torch.allclose(spectrum(found.matrix[0] / found.values, 5, 5), torch.ones(9, 5, dtype=F64), atol=0.15)
    k = KernelPrior(5).start()
    for _ in range(30):
        k = ascended(k, found, 0.1)
    assert float(k[2, 2]) == pytest.approx(1.0, abs=0.05) and float(k.sum()) == pytest.approx(1)


@pytest.fixture(scope="module")
def solved(prior):
    operator = Blur(torch.ones(1, 3) / 3, noise=GaussianNoise(0.1))
    unknown = {"kernel": KernelPrior((1, 3)), "sigma": (0.03, 0.4)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["inverse.solve.unknown.blind"], "FORMULA", Length(1, 0, 2))
        y = measured(prior, 0.1)
        return solve(prior, operator, torch.cat([y, y]), 2, "ddrm", 4, unknown=unknown, progress=False)


def test_a_solution_has_draws_of_the_kernel_and_its_file_too(solved, tmp_path):
    assert solved.samples.shape == (2, 2, *SHAPE)
    assert solved.unknown["kernel"].shape == (2, 4, 1, 3) and solved.unknown["sigma"].shape == (2, 4)
    assert torch.allclose(solved.unknown["kernel"].sum((2, 3)), torch.ones(2, 4), atol=1e-5)
    solved.save(tmp_path / "run.h5")
    loaded = Solution.load(tmp_path / "run.h5")
    assert list(loaded.unknown) == ["kernel", "sigma"]
    assert all(torch.equal(loaded.unknown[name], solved.unknown[name]) for name in loaded.unknown)


@pytest.mark.parametrize(
    ("unknown", "operator", "message"),
    [
        ({"kernel": (0.1, 1.0)}, None, "inverse.KernelPrior"),
        ({"blur": KernelPrior(3)}, None, "expected the name 'kernel'"),
        ({"kernel": KernelPrior(3), "width": (1, 2)}, None, "only 'sigma'"),
        ({"kernel": KernelPrior(5)}, None, "at least twice"),
        ({"kernel": KernelPrior((1, 3))}, operators.Identity(noise=GaussianNoise(0.1)), "expected an operators.Blur"),
        ({"kernel": KernelPrior((1, 3))}, Blur(torch.ones(1, 3), noise=operators.PoissonNoise(9.0)), "Gaussian noise"),
        ({"kernel": KernelPrior((1, 3))}, Blur(torch.ones(1, 3), "valid", GaussianNoise(0.1)), "prior.resized"),
    ],
)
def test_what_cannot_be_inferred_is_refused(prior, unknown, operator, message):
    operator = operator or Blur(torch.ones(3, 3) / 9, noise=GaussianNoise(0.1))
    with pytest.raises((TypeError, ValueError), match=message):
        solve(prior, operator, torch.zeros(1, *SHAPE), 2, unknown=unknown, progress=False)


@pytest.mark.parametrize("size", [4, 1, (3, 2), 101, (3, 3, 3), 2.5])
def test_a_size_that_no_kernel_has_is_refused(size):
    with pytest.raises((TypeError, ValueError), match="KernelPrior"):
        KernelPrior(size)
