"""The exact mode: posteriors, evidence and warnings against closed forms."""

import warnings
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from benchmarks.exact.oracle_problems import find
from inverse import METHODS, UnreliableWeights, solve
from inverse.correctors import Langevin
from inverse.guidance import TDS, MCGDiff, Tweedie
from inverse.guidance.covariance import KRYLOV
from inverse.population import Importance
from inverse.predictors import DDIM, Ancestral, Flow
from operators import Blur, GaussianNoise, LinearMap, Masking
from priors import Evaluations, Gaussian, RowRNG, log_density
from priors.density import step_with_log_det
from tests.cases import F64, SDES, Counting, gaussian, level, normal, two_modes

EXACT, D = METHODS["exact"], 4
X = normal(3, D, seed=1)


@pytest.fixture(params=list(SDES))
def sde(request):
    return SDES[request.param]


def solved(prior, operator, y, n=400, method=EXACT, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnreliableWeights)
        return solve(prior, operator, y, n, method, progress=False, **arguments)


def seen(m: int, sigma: float = 0.3) -> LinearMap:
    return LinearMap(normal(m, D, seed=5).float(), GaussianNoise(sigma))


# the determinant of a step --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [1, 3])
def test_the_derivative_of_the_guided_denoiser(m, sde):
    """(1 - K A) d(D + C w) is what automatic differentiation of D + C A' S^-1 (y - A D) gives, for a mixture."""
    prior, operator, t = two_modes(sde, D), LinearMap(normal(m, D, seed=5), GaussianNoise(0.3)), level(sde, 0.7)
    y = operator(prior.sample(1, seed=9, dtype=F64))
    a, c = operator.matrix, float(sde.sigma(t) ** 2 / sde.alpha(t))

    def by_hand(x):
        jacobian = torch.func.jacrev(lambda z: prior.denoise(z[None], t)[0])(x)
        d, covariance = prior.denoise(x[None], t)[0], c * jacobian.mT
        gram = a @ covariance @ a.mT + 0.09 * torch.eye(m, dtype=F64)
        return d + covariance @ a.mT @ torch.linalg.solve(gram, y[0] - a @ d)

    posterior = Tweedie().posterior(Evaluations(prior), operator, y.expand(3, m))
    x = X.clone().requires_grad_()
    guided = posterior.denoise(x, t)
    found = torch.stack(
        [torch.autograd.grad(guided, x, e.expand(3, D), retain_graph=True)[0] for e in torch.eye(D, dtype=F64)], 1
    )
    expected = torch.stack([torch.func.jacrev(by_hand)(row) for row in X])
    torch.testing.assert_close(guided.detach(), torch.stack([by_hand(row) for row in X]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(posterior.denoise(X, t), guided.detach())


def test_the_log_determinant_of_a_step():
    """Exactly for a matrix; by the series on average, its exponential too, with the noise of few probes corrected."""
    matrix = 0.8 * torch.eye(6, dtype=F64) + 0.1 * normal(6, 6, seed=1)
    truth = float(torch.linalg.slogdet(matrix).logabsdet)
    after, exact = step_with_log_det(lambda x: x @ matrix.mT, normal(5, 6), 0.8, None, None)
    torch.testing.assert_close(after, normal(5, 6) @ matrix.mT)
    np.testing.assert_allclose(exact, truth)
    rng = RowRNG.rows(0, 20000, dtype=F64)
    _, found = step_with_log_det(lambda x: x @ matrix.mT, torch.zeros(20000, 6, dtype=F64), 0.8, 3, rng)
    error = float(found.std()) / 20000**0.5
    assert error > 0 and abs(found.exp().mean().log() - truth) < 5 * error + 2e-3


@pytest.mark.parametrize("predictor", [DDIM(0.0), Flow().predictor], ids=["euler", "heun"])
def test_the_density_of_a_flow_by_hand(predictor, sde):
    """The product of the steps' own Jacobians, for any number of steps."""
    prior, times = two_modes(sde, D), [level(sde, r) for r in (2.0, 1.0, 0.6)]
    x, total = X, torch.zeros(3, dtype=F64)
    for t, s in pairwise(times):
        q = Flow(predictor).transition(Evaluations(prior), x, t, s, None)
        x, total = q.mean, total + q.log_det

    def whole(z):
        for t, s in pairwise(times):
            z = predictor.transition(prior, z, t, s, None).mean
        return z

    jacobian = torch.autograd.functional.jacobian(whole, X)
    torch.testing.assert_close(total, torch.stack([jacobian[i, :, i].det().abs().log() for i in range(3)]))


# densities of priors without a closed form ----------------------------------------------------------------------------


def test_the_density_of_a_prior_that_states_none(sde):
    """A network's density, by its discrete flow, tends to the closed form; the estimator agrees on average."""
    prior, t = two_modes(sde, D), level(sde, 0.1)
    x = prior.sample(200, seed=1, dtype=F64)
    truth, hidden = prior.log_prob(x, t), Counting(prior)
    torch.testing.assert_close(log_density(prior, x, t), truth)
    errors = [float((log_density(hidden, x, t, n) - truth).abs().mean()) for n in (10, 40)]
    assert errors[1] < 0.05 and errors[1] < 0.5 * errors[0]
    noisy = log_density(hidden, x, t, 40, 4, RowRNG.rows(0, 200, dtype=F64))
    assert float((noisy - truth).mean().abs()) < 0.3 and float((noisy - truth).abs().mean()) > 0.01
    with pytest.raises(ValueError, match="n_steps = 0: expected an integer >= 1"):
        log_density(prior, x, t, 0)


# exactness ------------------------------------------------------------------------------------------------------------


def test_a_gaussian_prior_has_even_weights(sde):
    """Moment matching is exact there: only the steps' error is left, which the weights correct."""
    prior, operator = gaussian(sde, D), seen(2)
    y = operator.measure(prior.sample(1, seed=9), seed=3)
    solution = solved(prior, operator, y, 200)
    assert float(solution.ess) > 0.98 * 200
    assert float(solution.log_evidence) == pytest.approx(prior.log_evidence(operator, y), abs=0.02)
    assert solution.check() == [""] and float(solution.log_evidence_std) < 0.01
    few = solved(prior, operator, y, 2000, n_steps=8)
    assert float(few.ess) < 0.98 * 2000, "steps too good to show that their error is corrected"
    truth = prior.log_evidence(operator, y)
    assert abs(float(few.log_evidence) - truth) < 4 * float(few.log_evidence_std) + 0.01


@pytest.mark.parametrize("guidance", [Tweedie(), Tweedie(0), TDS()], ids=["tweedie", "isotropic", "tds"])
def test_a_mixture(guidance, sde):
    """Mean, covariance, share of each mode and evidence, where no guidance is exact."""
    prior, operator = two_modes(sde, D), seen(1)
    y = operator(prior.mean[None].float())
    truth = prior.posterior(operator, y)
    solution = solved(prior, operator, y, 3000, replace(EXACT, guidance=guidance))
    assert solution.check() == [""]
    w = torch.softmax(solution.log_weights[0], 0)
    x = solution.samples[0].double()
    shares = w @ truth.responsibilities(x)
    tolerance = 5 / float(solution.ess) ** 0.5
    assert float((shares - truth.weights).abs().max()) < 0.5 * tolerance
    spread = truth.covariance.diagonal().sqrt()
    assert float(((solution.mean[0].double() - truth.mean) / spread).abs().max()) < tolerance
    centred = (x - solution.mean[0].double()) / spread
    correlation = truth.covariance / spread / spread[:, None]
    assert float(((w[:, None] * centred).mT @ centred - correlation).abs().max()) < 1.6 * tolerance
    error = float(solution.log_evidence) - prior.log_evidence(operator, y)
    assert abs(error) < 4 * float(solution.log_evidence_std) + 0.01


def test_a_measurement_finer_than_the_last_noise():
    """sigma_y = 0 and sigma(t_min) = .1: weighed by p_t(y | x_t), not as if x_t were the picture."""
    sde = replace(SDES["ve"], sigma_min=0.1)
    prior, operator = gaussian(sde, D), seen(2, 0.0)
    y = operator(prior.sample(1, seed=9))
    solution = solved(prior, operator, y, 400)
    assert float(solution.ess) > 0.9 * 400
    assert float(solution.log_evidence) == pytest.approx(prior.log_evidence(operator, y), abs=0.05)
    torch.testing.assert_close(operator(solution.samples[0]), y.expand(400, 2), atol=2e-3, rtol=0)


@pytest.mark.parametrize("d_y", [1, 2, 4])
def test_the_evidence_of_the_published_mixture(d_y):
    """Within .1 nat at d = 8, with standard errors that hold."""
    (problem,) = find(f"mixture-8-{d_y}")
    z = []
    for number in range(3):
        instance = problem.instance(number)
        solution = solved(instance.prior, instance.operator, instance.y, 1000, n_steps=20)
        error = float(solution.log_evidence) - instance.log_evidence
        z.append(error / float(solution.log_evidence_std))
        assert abs(error) < 0.1 or abs(z[-1]) < 2, f"log evidence off by {error:.3f}"
        assert float(solution.ess) > 150
    assert max(map(abs, z)) < 4


@pytest.mark.slow
def test_standard_errors_of_the_evidence_are_honest():
    """They cover the truth at the stated rate over 40 instances."""
    (problem,) = find("mixture-8-2")
    covered = 0
    for number in range(40):
        instance = problem.instance(number)
        solution = solved(instance.prior, instance.operator, instance.y, 500, n_steps=20)
        error = float(solution.log_evidence) - instance.log_evidence
        covered += abs(error) < 1.96 * float(solution.log_evidence_std)
    assert covered >= 34


def test_many_dimensions_by_probes():
    """The estimator in place of the exact determinant: the posterior and the evidence of a Gaussian, with noise."""
    prior, operator = gaussian(SDES["vp"], D), seen(1)
    y = operator.measure(prior.sample(1, seed=9), seed=3)
    method = replace(EXACT, predictor=Flow(probes=4, exact_up_to=0), n_steps=60)
    solution = solved(prior, operator, y, 1000, method)
    assert 100 < float(solution.ess) < 995
    assert float(solution.log_evidence) == pytest.approx(prior.log_evidence(operator, y), abs=0.25)


# weights never lie ----------------------------------------------------------------------------------------------------


def warned(prior, operator, y, n, method, seed) -> bool:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        solution = solve(prior, operator, y, n, method, seed=seed, progress=False)
    warned = any(issubclass(w.category, UnreliableWeights) for w in found)
    assert warned == any(solution.check())
    return warned


class _Off(TDS):
    """The likelihood of `TDS` with the score of the prior alone."""

    def posterior(self, prior, operator, y, rng=None):
        guided = super().posterior(prior, operator, y, rng)
        guided.denoise = prior.denoise
        return guided


@pytest.mark.parametrize("seeds", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_they_warn_of_what_fails_and_of_nothing_else(seeds):
    """Over all seeds: far too few samples, and a guidance switched off, always; an easy problem, never."""
    sde = SDES["vp"]
    prior = Gaussian(torch.zeros(6), torch.eye(6), sde)
    operator = LinearMap(normal(5, 6, seed=5).float(), GaussianNoise(0.1))
    y = operator.measure(prior.sample(1, seed=9), seed=3)
    off = replace(EXACT, guidance=_Off(), n_steps=6, predictor=Flow(DDIM(0.0)))
    easy = replace(EXACT, n_steps=8)
    for seed in range(seeds):
        assert warned(prior, operator, y, 300, off, seed), f"guidance off, seed {seed}"
        assert warned(prior, operator, y, 8, easy, seed), f"8 samples, seed {seed}"
        assert not warned(prior, operator, y, 300, easy, seed), f"easy, seed {seed}"


# batches and costs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exact_up_to", [256, 0])
def test_samples_and_weights_see_their_own_row_alone(exact_up_to):
    """Whatever shares the batch, masks of other sizes and the probes' noise included; also with a hidden density."""
    mixture = two_modes(SDES["ve"], D)
    mixture.event_shape = (1, 1, D)
    prior, masks = Counting(mixture), torch.tensor([[1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 1, 0]])[:, None, None]
    operator = Masking(masks, noise=GaussianNoise(0.3))
    y = operator.measure(mixture.sample(3, seed=5), seed=6)
    method = replace(
        EXACT, predictor=Flow(exact_up_to=exact_up_to), population=Importance(8, exact_up_to=exact_up_to), n_steps=12
    )
    whole = solved(prior, operator, y, 3, method)
    for size in (1, 4):
        found = solved(prior, operator, y, 3, method, batch_size=size)
        torch.testing.assert_close(found.samples, whole.samples, atol=1e-3, rtol=0)
        torch.testing.assert_close(found.log_weights, whole.log_weights, atol=1e-2, rtol=0)
    alone = solved(prior, Masking(masks[0], noise=GaussianNoise(0.3)), y[:1], 2, method)
    torch.testing.assert_close(alone.samples[0], whole.samples[0, :2], atol=1e-3, rtol=0)
    other = solved(prior, operator, y, 3, method, seed=1)
    assert (other.samples - whole.samples).abs().amin() > 1e-6


def test_passes_are_counted():
    """Per step of Heun's and evaluation: m columns, a recorded pass, and 3 for each of d; then m columns at the end,
    twice: for the weights and, after a Krylov space of the covariance, for the last draw."""
    prior, operator = two_modes(SDES["vp"], D), seen(2)
    solution = solved(prior, operator, torch.zeros(1, 2), 3, n_steps=7)
    assert solution.nfe == 2 * 7 + 1
    assert solution.nvjp == 7 * 2 * (2 + 1 + 3 * D) + 2 + KRYLOV + 2


def test_resampled_samples_have_equal_weights():
    prior, operator = two_modes(SDES["vp"], D), seen(1)
    solution = solved(prior, operator, torch.zeros(2, 1), 2000, n_steps=12)
    x = solution.resample(seed=3)
    assert x.shape == solution.samples.shape
    torch.testing.assert_close(x.mean(1), solution.mean, atol=0.02, rtol=0)
    assert solution.resample(10, seed=3).shape == (2, 10, D)
    assert torch.equal(solution.resample(seed=3), x) and not torch.equal(solution.resample(seed=4), x)
    with pytest.raises(ValueError, match="n = 0: expected an integer >= 1"):
        solution.resample(0)


# mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Flow(probes=0), "probes = 0: expected an integer >= 1"),
        (lambda: Flow(exact_up_to=-1), "exact_up_to = -1: expected an integer >= 0"),
        (lambda: Importance(n_steps=0), "n_steps = 0: expected an integer >= 1"),
        (lambda: Tweedie(-1), "most = -1: expected an integer >= 0"),
    ],
)
def test_numbers_out_of_range(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize(
    ("method", "match"),
    [
        (replace(EXACT, predictor=Flow(Ancestral())), r"Flow\(Ancestral\): the predictor adds noise"),
        (replace(EXACT, predictor=Ancestral()), "Ancestral does not know the density of its steps: for weights"),
        (replace(EXACT, correctors=(Langevin(),)), "Langevin does not know the density of its steps"),
        (replace(EXACT, guidance=MCGDiff()), "edits the steps: their density is unknown; take a guidance of the score"),
    ],
)
def test_compositions_without_a_density(method, match):
    with pytest.raises(ValueError, match=match):
        solved(
            gaussian(SDES["vp"], D),
            Masking(torch.tensor([1, 0, 1, 0]), noise=GaussianNoise(0.1)),
            torch.zeros(1, D),
            2,
            method,
        )


def test_a_measurement_too_large_for_columns():
    """Refused before the prior is evaluated, unless the operator has what the isotropic covariance needs."""
    prior = Gaussian(torch.zeros(81), torch.eye(81), SDES["vp"], (1, 9, 9))
    noise = GaussianNoise(0.1 + normal(1, 9, 9).abs().float(), event_ndim=3)
    counting = Counting(prior)
    with pytest.raises(ValueError, match="measures 81 numbers: expected at most 64"):
        solved(counting, Blur.gaussian(1.0, boundary="reflect", noise=noise), torch.zeros(1, 1, 9, 9), 2)
    assert counting.rows == 0
