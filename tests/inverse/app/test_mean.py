"""The posterior mean against closed forms, and its stated error against its own scatter."""

import pytest
import torch

import inverse
import operators
from inverse import UncalibratedSpread, posterior_mean, solve
from operators import GaussianNoise, LinearMap, Masking
from priors import VESDE, VPSDE, Gaussian, GaussianMixture

F64 = torch.float64
OPERATOR = LinearMap(torch.eye(6)[::2], GaussianNoise(0.2))


def mixture() -> GaussianMixture:
    means = 1.5 * torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    return GaussianMixture(means, 0.1 * torch.eye(6).repeat(3, 1, 1), torch.ones(3) / 3, VESDE(0.01, 30.0))


@pytest.mark.parametrize("sde", [VESDE(0.01, 30.0), VPSDE()])
def test_few_pairs_give_the_mean_of_a_gaussian(sde):
    prior = Gaussian(torch.linspace(-1, 1, 6), torch.diag(torch.linspace(0.1, 1, 6)), sde)
    y = OPERATOR.measure(prior.sample(2, seed=0), seed=1)
    found = posterior_mean(prior, OPERATOR, y, method="mmps", progress=False)
    assert found.n_samples == 8 and bool((found.error < 0.05).all())
    for b in range(2):
        truth = prior.posterior(OPERATOR, y[b : b + 1])
        away = (found.mean[b] - truth.mean).norm() / truth.covariance.trace().sqrt()
        assert float(away) < 0.05


def test_the_stated_error_is_the_scatter_of_the_estimate():
    """Of 20 seeds, on a posterior of several modes, against the mean over all of them."""
    prior = mixture()
    y = OPERATOR.measure(prior.sample(1, seed=0), seed=1)
    draws = [
        posterior_mean(prior, OPERATOR, y, 0.25, 64, method="mmps", n_steps=6, seed=s, progress=False)
        for s in range(20)
    ]
    means = torch.cat([found.mean for found in draws])
    spread = torch.cat([found.solution.samples[0] for found in draws]).var(0).mean()
    scatter = float((means.var(0).mean() / spread).sqrt())
    stated = float(torch.cat([found.error for found in draws]).square().mean().sqrt())
    assert 0.6 < stated / scatter < 1.6
    assert all(float(found.error) <= 0.25 or found.n_samples == 64 for found in draws)


def test_it_is_the_mean_of_the_samples_that_solve_gives():
    prior = mixture()
    y = OPERATOR.measure(prior.sample(2, seed=0), seed=1)
    found = posterior_mean(prior, OPERATOR, y, 1e-3, 10, method="mmps", n_steps=8, seed=3, progress=False)
    whole = solve(prior, OPERATOR, y, 10, "mmps", 8, 3, antithetic=True, progress=False)
    assert found.n_samples == 10 and bool((found.error > 1e-3).any())
    torch.testing.assert_close(found.mean, whole.mean)


def test_methods_that_weight_their_samples_draw_all_at_once():
    prior = mixture()
    y = OPERATOR.measure(prior.sample(1, seed=0), seed=1)
    found = posterior_mean(prior, OPERATOR, y, most=16, method="tds", n_steps=6, progress=False)
    worth = min(float(found.solution.ess), float(found.solution.lineages))
    assert found.solution.samples.shape[1] == 16 and float(found.error) == pytest.approx(worth**-0.5)


def test_methods_with_an_error_of_their_own_warn():
    prior = mixture()
    y = OPERATOR.measure(prior.sample(1, seed=0), seed=1)
    with pytest.warns(UncalibratedSpread, match="does not contain the method's own"):
        posterior_mean(prior, OPERATOR, y, method="ddrm", n_steps=4, progress=False)


@pytest.mark.filterwarnings("ignore::inverse.UncalibratedSpread")
def test_any_method_without_weights_serves():
    operator = operators.JPEG(50, noise=GaussianNoise(0.1))
    prior = Gaussian(torch.full((64,), 0.5), 0.02 * torch.eye(64), VPSDE(), event_shape=(1, 8, 8))
    y = operator.measure(prior.sample(1, seed=0), seed=1)
    assert posterior_mean(prior, operator, y, 0.5, method="dps", n_steps=20, progress=False).mean.shape == (1, 1, 8, 8)


@pytest.mark.parametrize(("wrong", "message"), [
    ({"error": 0.0}, "error"),
    ({"most": 3}, "two antithetic pairs"),
    ({"most": 7}, "even"),
    ({"method": "nothing"}, "nothing"),
])  # fmt: skip
def test_refused(wrong, message):
    prior = Gaussian(torch.zeros(4), torch.eye(4), VPSDE())
    operator = Masking(torch.tensor([1, 0, 1, 0]), noise=GaussianNoise(0.1))
    with pytest.raises(ValueError, match=message):
        inverse.posterior_mean(prior, operator, torch.zeros(1, 4), **wrong)


def test_two_modes_are_not_missed_by_two_pairs_that_agree():
    """Of two numbers, nine pairs are drawn before their agreement counts; the stated error covers the actual one."""
    prior = GaussianMixture(
        torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), 0.02 * torch.eye(2).repeat(2, 1, 1), torch.tensor([0.3, 0.7]), VPSDE()
    )
    operator, y = LinearMap(torch.tensor([[0.0, 1.0]]), GaussianNoise(0.1)), torch.tensor([[0.05]])
    for seed in (2, 4, 5):  # two pairs stated errors of .01 to .03, 20 to 60 times too small
        found = posterior_mean(prior, operator, y, 0.3, seed=seed, progress=False)
        assert found.n_samples >= 18
        assert abs(float(found.mean[0, 0]) - 0.4) < 3 * float(found.error) * 0.65 * 2**0.5
