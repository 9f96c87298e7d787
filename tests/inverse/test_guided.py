"""Guided sampling against posteriors in closed form."""

from dataclasses import replace

import pytest
import torch

from benchmarks.exact.problems import smooth_covariance
from inverse import METHODS, Method
from inverse.grids import karras, uniform
from inverse.guidance import DPS, GUIDANCES, MMPS, NoisyLikelihood, PiGDM, Replacement, WienerMatching
from inverse.predictors import DDIM, Ancestral, ProbabilityFlow, ReverseDiffusion
from operators import Blur, Classifier, GaussianNoise, Grayscale, LinearMap, Masking, capabilities
from priors import VPSDE, Evaluations, Gaussian
from tests.cases import (
    F64,
    SDES,
    draw,
    gaussian,
    moments,
    normal,
    picture,
    two_modes,
    w2_ratio,
)

NOISE = GaussianNoise(0.1)
LINEAR = {
    "matrix": (gaussian, lambda: LinearMap(normal(3, 8, seed=5).float(), noise=NOISE)),
    "masking": (picture, lambda: Masking.random((1, 8, 8), 0.4, noise=NOISE)),
    "circular blur": (picture, lambda: Blur.gaussian(0.6, truncate=2, noise=NOISE)),
    "reflected blur": (picture, lambda: Blur.gaussian(0.6, boundary="reflect", truncate=2, noise=NOISE)),
}


@pytest.fixture(params=LINEAR)
def problem(request, sde):
    """(prior, operator, y, the exact posterior)."""
    make_prior, make_operator = LINEAR[request.param]
    prior, operator = make_prior(sde), make_operator()
    y = operator.measure(prior.sample(1, seed=9), seed=3)
    return prior, operator, y, prior.posterior(operator, y)


def draws_of(x, truth, prior):
    """Moments and distances are those of draws of the posterior, which the prior's own draws are not."""
    n = len(x)
    error, ratios = moments(x, truth)
    assert error < 4
    assert 0.94 < float(ratios.mean()) < 1.12
    assert (ratios - ratios.mean()).abs().max() < 5 * (2 / n) ** 0.5
    few = min(n, 400)
    assert w2_ratio(x, truth, n=few) < 1.25
    assert w2_ratio(prior.sample(few, seed=5), truth, n=few) > 2, "a test that the prior itself would pass"


# MMPS -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("time", [0.02, 0.3, 0.7, 1.0])
def test_mmps_denoises_exactly(problem, time):
    """E[x0 | x_t, y] is the denoiser of the posterior, itself a Gaussian; conjugate gradients have steps enough."""
    prior, operator, y, truth = problem
    t = torch.tensor(time, dtype=F64)
    x = prior.sde.alpha(t) * prior.sample(5, seed=4) + prior.sde.sigma(t) * normal(5, *prior.event_shape, seed=6)
    x, rows = x.float(), y.expand(5, *y.shape[1:])
    guided = MMPS(steps=64, tolerance=1e-6).posterior(Evaluations(prior), operator, rows).denoise(x, t)
    torch.testing.assert_close(guided, truth.denoise(x, t), atol=1e-4, rtol=0)
    assert (guided - prior.denoise(x, t)).abs().max() > 2e-3


def test_mmps_with_exact_steps_draws_from_the_posterior(problem):
    """Second-order steps and enough conjugate gradients leave the guidance itself: it is exact."""
    prior, operator, y, truth = problem
    n = 2000 if len(prior.event_shape) == 1 else 100
    x = draw(prior, Method("", MMPS(12), ProbabilityFlow()), n, 30, operator, y)
    draws_of(x, truth, prior)


@pytest.mark.parametrize("name", ["matrix", "masking"])
def test_mmps_as_it_is(sde, name):
    """The default is within 15 % of the posterior's variance on average."""
    prior, operator = LINEAR[name][0](sde), LINEAR[name][1]()
    y = operator.measure(prior.sample(1, seed=9), seed=3)
    x, truth = draw(prior, METHODS["mmps"], 400, None, operator, y), prior.posterior(operator, y)
    error, ratios = moments(x, truth)
    assert w2_ratio(x, truth) < 1.25
    assert error < 4
    assert 0.85 < float(ratios.mean()) < 1.15


def test_mmps_keeps_rows_whose_curvature_is_not_positive():
    """A network's Jacobian need not be positive: the row keeps what conjugate gradients found before, never nan.

    Where they found nothing, the Gaussian of the prior's moments explains what was measured, and nothing else moves.
    """

    class Odd(Gaussian):
        def denoise(self, x, t):
            return -x

    prior = Odd(torch.zeros(4), torch.eye(4), SDES["ve"])
    operator = Masking(torch.tensor([1, 1, 0, 0]), noise=GaussianNoise(0.01))
    x = normal(3, 4).float()
    y, t = operator(torch.ones(3, 4)), torch.tensor(0.5, dtype=F64)
    kept = MMPS(complete=False).posterior(Evaluations(prior), operator, y).denoise(x, t)
    torch.testing.assert_close(kept, -x)
    guided = MMPS(1).posterior(Evaluations(prior), operator, y).denoise(x, t)
    variance = float(SDES["ve"].sigma(t) ** 2 / (1 + SDES["ve"].sigma(t) ** 2))  # of x0 given x_t under N(0, I)
    expected = -x + variance / (variance + 0.01**2) * (y + operator(x))
    torch.testing.assert_close(guided, expected, rtol=1e-4, atol=1e-4)


# mmps-wiener ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("time", [0.02, 0.3, 0.7, 1.0])
def test_the_wiener_covariance_denoises_exactly(problem, time):
    """On a Gaussian prior its covariance given x_t is that of the formula, and no derivative is asked for."""
    prior, operator, y, truth = problem
    t = torch.tensor(time, dtype=F64)
    x = prior.sde.alpha(t) * prior.sample(5, seed=4) + prior.sde.sigma(t) * normal(5, *prior.event_shape, seed=6)
    x, rows, counted = x.float(), y.expand(5, *y.shape[1:]), Evaluations(prior)
    guided = WienerMatching().posterior(counted, operator, rows).denoise(x, t)
    torch.testing.assert_close(guided, truth.denoise(x, t), atol=2e-3, rtol=0)
    assert (counted.nfe, counted.nvjp) == (1, 0)


def test_the_wiener_covariance_draws_from_the_posterior(problem):
    prior, operator, y, truth = problem
    n = 2000 if len(prior.event_shape) == 1 else 200
    x = draw(prior, METHODS["mmps-wiener"], n, 60, operator, y)
    draws_of(x, truth, prior)


# PiGDM ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variance", [0.04, 1.0, 9.0])
def test_pigdm_is_exact_for_an_isotropic_gaussian(sde, variance):
    """The paper takes unit variance; the prior's own makes r^2 the exact variance of x0 given x_t."""
    prior = Gaussian(torch.linspace(-1, 1, 6), variance * torch.eye(6), sde)
    operator = LinearMap(normal(3, 6, seed=5).float(), noise=GaussianNoise(0.2))
    y = operator.measure(prior.sample(1, seed=9), seed=3)
    truth, x, rows = prior.posterior(operator, y), normal(5, 6).float(), y.expand(5, 3)
    for time in (0.05, 0.4, 0.95):
        t = torch.tensor(time, dtype=F64)
        guided = PiGDM().posterior(Evaluations(prior), operator, rows).denoise(x, t)
        torch.testing.assert_close(guided, truth.denoise(x, t), atol=1e-3 * variance**0.5, rtol=1e-3)
    error, ratios = moments(draw(prior, Method("", PiGDM(), ProbabilityFlow()), 2000, 60, operator, y), truth)
    assert error < 4
    assert float(ratios.min()) > 0.9 and float(ratios.max()) < 1.15


# replacement, and the two pixels of METHODS.md ------------------------------------------------------------------------


def two_pixels(method: Method, sde, n_steps: int) -> tuple[float, float]:
    """Mean and standard deviation of the second of two pixels with covariance .8, the first of which is seen as 1.5."""
    prior = Gaussian(torch.zeros(2), torch.tensor([[1.0, 0.8], [0.8, 1.0]]), sde)
    y = torch.tensor([[1.5, 0.0]])
    x = draw(prior, method, 4000, n_steps, Masking(torch.tensor([1, 0])), y)
    return float(x[:, 1].mean()), float(x[:, 1].std())


def test_two_pixels_by_mmps(sde):
    """The posterior of the second pixel is N(.8 * 1.5, 1 - .8^2)."""
    mean, std = two_pixels(METHODS["mmps"], sde, 60)
    assert mean == pytest.approx(1.20, abs=0.04)
    assert std == pytest.approx(0.60, abs=0.03)


@pytest.mark.parametrize("n_steps", [100, 500])
def test_two_pixels_by_replacement_are_biased(sde, n_steps):
    """Replacement draws the known pixel from p(x_t | y), not from p(x_t | y, the unknown one).

    At every step the pair is inconsistent, and the unknown pixel follows only as far as later steps tell it. More steps
    do not mend it: the official code gives .75 +- .72 at 100 and at 500 steps, for a truth of 1.20 +- .60.
    """
    mean, std = two_pixels(Method("", Replacement(), ReverseDiffusion(), grid=uniform), sde, n_steps)
    assert 0.6 < mean < 1.1
    assert 0.6 < std < 0.85


def test_correctors_lessen_the_bias_of_replacement():
    """METHODS.md: 1.13 +- .62 with Langevin at 500 steps."""
    plain, _ = two_pixels(replace(METHODS["replacement"], correctors=()), SDES["ve"], 500)
    mended, std = two_pixels(METHODS["replacement"], SDES["ve"], 500)
    assert plain + 0.1 < mended < 1.25
    assert 0.55 < std < 0.75


@pytest.mark.parametrize(
    "predictor", [ReverseDiffusion(), Ancestral(), DDIM(0.0), ProbabilityFlow()], ids=lambda p: type(p).__name__
)
def test_replacement_keeps_measured_pixels(sde, predictor):
    prior = picture(sde)
    operator = Masking.random((1, 8, 8), 0.4)
    truth = prior.sample(1, seed=9)
    x = draw(prior, Method("", Replacement(), predictor), 20, 50, operator, operator(truth))
    # the noise at t_min, .01, is still on the seen pixels when the prior denoises them
    seen = operator.mask.expand(20, 1, 8, 8)
    torch.testing.assert_close(x[seen], truth.double().expand_as(x)[seen], atol=0.05, rtol=0)
    assert x[~seen].view(20, -1).std(0).mean() > 0.03


def test_replacement_colourises(sde):
    """Grey values are kept in a picture of three channels, and colours vary."""
    d = 3 * 16
    channels = torch.tensor([[1.0, 0.7, 0.5], [0.7, 1.0, 0.6], [0.5, 0.6, 1.0]], dtype=F64)
    prior = Gaussian(
        torch.full((d,), 0.5), torch.kron(channels, smooth_covariance(4, 1.5, 0.2)), sde, event_shape=(3, 4, 4)
    )
    operator = Grayscale()
    y = operator.measure(prior.sample(1, seed=9))
    x = draw(prior, METHODS["replacement"], 30, 100, operator, y)
    grey = operator(x.float())
    torch.testing.assert_close(grey, y.expand_as(grey), atol=0.05, rtol=0)
    assert (x[:, 0] - x[:, 1]).std(0).mean() > 0.05


def test_replacement_weighs_a_noisy_measurement(sde):
    """Independent pixels leave no bias: a seen pixel's posterior is exact, though its noise ends above sigma_t."""
    prior = Gaussian(torch.zeros(2), torch.eye(2), sde)
    operator = Masking(torch.tensor([1, 0]), noise=GaussianNoise(0.5))
    y = torch.tensor([[1.0, 0.0]])
    x = draw(prior, Method("", Replacement(), Ancestral(), grid=karras), 4000, 200, operator, y)
    truth = prior.posterior(operator, y)
    torch.testing.assert_close(x.mean(0), truth.mean, atol=0.06, rtol=0)
    torch.testing.assert_close(x.var(0), truth.covariance.diagonal(), atol=0.1, rtol=0)


# DPS ------------------------------------------------------------------------------------------------------------------


def test_dps_by_hand(sde):
    """-rate / (alpha v sqrt(1 + r^2) beta) grad |y - A D|, the gradient by finite differences; beta is the paper's."""
    prior, operator = picture(sde), LINEAR["masking"][1]()
    y, t = operator.measure(prior.sample(1, seed=9), seed=3), torch.tensor(0.4, dtype=F64)
    x, direction = normal(1, 1, 8, 8), normal(1, 1, 8, 8, seed=1)
    norms = [(y - operator(prior.denoise(x + h * direction, t))).norm() for h in (1e-5, -1e-5)]
    rate = 3.0 * (prior.variance * float(operator.mask.sum())) ** 0.5
    gradient = DPS(3.0).posterior(Evaluations(prior), operator, y.double()).guide(x, t)[1]
    alpha, v = float(sde.alpha(t)), prior.variance
    ratio2 = float(sde.sigma(t)) ** 2 / alpha**2 / v
    beta = float(VPSDE().g2(VPSDE().time(torch.tensor(ratio2**0.5, dtype=F64))))  # at the same noise to signal
    expected = -rate / (alpha * v * (1 + ratio2) ** 0.5 * beta) * float(norms[0] - norms[1]) / 2e-5
    assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-4)


def test_dps_does_not_depend_on_the_batch():
    """The official residual norm is taken over the batch; ours is per row."""
    prior, operator = picture(SDES["vp"]), LINEAR["masking"][1]()
    y = operator.measure(prior.sample(3, seed=9), seed=3)
    field, x, t = (
        DPS().posterior(Evaluations(prior), operator, y),
        normal(3, 1, 8, 8).float(),
        torch.tensor(0.4, dtype=F64),
    )
    alone = DPS().posterior(Evaluations(prior), operator, y[1:2]).denoise(x[1:2], t)
    torch.testing.assert_close(field.denoise(x, t)[1:2], alone)


@pytest.mark.parametrize("grid", [uniform, karras])
def test_dps_hardly_depends_on_the_steps(sde, grid):
    """zeta is a rate per time: twice the steps change neither mean nor spread by much.

    The official zeta, a displacement per step, would act twice."""
    prior, operator = picture(sde), LINEAR["masking"][1]()
    y = operator.measure(prior.sample(1, seed=9), seed=3)
    method = Method("", DPS(), grid=grid)
    few, many = (draw(prior, method, 300, n, operator, y) for n in (250, 500))
    spread = many.std(0)
    assert ((few.mean(0) - many.mean(0)).abs() / spread).mean() < 0.15
    assert 0.85 < float((few.std(0) / spread).mean()) < 1.15
    residuals = [(y - operator(x.float())).square().mean() for x in (many, prior.sample(100))]
    assert residuals[0] < 0.3 * residuals[1], "guided by nothing"


# class labels ---------------------------------------------------------------------------------------------------------


class Responsibilities(torch.nn.Module):
    """The exact noise-conditional classifier of a mixture's components."""

    def __init__(self, mixture):
        super().__init__()
        self.mixture, self.n_classes = mixture, len(mixture.means)

    def forward(self, x, t):
        alpha, sigma = (c.view(-1, 1, 1).to(x) for c in (self.mixture.sde.alpha(t), self.mixture.sde.sigma(t)))
        m = self.mixture.to(x.dtype)
        return m._log_joint(m._offsets(x.flatten(1), alpha), m._variances(alpha, sigma)).log_softmax(1)


def component(mixture, k: int) -> Gaussian:
    return Gaussian(mixture.means[k], (mixture.basis[k] * mixture.eigenvalues[k]) @ mixture.basis[k].mT, mixture.sde)


@pytest.mark.parametrize("label", [0, 1])
def test_an_exact_classifier_makes_the_denoiser_of_one_component(sde, label):
    prior, operator = two_modes(sde), Classifier(Responsibilities(two_modes(sde)))
    field = NoisyLikelihood().posterior(Evaluations(prior), operator, torch.full((5,), label))
    for time in (0.02, 0.3, 0.8):
        t = torch.tensor(time, dtype=F64)
        x = sde.alpha(t) * prior.sample(5, dtype=F64) + sde.sigma(t) * normal(5, 8)
        torch.testing.assert_close(field.denoise(x, t), component(prior, label).denoise(x, t), atol=1e-6, rtol=1e-6)
        assert torch.equal(field.log_likelihood(x, t), operator.noisy_log_likelihood(torch.full((5,), label), x, t))


@pytest.mark.parametrize("label", [0, 1])
def test_an_exact_classifier_draws_one_component(sde, label):
    prior = two_modes(sde)
    operator = Classifier(Responsibilities(two_modes(sde)))
    x = draw(prior, METHODS["classifier"], 2000, None, operator, torch.tensor([label]))
    truth = component(prior, label)
    error, ratios = moments(x, truth)
    assert error < 4
    assert float(ratios.min()) > 0.85 and float(ratios.max()) < 1.12
    assert w2_ratio(x, truth) < 1.25


def test_a_weight_above_one_exaggerates():
    """Dhariwal & Nichol: samples go where the label is surest, away from the other mode."""
    prior = two_modes(SDES["vp"])
    operator, y = Classifier(Responsibilities(two_modes(SDES["vp"]))), torch.tensor([1])
    plain, strong = (draw(prior, Method("", NoisyLikelihood(w)), 500, 60, operator, y).mean() for w in (1.0, 6.0))
    assert float(strong) > float(plain) + 0.02


# all ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GUIDANCES)
def test_every_guidance_names_its_paper_and_its_needs(name):
    assert GUIDANCES[name].needs <= capabilities.STRUCTURE | capabilities.NOISE
    assert any(year in GUIDANCES[name].citation for year in map(str, range(2018, 2040)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MMPS(0), "steps = 0"),
        (lambda: DPS(0.0), "zeta = 0.0"),
        (lambda: NoisyLikelihood(-1.0), "weight = -1.0"),
    ],
)
def test_a_parameter_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
