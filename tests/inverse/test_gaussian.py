"""The Gaussian of a prior's moments, given a measurement: against matrices."""

import warnings
from dataclasses import replace

import pytest
import torch

from inverse import METHODS, sample, solve
from inverse.gaussian import Wiener
from inverse.guidance import MMPS
from operators import Blur, Downsampling, Fourier, GaussianNoise, Grayscale, Identity, LinearMap, Masking, NotConverged
from priors import VESDE, Evaluations, Gaussian, Moments, RowRNG, Spectrum
from tests.cases import F64, SDES, normal, picture, two_modes

OPERATORS = {
    "masking": Masking.random((1, 8, 8), 0.5, noise=GaussianNoise(0.1)),
    "blur": Blur.gaussian(0.8, noise=GaussianNoise(0.05)),
    "reflected blur, no singular basis": Blur.gaussian(0.8, "reflect", noise=GaussianNoise(0.05)),
    "matrix, a noise level per entry": LinearMap(
        normal(6, 64, seed=5).float(), GaussianNoise(torch.linspace(0.1, 0.5, 6), 1), event_shape=(1, 8, 8)
    ),
}
PRIOR = picture(SDES["ve"])


@pytest.fixture(params=OPERATORS)
def operator(request):
    return OPERATORS[request.param]


def matrices(operator) -> tuple[torch.Tensor, torch.Tensor]:
    """A as a matrix, and Sigma_y; entries that are not measured have a 1 in it, and nothing else."""
    a = operator(torch.eye(64).view(64, 1, 8, 8)).reshape(64, -1).mT.double()
    sigma = operator.noise.aligned("sigma", operator(torch.zeros(1, 1, 8, 8))).expand(
        1, *operator.measurement_shape((1, 8, 8))
    )
    return a, torch.diag(torch.where(a.abs().sum(1) > 0, sigma.flatten().double() ** 2, 1.0))


@pytest.mark.parametrize("s2", [0.01, 1.0, float("inf")])
def test_the_system_is_solved(operator, s2):
    a, noise = matrices(operator)
    variances, basis = torch.linalg.eigh(PRIOR.covariance)
    covariance = basis * (variances / (1 + variances / s2)) @ basis.mT
    r = operator.measure(PRIOR.sample(3, seed=2), seed=1)
    wanted = torch.linalg.solve(noise + a @ covariance @ a.mT, r.flatten(1).double().mT).mT
    found = Wiener(PRIOR.moments, operator).solve(r, s2, rtol=1e-6, max_steps=300)
    torch.testing.assert_close(found.flatten(1).double(), wanted, atol=2e-3 * wanted.abs().max().item(), rtol=0)


@pytest.mark.parametrize(("sigma", "remedy"), [(0.0, "has no noise: give it some"), (1e-4, "use a larger sigma")])
def test_a_draw_that_does_not_converge_names_what_helps(sigma, remedy):
    """The remedy is tried: with more noise there is no warning."""
    blur = Blur.gaussian(0.8, "reflect")
    for level, warned in ((sigma, True), (0.1, False)):
        blur.noise = GaussianNoise(level)
        y = blur.measure(PRIOR.sample(1, seed=2).float(), seed=1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            Wiener(PRIOR.moments, blur).solve(y, float("inf"), rtol=1e-4, max_steps=40, what="Wiener.draw")
        told = [str(w.message) for w in caught if w.category is NotConverged]
        assert bool(told) == warned and all("Wiener.draw" in text and remedy in text for text in told)


@pytest.mark.parametrize("s2", [0.01, 1.0, float("inf")])
@pytest.mark.parametrize("rank", [0, 5, 64])
def test_the_preconditioner_is_the_inverse(operator, s2, rank):
    """Of components and one variance for the rest; to single precision where it is in closed form."""
    full, images = PRIOR.moments, PRIOR.sample(200, seed=4).float()
    moments = full if rank == 64 else Moments.of_images(images, rank)
    a, noise = matrices(operator)
    eye = torch.eye(64).view(64, 1, 8, 8)
    covariance = moments.apply(lambda v: v / (1 + v / s2), eye).reshape(64, 64).double()
    r = operator.measure(PRIOR.sample(3, seed=2), seed=1)
    wanted = torch.linalg.solve(noise + a @ covariance @ a.mT, r.flatten(1).double().mT).mT
    gaussian = Wiener(moments, operator)
    tolerance = 1e-5 if {"svd", "isotropic"} <= operator.capabilities else 5e-2  # 20 iterations, to 1 % of the residual
    for found, exact in (
        (gaussian.precondition(r, s2), wanted),
        (gaussian.estimate(r, s2), wanted @ a @ covariance.mT),
    ):
        error = (found.flatten(1).double() - exact).norm() / exact.norm()
        assert error < tolerance


def test_draws_have_the_law_of_the_posterior(operator):
    """Matheron's rule on the exact moments of a Gaussian prior is an exact sampler."""
    n, y = 2000, operator.measure(PRIOR.sample(1, seed=9), seed=3)
    truth = PRIOR.posterior(operator, y)
    x = Wiener(PRIOR.moments, operator).draw(y.expand(n, *y.shape[1:]), RowRNG.rows(0, n)).flatten(1).double()
    error = x.mean(0) - truth.mean.flatten()
    assert error @ torch.linalg.solve(truth.covariance + 1e-8 * torch.eye(64), error) * n < 64 + 5 * (2 * 64) ** 0.5
    spread = torch.cov(x.mT).trace() / truth.covariance.trace()
    assert abs(float(spread) - 1) < 0.05


def test_a_gaussian_prior_needs_one_step(operator):
    """The preconditioner is then the inverse of the system itself, as far as it is carried."""
    y = operator.measure(PRIOR.sample(4, seed=9), seed=3)
    t = torch.tensor(0.6, dtype=F64)
    x = PRIOR.sample(4, seed=1) + PRIOR.sde.sigma(t).float() * normal(4, 1, 8, 8).float()
    exact = torch.cat([PRIOR.posterior(operator, y[i : i + 1]).denoise(x[i : i + 1], t) for i in range(4)])
    bare = PRIOR.denoise(x, t)
    one = MMPS(1).posterior(Evaluations(PRIOR), operator, y).denoise(x, t)
    assert (one - exact).norm() < 0.03 * (bare - exact).norm()


def test_a_walk_starts_where_the_moments_say(operator):
    """At the start of a shortened walk the states have the mean and the spread that they have under the posterior."""
    n, y = 1000, operator.measure(PRIOR.sample(1, seed=9), seed=3)
    t = METHODS["mmps"].times(PRIOR)[0]
    assert t < 1
    posterior = MMPS().posterior(Evaluations(PRIOR), operator, y.expand(n, *y.shape[1:]))
    x, truth = posterior.start(n, t, RowRNG.rows(0, n)).double(), PRIOR.posterior(operator, y)
    sigma = PRIOR.sde.sigma(t)
    assert (x.mean(0) - truth.mean).square().mean() < 2 * (sigma**2 + PRIOR.variance) / n
    assert float(x.var(0).mean()) == pytest.approx(float(sigma**2 + truth.covariance.trace() / 64), rel=0.02)


@pytest.mark.parametrize("n_steps", [pytest.param(None, marks=pytest.mark.slow), 9])
def test_wide_modes_are_not_missed(n_steps):
    """What a missing box leaves open of smooth colour pictures is found in place and as wide, by few steps too."""
    line = torch.arange(12, dtype=F64)
    pixels = torch.cartesian_prod(line, line)
    channels = 0.9 + 0.1 * torch.eye(3, dtype=F64)
    covariance = torch.kron(channels, 0.24**2 * torch.exp(-torch.cdist(pixels, pixels) / 6))
    prior = Gaussian(torch.full((432,), 0.4), covariance, VESDE(0.01, 20.0), event_shape=(3, 12, 12))
    operator = Masking.box(prior.event_shape, 8, noise=GaussianNoise(0.05))
    n, y = 200, operator.measure(prior.sample(1, seed=5), seed=3)
    truth = prior.posterior(operator, y)
    x, trace = (
        solve(prior, operator, y, n, "mmps", n_steps, seed=0, progress=False).samples[0],
        truth.covariance.trace(),
    )
    assert (x.mean(0) - truth.mean).square().sum() < 2 * trace / n, "the mean is off by more than n draws would be"
    assert float(x.flatten(1).var(0).sum() / trace) == pytest.approx(1, abs=0.08)


def test_unconditional_walks_may_start_late_too():
    """Where the prior itself is Gaussian, no part of the law is lost."""
    late = replace(METHODS["ode"], head=3.0)
    x = sample(PRIOR, 1500, late, n_steps=30, seed=0, progress=False).flatten(1).double()
    assert late.times(PRIOR, 30)[0] < 1
    assert float(torch.cov(x.mT).trace() / PRIOR.covariance.trace()) == pytest.approx(1, abs=0.05)


def test_moments_unknown_means_a_walk_from_the_beginning():
    class Bare(type(two_modes(SDES["vp"]))):
        moments = None

    prior = two_modes(SDES["vp"])
    prior.__class__ = Bare
    operator = LinearMap(torch.ones(1, 8), GaussianNoise(0.1))
    assert METHODS["mmps"].times(prior)[0] == 1
    found = solve(prior, operator, operator.measure(prior.sample(1), seed=1), 4, "mmps", progress=False)
    assert bool(found.samples.isfinite().all())
    assert Moments.isotropic((8,), 0.5).apply(torch.sqrt, torch.ones(1, 8)).allclose(torch.full((1, 8), 0.5**0.5))


def test_rough_moments_precondition_by_their_variance_alone():
    """Where the operator has a closed form; elsewhere by few iterations, and a draw by enough for a start."""
    moments = Spectrum((0.4,), ((1.0,),), (1e-3,), (2.0,), (0.05,)).sized((1, 8, 8))
    noise = GaussianNoise(0.1)
    for operator in (Blur.gaussian(0.8, noise=noise), Blur.gaussian(0.8, "reflect", noise=noise)):
        r = operator.measure(moments.draw(2, RowRNG.rows(0, 2)), seed=1)
        gaussian = Wiener(moments, operator)
        exact, cheap = gaussian.solve(r, 0.3, 1e-6, 500), gaussian.precondition(r, 0.3)
        start = r / 0.1**2
        assert float((cheap - exact).norm()) < 0.5 * float((start - exact).norm())
        if "svd" in operator.capabilities:
            average = moments.average(lambda v: v / (1 + v / 0.3))
            assert torch.equal(cheap, operator.solve_gram(r, average))
        x = gaussian.draw(r, RowRNG.rows(2, 2))
        assert float((operator(x) - r).square().mean()) < 0.1**2 * 2


def few_components(rest: float) -> Moments:
    """20 components, of which a measurement of 3 pixels sees 3."""
    basis = torch.linalg.qr(normal(64, 64, seed=6))[0][:, :20].float()
    return Moments(torch.zeros(1, 8, 8), basis, torch.linspace(0.5, 1.5, 20), torch.tensor(rest))


@pytest.mark.parametrize("s2", [0.01, float("inf")])
@pytest.mark.parametrize(("sigma", "rest"), [(1e-7, 0.0), (1e-8, 0.0), (1e-10, 0.0), (0.0, 1e-20), (0.0, 1e-9)])
def test_noise_far_below_the_variances_is_no_error(sigma, rest, s2):
    """The low-rank formula loses all digits there, and its factor does not exist."""
    moments, operator = few_components(rest), Masking((torch.arange(64) < 3).view(1, 8, 8), GaussianNoise(sigma))
    y = operator.measure(normal(2, 1, 8, 8, seed=7).float())
    eye = torch.eye(64, dtype=torch.float64).view(64, 1, 8, 8)
    covariance = moments.to(y.device, torch.float64).apply(lambda v: v / (1 + v / s2), eye).view(64, 64)
    system = covariance[:3, :3] + sigma**2 * torch.eye(3)
    wanted = torch.linalg.solve(system, y.flatten(1)[:, :3].double().mT).mT @ covariance[:3]
    error = (Wiener(moments, operator).estimate(y, s2).flatten(1) - wanted).norm() / wanted.norm()
    assert error < 1e-2  # as conjugate gradients


def test_one_noise_level_may_have_the_axes_of_a_measurement():
    r, noise = normal(2, 1, 8, 8, seed=8).float(), GaussianNoise(torch.full((1, 1, 1), 0.1), event_ndim=3)
    found, wanted = (Wiener(few_components(0.1), Identity(n)).estimate(r, 1.0) for n in (noise, GaussianNoise(0.1)))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("operator", "event_shape"),
    [
        (Fourier(normal(8, 8, seed=9) > 0), (1, 8, 8)),
        (Downsampling(3), (1, 9, 9)),
        (Grayscale(weights=(0.2, 0.7, 0.1)), (3, 4, 4)),
    ],
)
def test_singular_values_are_as_precise_as_their_coordinates(operator, event_shape):
    """Else noise far below the variances turns their rounding into an error of the preconditioner."""
    operator = operator.at(event_shape)
    x = normal(3, *event_shape, seed=1)
    z = operator.Vt(x)
    assert operator.spectrum(z).dtype == torch.float64
    torch.testing.assert_close(operator.U(operator.spectrum(z) * z), operator(x), atol=1e-14, rtol=1e-12)
    z = torch.where(operator.spectrum(z) > 0, z, 0.0)
    torch.testing.assert_close(operator.Ut(operator.U(z)), z, atol=1e-14, rtol=1e-12)
    weights = normal(len(z), *operator.measurement_shape(event_shape), seed=2)
    left, right = (operator(x) * weights).sum(), (x * operator.adjoint(weights)).sum()
    torch.testing.assert_close(left, right, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("sigma", [1e-4, 1e-6])
def test_a_decomposition_in_single_precision_is_not_amplified(sigma):
    """As that of a matrix is, by noise far below the variances."""
    moments = few_components(0.0)
    moments = replace(moments, basis=moments.basis[:, :4], variances=moments.variances[:4])  # fewer than rows
    operator = LinearMap(normal(6, 64, seed=5).float(), GaussianNoise(sigma), event_shape=(1, 8, 8))
    y = operator(normal(2, 1, 8, 8, seed=3).float())
    a = operator.matrix.double()
    covariance = moments.apply(lambda v: v, torch.eye(64).view(64, 1, 8, 8)).view(64, 64).double()
    wanted = torch.linalg.solve(a @ covariance @ a.mT + sigma**2 * torch.eye(6), y.double().mT).mT @ a @ covariance
    error = (Wiener(moments, operator).estimate(y, float("inf")).flatten(1) - wanted).norm() / wanted.norm()
    assert error < 1  # 20 iterations; the formula made it 1.5 and 14000
