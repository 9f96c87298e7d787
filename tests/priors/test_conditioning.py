"""Exact posteriors and evidence against textbook formulas, grids and importance sampling."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

import operators
from priors import VESDE, VPSDE, Gaussian, GaussianMixture
from tests.priors.cases import F64, KINDS, Matrix, covariances, draws, mixture

MATRIX = draws(2, 3, seed=7)
MEASUREMENTS = {  # A (m, 3) and sigma_y
    "few": (MATRIX, 0.3),
    "one": (MATRIX[:1], 0.05),
    "more than unknowns": (draws(6, 3, seed=8), 0.3),
    "its own sigma each": (MATRIX, torch.tensor([0.1, 1.0])),
    "nearly exact": (MATRIX, 1e-4),
    "rank one": (torch.cat([MATRIX[:1], 2 * MATRIX[:1]]), 0.3),
    "exact": (MATRIX, 0.0),
    "exact, every unknown": (draws(3, 3, seed=8), 0.0),
    "exact, beside noisy": (draws(4, 3, seed=8), torch.tensor([0.2, 0.0, 0.5, 0.0])),
}


@pytest.fixture(params=list(MEASUREMENTS.values()), ids=list(MEASUREMENTS))
def measured(request):
    matrix, sigma = request.param
    y = matrix @ draws(3, seed=4) + torch.as_tensor(sigma) * draws(len(matrix), seed=5)
    return Matrix(matrix, sigma), y[None]


def textbook(means, covariances, weights, operator, y):
    """Weights, means and covariances of the posterior and log p(y), by an inverse of A C A' + Sigma."""
    matrix, m = operator.matrix, y.shape[1]
    noise = torch.diag((torch.as_tensor(operator.noise.sigma, dtype=F64) ** 2).expand(m))
    gram = matrix @ covariances @ matrix.mT + noise
    gain = torch.linalg.solve(gram, matrix @ covariances).mT
    log_p = MultivariateNormal(means @ matrix.mT, gram).log_prob(y[0])
    new_means = means + torch.einsum("kdm,km->kd", gain, y - means @ matrix.mT)
    log_weights = weights.log() + log_p
    return log_weights.softmax(0), new_means, covariances - gain @ matrix @ covariances, log_weights.logsumexp(0).item()


@pytest.mark.parametrize("kind", KINDS)
def test_posterior_is_the_textbook_one(measured, kind):
    operator, y = measured
    prior = mixture(VPSDE(), kind)
    posterior = prior.posterior(operator, y)
    weights, means, rest, log_evidence = textbook(prior.means, covariances(kind, 3, 3), prior.weights, operator, y)
    torch.testing.assert_close(posterior.weights, weights, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(posterior.means, means, rtol=1e-6, atol=1e-7)
    factors = posterior._factors()
    torch.testing.assert_close((factors @ factors.mT).expand(3, 3, 3), rest, rtol=1e-5, atol=1e-9)
    assert prior.log_evidence(operator, y) == pytest.approx(log_evidence, abs=1e-6)
    assert posterior.sde is prior.sde and posterior.event_shape == prior.event_shape


def test_a_matrix_on_a_grid():
    """d = 2: weights, mean, covariance and evidence by summing prior times likelihood over a fine grid."""
    prior, operator = mixture(VESDE(), d=2), Matrix(draws(1, 2, seed=7), 0.4)
    y = torch.tensor([[0.7]], dtype=F64)
    axis = torch.linspace(-9, 9, 1201, dtype=F64)
    x = torch.cartesian_prod(axis, axis)
    joint = prior.log_prob(x).exp() * Normal(operator(x)[:, 0], 0.4).log_prob(y[0]).exp() * (axis[1] - axis[0]) ** 2
    assert prior.log_evidence(operator, y) == pytest.approx(joint.sum().log().item(), abs=1e-8)
    p = joint / joint.sum()
    posterior = prior.posterior(operator, y)
    torch.testing.assert_close(posterior.mean, p @ x, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(posterior.covariance, (x.mT * p) @ x - torch.outer(p @ x, p @ x), rtol=1e-6, atol=1e-8)
    density = posterior.log_prob(x[::97]).exp() * (axis[1] - axis[0]) ** 2
    torch.testing.assert_close(density, p[::97], rtol=1e-7, atol=1e-14)


def test_weights_by_importance_sampling():
    prior, operator, n = mixture(VPSDE(), d=4), Matrix(draws(2, 4, seed=7), 0.5), 200_000
    y = torch.tensor([[0.3, -0.8]], dtype=F64)
    k = torch.multinomial(prior.weights, n, replacement=True, generator=torch.Generator().manual_seed(1))
    root = torch.linalg.cholesky(covariances("dense", 3, 4))
    x = prior.means[k] + torch.einsum("nij,nj->ni", root[k], draws(n, 4, seed=2))
    likelihood = Normal(operator(x), 0.5).log_prob(y).sum(1).exp()
    evidence, error = likelihood.mean(), likelihood.std() / math.sqrt(n)
    assert abs(math.exp(prior.log_evidence(operator, y)) - evidence) < 4 * error
    w = likelihood / likelihood.sum()
    posterior = prior.posterior(operator, y)
    ess = (1 / w.square().sum()).item()
    for j, weight in enumerate(posterior.weights.tolist()):
        assert w[k == j].sum().item() == pytest.approx(weight, abs=4 * 0.5 / math.sqrt(ess))
    assert (((w @ x) - posterior.mean).abs() < 4 * posterior.covariance.diagonal().sqrt() / math.sqrt(ess)).all()


def test_two_pixels():
    """METHODS.md, section 3: the first of two correlated pixels is seen exactly as 1.5."""
    prior = Gaussian(torch.zeros(2), torch.tensor([[1.0, 0.8], [0.8, 1.0]]), sde=VESDE())
    posterior = prior.posterior(operators.Masking(torch.tensor([True, False])), torch.tensor([[1.5, 0.0]]))
    torch.testing.assert_close(posterior.mean, torch.tensor([1.5, 1.2], dtype=F64), rtol=1e-7, atol=1e-7)
    expected = torch.tensor([[0.0, 0.0], [0.0, 0.36]], dtype=F64)
    torch.testing.assert_close(posterior.covariance, expected, rtol=1e-7, atol=1e-8)
    samples = posterior.sample(1000)
    assert (samples[:, 0] == 1.5).all()
    assert samples[:, 1].mean().item() == pytest.approx(1.2, abs=4 * 0.6 / math.sqrt(1000))


@pytest.mark.parametrize("sigma", [0.2, 0.0])
def test_masked_images(sigma):
    """Only the mask's pixels count, whatever stands elsewhere in y."""
    prior = mixture(VPSDE(), d=12, event_shape=(3, 2, 2))
    mask = torch.tensor([[[True, False], [False, True]]])
    operator = operators.Masking(mask, noise=operators.GaussianNoise(sigma))
    x = prior.sample(1, seed=5)
    y = operator.measure(x, seed=0)
    rows = torch.eye(12, dtype=F64)[mask.expand(3, 2, 2).reshape(-1)]
    seen = Matrix(rows, sigma), y.flatten(1).double() @ rows.mT
    weights, means, _, log_evidence = textbook(prior.means, covariances("dense", 3, 12), prior.weights, *seen)
    posterior = prior.posterior(operator, torch.where(mask, y, math.nan))
    torch.testing.assert_close(posterior.weights, weights, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(posterior.means, means, rtol=1e-6, atol=1e-6)
    assert prior.log_evidence(operator, y) == pytest.approx(log_evidence, abs=1e-5)
    assert posterior.sample(3).shape == (3, 3, 2, 2)
    if sigma == 0:
        torch.testing.assert_close(operator(posterior.sample(3)), operator(x).expand(3, 3, 2, 2), rtol=1e-5, atol=1e-6)


def test_noise_per_pixel_and_parameters_of_one_measurement():
    """A mask and a sigma with a leading axis of one, as `operator.rows` leaves them."""
    prior = mixture(VPSDE(), d=4, event_shape=(1, 2, 2))
    sigma = torch.tensor([[[0.1, 0.2], [0.3, 0.4]]])
    masks = torch.tensor([[[[1, 0], [1, 1]]], [[[0, 1], [1, 0]]]])
    batched = operators.Masking(masks, noise=operators.GaussianNoise(torch.stack([sigma, 2 * sigma]), event_ndim=3))
    y = batched.measure(prior.sample(2), seed=0)
    with pytest.raises(ValueError, match=r"parameters for 2 measurements: .*operator\.rows"):
        prior.posterior(batched, y[1:])
    single = operators.Masking(masks[1], noise=operators.GaussianNoise(2 * sigma, event_ndim=3))
    expected = prior.posterior(single, y[1:])
    found = prior.posterior(batched.rows(torch.tensor([1])), y[1:])
    torch.testing.assert_close(found.weights, expected.weights)
    torch.testing.assert_close(found.means, expected.means)


@pytest.mark.parametrize("sigmas", [(0.3, 0.2), (0.0, 0.2), (0.0, 0.0), (0.2, 0.0)])
def test_one_after_the_other_is_both_at_once(sigmas):
    prior, matrix = mixture(VPSDE(), d=4), draws(2, 4, seed=7)
    y = (matrix @ draws(4, seed=4))[None]
    both = Matrix(matrix, torch.tensor(sigmas, dtype=F64))
    first, second = (Matrix(matrix[i : i + 1], sigmas[i]) for i in (0, 1))
    posterior = prior.posterior(first, y[:, :1])
    chained, expected = posterior.posterior(second, y[:, 1:]), prior.posterior(both, y)
    torch.testing.assert_close(chained.weights, expected.weights)
    torch.testing.assert_close(chained.mean, expected.mean)
    torch.testing.assert_close(chained.covariance, expected.covariance)
    log_p = prior.log_evidence(first, y[:, :1]) + posterior.log_evidence(second, y[:, 1:])
    assert log_p == pytest.approx(prior.log_evidence(both, y), abs=1e-8)


def test_bayes_rule_pointwise():
    """p(x | y) p(y) = p(x) p(y | x) at any x, on an image blurred without noise-free entries."""
    prior = mixture(VESDE(), d=9, event_shape=(1, 3, 3))
    operator = Matrix(draws(4, 9, seed=7), 0.3)
    x, y = draws(6, 1, 3, 3), draws(1, 4, seed=3)
    likelihood = Normal(operator(x), 0.3).log_prob(y).sum(1)
    left = prior.posterior(operator, y).log_prob(x) + prior.log_evidence(operator, y)
    torch.testing.assert_close(left, prior.log_prob(x) + likelihood, rtol=1e-9, atol=1e-9)


def test_small_noise_tends_to_none():
    prior, y = mixture(VPSDE()), (MATRIX @ draws(3, seed=4))[None]
    none, little = (prior.posterior(Matrix(MATRIX, sigma), y) for sigma in (0.0, 1e-7))
    torch.testing.assert_close(little.means, none.means, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(little.weights, none.weights)
    torch.testing.assert_close(little.covariance, none.covariance, rtol=1e-7, atol=1e-9)
    assert little.log_prob(little.sample(3, dtype=F64)).isfinite().all()
    with pytest.raises(ValueError, match="singular covariance"):
        none.log_prob(draws(2, 3))


def test_a_posterior_is_a_prior_of_its_own():
    """Its score, at every time, is that of a mixture made from its means and covariances."""
    prior, y = mixture(VPSDE()), draws(1, 2)
    posterior = prior.posterior(Matrix(MATRIX, 0.3), y)
    factors = posterior._factors()
    again = GaussianMixture(posterior.means, factors @ factors.mT, posterior.weights, sde=VPSDE())
    x = draws(5, 3)
    for t in (1e-3, 0.3, 1.0):
        torch.testing.assert_close(posterior.score(x, t), again.score(x, t), rtol=1e-6, atol=1e-8)


class TestNoiseFreeRowsThatDepend:
    twice = Matrix(torch.cat([MATRIX, MATRIX[:1]]), 0.0)

    def test_agreeing(self):
        prior, x = mixture(VPSDE()), draws(1, 3)
        posterior, expected = (prior.posterior(op, op(x)) for op in (self.twice, Matrix(MATRIX, 0.0)))
        torch.testing.assert_close(posterior.means, expected.means)
        torch.testing.assert_close(posterior.weights, expected.weights)
        with pytest.raises(ValueError, match="linearly dependent, so y has no density"):
            prior.log_evidence(self.twice, self.twice(x))

    def test_contradicting(self):
        with pytest.raises(ValueError, match="are inconsistent"):
            mixture(VPSDE()).posterior(self.twice, torch.tensor([[1.0, 0.0, -1.0]]))

    def test_known_already(self):
        prior, x = mixture(VPSDE()), draws(1, 3)
        operator = Matrix(MATRIX, 0.0)
        with pytest.raises(ValueError, match="coordinates that the prior fixes"):
            prior.posterior(operator, operator(x)).posterior(operator, operator(x))


@pytest.mark.parametrize("attribute", ["linear", "gaussian"])
def test_an_operator_without_closed_form_is_refused(attribute):
    operator = Matrix(MATRIX, 0.1)
    operator.capabilities = operator.capabilities - {attribute}
    with pytest.raises(ValueError, match=rf"Matrix lacks \['{attribute}'\].*use inverse.solve"):
        mixture(VPSDE()).posterior(operator, draws(1, 2))


@pytest.mark.parametrize("shape", [(2,), (2, 2), (1, 3), (1, 1, 2)])
def test_a_measurement_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected one measurement \(1, 2\); for a batch, use y\[i : i \+ 1\]"):
        mixture(VPSDE()).log_evidence(Matrix(MATRIX, 0.1), torch.zeros(shape))


def test_a_measurement_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="nan or infinite"):
        mixture(VPSDE()).posterior(Matrix(MATRIX, 0.1), torch.tensor([[math.nan, 0.0]]))


def test_the_operator_is_left_as_it_was():
    operator = operators.Masking(torch.tensor([1, 0, 1]), noise=operators.GaussianNoise(torch.tensor(0.1)))
    before = {name: (value.dtype, value.clone()) for name, value in operator.named_buffers()}
    mixture(VPSDE()).posterior(operator, torch.zeros(1, 3))
    for name, value in operator.named_buffers():
        assert value.dtype == before[name][0] and torch.equal(value, before[name][1])
