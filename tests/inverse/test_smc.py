"""Weighted populations: resampling, weights by hand, and the posterior and evidence of Gaussian priors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from inverse import METHODS, Method, sample, solve
from inverse.correctors import AnnealedLangevin
from inverse.grids import log_snr, uniform
from inverse.guidance import GUIDANCES, TDS, MCGDiff, Unconditional
from inverse.population import SMC, resampled, systematic
from inverse.predictors import Ancestral, DPMSolver, ProbabilityFlow
from inverse.protocols import Posterior
from inverse.types import State
from operators import GaussianNoise, LinearMap, Masking
from priors import Evaluations, Gaussian, RowRNG
from tests.cases import F64, SDES, Counting, gaussian, level, normal, two_modes

D = 4
X, LATER = normal(3, D, seed=1), normal(3, D, seed=2)
WEIGHED = [name for name, m in METHODS.items() if m.coupled]


def solved(prior, operator, y, method, n_samples, n_steps=None, **arguments):
    return solve(prior, operator, y, n_samples, method, n_steps, progress=False, **arguments)


def log_normal(x, mean, covariance) -> torch.Tensor:
    return MultivariateNormal(mean, covariance).log_prob(x)


# resampling -----------------------------------------------------------------------------------------------------------


def offspring(weights, u):
    chosen = systematic(weights, u)
    return torch.stack([(chosen == k).sum(1) for k in range(weights.shape[1])], 1)


def test_systematic_resampling_rounds_up_or_down():
    """Row k of K has floor or ceil of K w_k offspring, and in the right order."""
    weights = torch.softmax(2 * normal(50, 7, seed=3), 1)
    counts, expected = offspring(weights, torch.rand(50, 7, generator=torch.Generator().manual_seed(0))), 7 * weights
    assert torch.equal(counts.sum(1), torch.full((50,), 7))
    assert bool(((counts - expected).abs() < 1).all())
    assert not torch.equal(counts, expected.round().long()), "a rounding that u does not decide"


def test_systematic_resampling_is_unbiased():
    """Averaged over a fine grid of u, row k has K w_k offspring; only the first number of a measurement counts."""
    weights = torch.softmax(2 * normal(1, 7, seed=4), 1).expand(2000, 7)
    u = torch.cat([((torch.arange(2000, dtype=F64) + 0.5) / 2000)[:, None], torch.zeros(2000, 6, dtype=F64)], 1)
    torch.testing.assert_close(offspring(weights, u).double().mean(0), 7 * weights[0], atol=2e-3, rtol=0)


def test_a_row_without_weight_has_no_offspring():
    weights = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], dtype=F64)
    for u in (0.0, 0.5, 1 - 2**-24):
        assert torch.equal(
            systematic(weights, torch.full((3, 3), u, dtype=F64)), torch.tensor([[1] * 3, [2] * 3, [0] * 3])
        )


def test_only_uneven_measurements_are_resampled():
    """Rows stay with their measurement, an even one keeps its weights, and the mean weight goes to the evidence."""
    log_w = torch.tensor([0.1, 0.0, -0.1, -9.0, -9.0, 3.0], dtype=F64)
    x, z = torch.arange(6.0)[:, None], torch.tensor([0.5, 0.5, 0.5, 2.0, 2.0, 2.0], dtype=F64)
    state = resampled(State(x, log_w, z), 3, 0.5, systematic, RowRNG.rows(0, 6))
    assert state.x[:, 0].tolist() == [0, 1, 2, 5, 5, 5]
    assert state.log_w.tolist() == [*log_w[:3].tolist(), 0, 0, 0]
    level = np.log(np.exp(log_w[3:].numpy()).mean())
    np.testing.assert_allclose(state.log_z, [0.5] * 3 + [2 + level] * 3)


@pytest.mark.parametrize(("threshold", "expected"), [(0.0, False), (1.0, True)])
def test_the_threshold(threshold, expected):
    """0 never resamples, 1 whenever weights differ at all."""
    log_w = torch.tensor([0.0, -1.0, -2.0], dtype=F64)
    state = State(X, log_w, torch.zeros(3, dtype=F64))
    assert bool((resampled(state, 3, threshold, systematic, RowRNG.rows(0, 3)).log_w == 0).all()) is expected


# weights --------------------------------------------------------------------------------------------------------------


def test_weights_without_a_measurement_stay_even(sde):
    """The proposal is the reference and psi is 1: nothing is weighted and nothing resampled."""
    method = Method("", Unconditional(), Ancestral(), grid=uniform, population=SMC(rows=4))
    prior, rng = gaussian(sde, D), RowRNG.rows(0, 4)
    population, posterior = method.population, Unconditional().posterior(Evaluations(prior), None, None)
    state = population.init(rng.normal((4, D)), posterior, torch.ones((), dtype=F64))
    for t, s in ((1.0, 0.6), (0.6, 0.2)):
        t, s = torch.tensor(t, dtype=F64), torch.tensor(s, dtype=F64)
        q = Ancestral().transition(posterior, state.x, t, s, rng)
        state = population.update(state, q.sample(rng), q, Ancestral(), posterior, t, s, rng)
        assert torch.equal(state.log_w, torch.zeros(4, dtype=F64)) and torch.equal(state.log_z, state.log_w)
    assert sample(prior, 5, replace(method, population=SMC()), n_steps=6, progress=False).shape == (5, D)


def test_one_weight_by_hand(sde):
    """log w += log p(x_s | x_t) - log q(x_s | x_t) + log psi_s(x_s) - log psi_t(x_t), all densities by torch's own."""
    prior, operator = gaussian(sde, D), LinearMap(normal(2, D, seed=5), GaussianNoise(0.3))
    y = operator(prior.sample(3, seed=9, dtype=F64))
    posterior = TDS().posterior(Evaluations(prior), operator, y)
    t, s = level(sde, 2.0), level(sde, 1.5)
    a, eye = operator.matrix, torch.eye(D, dtype=F64)

    def psi(x, t):
        r2 = prior.variance * sde.sigma(t) ** 2 / (sde.sigma(t) ** 2 + sde.alpha(t) ** 2 * prior.variance)
        return log_normal(y, prior.denoise(x, t) @ a.mT, r2 * a @ a.mT + 0.09 * torch.eye(2, dtype=F64))

    p, q = (Ancestral().transition(field, X, t, s, None) for field in (prior, posterior))
    assert (p.mean - q.mean).abs().max() > 0.01
    later = q.mean + float(q.std) * LATER
    expected = psi(later, s) - psi(X, t)
    expected = (
        expected
        + log_normal(later, p.mean, float(p.std) ** 2 * eye)
        - log_normal(later, q.mean, float(q.std) ** 2 * eye)
    )
    population = SMC(0.0, rows=3)
    first = population.init(X, posterior, t)
    torch.testing.assert_close(first.log_w, psi(X, t))
    state = population.update(first, later, q, Ancestral(), posterior, t, s, RowRNG.rows(0, 3))
    torch.testing.assert_close(state.log_w - first.log_w, expected)


@pytest.mark.parametrize(
    "operator",
    [
        LinearMap(normal(2, D, seed=5), GaussianNoise(0.3)),
        LinearMap(normal(6, D, seed=5), GaussianNoise(0.3)),
        LinearMap(torch.tensor([[1.0, 0, 0, 0], [1.0, 0, 0, 0], [0, 2.0, 0, 0]], dtype=F64), GaussianNoise(0.3)),
        Masking(torch.tensor([1, 0, 1, 0]), noise=GaussianNoise(0.3)),
    ],
    ids=["wide", "tall", "repeated", "mask"],
)
def test_the_twisting_function_is_normalised(operator):
    """N(y; A D, r^2 A A' + sigma_y^2 I) over the measured entries, also beyond the range of A."""
    sde = SDES["vp"]
    prior, t = gaussian(sde, D), level(sde, 0.5)
    a = operator(torch.eye(D, dtype=F64)).mT
    seen = torch.ones(len(a), dtype=torch.bool) if operator.support is None else operator.support.bool()
    y = torch.where(seen, normal(3, len(a), seed=6), 0.0)
    posterior = TDS().posterior(Evaluations(prior), operator, y)
    a, covariance = a[seen], 0.09 * torch.eye(int(seen.sum()), dtype=F64)
    expected = log_normal(y[:, seen], prior.denoise(X, t) @ a.mT, posterior.r2(t) * a @ a.mT + covariance)
    torch.testing.assert_close(posterior.log_likelihood(X, t), expected)
    torch.testing.assert_close(
        posterior.guide(X, t)[1],
        torch.func.grad(
            lambda x: log_normal(y[:, seen], prior.denoise(x, t) @ a.mT, posterior.r2(t) * a @ a.mT + covariance).sum()
        )(X),
    )


def test_a_redundant_noise_free_measurement_has_a_finite_twist():
    """Two rows alike and no noise: the entry without variance counts as 0."""
    sde = SDES["vp"]
    operator = LinearMap(torch.tensor([[1.0, 0, 0, 0], [1.0, 0, 0, 0]], dtype=F64))
    posterior = TDS().posterior(Evaluations(gaussian(sde, D)), operator, torch.ones(3, 2, dtype=F64))
    assert torch.isfinite(posterior.log_likelihood(X, level(sde, 0.5))).all()


# MCGdiff --------------------------------------------------------------------------------------------------------------


def test_the_potential_of_mcgdiff_by_hand(sde):
    """N(x_t; alpha u, sigma^2 - (alpha n)^2) along each axis while sigma / alpha > n, and nothing below."""
    prior, operator = gaussian(sde, D), Masking(torch.tensor([1, 0, 1, 0]), noise=GaussianNoise(0.4))
    y = torch.where(operator.mask.bool(), normal(3, D, seed=6), 0.0)
    posterior = MCGDiff().posterior(Evaluations(prior), operator, y)
    t = level(sde, 0.5)
    alpha, sigma = float(sde.alpha(t)), float(sde.sigma(t))
    left = sigma**2 - (alpha * 0.4) ** 2
    expected = log_normal(X[:, ::2], alpha * y[:, ::2], left * torch.eye(2, dtype=F64))
    torch.testing.assert_close(posterior.log_likelihood(X, t), expected)
    assert torch.equal(posterior.log_likelihood(X, level(sde, 0.39)), torch.zeros(3, dtype=F64))


def test_the_proposal_and_the_weights_of_mcgdiff_by_hand(sde):
    """The proposal is p(x_s | x_t) g_s, normalised; a weight is the product's mass over g_t, whatever was drawn."""
    prior, operator = gaussian(sde, D), LinearMap(normal(2, D, seed=5), GaussianNoise(0.02))
    y = operator(prior.sample(3, seed=9, dtype=F64))
    posterior = MCGDiff().posterior(Evaluations(prior), operator, y)
    t, s = level(sde, 1.0), level(sde, 0.7)
    p = Ancestral().transition(prior, X, t, s, None)
    q = posterior.condition(Ancestral().transition(posterior, X, t, s, None), X, t, s)
    _, values, right = torch.linalg.svd(operator.matrix)
    axes, u = right[:2], y @ torch.linalg.pinv(operator.matrix).mT @ right[:2].mT

    def g(t):
        alpha, sigma = float(sde.alpha(t)), float(sde.sigma(t))
        return alpha * u, torch.diag(sigma**2 - (alpha * 0.02 / values) ** 2)

    centre, width = g(s)
    gain = float(p.std) ** 2 * torch.linalg.inv(float(p.std) ** 2 * torch.eye(2, dtype=F64) + width)
    torch.testing.assert_close(q.basis.V(q.mean), p.mean + (centre - p.mean @ axes.mT) @ gain @ axes)
    mass = log_normal(p.mean @ axes.mT, centre, width + float(p.std) ** 2 * torch.eye(2, dtype=F64))
    population, rng = SMC(0.0, rows=3), RowRNG.rows(0, 3, dtype=F64)
    first = population.init(X, posterior, t)
    for _ in range(2):
        state = population.update(first, q.sample(rng), q, Ancestral(), posterior, t, s, rng)
        torch.testing.assert_close(state.log_w - first.log_w, mass - log_normal(X @ axes.mT, *g(t)))


def test_a_coordinate_that_leaves_the_potential_keeps_its_weight(sde):
    """Of two coordinates, of noise .1 and .4, the second has a potential at .5 and none at .3: the first counts."""
    matrix = torch.tensor([[1.0, 0, 0, 0], [0, 0.25, 0, 0]], dtype=F64)
    prior, operator = gaussian(sde, D), LinearMap(matrix, GaussianNoise(0.1))
    y = normal(3, 2, seed=6)
    posterior = MCGDiff().posterior(Evaluations(prior), operator, y)
    t, s = level(sde, 0.5), level(sde, 0.3)

    def g(x, t):
        alpha, sigma = float(sde.alpha(t)), float(sde.sigma(t))
        return log_normal(x[:, :1], alpha * y[:, :1], (sigma**2 - (alpha * 0.1) ** 2) * torch.eye(1, dtype=F64))

    torch.testing.assert_close(posterior.log_gain(LATER, s, X, t), g(LATER, s) - g(X, t))


# exactness ------------------------------------------------------------------------------------------------------------


def test_tds_is_exact_for_an_isotropic_gaussian(sde):
    """Its twist is p(y | x_t) then: one weight for all but for the steps' error, and the mean of it is p(y)."""
    prior = Gaussian(torch.linspace(-1, 1, D), 0.5 * torch.eye(D), sde)
    operator = LinearMap(normal(1, D, seed=5).float(), GaussianNoise(0.3))
    y = operator.measure(prior.sample(1, seed=9), seed=3)
    solution = solved(prior, operator, y, replace(METHODS["tds"], population=SMC(0.0)), 32, 100)
    assert float(solution.ess) > 0.85 * 32
    assert float(solution.log_evidence) == pytest.approx(prior.log_evidence(operator, y), abs=0.15)


@pytest.mark.parametrize("known", [True, False], ids=["metropolis", "unadjusted"])
def test_moves_leave_the_target_alone(known, sde):
    """p_t(x) psi_t(x) by quadrature, with steps so long that Langevin's own, which a hidden density leaves, do not."""
    prior, t, n = two_modes(sde, 1), level(sde, 0.7), 20000
    operator, y = LinearMap(torch.ones(1, 1, dtype=F64), GaussianNoise(0.2)), torch.full((1, 1), 0.1, dtype=F64)

    def posterior(rows: int):
        return TDS().posterior(Evaluations(prior if known else Counting(prior)), operator, y.expand(rows, 1))

    line = torch.linspace(-6, 6, 6001, dtype=F64)[:, None]
    w = torch.softmax(prior.log_prob(line, t) + posterior(len(line)).log_likelihood(line, t), 0)
    middle, rng = float(w @ line[:, 0]), RowRNG.rows(0, n, dtype=F64)
    x = line[torch.multinomial(w, n, replacement=True, generator=torch.Generator().manual_seed(0))]
    state, moved, worst = State(x, torch.zeros(n, dtype=F64), torch.zeros(n, dtype=F64)), posterior(n), 0.0
    for _ in range(12):
        q = AnnealedLangevin(0.6).transition(moved, state.x, t, t, rng)
        state = SMC(rows=n).update(state, q.sample(rng), q, AnnealedLangevin(0.6), moved, t, t, rng)
    assert torch.equal(state.log_w, torch.zeros(n, dtype=F64)), "a move has no weight"
    assert bool((state.x != x).any())
    for power in (1, 2):
        found = (state.x[:, 0] - middle) ** power
        error = float(found.mean() - w @ (line[:, 0] - middle) ** power) / float(found.std() / n**0.5)
        assert abs(error) < 4.5 or not known
        worst = max(worst, abs(error))
    assert known or worst > 10


def test_moves_change_neither_posterior_nor_evidence(sde):
    """The exact posterior's mean and log p(y) of a Gaussian prior, up to the bias of as many steps without moves."""
    prior, operator = gaussian(sde, D), LinearMap(normal(2, D, seed=5).float(), GaussianNoise(0.3))
    y = operator.measure(prior.sample(1, seed=3), seed=4)
    method = replace(METHODS["tds"], correctors=(AnnealedLangevin(0.3),))
    found = solved(prior, operator, y, method, 1000, 240)
    exact = prior.posterior(operator, y)
    spread = exact.covariance.diagonal().sqrt()
    assert float(found.log_evidence) == pytest.approx(prior.log_evidence(operator, y), abs=0.12)
    assert float(((found.mean[0].double() - exact.mean) / spread).abs().max()) < 0.2


def test_a_guidance_that_edits_steps_is_not_moved(sde):
    """Refused before the prior is evaluated."""
    prior, operator = gaussian(sde, D), Masking(torch.tensor([True, False, True, False]), GaussianNoise(0.3))
    method = replace(METHODS["mcgdiff"], correctors=(AnnealedLangevin(0.3),))
    counting = Counting(prior)
    with pytest.raises(ValueError, match="edits the steps"):
        solved(counting, operator, operator.measure(prior.sample(1), seed=0), method, 4, 3)
    assert counting.rows == 0


@pytest.mark.parametrize("name", WEIGHED)
def test_weighed_particles_near_the_posterior(name, sde):
    """Mean, variance and evidence on a correlated Gaussian prior, where no proposal is exact, over four populations."""
    prior = gaussian(sde, D)
    operator = LinearMap(normal(1, D, seed=5).float(), GaussianNoise(0.1))
    y = operator(prior.mean[None].float()) + 0.6
    truth = prior.posterior(operator, y)
    solution = solved(prior, operator, y.expand(4, 1), name, 400, 100)
    spread = truth.covariance.diagonal().sqrt()
    assert ((solution.mean.mean(0).double() - truth.mean) / spread).abs().max() < 0.25
    ratios = (solution.std.double() / spread).square().mean(0)
    assert float(ratios.min()) > 0.7 and float(ratios.max()) < 1.2  # these steps lose about a tenth
    assert ((prior.mean - truth.mean) / spread).abs().max() > 1, "a test that the prior itself would pass"
    if METHODS[name].evidence:
        evidence = solution.log_evidence.exp().mean().log()
        assert float(evidence) == pytest.approx(prior.log_evidence(operator, y), abs=0.2)
    else:
        assert solution.log_evidence is None


def test_the_evidence_of_several_measurements():
    """One number each, in order, and none of methods that do not weigh."""
    prior = gaussian(SDES["vp"], D)
    operator = LinearMap(normal(1, D, seed=5).float(), GaussianNoise(0.3))
    y = torch.tensor([[0.0], [1.5], [2.5]])
    found = solved(prior, operator, y, "tds", 300, 100).log_evidence
    expected = [prior.log_evidence(operator, row[None]) for row in y]
    np.testing.assert_allclose(found, expected, atol=0.4)
    assert max(expected) - min(expected) > 2
    assert solved(prior, operator, y, "mmps", 2, 3).log_evidence is None


# batches --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WEIGHED)
def test_particles_see_their_own_measurement_alone(name):
    """Samples, weights and evidence are the same whatever the batch and the other measurements, resampling included."""
    prior, operator = gaussian(SDES["ve"], D), Masking(torch.tensor([1, 0, 1, 0]), noise=GaussianNoise(0.005))
    y = operator.measure(prior.sample(3, seed=5), seed=6)
    all_at_once = solved(prior, operator, y, name, 6, 20)
    weights = all_at_once.log_weights
    uneven = bool((weights.max(1).values > weights.min(1).values + 0.1).any())
    assert uneven or name in ("pivot", "pivot-ep", "pivot-linearized")  # whose rows have equal weights after the pivot
    assert bool((all_at_once.lineages < 6).any())
    for size in (1, 7, 12):
        found = solved(prior, operator, y, name, 6, 20, batch_size=size)
        torch.testing.assert_close(found.samples, all_at_once.samples, atol=1e-4, rtol=0)
        torch.testing.assert_close(found.log_weights, weights, atol=1e-3, rtol=0)
        torch.testing.assert_close(found.lineages, all_at_once.lineages, atol=1e-2, rtol=0)
    other = y.clone()
    other[1:] = 3.0
    changed = solved(prior, operator, other, name, 6, 20)
    torch.testing.assert_close(changed.samples[0], all_at_once.samples[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(changed.log_weights[0], weights[0], atol=1e-3, rtol=0)
    assert (changed.samples[1] - all_at_once.samples[1]).abs().max() > 0.1


# memories -------------------------------------------------------------------------------------------------------------


def test_memories_are_resampled_with_their_rows():
    """A row whose state, weight and memories all say who it is still says so after resampling."""
    names = torch.arange(6.0)
    log_w = torch.tensor([0.1, 0.0, -0.1, -9.0, -9.0, 3.0], dtype=F64)
    said = {"scalar": names, "picture": names.view(6, 1, 1).expand(6, 2, 2)}
    state = State(names[:, None], log_w, kernel=said, guidance={"mu": names[:, None]}, reference=said)
    out = resampled(state, 3, 0.5, systematic, RowRNG.rows(0, 6))
    assert out.x[:, 0].tolist() == [0, 1, 2, 5, 5, 5]
    for memory in (out.kernel, out.guidance, out.reference):
        assert memory and all(torch.equal(value.view(6, -1)[:, 0], out.x[:, 0]) for value in memory.values())


def test_a_multistep_solver_is_resampled_with_its_memory(sde):
    """Against the exact evidence and moments of two modes, where particles are resampled often."""
    prior, operator = two_modes(sde, 2), LinearMap(torch.tensor([[1.0, 0.3]]), GaussianNoise(0.4))
    y = torch.tensor([[0.3]])
    method = replace(METHODS["tds"], predictor=DPMSolver(), grid=log_snr, population=SMC(1.0))
    solution, exact = solved(prior, operator, y, method, 1500, 24), prior.posterior(operator, y)
    assert solution.lineages.item() < 1000, "nothing was resampled"
    assert float(solution.log_evidence) == pytest.approx(prior.log_evidence(operator, y), abs=0.1)
    z = (solution.mean[0].double() - exact.mean) / exact.covariance.diagonal().sqrt()
    assert float(z.abs().max()) < 0.15
    assert float((solution.std[0].double() / exact.covariance.diagonal().sqrt() - 1).abs().max()) < 0.1


# mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_out_of_range(threshold):
    with pytest.raises(ValueError, match=rf"threshold = {threshold}: expected a number in \[0, 1\]"):
        SMC(threshold)


def test_a_predictor_without_noise_cannot_be_weighted():
    prior, operator = gaussian(SDES["vp"], D), Masking(torch.ones(D), noise=GaussianNoise(0.1))
    method = replace(METHODS["tds"], predictor=ProbabilityFlow())
    with pytest.raises(ValueError, match="std 0 has no density: weighting needs a predictor that adds noise"):
        solved(prior, operator, torch.zeros(1, D), method, 4, 5)


def test_a_guidance_without_a_likelihood_cannot_be_weighted():
    """Of RED-diff, an optimiser, particles would be weighted back to the prior."""
    with pytest.raises(ValueError, match=r"REDDiff does not know p_t\(y \| x_t\).*take a guidance that does"):
        replace(METHODS["reddiff"], population=SMC())
    declared = {name for name, guidance in GUIDANCES.items() if guidance.likelihood}
    assert declared == {"tds", "mcgdiff", "tweedie", "classifier"}


def test_a_posterior_weights_nothing_by_default():
    posterior = Posterior(gaussian(SDES["vp"], D), None, None)
    assert torch.equal(posterior.log_gain(X, 0.3, LATER, 0.5), torch.zeros(3, dtype=F64))
