"""log p(y) by growing noise, against closed forms."""

import math
import re

import pytest
import torch

import inverse
import operators
import priors
from inverse import Comparison, compare, log_evidence
from operators import GaussianNoise, LinearMap, Masking

F64 = torch.float64
SIGMA = 0.05


def posed(d, m, seed=0):
    """A Gaussian prior with a falling spectrum, m random projections, and a measurement of a draw."""
    rng = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(d, d, generator=rng)).Q
    spectrum = 0.3 / torch.arange(1, d + 1)
    prior = priors.Gaussian(torch.full((d,), 0.2), (q * spectrum) @ q.T, sde=priors.VPSDE())
    operator = LinearMap(torch.randn(m, d, generator=rng) / d**0.5, noise=GaussianNoise(SIGMA))
    return prior, operator, operator.measure(prior.sample(1, seed=seed), seed=seed)


def exact(prior, operator, y):
    """log p(y) of a Gaussian prior and a `LinearMap` with white noise, by its dense covariance."""
    a, sigma = operator.matrix.to(F64), float(operator.noise.sigma)
    covariance = a @ prior.covariance.to(F64) @ a.T + sigma**2 * torch.eye(len(a), dtype=F64)
    return torch.distributions.MultivariateNormal(a @ prior.mean.to(F64), covariance).log_prob(y.to(F64))


@pytest.mark.parametrize(("d", "n_samples", "most"), [(8, 16, 0.9), pytest.param(80, 64, 0.8, marks=pytest.mark.slow)])
def test_the_evidence_of_a_gaussian_prior_is_that_of_the_closed_form(d, n_samples, most):
    prior, operator, y = posed(d, d // 2)
    found = log_evidence(prior, operator, y, n_samples, 12, "mmps")
    assert found.value.shape == (1,)
    assert float(found.std) < most
    assert abs(float(found.value - exact(prior, operator, y))) < 3.5 * float(found.std)


@pytest.mark.slow
@pytest.mark.parametrize(("d", "most"), [(8, 0.5), (80, 0.9)])
def test_errors_in_nats(d, most):
    """The figures of docs/unknown.md."""
    errors = []
    for seed in range(6):
        prior, operator, y = posed(d, d // 2, 100 + seed)
        found = log_evidence(prior, operator, y, 64, 16, "mmps", seed=seed)
        errors.append(float(found.value - exact(prior, operator, y)))
    assert math.sqrt(sum(e**2 for e in errors) / len(errors)) < most


def test_standard_errors_are_those_of_repetitions():
    prior, operator, y = posed(4, 3)
    found = [log_evidence(prior, operator, y, 8, 4, "mmps", 5, seed=seed) for seed in range(8)]
    stated = torch.stack([one.std for one in found]).square().mean().sqrt()
    assert 0.4 < float(torch.stack([one.value for one in found]).std() / stated) < 2


def test_the_evidence_of_a_mixture():
    """Two separate modes, y between them: log p(y) of one mode alone would be wrong by log 2 or more."""
    means = torch.tensor([[-1.0, 0.3], [1.0, 0.0]])
    mixture = priors.GaussianMixture(
        means, 0.04 * torch.eye(2).expand(2, 2, 2), torch.tensor([0.5, 0.5]), sde=priors.VPSDE()
    )
    operator = LinearMap(torch.tensor([[0.1, 1.0]]), noise=GaussianNoise(0.1))
    y = torch.tensor([[0.15]])
    parts = [torch.distributions.Normal(operator.matrix[0] @ mean, (0.04 * 1.01 + 0.01) ** 0.5) for mean in means]
    right = torch.stack([part.log_prob(y[0]) for part in parts]).logsumexp(0) - math.log(2)
    found = log_evidence(mixture, operator, y, 64, 8, "mmps", 12)
    assert float(found.std) < 0.2
    assert abs(float(found.value - right)) < 4 * float(found.std)


def test_masked_values_do_not_count():
    prior = priors.Gaussian(torch.zeros(3), 0.1 * torch.eye(3), sde=priors.VPSDE(), event_shape=(1, 1, 3))
    y = torch.tensor([[[[0.2, 0.0, -0.4]]]])
    operator = Masking(torch.tensor([[[True, False, True]]]), noise=GaussianNoise(0.1))
    right = torch.distributions.Normal(0.0, 0.11**0.5).log_prob(y[..., ::2]).sum()
    found = log_evidence(prior, operator, y, 64, 8, "mmps", 12)
    assert abs(float(found.value - right)) < 4 * float(found.std) < 1


def test_noise_of_different_sizes_in_one_measurement():
    prior = priors.Gaussian(torch.zeros(2), 0.1 * torch.eye(2), sde=priors.VPSDE())
    sigma, y = torch.tensor([0.1, 0.4]), torch.tensor([[0.2, -0.4]])
    operator = LinearMap(torch.eye(2), noise=GaussianNoise(sigma, event_ndim=1))
    right = torch.distributions.Normal(0.0, (0.1 + sigma**2).sqrt()).log_prob(y).sum()
    found = log_evidence(prior, operator, y, 64, 8, "mmps", 12)
    assert abs(float(found.value - right)) < 4 * float(found.std) < 1


def test_candidates_are_ranked_with_the_errors_of_their_differences():
    """Four noise levels: differences of log p(y) are known better than its values, as the random numbers are shared."""
    prior, operator, y = posed(8, 6)
    levels = {str(s): operator.with_noise(GaussianNoise(s)) for s in (0.04, 0.05, 0.06, 1.0)}
    found = compare(prior, levels, y, 16, 6, "mmps", 8)
    right = torch.stack([exact(prior, one, y) for one in levels.values()], 1)
    assert found.names == list(levels) and found.probabilities.shape == (1, 4)
    assert float(found.probabilities.sum()) == pytest.approx(1)
    at = int(found.log_evidence.argmax())
    away = (found.log_evidence - found.log_evidence[:, at]) - (right - right[:, at])
    assert bool((away.abs() <= 4 * found.std + 1e-9).all())
    own = found.covariance[0].diagonal().sqrt()
    assert float(found.std[0, (at + 1) % 3]) < 0.7 * float(own.max())
    assert float(found.probabilities[0, 3]) < 0.05


def test_priors_are_candidates_too_and_each_measurement_is_compared(tmp_path):
    kinds = {
        "narrow": priors.Gaussian(torch.zeros(2), 0.01 * torch.eye(2), sde=priors.VPSDE()),
        "wide": priors.Gaussian(torch.zeros(2), torch.eye(2), sde=priors.VPSDE()),
    }
    operator = LinearMap(torch.eye(2), noise=GaussianNoise(0.1))
    y = torch.tensor([[0.05, -0.1], [1.5, -1.0]])
    found = compare(kinds, operator, y, 8, 4, "auto", 6)  # which would take `pivot`, whose samples have weights
    assert isinstance(found, Comparison) and found.best == ["narrow", "wide"]
    assert found.log_evidence.shape == (2, 2)
    both = compare(kinds, {"a": operator, "b": operator}, y[:1], 4, 2, "mmps", 3)
    assert both.names == ["narrow, a", "narrow, b", "wide, a", "wide, b"]
    assert float(both.std[0, 1]) < 1e-3  # the same candidate with the same random numbers


PRIOR = priors.Gaussian(torch.zeros(2), torch.eye(2), sde=priors.VPSDE())
OPERATOR = LinearMap(torch.eye(2), noise=GaussianNoise(0.1))
Y = torch.zeros(1, 2)
BAD = [
    ({"prior": {}}, ValueError, "no candidates"),
    ({"operator": {"a": 3}}, TypeError, "operator 'a' of type int"),
    ({"prior": 3}, TypeError, "expected a priors.Prior"),
    ({"operator": LinearMap(torch.eye(2), noise=operators.PoissonNoise(9.0))}, ValueError, "needs Gaussian noise"),
    ({"operator": LinearMap(torch.eye(2), noise=GaussianNoise(0.0))}, ValueError, "sigma > 0"),
    ({"n_samples": 5}, ValueError, "even numbers"),
    ({"levels": 1}, ValueError, "levels"),
    ({"method": "exact"}, ValueError, "weight their samples"),
    ({"y": torch.zeros(1, 3)}, ValueError, "expected shape"),
]


@pytest.mark.parametrize(("changed", "kind", "text"), BAD)
def test_what_is_refused(changed, kind, text, monkeypatch):
    monkeypatch.setattr(type(PRIOR), "denoise", lambda *_: pytest.fail("the prior was evaluated"))
    arguments = {"prior": PRIOR, "operator": OPERATOR, "y": Y} | changed
    with pytest.raises(kind, match=re.escape(text)):
        compare(**arguments)


def test_a_method_without_the_right_spread_warns():
    prior = priors.Gaussian(torch.zeros(1, 1, 2).flatten(), torch.eye(2), sde=priors.VPSDE(), event_shape=(1, 1, 2))
    operator = operators.Identity(noise=GaussianNoise(0.3))
    with pytest.warns(inverse.UncalibratedSpread, match="'ddrm' do not have the posterior's spread"):
        log_evidence(prior, operator, torch.zeros(1, 1, 1, 2), 4, 2, "ddrm", 3)
