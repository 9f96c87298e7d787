"""Moments of a law of clean values given a measurement, and the law of values that cannot be negative."""

import math

import pytest
import torch
from noise_cases import F64, NOISES

import operators
from operators import PoissonGaussianNoise, PoissonNoise

NONNEGATIVE = (
    "poisson",
    "many photons",
    "camera",
    "rician",
)  # a gamma law of this mean and variance in place of a Gaussian one
CELLS = 60_000
LOWEST = 200  # cells where a gamma law may be steep, which have its distribution function


def gamma_law(ends, mean: float, variance: float):
    """log of the probabilities of the cells between ``ends``, of the gamma law of this mean, at least a tenth of a
    standard deviation, and variance."""
    mean = max(mean, 0.1 * variance**0.5)
    a, b = torch.tensor(mean**2 / variance, dtype=F64), mean / variance
    low = torch.special.gammainc(a, b * ends[: LOWEST + 1]).diff().log()
    u, width = 0.5 * (ends[1:] + ends[:-1])[LOWEST:], ends.diff()[LOWEST:]
    return torch.cat([low, torch.distributions.Gamma(a, b).log_prob(u) + width.log()])


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize(("mean", "variance"), [(0.5, 1e-4), (0.5, 0.3), (1.5, 0.02), (-0.4, 0.05)])
def test_moments_of_a_law_times_a_likelihood_are_those_of_a_fine_grid(name, mean, variance):
    noise, values = NOISES[name]
    y = torch.tensor([values], dtype=F64)
    m, v = torch.full_like(y, mean), torch.full_like(y, variance)
    least, most = max(noise.least, -3.0), 25.0 if name in NONNEGATIVE else 8.0
    ends = least + (most - least) * torch.linspace(0, 1, CELLS + 1, dtype=F64) ** 3  # finer where 0 counts are likely
    u = 0.5 * (ends[1:] + ends[:-1])
    gaussian = -0.5 * (u - mean) ** 2 / variance - 0.5 * math.log(2 * math.pi * variance) + ends.diff().log()
    law = gamma_law(ends, mean, variance) if name in NONNEGATIVE else gaussian
    found, spread, log_z = (*noise.tilted(y, m, v), noise.log_marginal(y, m, v))
    for i in range(len(values)):
        log_p = noise.log_prob(y[:, i].expand(1, len(u)), u[None])[0] + law
        p = log_p.softmax(0)
        expected = (p * u).sum()
        width = (p * (u - expected) ** 2).sum()
        assert abs(found[0, i] - expected) < 3e-3 * width**0.5, (i, found[0, i], expected)
        assert abs(spread[0, i] / width - 1) < 1e-2, (i, spread[0, i], width)
        assert abs(log_z[0, i] - log_p.logsumexp(0)) < 4e-3


@pytest.mark.parametrize("sigma", [0.0, 0.2, 3.0, 20.0])
@pytest.mark.parametrize("variance", [0.16, 0.01])
def test_few_photons_of_many_pixels_have_no_bias(sigma, variance):
    """Pixels of 0 or 1, of mean .2 and variance .16, or of less after other measurements, at .1 counts: given their
    measurements they are .2 on average over these. A Gaussian cut at 0 gives .40 for photons of the first."""
    mean, peak = torch.full((1, 1), 0.2, dtype=F64), 0.1
    noise = PoissonGaussianNoise(peak, sigma) if sigma else PoissonNoise(peak)
    high = torch.as_tensor(variance / 0.2 + 0.2)  # a value besides 0 that gives this variance and mean .2
    k = torch.arange(12.0, dtype=F64)
    p = (0.2 / high) * torch.distributions.Poisson(peak * high).log_prob(k).exp()
    p[0] += 1 - 0.2 / high
    z = torch.linspace(-6, 6, 121, dtype=F64)
    y, weights = k / peak, p
    if sigma:
        y, normal = (y[:, None] + sigma * z).flatten(), torch.exp(-0.5 * z**2) / torch.exp(-0.5 * z**2).sum()
        weights = (p[:, None] * normal).flatten()
    found, _ = noise.tilted(y[None], mean.expand(1, len(y)), torch.full((1, len(y)), variance, dtype=F64))
    assert abs(float((weights * found[0]).sum()) / 0.2 - 1) < 0.01


@pytest.mark.parametrize("noise", [PoissonNoise(1000.0), PoissonGaussianNoise(1000.0, 0.01)], ids=["photons", "camera"])
def test_a_thousand_photons_are_as_with_a_gaussian_law(noise):
    y, m = torch.tensor([[0.4, 0.9, 1.0, 1.1]], dtype=F64), torch.tensor([[0.42, 0.9, 1.02, 1.05]], dtype=F64)
    v = torch.full_like(y, 0.02**2)
    ours, gaussian = noise.tilted(y, m, v), operators.Noise.tilted(noise, y, m, v)
    torch.testing.assert_close(ours[0], gaussian[0], rtol=1e-3, atol=0)
    torch.testing.assert_close(ours[1].sqrt(), gaussian[1].sqrt(), rtol=0.015, atol=0)  # the gamma law is skew
    evidence = [of(y, m, v) for of in (noise.log_marginal, lambda *a: operators.Noise.log_marginal(noise, *a))]
    torch.testing.assert_close(*evidence, rtol=0, atol=0.02)


@pytest.mark.parametrize("noise", [PoissonNoise(30.0), PoissonGaussianNoise(30.0, 0.05)], ids=["photons", "camera"])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_no_mean_and_variance_are_too_extreme_for_counts(noise, dtype):
    means, variances = [-1e4, -1.0, 0.0, 1e-8, 1.0, 100.0], [1e-12, 1e-6, 1.0, 1e6]
    y, m, v = torch.cartesian_prod(*(torch.tensor(of, dtype=dtype) for of in ([0.0, 1 / 30, 5.0], means, variances))).T
    found, spread = noise.tilted(y[None], m[None], v[None])
    assert (found > 0).all() and (spread > 0).all() and found.isfinite().all() and spread.isfinite().all()
    assert noise.log_marginal(y[None], m[None], v[None]).isfinite().all()
    assert noise.information(found).isfinite().all()
