"""Expectation propagation: Gaussian noise is exact, other noise is compared with numerical integration."""

import math

import pytest
import torch

from inverse import METHODS, solve
from inverse.auto import choose
from inverse.guidance import EP, MMPS, Tweedie
from inverse.guidance.ep import EPPosterior
from inverse.guidance.sites import Spectral, matched
from operators import (
    Blur,
    GaussianNoise,
    Grayscale,
    Identity,
    LinearMap,
    Masking,
    PoissonGaussianNoise,
    PoissonNoise,
    Radon,
    RicianNoise,
    Saturation,
    SpeckleNoise,
    Transmission,
)
from priors import VESDE, VPSDE, Evaluations, Gaussian, Moments, Spectrum
from tests.cases import score_prior

F64 = torch.float64
MEAN, COVARIANCE = torch.tensor([0.6, 0.8], dtype=F64), torch.tensor([[0.03, 0.01], [0.01, 0.02]], dtype=F64)
MATRIX = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
TIMES = {"ve": (VESDE(), 0.6), "vp": (VPSDE(), 0.3)}
NOISES = {
    "few photons": PoissonNoise(2.0),
    "photons": PoissonNoise(40.0),
    "camera": PoissonGaussianNoise(10.0, 0.1),
    "rician": RicianNoise(0.3),
    "speckle": SpeckleNoise(2.0),
}


def smooth(d: int, sde) -> Gaussian:
    place = torch.arange(d, dtype=F64)
    covariance = 0.04 * torch.exp(-0.5 * ((place[:, None] - place) / 2) ** 2) + 1e-4 * torch.eye(d, dtype=F64)
    return Gaussian(torch.full((d,), 0.8, dtype=F64), covariance, sde=sde)


@pytest.mark.parametrize("sde", TIMES)
@pytest.mark.parametrize("most", [0, 16])
def test_with_gaussian_noise_it_is_moment_matching(sde, most):
    noising, t = TIMES[sde]
    prior, operator = smooth(8, noising), LinearMap(torch.eye(8)[::2], GaussianNoise(0.1))
    y = operator.measure(prior.sample(3, seed=0).float(), seed=1)
    x = 0.8 * float(noising.alpha(torch.tensor(t))) + torch.randn(3, 8, generator=torch.Generator().manual_seed(2))
    ours = EP(8, most).posterior(prior, operator, y).denoise(x, torch.tensor(t))
    exact = Tweedie().posterior(prior, operator, y).denoise(x, torch.tensor(t))
    torch.testing.assert_close(ours, exact, rtol=2e-3, atol=2e-4)


def expected(prior: Gaussian, operator: LinearMap, y, x, t):
    """E[x0 | x_t, y] and log p(y | x_t) by a grid over the support of the noise."""
    alpha, sigma = float(prior.sde.alpha(t)), float(prior.sde.sigma(t))
    gain = alpha * COVARIANCE @ torch.linalg.inv(alpha**2 * COVARIANCE + sigma**2 * torch.eye(2, dtype=F64))
    mean, covariance = MEAN + gain @ (x[0].double() - alpha * MEAN), COVARIANCE - alpha * gain @ COVARIANCE
    ends = [mean[i] + covariance[i, i].sqrt() * torch.linspace(-9, 9, 501, dtype=F64) for i in (0, 1)]
    grid = torch.cartesian_prod(*ends)
    log_p = torch.distributions.MultivariateNormal(mean, covariance).log_prob(grid)
    clean = operator(grid.to(F64))
    likelihood = operator.noise.log_prob(y.double().expand(len(grid), -1), clean).sum(1)
    likelihood = torch.where((clean >= operator.noise.least).all(1), likelihood, -math.inf)
    cell = float((ends[0][1] - ends[0][0]) * (ends[1][1] - ends[1][0]))
    return ((log_p + likelihood).softmax(0)[:, None] * grid).sum(0), float(
        (log_p + likelihood).logsumexp(0)
    ) + math.log(cell)


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("sde", TIMES)
def test_a_few_numbers_are_as_by_numerical_integration(name, sde):
    """A Gaussian x0 given x_t, three measured sums of two values: the error is that of expectation propagation, and
    where sums are not negative that of the gamma law, which is skew (.029 to .062 of the spread).
    """
    noising, t = TIMES[sde]
    t = torch.tensor(t, dtype=F64)
    prior, operator = Gaussian(MEAN, COVARIANCE, sde=noising), LinearMap(MATRIX, NOISES[name])
    y = operator.measure(MEAN[None].float(), seed=3)
    x = (float(noising.alpha(t)) * MEAN + torch.tensor([0.1, -0.1], dtype=F64))[None].float()
    posterior = EPPosterior(prior, operator.at((2,)), y, EP())
    mean, log_p = expected(prior, operator, y, x, t)
    spread = float(COVARIANCE.trace() / 2) ** 0.5
    skew, log_skew = (0.08, 0.03) if operator.noise.least == 0 else (0.02, 0.02)
    assert (posterior.denoise(x, t)[0].double() - mean).norm() < skew * spread
    assert abs(float(posterior.log_likelihood(x, t)) - log_p) < log_skew


@pytest.mark.parametrize("counts", [(0, 0, 0), (0, 1, 3), (2, 0, 0)])
@pytest.mark.parametrize("peak", [1.0, 50.0])
def test_few_photons_behind_an_absorber_are_as_by_numerical_integration(counts, peak):
    """Most rays have no photons, and their likelihood only bounds the line integral from below."""
    t = torch.tensor(0.6, dtype=F64)
    scanner = Transmission(PoissonNoise(peak)) @ LinearMap(6 * MATRIX)
    linear, noise = scanner.linear_part()
    prior, y = Gaussian(MEAN, COVARIANCE, sde=VESDE()), torch.tensor([counts]) / peak
    x = (MEAN + torch.tensor([0.1, -0.1], dtype=F64))[None].float()
    mean, log_p = expected(prior, linear.with_noise(noise), y, x, t)
    posterior = EPPosterior(prior, scanner.at((2,)), y, EP())
    spread = float(COVARIANCE.trace() / 2) ** 0.5
    assert (posterior.denoise(x, t)[0].double() - mean).norm() < 0.05 * spread
    assert abs(float(posterior.log_likelihood(x, t)) - log_p) < 0.05


SPECTRUM = Spectrum((0.4,), ((1.0,),), (2e-4,), (2.2,), (0.03,))


def behind_an_absorber(peak: float, n: int = 16):
    """Pictures of a Gaussian prior behind which about 1 of 3 to 5,000 photons is left, and their counts."""
    moments = SPECTRUM.sized((1, n, n)).to(torch.device("cpu"), F64)
    covariance = moments.apply(lambda v: v, torch.eye(n * n, dtype=F64).view(-1, 1, n, n)).flatten(1)
    prior = Gaussian(moments.mean.flatten(), covariance, sde=VESDE(0.01, 30.0), event_shape=(1, n, n))
    x = prior.sample(1, seed=3).float()
    scanner = Transmission(PoissonNoise(peak)) @ Radon(16, n, pixel=0.9)
    return prior, x, scanner, scanner.measure(x, seed=0)


@pytest.mark.parametrize(("peak", "approximate"), [(500.0, True), (50.0, False), (5.0, True)])
def test_intervals_hold_where_rays_have_no_photons(peak, approximate):
    """Against a truth of the prior, 256 pixels; also with moments as of trained priors, of which solves end early."""
    prior, x, scanner, y = behind_an_absorber(peak)
    if approximate:
        prior.moments = SPECTRUM.sized((1, 16, 16))
    assert (y == 0).double().mean() > 0.04
    samples = solve(prior, scanner, y, 12, "ep", 12, progress=False).samples[0]
    wrong, spread = samples.mean(0) - x[0], (samples.var(0) * (1 + 1 / 12)).sqrt()
    assert 0.75 < float((wrong.square().mean() / spread.square().mean()).sqrt()) < 1.25
    assert float((wrong.abs() < 2.2 * spread).double().mean()) > 0.9  # 95 % by Student's t, 11 degrees of freedom


@pytest.mark.parametrize("s2", [float("inf"), 0.5, 0.01])
def test_marginals_stay_near_where_some_factors_say_little(s2):
    """Factors of standard deviations .01 to 100, in few iterations, against matrices: what factors of large variance
    leave undecided is not amplified by it."""
    n, generator = 24, torch.Generator().manual_seed(0)
    moments = Spectrum((0.4,), ((1.0,),), (5e-4,), (3.0,), (0.01,)).sized((1, n, n))
    operator = Radon(40, n, pixel=0.45).at((1, n, n))
    units = torch.eye(n * n).view(-1, 1, n, n)
    rows = operator(units).flatten(1).double().mT
    covariance = moments.to(rows.device, F64).apply(lambda v: v / (1 + v / s2), units.double()).flatten(1)
    gram = rows @ covariance @ rows.mT
    center = operator(moments.mean[None]).double()
    drawn = (
        torch.linalg.cholesky(covariance + 1e-9 * torch.eye(n * n))
        @ torch.randn(n * n, 1, generator=generator).double()
    )
    deviation = 10 ** (4 * torch.rand(center.shape, generator=generator, dtype=F64) - 2)
    residual = (rows @ drawn).view(center.shape) + deviation * torch.randn(center.shape, generator=generator)
    moved = gram @ torch.linalg.solve(gram + torch.diag(deviation.flatten() ** 2), residual.flatten())
    marginals = Spectral(operator, moments, moments, s2, moments.mean[None])
    mean, _ = marginals.given(center + residual, deviation**2)
    wrong, before = mean - center - moved.view(center.shape), gram.diagonal().mean().sqrt()
    assert wrong.square().mean().sqrt() < 0.5 * before
    assert wrong.abs().max() < 2 * before


def test_factors_of_many_entries_need_the_average_count_alone():
    """A constant field of unknown level, 400 counts of .5 on average: the matched factors find the level of the counts,
    although a single count says little."""
    moments = Moments(
        torch.full((400,), 1.0), torch.full((400, 1), 0.05), torch.tensor([400 * 0.25]), torch.tensor(1e-6)
    )
    truth = torch.full((1, 400), 0.5)
    operator = Identity(PoissonNoise(1.0)).at((400,))
    y = operator.measure(truth, seed=0)
    marginals = Spectral(operator, moments, moments, float("inf"), moments.mean[None])
    factors = matched(operator.noise, y, marginals, None)
    mean, _ = marginals.given(factors.target, factors.variance)
    level = torch.linspace(0.2, 1.0, 10_001, dtype=F64)
    log_p = 400 * (float(y.mean()) * level.log() - level) - 0.5 * (level - 1) ** 2 / 0.25
    exact = float((log_p.softmax(0) * level).sum())
    assert abs(float(mean.mean()) - exact) < 0.01  # a third of the posterior's standard deviation


def test_average_marginals_are_exact_where_all_entries_are_alike():
    moments = Moments.isotropic((1, 12, 12), 0.09)
    operator = Blur.gaussian(1.0, noise=PoissonNoise(10.0)).at((1, 12, 12))
    marginals = Spectral(operator, moments, moments, 0.04, torch.full((1, 1, 12, 12), 0.5))
    c = 0.09 / (1 + 0.09 / 0.04)
    units = torch.eye(144, dtype=torch.float32).view(144, 1, 12, 12)
    gram = c * operator(operator.adjoint(units)).flatten(1).double()
    for variance in (1e-4, 1e-2, 1.0):
        left = gram - gram @ torch.linalg.solve(gram + variance * torch.eye(144, dtype=F64), gram)
        _, found = marginals.given(
            torch.full((1, 1, 12, 12), 0.5, dtype=F64), torch.full((1, 1, 12, 12), variance, dtype=F64)
        )
        assert abs(float(found.mean()) / float(left.diagonal().mean()) - 1) < 0.15


@pytest.mark.parametrize("operator", [
    Masking.random((1, 8, 8), 0.5, seed=0, noise=PoissonNoise(20.0)),
    Blur.gaussian(0.6, boundary="reflect", noise=PoissonNoise(20.0)),
    Transmission(PoissonNoise(100.0)) @ Radon(6),
    Transmission(GaussianNoise(0.05)),
])  # fmt: skip
def test_samples_do_not_depend_on_the_batch(operator):
    prior = Gaussian(
        torch.full((64,), 0.6, dtype=F64),
        0.02 * torch.eye(64, dtype=F64) + 0.02,
        sde=VESDE(0.01, 10.0),
        event_shape=(1, 8, 8),
    )
    y = operator.measure(prior.sample(2, seed=0).float().clamp(0.05), seed=1)
    given = (prior, operator, y, 3, "ep", 6)
    whole, single = (solve(*given, batch_size=size, progress=False).samples for size in (None, 1))
    torch.testing.assert_close(whole, single, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("peak", [1.0, 100.0])
def test_samples_of_a_gaussian_prior_have_the_posteriors_mean_and_spread(peak):
    """One value, 2,000 samples, against numerical integration."""
    prior = Gaussian(torch.tensor([0.8], dtype=F64), torch.tensor([[0.04]], dtype=F64), sde=VESDE(0.01, 20.0))
    operator = LinearMap(torch.ones(1, 1), PoissonNoise(peak))
    y = torch.tensor([[math.floor(0.6 * peak) / peak]])
    u = torch.linspace(1e-4, 3, 200_001, dtype=F64)[None]
    log_p = operator.noise.log_prob(y.double().expand_as(u), u) - 0.5 * (u - 0.8) ** 2 / 0.04
    p = log_p.softmax(1)
    mean = float((p * u).sum())
    std = float((p * (u - mean) ** 2).sum()) ** 0.5
    samples = solve(prior, operator, y, 2000, "ep", progress=False).samples.double()
    assert abs(float(samples.mean()) - mean) < 5 * std / 2000**0.5
    assert abs(float(samples.std()) / std - 1) < 5 / 4000**0.5 + 0.02


def test_auto_takes_it_for_noise_that_is_not_gaussian():
    counts = Masking(torch.ones(4, 4), noise=PoissonNoise(9.0)).at((1, 4, 4))
    assert choose(counts, (1, 4, 4), 8).method is METHODS["ep"]
    assert choose(counts, (1, 4, 4), 200).method is METHODS["pivot-ep"]
    assert choose(Transmission(PoissonNoise(9.0)) @ Radon(40), (1, 64, 64), 200, network=True).method is METHODS["ep"]
    assert choose(Saturation(noise=PoissonNoise(9.0)), (1, 8, 8), 8).method is METHODS["dps"]  # its slope vanishes
    fast = choose(counts, (1, 4, 4), 8, "fast")
    assert fast.n_steps < choose(counts, (1, 4, 4), 8, "exact").n_steps
    assert choose(counts, (1, 4, 4), 8, differentiable=False).method is METHODS["daps"]  # needs no derivative
    assert choose(Grayscale(GaussianNoise(0.1)), (3, 8, 8), 8).method is not METHODS["ep"]


def test_a_likelihood_of_many_numbers_is_refused():
    prior, operator = smooth(8, VESDE()), LinearMap(torch.eye(8), PoissonNoise(5.0))
    posterior = EP(most=4).posterior(prior, operator, torch.ones(1, 8))
    with pytest.raises(ValueError, match="raise `most`"):
        posterior.log_likelihood(torch.ones(1, 8), torch.tensor(0.5))
    for wrong in ({"steps": 0}, {"most": -1}):
        with pytest.raises(ValueError):
            EP(**wrong)
    assert MMPS().needs - operator.capabilities == {"gaussian"}


def test_gaussian_noise_is_its_own_factor():
    """So that closed forms for equal noise stay: iterations that end early would turn rounding, which depends on the
    batch, into differences of a percent."""
    prior = score_prior()
    operator = Masking.random((1, 8, 8), 0.5, noise=GaussianNoise(0.05))
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = operator.measure(x, seed=1)
    for t in (torch.tensor(u, dtype=torch.float64) for u in (0.9, 0.4, 0.05)):
        found = EP(steps=2).posterior(Evaluations(prior), operator, y).denoise(x, t)
        expected = MMPS(steps=2).posterior(Evaluations(prior), operator, y).denoise(x, t)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
