"""The most probable noise level under a prior, against the likelihood of an analytic one."""

import pytest
import torch

from inverse.quality.noise_level import level_under
from priors import VESDE, VPSDE, Gaussian, GaussianMixture

SHAPE, D = (1, 4, 4), 16
AT = torch.cartesian_prod(torch.arange(4), torch.arange(4)).double()
SMOOTH = 0.05 * torch.exp(-(torch.cdist(AT, AT) ** 2) / 8) + 1e-4 * torch.eye(D, dtype=torch.float64)
SDES = {"VE": VESDE(0.001, 20.0), "VP": VPSDE(0.1, 20.0)}


def prior_of(name, sde):
    if name == "Gaussian":
        return Gaussian(torch.full((D,), 0.4), SMOOTH, sde, SHAPE)
    means = torch.stack([torch.full((D,), 0.2), torch.linspace(0, 1, D)]).double()
    return GaussianMixture(means, torch.stack([SMOOTH, 0.3 * SMOOTH]), torch.tensor([0.3, 0.7]), sde, SHAPE)


def noisy(prior, sigma, n=60):
    clean = prior.sample(n, seed=1).float()
    return clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("sde", SDES)
@pytest.mark.parametrize("name", ["Gaussian", "mixture"])
@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_it_is_the_maximum_of_the_likelihood(name, sde, sigma):
    """log p_s of the noisy pictures on a fine grid of s; bisection ends within 4 %, the trace is random too."""
    prior = prior_of(name, SDES[sde])
    x = noisy(prior, sigma)
    grid = torch.logspace(-2.3, -0.3, 200, dtype=torch.float64)
    covariances = torch.stack([SMOOTH, 0.3 * SMOOTH]) if name == "mixture" else SMOOTH[None]
    means = torch.stack([torch.full((D,), 0.2), torch.linspace(0, 1, D)]).double()
    means = means if name == "mixture" else torch.full((1, D), 0.4, dtype=torch.float64)
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64) if name == "mixture" else torch.ones(1, dtype=torch.float64)
    log_p = torch.zeros(len(grid), dtype=torch.float64)
    for i, s in enumerate(grid):
        c = covariances + s**2 * torch.eye(D, dtype=torch.float64)
        each = torch.distributions.MultivariateNormal(means, c).log_prob(x.double().flatten(1)[:, None])
        log_p[i] = (each + weights.log()).logsumexp(1).sum()
    best = float(grid[log_p.argmax()])
    assert best == pytest.approx(sigma, rel=0.1)
    assert level_under(prior, x, 0.003, 0.5) == pytest.approx(best, rel=0.08)


def test_the_ends_of_the_range():
    prior = prior_of("Gaussian", SDES["VE"])
    assert level_under(prior, noisy(prior, 0.1), 0.003, 0.05) == 0.05
    assert level_under(prior, noisy(prior, 0.01), 0.05, 0.5) == pytest.approx(0.05, rel=0.05)
    with pytest.raises(ValueError, match="expected low < high"):
        level_under(prior, noisy(prior, 0.1), 0.2, 0.1)
