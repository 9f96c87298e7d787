"""A data set as a prior, against mixtures of Gaussians, sums over its pictures and likelihoods written out."""

import copy
import math

import pytest
import torch
from torch.distributions import Normal, Poisson
from torch.utils._python_dispatch import TorchDispatchMode

import operators
from inverse import sample, solve
from priors import VESDE, VPSDE, Empirical, GaussianMixture, Moments, Prior
from priors.empirical import CHUNK
from tests.cases import w2_ratio
from tests.priors.cases import F64, SDES, Matrix, data_set, draws
from tests.priors.test_conditioning import MEASUREMENTS

BANDWIDTHS = (0.0, 0.4)


@pytest.fixture(params=list(SDES.values()), ids=list(SDES))
def sde(request):
    return request.param


def times(sde):
    return sde.t_min, 0.3, 1.0


def mixture_of(prior: Empirical) -> GaussianMixture:
    """The same law, written as a mixture."""
    n, d = prior.images.flatten(1).shape
    covariance = prior.bandwidth**2 * torch.eye(d, dtype=F64)
    return GaussianMixture(
        prior.images.flatten(1), covariance.expand(n, d, d), torch.ones(n), prior.sde, prior.event_shape
    )


def by_differences(prior: Empirical, x, t):
    """log p_t, weights, denoiser and score from the differences x - alpha m_i themselves, (N, n, d) in float64."""
    m, flat = prior.images.double().flatten(1), x.double().flatten(1)
    alpha, sigma = (curve(torch.as_tensor(t, dtype=F64)).view(-1, 1) for curve in (prior.sde.alpha, prior.sde.sigma))
    v = (alpha * prior.bandwidth) ** 2 + sigma**2
    away = flat[:, None] - alpha[..., None] * m
    log_p = -0.5 * away.square().sum(2) / v - 0.5 * m.shape[1] * (2 * math.pi * v).log()
    r = log_p.softmax(1)
    pull = torch.einsum("nk,nkd->nd", r, away)
    denoised = r @ m + alpha * prior.bandwidth**2 / v * pull
    return log_p.logsumexp(1) - math.log(len(m)), r, denoised.view(x.shape), (-pull / v).view(x.shape)


@pytest.mark.parametrize("bandwidth", BANDWIDTHS)
def test_score_denoiser_and_density_are_those_of_the_mixture(sde, bandwidth):
    prior = data_set(sde, bandwidth)
    law = mixture_of(prior)
    for t in (*times(sde), torch.tensor(times(sde) * 4, dtype=F64)):
        x = 1.5 * draws(12, 3)
        for method in ("score", "denoise", "log_prob", "responsibilities"):
            expected = getattr(law, method)(x, t)
            torch.testing.assert_close(getattr(prior, method)(x, t), expected, rtol=1e-7, atol=1e-9)
    if bandwidth:
        torch.testing.assert_close(prior.log_prob(x), law.log_prob(x))
        torch.testing.assert_close(prior.responsibilities(x), law.responsibilities(x))


@pytest.mark.parametrize("bandwidth", [0.0, 0.01])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_float32_pictures_far_from_zero_lose_no_digits(bandwidth, offset):
    """At sigma = .01 two pictures whose squared distances differ by 2 sigma^2 have weights in a ratio of e, while the
    squares themselves are of order 10^2 and, far from 0, 10^9: in single precision their products decide nothing."""
    images = 0.5 + 0.3 * draws(400, 1, 28, 28)
    images[200:] = images[:200] + 1e-3 * draws(200, 1, 28, 28, seed=1)  # pairs that are nearly the same
    prior = Empirical((images + offset).float(), VESDE(0.01, 50.0), bandwidth)
    x = (prior.images[:40].double() + 0.01 * draws(40, 1, 28, 28, seed=3)).float()
    log_p, r, denoised, score = by_differences(prior, x, 0.0)
    assert ((r[:, :200].sum(1) > 0.02) & (r[:, :200].sum(1) < 0.98)).sum() > 5  # a case in which digits matter
    rounding = 4 * torch.finfo(torch.float32).eps * (1 + offset)
    torch.testing.assert_close(prior.responsibilities(x, 0.0).double(), r, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(prior.denoise(x, 0.0).double(), denoised, rtol=0, atol=rounding)
    torch.testing.assert_close(prior.score(x, 0.0).double(), score, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(prior.log_prob(x, 0.0).double(), log_p, rtol=1e-5, atol=1e-2)
    assert prior.denoise(x, 0.0).dtype == torch.float32
    flat, m = x.flatten(1), prior.images.flatten(1)  # and the products in single precision are wrong
    naive = ((flat @ m.mT - 0.5 * m.square().sum(1)) / 1e-4).softmax(1)
    assert offset == 0 or (naive.double() - r).abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("bandwidth", BANDWIDTHS)
def test_the_derivative_in_closed_form_is_that_of_automatic_differentiation(sde, bandwidth, dtype):
    prior, x, v = data_set(sde, bandwidth), 1.5 * draws(7, 3).to(dtype), draws(7, 3, seed=5).to(dtype)
    for t in (*times(sde), torch.linspace(0.1, 1, 7, dtype=F64)):
        (found, vjp), (expected, by_graph) = prior.denoise_vjp(x, t), Prior.denoise_vjp(prior, x, t)
        assert torch.equal(found, expected) and torch.equal(found, prior.denoise(x, t))
        for along in (v, v[:1]):
            assert vjp(along).dtype == dtype
            tolerance = {"rtol": 1e-6, "atol": 1e-9} if dtype == F64 else {"rtol": 1e-4, "atol": 1e-5}
            torch.testing.assert_close(vjp(along), by_graph(along), **tolerance)


def test_a_second_derivative_is_recorded():
    prior, x = data_set(VPSDE()), draws(4, 3).requires_grad_()
    vjp = prior.denoise_vjp(x, 0.4)[1]
    again = torch.autograd.grad(vjp(torch.ones(4, 3, dtype=F64)).sum(), x)[0]
    step = 1e-5 * draws(4, 3, seed=8)
    ends = [prior.denoise_vjp(x.detach() + s, 0.4)[1](torch.ones(4, 3, dtype=F64)).sum() for s in (step, -step)]
    assert float((ends[0] - ends[1]) / 2) == pytest.approx(float((again * step).sum()), rel=1e-5)


class Largest(TorchDispatchMode):
    """The largest tensor that is made."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        self.numel = max([self.numel, *(x.numel() for x in (out if isinstance(out, list | tuple) else [out])
                                        if isinstance(x, torch.Tensor) and x._base is None)])  # fmt: skip
        return out


def test_memory_is_that_of_the_weights_and_of_a_few_pictures():
    prior, x = data_set(VESDE(), n=9000, shape=(300,)), draws(200, 300)
    with Largest() as largest:
        prior.denoise_vjp(x, 0.5)[1](x)
        prior.score(x, 0.5)
    assert 200 * 9000 <= largest.numel <= max(200 * 9000, CHUNK) < 9000 * 300  # and N n d = 540 million


@pytest.mark.parametrize("bandwidth", BANDWIDTHS)
def test_moments_and_samples(bandwidth):
    prior, n = data_set(VPSDE(), bandwidth, shape=(1, 2, 2)), 8000
    law = mixture_of(prior)
    torch.testing.assert_close(prior.mean, law.mean)
    torch.testing.assert_close(prior.covariance, law.covariance)
    assert prior.variance == pytest.approx(law.variance)
    other, z = Moments.of_covariance(law.mean, law.covariance), draws(5, 1, 2, 2).float()
    torch.testing.assert_close(prior.moments.apply(torch.sqrt, z), other.apply(torch.sqrt, z), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(prior.moments.mean, other.mean)
    x = prior.sample(n, seed=3, dtype=F64).flatten(1)
    spread = law.covariance.diagonal().sqrt()
    assert ((x.mean(0) - law.mean.flatten()).abs() < 4.5 * spread / n**0.5).all()
    assert ((x.mT.cov() - law.covariance).abs() < 4.5 * 2 * torch.outer(spread, spread) / n**0.5).all()
    found = prior.nearest(prior.sample(n, seed=3))
    counts = torch.bincount(found, minlength=9).double()
    if not bandwidth:
        assert ((counts - n / 9).square() / (n / 9)).sum() < 26.1  # chi^2 of 8 degrees at 1e-3
        torch.testing.assert_close(prior.images[found].float(), prior.sample(n, seed=3), rtol=0, atol=0)
    assert torch.equal(prior.sample(7, seed=3), prior.sample(50, seed=3)[:7]) and prior.sample(0).shape == (0, 1, 2, 2)
    assert not torch.equal(prior.sample(50, seed=4), prior.sample(50, seed=3))


def test_one_picture_has_moments():
    prior = Empirical(draws(1, 2, 2), VESDE(), 0.5)
    z = draws(3, 2, 2).float()
    torch.testing.assert_close(prior.moments.apply(torch.sqrt, z), 0.5 * z)
    torch.testing.assert_close(prior.covariance, 0.25 * torch.eye(4, dtype=F64))


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_the_posterior_with_a_bandwidth_is_that_of_the_mixture(name):
    matrix, sigma = MEASUREMENTS[name]
    operator, prior = Matrix(matrix, sigma), data_set(VPSDE(), 0.4)
    y = (matrix @ draws(3, seed=4) + torch.as_tensor(sigma) * draws(len(matrix), seed=5))[None]
    found, law = prior.posterior(operator, y), mixture_of(prior).posterior(operator, y)
    torch.testing.assert_close(found.weights, law.weights, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.mean, law.mean, rtol=1e-6, atol=1e-7)
    spread = law.covariance.diagonal().clamp_min(0).sqrt()
    torch.testing.assert_close(found.std, spread, rtol=1e-5, atol=1e-7)
    assert found.log_evidence == pytest.approx(mixture_of(prior).log_evidence(operator, y), abs=1e-6)
    n = 4000
    x = found.sample(n, seed=2, dtype=F64)
    assert ((x.mean(0) - law.mean).abs() <= 4.5 * spread / n**0.5 + 1e-9).all()
    scale = torch.outer(spread, spread)
    assert ((x.mT.cov() - law.covariance).abs() <= 4.5 * 2 * scale / n**0.5 + 1e-9).all()
    assert torch.equal(found.sample(5, seed=2), found.sample(40, seed=2)[:5])


@pytest.mark.parametrize("sigma", [0.3, 0.02])
def test_the_posterior_of_pictures_is_the_limit_of_small_bandwidths(sigma):
    operator = operators.LinearMap(draws(2, 3, seed=7), noise=operators.GaussianNoise(sigma))
    prior, small = data_set(VESDE()), data_set(VESDE(), 1e-6)
    y = operator.measure(prior.images[:1].float(), seed=1)
    found, limit = prior.posterior(operator, y.double()), small.posterior(operator, y.double())
    torch.testing.assert_close(found.weights, limit.weights, rtol=1e-4, atol=1e-7)
    assert found.log_evidence == pytest.approx(limit.log_evidence, abs=1e-4)
    assert found.ess == pytest.approx(1 / float(limit.weights.square().sum()), rel=1e-3)
    torch.testing.assert_close(found.mean, limit.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.std, limit.std, rtol=1e-3, atol=1e-4)


def nonlinear():
    """Operator, and log p(y | x) written out."""
    shape = (1, 8, 8)
    blur = operators.Blur.gaussian(0.5, noise=operators.PoissonNoise(3.0))
    jpeg = operators.JPEG(30, noise=operators.GaussianNoise(0.3))
    phase = operators.PhaseRetrieval(1.0, noise=operators.GaussianNoise(0.4))
    clip = operators.Saturation(2.0, noise=operators.GaussianNoise(0.5))
    mask = operators.Masking.random(shape, 0.2, noise=operators.GaussianNoise(0.3))

    def gaussian(operator, sigma):
        return lambda y, x: Normal(operator(x), sigma).log_prob(y).flatten(1).sum(1)

    return {
        "poisson": (blur, lambda y, x: Poisson(3 * blur(x)).log_prob(3 * y).flatten(1).sum(1)),
        "jpeg": (jpeg, gaussian(jpeg, 0.3)),
        "phase": (phase, gaussian(phase, 0.4)),
        "saturation": (clip, gaussian(clip, 0.5)),
        "masking": (mask, lambda y, x: (Normal(x, 0.3).log_prob(y) * mask.mask).flatten(1).sum(1)),
    }


@pytest.mark.parametrize("name", nonlinear())
def test_the_posterior_of_pictures_under_any_likelihood(name):
    operator, log_likelihood = nonlinear()[name]
    images = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    prior, y = Empirical(images, VESDE()), operator.measure(images[:1], seed=1)
    found, log_p = prior.posterior(operator, y), log_likelihood(y, images).double()
    torch.testing.assert_close(found.weights, log_p.softmax(0), rtol=2e-4, atol=1e-7)
    # a count's probability is that of y in steps of 1 / peak
    expected = float(log_p.logsumexp(0)) - math.log(50)
    assert found.log_evidence == pytest.approx(expected, abs=1e-3)
    w = log_p.softmax(0)
    mean = torch.einsum("n,nchw->chw", w, images.double())
    torch.testing.assert_close(found.mean, mean, rtol=1e-3, atol=1e-4)
    spread = torch.einsum("n,nchw->chw", w, (images - mean).square()).sqrt()
    torch.testing.assert_close(found.std, spread, rtol=1e-2, atol=1e-3)
    labels = torch.arange(50) % 3
    classes = torch.stack([w[labels == c].sum() for c in range(3)])
    torch.testing.assert_close(found.class_probabilities(labels), classes, rtol=1e-3, atol=1e-5)
    drawn = found.sample(4000, seed=5)
    indices = found.indices(4000, seed=5)
    assert torch.equal(drawn, images[indices]) and torch.equal(prior.nearest(drawn), indices)
    share = torch.bincount(labels[indices], minlength=3) / 4000
    assert ((share - classes).abs() < 4.5 * (classes * (1 - classes) / 4000).sqrt() + 1e-6).all()


def test_labels_are_measurements_too():
    class Two(torch.nn.Module):
        n_classes = 2

        def forward(self, x, t):
            return torch.stack([x[:, 0], -x[:, 0]], 1)

    prior = data_set(VESDE(), n=5)
    found = Empirical(prior.images.float(), VESDE()).posterior(operators.Classifier(Two()), torch.tensor([1]))
    expected = torch.sigmoid(-2 * prior.images[:, 0])
    torch.testing.assert_close(found.weights, expected / expected.sum(), rtol=1e-5, atol=1e-6)


def test_a_bandwidth_and_any_operator_by_many_draws():
    """What the refusal advises, where the answer is known."""
    operator = operators.LinearMap(draws(2, 3, seed=7).float(), noise=operators.GaussianNoise(0.3))
    prior = data_set(VESDE(), 0.4)
    y = operator.measure(prior.images[:1].float(), seed=1)
    found, exact = Empirical(prior.sample(30_000), VESDE()).posterior(operator, y), prior.posterior(operator, y)
    assert ((found.mean - exact.mean).abs() < 4.5 * exact.std / found.ess**0.5).all()
    assert found.log_evidence == pytest.approx(exact.log_evidence, abs=4.5 / found.ess**0.5)
    torch.testing.assert_close(found.std, exact.std, rtol=0.05, atol=0.0)


@pytest.mark.parametrize("bandwidth", [0.0, 0.2])
def test_samples_are_those_of_the_pictures(bandwidth):
    prior = Empirical(draws(40, 2, seed=6).float(), VESDE(0.02, 30.0), bandwidth)
    assert w2_ratio(sample(prior, 400, progress=False).double(), prior) < 1.3


def test_solve_ends_at_the_posterior():
    prior = Empirical(draws(40, 2, seed=6).float(), VESDE(0.02, 30.0), 0.2)
    operator = operators.LinearMap(torch.tensor([[1.0, 0.5]]), noise=operators.GaussianNoise(0.3))
    y = operator.measure(prior.images[:1], seed=2)
    exact = prior.posterior(operator, y)
    assert exact.ess > 3
    assert w2_ratio(solve(prior, operator, y, 400, progress=False).samples[0].double(), exact) < 1.3


def test_moves_and_copies_as_a_module():
    prior, x = data_set(VPSDE(), 0.3), draws(4, 3)
    assert {name for name, _ in prior.named_buffers()} == {"images"} and prior.device == torch.device("cpu")
    single, before = copy.deepcopy(prior).float(), prior.moments
    assert prior.moments is before and single.moments is not before and single.images.dtype == torch.float32
    assert single.denoise(x, 0.3).dtype == F64 and copy.deepcopy(prior).to("meta").device.type == "meta"
    torch.testing.assert_close(single.denoise(x, 0.3), prior.denoise(x, 0.3), rtol=1e-6, atol=1e-6)
    assert repr(prior).startswith("Empirical(images=9, bandwidth=0.3, event_shape=(3,), sde=VPSDE(")


def test_without_noise_the_denoiser_is_the_nearest_picture():
    prior, x = data_set(VPSDE()), 2 * draws(20, 3)
    nearest = torch.cdist(x, prior.images).argmin(1)
    assert torch.equal(prior.nearest(x), nearest)
    torch.testing.assert_close(prior.denoise(x, 0.0), prior.images[nearest])


G = operators.GaussianNoise(0.1)
LINEAR = operators.LinearMap(torch.eye(3), noise=G)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Empirical(torch.zeros(2, 3, dtype=torch.uint8), VESDE()), "images of torch.uint8.*images.float"),
        (lambda: Empirical(torch.zeros(3), VESDE()), r"images of shape \(3,\): expected"),
        (lambda: Empirical(torch.zeros(0, 3), VESDE()), "at least one picture"),
        (lambda: Empirical(torch.full((2, 3), math.nan), VESDE()), "nan or infinite"),
        (lambda: data_set(VESDE(), -0.1), "bandwidth = -0.1: expected a finite number >= 0"),
        (lambda: Empirical(torch.zeros(2, 3), None), "expected a priors.SDE"),
        (lambda: data_set(VESDE()).log_prob(torch.zeros(1, 3)), "bandwidth of 0 is not defined"),
        (lambda: data_set(VESDE()).score(torch.zeros(1, 4), 0.5), r"expected \(N, 3\)"),
        (lambda: data_set(VESDE()).sample(2, dtype=torch.int64), "expected a floating torch.dtype"),
        (lambda: data_set(VESDE()).posterior(torch.relu, torch.zeros(1, 3)), "expected an operators.Operator"),
        (lambda: data_set(VESDE()).posterior(LINEAR, torch.zeros(2, 3)), r"\(2, 3\): expected one measurement"),
        (lambda: data_set(VESDE()).posterior(LINEAR, None), "expected one measurement"),
        (lambda: data_set(VESDE()).posterior(operators.LinearMap(torch.eye(3)), torch.zeros(1, 3)), "sigma"),
        (
            lambda: data_set(VESDE(), 0.1).posterior(operators.Saturation(noise=G), torch.zeros(1, 3)),
            r"Saturation lacks \['linear'\]: with a bandwidth > 0 .*use bandwidth=0, or Empirical\(prior.sample",
        ),
        (
            lambda: data_set(VESDE(), 0.1, 2, (5000,)).posterior(operators.Identity(noise=G), torch.zeros(1, 5000)),
            "at most 4096",
        ),
        (
            lambda: data_set(VESDE()).posterior(
                operators.Masking(torch.ones(2, 3), G, event_ndim=1), torch.zeros(1, 3)
            ),
            "parameters for 2 measurements: expected one",
        ),
        (lambda: data_set(VESDE()).posterior(LINEAR, torch.full((1, 3), 1e30)), "impossible under every picture"),
        (lambda: posterior().class_probabilities([0.5] * 9), "expected integers"),
        (lambda: posterior().class_probabilities([0] * 8), r"shape \(8,\): expected 9 integers"),
        (lambda: posterior().class_probabilities([-1] * 9), "integers >= 0"),
    ],
)  # fmt: skip
def test_what_is_refused(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def posterior():
    return data_set(VESDE()).posterior(LINEAR, torch.zeros(1, 3))
