"""Densities, scores, denoisers and samples of mixtures; conditioning is tested in test_conditioning.py."""

import copy
import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal

from priors import VESDE, VPSDE, Gaussian, GaussianMixture, Prior
from tests.priors.cases import F64, KINDS, SDES, covariances, draws, mixture


@pytest.fixture(params=list(SDES.values()), ids=list(SDES))
def sde(request):
    return request.param


def times(sde):
    return sde.t_min, 0.3, 1.0


def law(kind="dense", k=3, d=3, alpha=1.0, sigma=0.0):
    """The distribution of `cases.mixture` at some noise level, by torch."""
    weights = torch.arange(1, k + 1, dtype=F64)
    noised = alpha**2 * covariances(kind, k, d) + sigma**2 * torch.eye(d, dtype=F64)
    components = MultivariateNormal(alpha * 1.5 * draws(k, d, seed=2), noised)
    return MixtureSameFamily(Categorical(weights / weights.sum()), components)


@pytest.mark.parametrize("kind", KINDS)
def test_log_prob(sde, kind):
    prior, x = mixture(sde, kind), 2 * draws(50, 3)
    torch.testing.assert_close(prior.log_prob(x), law(kind).log_prob(x))
    for t in times(sde):
        noised = law(kind, alpha=sde.alpha(t), sigma=sde.sigma(t))
        torch.testing.assert_close(prior.log_prob(x, t), noised.log_prob(x))


@pytest.mark.parametrize("kind", KINDS)
def test_score_is_the_gradient_of_log_prob(sde, kind):
    prior = mixture(sde, kind)
    for t in times(sde):
        x = (sde.sigma(t) * 2 * draws(50, 3) + sde.alpha(t) * prior.sample(50, dtype=F64)).requires_grad_()
        gradient = torch.autograd.grad(prior.log_prob(x, t).sum(), x)[0]
        torch.testing.assert_close(prior.score(x, t).detach(), gradient, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_denoise_is_tweedie_of_the_score(sde, kind):
    prior, x = mixture(sde, kind), 2 * draws(50, 3)
    for t in times(sde):
        alpha, sigma = sde.alpha(t), sde.sigma(t)
        torch.testing.assert_close(
            prior.score(x, t), (alpha * prior.denoise(x, t) - x) / sigma**2, rtol=1e-7, atol=1e-6
        )


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 3])
def test_the_derivative_in_closed_form_is_that_of_automatic_differentiation(sde, k, kind, dtype):
    """To the last digit: of one Gaussian there is a formula, of more none."""
    prior = mixture(sde, kind, k)
    x, v = 2 * draws(7, 3).to(dtype), draws(7, 3, seed=5).to(dtype)
    for t in (*times(sde), torch.linspace(0.1, 1, 7, dtype=F64)):
        (found, vjp), (expected, by_graph) = prior.denoise_vjp(x, t), Prior.denoise_vjp(prior, x, t)
        assert torch.equal(found, expected) and torch.equal(found, prior.denoise(x, t))
        for along in (v, v[:1]):
            assert vjp(along).dtype == dtype and torch.equal(vjp(along), by_graph(along))


def test_the_derivative_is_that_of_the_denoiser_of_a_subclass(sde):
    class Doubled(Gaussian):
        def denoise(self, x, t):
            return 2 * super().denoise(x, t)

    one = mixture(sde, k=1)
    args = one.mean, one.covariance, sde
    x, v = draws(7, 3), draws(7, 3, seed=5)
    torch.testing.assert_close(Doubled(*args).denoise_vjp(x, 0.3)[1](v), 2 * Gaussian(*args).denoise_vjp(x, 0.3)[1](v))


@pytest.mark.parametrize("tied", [True, False])
def test_denoise_is_the_posterior_mean_by_quadrature(sde, tied):
    """d = 1: E[x0 | x] by the trapezoid rule on prior times transition."""
    variances = torch.tensor([0.04, 0.04 if tied else 0.3, 0.04], dtype=F64)
    means, weights = torch.tensor([-1.0, 0.5, 2.0], dtype=F64), torch.tensor([0.5, 0.2, 0.3], dtype=F64)
    prior = GaussianMixture(means[:, None], variances[:, None, None], weights, sde=sde)
    x0 = torch.linspace(-6, 6, 100001, dtype=F64)
    density = (weights * Normal(means, variances.sqrt()).log_prob(x0[:, None]).exp()).sum(1)
    for t in times(sde):
        alpha, sigma = sde.alpha(t), sde.sigma(t)
        x = alpha * torch.tensor([-1.5, -0.2, 0.9, 2.5], dtype=F64) + 0.3 * sigma
        joint = density * Normal(alpha * x0, sigma).log_prob(x[:, None]).exp()
        expected = torch.trapezoid(joint * x0, x0) / torch.trapezoid(joint, x0)
        torch.testing.assert_close(prior.denoise(x[:, None], t)[:, 0], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["score", "denoise", "log_prob"])
def test_a_time_per_row_is_a_loop_over_rows(sde, kind, method):
    prior, x = mixture(sde, kind), draws(3, 3)
    t = torch.tensor(times(sde), dtype=F64)
    rows = [getattr(prior, method)(row[None], s) for row, s in zip(x, t, strict=True)]
    torch.testing.assert_close(getattr(prior, method)(x, t), torch.cat(rows))


def test_equal_covariances_take_a_short_cut_to_the_same():
    means, one = 8 * draws(6, 5, seed=2), covariances("tied", 1, 5)
    short = GaussianMixture(means, one.expand(6, 5, 5), torch.ones(6), sde=VESDE())
    nearly = one * torch.tensor([1, 1, 1, 1, 1, 1 + 1e-13], dtype=F64)[:, None, None]
    long = GaussianMixture(means, nearly, torch.ones(6), sde=VESDE())
    assert (len(short.eigenvalues), len(long.eigenvalues)) == (1, 6)
    x = 8 * draws(40, 5)
    for t in (1e-5, 0.5, 0.8, 1.0):
        for method in ("score", "denoise", "log_prob"):
            torch.testing.assert_close(getattr(short, method)(x, t), getattr(long, method)(x, t), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", ["diagonal", "tied-diagonal"])
def test_diagonal_covariances_need_no_rotation(kind):
    assert mixture(VPSDE(), kind).basis is None
    assert mixture(VPSDE(), "dense").basis is not None


@pytest.mark.parametrize("kind", ["tied-diagonal", "diagonal"])
@pytest.mark.parametrize("name", ["ve", "vp", "subvp"])
def test_float32_far_apart_in_many_dimensions(kind, name):
    """The 25 modes of MCGdiff at d = 80: in float32 the results are those of float64, from t_min to 1."""
    sde, d = SDES[name], 80
    grid = 8.0 * torch.cartesian_prod(torch.arange(-2, 3), torch.arange(-2, 3)).double()
    spread = torch.ones(25, d, dtype=F64)
    if kind == "diagonal":
        spread += torch.arange(25)[:, None] / 25
    prior = GaussianMixture(grid.repeat(1, d // 2), torch.diag_embed(spread), torch.ones(25), sde=sde)
    for t in times(sde):
        x = (sde.alpha(t) * prior.sample(20, dtype=F64) + sde.sigma(t) * draws(20, d)).float()
        for method in ("score", "denoise", "log_prob"):
            single, double = getattr(prior, method)(x, t), getattr(prior, method)(x.double(), t)
            assert single.dtype == torch.float32 and double.dtype == F64
            torch.testing.assert_close(single, double.float(), rtol=0, atol=0)
            assert single.isfinite().all()


def test_images(sde):
    flat, images = mixture(sde, d=12), mixture(sde, d=12, event_shape=(3, 2, 2))
    x = draws(5, 3, 2, 2)
    assert images.event_shape == (3, 2, 2) and images.mean.shape == (3, 2, 2) and images.covariance.shape == (12, 12)
    for method in ("score", "denoise"):
        expected = getattr(flat, method)(x.flatten(1), 0.3).view(x.shape)
        torch.testing.assert_close(getattr(images, method)(x, 0.3), expected)
    torch.testing.assert_close(images.log_prob(x, 0.3), flat.log_prob(x.flatten(1), 0.3))
    assert torch.equal(images.sample(4).flatten(1), flat.sample(4))


@pytest.mark.parametrize("kind", KINDS)
def test_moments_and_samples(kind):
    prior, n = mixture(VPSDE(), kind), 20000
    torch.testing.assert_close(prior.mean, law(kind).mean)
    torch.testing.assert_close(prior.covariance.diagonal(), law(kind).variance)
    assert prior.variance == pytest.approx(law(kind).variance.mean().item())
    x = prior.sample(n, seed=3, dtype=F64)
    deviation = prior.covariance.diagonal().sqrt()
    assert ((x.mean(0) - prior.mean).abs() < 4.5 * deviation / math.sqrt(n)).all()
    scale = torch.outer(deviation, deviation)  # kurtosis of a mixture is below that of 2 Gaussians here
    assert ((x.mT.cov() - prior.covariance).abs() < 4.5 * 2 * scale / math.sqrt(n)).all()
    # the whole law, along a random line: the probability integral transform is uniform
    line = draws(3, seed=9)
    spread = torch.einsum("i,kij,j->k", line, covariances(kind, 3, 3), line).sqrt()
    ranks = (prior.weights * Normal(prior.means @ line, spread).cdf((x @ line)[:, None])).sum(1).sort()[0]
    uniform = (torch.arange(n, dtype=F64) + 0.5) / n
    assert (ranks - uniform).abs().max() < 1.95 / math.sqrt(n)  # Kolmogorov-Smirnov at 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_is_the_same_whatever_follows(kind):
    prior = mixture(VPSDE(), kind, d=20)
    many = prior.sample(50, seed=0)
    assert many.dtype == torch.float32 and many.shape == (50, 20)
    assert torch.equal(prior.sample(7, seed=0), many[:7])
    assert not torch.isclose(prior.sample(50, seed=1), many).any(1).all()
    assert prior.sample(0).shape == (0, 20)


def test_gaussian_is_a_mixture_of_one(sde):
    mean, covariance = draws(3), covariances("dense", 1, 3)[0]
    gaussian, x = Gaussian(mean, covariance, sde=sde), draws(4, 3)
    torch.testing.assert_close(gaussian.log_prob(x), MultivariateNormal(mean, covariance).log_prob(x))
    torch.testing.assert_close(gaussian.mean, mean)
    torch.testing.assert_close(gaussian.covariance, covariance)
    assert gaussian.variance == pytest.approx(covariance.diagonal().mean().item())
    alpha, sigma = sde.alpha(0.5), sde.sigma(0.5)
    noised = alpha**2 * covariance + sigma**2 * torch.eye(3, dtype=F64)
    expected = mean + alpha * torch.linalg.solve(noised, (x - alpha * mean).mT).mT @ covariance
    torch.testing.assert_close(gaussian.denoise(x, 0.5), expected)


def test_weights_are_normalised_and_lists_are_taken():
    prior = GaussianMixture([[0.0], [1.0]], [[[1.0]], [[2.0]]], [3, 1], sde=VPSDE())
    torch.testing.assert_close(prior.weights, torch.tensor([0.75, 0.25], dtype=F64))


def test_moves_and_copies_as_a_module():
    prior, x = mixture(VPSDE()), draws(4, 3)
    assert {name for name, _ in prior.named_buffers()} == {"means", "eigenvalues", "basis", "log_weights"}
    assert prior.device == torch.device("cpu") and copy.deepcopy(prior).to("meta").device.type == "meta"
    single = copy.deepcopy(prior).float()
    assert single.denoise(x, 0.3).dtype == F64
    torch.testing.assert_close(single.denoise(x, 0.3), prior.denoise(x, 0.3), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_gpu(kind):
    prior, x = mixture(VPSDE(), kind), draws(4, 3).float()
    moved, t = copy.deepcopy(prior).to("cuda"), torch.rand(4)
    for method in ("score", "denoise", "log_prob"):
        torch.testing.assert_close(getattr(moved, method)(x.cuda(), t.cuda()).cpu(), getattr(prior, method)(x, t))
    torch.testing.assert_close(moved.sample(5).cpu(), prior.sample(5))


def test_a_singular_covariance_has_scores_but_no_density():
    line = torch.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=F64)
    prior, x = Gaussian(torch.zeros(2), line, sde=VPSDE()), draws(4, 2)
    with pytest.raises(ValueError, match="singular covariance"):
        prior.log_prob(x)
    sigma, alpha = VPSDE().sigma(0.4), VPSDE().alpha(0.4)
    noised = MultivariateNormal(torch.zeros(2, dtype=F64), alpha**2 * line + sigma**2 * torch.eye(2, dtype=F64))
    torch.testing.assert_close(prior.log_prob(x, 0.4), noised.log_prob(x))
    samples = prior.sample(100)
    torch.testing.assert_close(samples[:, 1], 2 * samples[:, 0], rtol=1e-5, atol=1e-6)


EYE = torch.eye(2).expand(3, 2, 2)
SKEW = torch.tensor([[1.0, 0.1], [0.0, 1.0]]).expand(3, 2, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(3), EYE, torch.ones(3)), r"means of shape \(3,\): expected \(K, d\); flatten"),
        ((torch.zeros(3, 2), EYE[0], torch.ones(3)), r"covariances of shape \(2, 2\): expected \(3, 2, 2\)"),
        ((torch.zeros(3, 2), EYE, torch.ones(2)), "expected 3 positive numbers"),
        ((torch.zeros(3, 2), EYE, torch.tensor([1.0, 0.0, 1.0])), "weights .*expected 3 positive numbers; remove"),
        ((torch.full((3, 2), math.nan), EYE, torch.ones(3)), "means has entries that are nan"),
        ((torch.zeros(3, 2), EYE, torch.tensor([1.0, math.inf, 1.0])), "weights has entries that are nan or inf"),
        ((torch.zeros(3, 2), -EYE, torch.ones(3)), "eigenvalue -1: expected positive semidefinite"),
        ((torch.zeros(3, 2), EYE + torch.tensor([[0.0, 2.0], [2.0, 0.0]]), torch.ones(3)), "eigenvalue -1"),
        (
            (torch.zeros(3, 2), SKEW, torch.ones(3)),
            "from their transposes by 0.1",
        ),
    ],
)
def test_bad_mixtures_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(*arguments, sde=VPSDE())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda p: p.score(torch.zeros(2, 4), 0.5),
            r"shape \(2, 4\): expected \(N, 3\)$",
        ),
        (lambda p: p.denoise(torch.zeros(3), 0.5), r"expected \(N, 3\); x\[None\]"),
        (lambda p: p.log_prob(torch.zeros(2, 3, dtype=torch.int64)), "torch.int64"),
        (lambda p: p.score(torch.zeros(2, 3), torch.zeros(3)), r"t of shape \(3,\): expected a scalar or \(2,\)"),
        (
            lambda p: mixture(VPSDE(), event_shape=(2, 2)),
            r"event_shape \(2, 2\): expected sizes whose product is d = 3",
        ),
        (lambda p: Gaussian(torch.zeros(2), torch.eye(3), sde=VPSDE()), r"mean \(2,\) and covariance \(3, 3\)"),
    ],
)
def test_bad_calls_are_refused(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call(mixture(VPSDE()))


def test_rounding_of_float32_covariances_is_forgiven():
    root = draws(30, 20).float()
    prior = Gaussian(torch.zeros(30), root @ root.mT, sde=VPSDE())  # rank 20 of 30: eigenvalues -1e-6 by rounding
    assert (prior.eigenvalues >= 0).all()
    torch.testing.assert_close(prior.covariance.float(), root @ root.mT, rtol=1e-4, atol=1e-4)
