"""Methods in two stages: what is handed over, and what is weighed at a pivot."""

import math
import warnings
from dataclasses import replace

import pytest
import torch

from benchmarks.exact.metrics import weight_error
from benchmarks.exact.oracle_problems import find
from benchmarks.exact.problems import image_mixture
from inverse import METHODS, Method, solve
from inverse.auto import choose
from inverse.grids import karras, log_snr
from inverse.guidance import MMPS, TDS, Pivot, Tweedie
from inverse.guidance.pivot import spread
from inverse.methods import Handover
from inverse.population import SMC, Importance, Renoised
from inverse.predictors import Ancestral, Flow
from inverse.weights import UnreliableWeights
from operators import GaussianNoise, LinearMap, Masking
from priors import VPSDE, Gaussian, GaussianMixture, RowRNG
from tests.cases import draw, gaussian, w2_ratio

LATER = Handover(Method("later", MMPS(), Ancestral(), (), log_snr), foot=0.5, share=1 / 3)
TWO = Method("two", MMPS(), Ancestral(), (), karras, 30, head=6.0, then=LATER)
PIVOT = METHODS["pivot"]


def measured(prior, m=3, seed=0):
    d = prior.event_shape[0]
    operator = LinearMap(torch.randn(m, d, generator=torch.Generator().manual_seed(seed)) / d**0.5, GaussianNoise(0.2))
    return operator, operator.measure(prior.sample(1, seed=seed + 1), seed=seed + 2)


def test_two_stages_are_one_walk(sde):
    """The same kernels on the same times draw the same rows, whoever carries them."""
    prior = gaussian(sde, 6)
    operator, y = measured(prior)
    times = TWO.times(prior)
    assert len(times) == 31 and bool((times.diff() < 0).all())
    whole = replace(TWO, grid=lambda *_: times, then=None)
    torch.testing.assert_close(draw(prior, TWO, 50, None, operator, y), draw(prior, whole, 50, None, operator, y))


def test_the_stages_share_the_steps():
    prior = gaussian(VPSDE(), 6)
    (_, before), (_, after) = TWO.stages(prior, 60)
    assert (len(before) - 1, len(after) - 1) == (40, 20)
    assert before[-1] == after[0] and after[-1] == pytest.approx(prior.sde.t_min)
    ratio = prior.sde.sigma(after[0]) / prior.sde.alpha(after[0])
    assert float(ratio) == pytest.approx(0.5 * (6 * prior.variance) ** 0.5, rel=1e-4)


def test_a_walk_that_restarts_goes_down_to_data_twice():
    prior = gaussian(VPSDE(), 6)
    (_, before), (_, after) = PIVOT.stages(prior, 32)
    assert (len(before) - 1, len(after) - 1) == (14, 18)
    assert float(before[-1]) == float(after[-1]) == pytest.approx(prior.sde.t_min) and after[0] > before[-1]
    torch.testing.assert_close(PIVOT.times(prior, 32), torch.cat([before, after]))


def test_an_uneven_population_is_handed_over_in_equal_rows():
    """Resampled by the refined weights: shares of two groups of rows follow them, whatever the weights before."""

    class Told:
        def log_likelihood(self, x, t):
            return 5 * x[:, 0]

        def refined(self, x, t, rows):
            return torch.log(torch.where(x[:, 0] > 0, 0.9, 0.1))

    x = torch.tensor([1.0, -1.0]).repeat_interleave(500)[:, None]
    population, rng, t = SMC(threshold=0.0, rows=1000), RowRNG.rows(0, 1000), torch.tensor(0.5)
    out = population.hand_over(population.init(x, Told(), t), Told(), t, t, rng)
    assert bool((out.log_w == 0).all())
    assert float((out.x > 0).double().mean()) == pytest.approx(0.9, abs=0.002)


def test_stages_that_cannot_follow_are_refused():
    for change in ({"foot": 0.0}, {"foot": -1.0}, {"share": 0.0}, {"share": 1.0}):
        with pytest.raises(ValueError, match=r"(foot|share) = .*: expected a"):
            replace(LATER, **change)
    with pytest.raises(ValueError, match="two stages, not three"):
        Handover(TWO, 1.0, 0.5)
    with pytest.raises(ValueError, match="last time"):
        replace(TWO, guidance=Tweedie(), predictor=Flow(), population=Importance())


def test_refusals_come_before_the_prior_is_evaluated():
    prior = gaussian(VPSDE(), 6)
    operator, y = measured(prior)
    with pytest.raises(ValueError, match="two stages"):
        solve(prior, operator, y, 4, TWO, 1, progress=False)
    with pytest.raises(ValueError, match="foot"):
        solve(prior, operator, y, 4, replace(TWO, then=replace(LATER, foot=7.0)), progress=False)
    with pytest.raises(ValueError, match="at most 2"):
        solve(prior, operator, y, 4, replace(PIVOT, guidance=Pivot(most=2)), progress=False)
    for wrong in ({"most": -1}, {"share": 0.0}, {"share": 1.5}, {"steps": 0}):
        with pytest.raises(ValueError, match="expected"):
            Pivot(**wrong)
    for numbers in ((0,), (8, -1.0)):
        with pytest.raises(ValueError, match=r"(nodes|kernels) = .*: expected a"):
            Renoised(*numbers)


# the pivot ------------------------------------------------------------------------------------------------------------


def test_at_the_pivot_a_wrong_first_walk_is_put_right(sde):
    """On a Gaussian every weight is exact: what is resampled is the posterior's law at the pivot."""
    prior = gaussian(sde, 6)
    operator, y = measured(prior)
    exact, n = prior.posterior(operator, y), 4000
    rng = RowRNG.rows(0, n)
    foot = PIVOT.stages(prior)[1][1][0]
    posterior = Pivot().posterior(prior, operator.rows(torch.zeros(n, dtype=torch.long)), y.expand(n, -1), rng)
    population = Renoised(8, rows=n)
    off = exact.sample(n, seed=5) * 1.3 + 0.2
    state = population.init(off.float(), posterior, torch.tensor(prior.sde.t_min))
    out = population.hand_over(state, _Kept(posterior), torch.tensor(prior.sde.t_min), foot, rng)
    alpha, sigma = float(prior.sde.alpha(foot)), float(prior.sde.sigma(foot))
    spread_there = (alpha**2 * exact.covariance.diagonal() + sigma**2).sqrt()
    error = (out.x.mean(0).double() - alpha * exact.mean) / spread_there
    assert float(error.abs().max()) < 0.12
    assert float((alpha * (off.mean(0) - exact.mean) / spread_there).abs().max()) > 0.25, "nothing was wrong"
    covariance = alpha**2 * exact.covariance + sigma**2 * torch.eye(6)
    assert float((out.x.double().mT.cov() - covariance).norm() / covariance.norm()) < 0.12


class _Kept:
    """A posterior whose first walk is over: its rows are x0 already."""

    def __init__(self, posterior):
        self._posterior = posterior

    def __getattr__(self, name):
        return getattr(self._posterior, name)

    def finish(self, x, t, rng):
        return x


@pytest.mark.parametrize("share", [1.0, 0.05])
def test_it_draws_the_posterior_of_a_gaussian(sde, share):
    prior = gaussian(sde, 8)
    operator, y = measured(prior)
    method = replace(PIVOT, guidance=Pivot(share=share)).sized(400)
    assert w2_ratio(draw(prior, method, 400, 48, operator, y), prior.posterior(operator, y)) < 1.25


@pytest.mark.slow
def test_modes_get_their_shares_where_moment_matching_errs():
    """Of the image mixture through 16 random combinations, four instances; which they are depends on the processor."""
    problem = find("image-mixture-matrix")[0]
    found = {"mmps": 0.0, "pivot": 0.0}
    for instance in map(problem.instance, range(1, 5)):
        for name in found:
            x = solve(instance.prior, instance.operator, instance.y, 300, name, seed=3, progress=False).samples[0]
            found[name] += weight_error(x, instance.posterior) / 4
    assert found["pivot"] < 0.05 and 2 * found["pivot"] < found["mmps"] > 0.05


def test_a_part_of_the_covariances_stands_for_all():
    """In a mixture every mode has one covariance: one row in each says all, and the passes are those of a few rows."""
    sde = VPSDE()
    means = torch.tensor([[3.0, 0, 0, 0], [-3.0, 0, 0, 0]])
    prior = GaussianMixture(means, torch.stack([0.1 * torch.eye(4), 0.3 * torch.eye(4)]), [0.5, 0.5], sde)
    operator = LinearMap(torch.eye(4)[1:3] + 0.1, GaussianNoise(0.2))
    x = prior.sample(60, seed=1).float()
    t = sde.time(torch.tensor(0.1))
    y = operator.measure(x[:1], seed=2).expand(60, -1)
    rows = operator.rows(torch.zeros(60, dtype=torch.long))
    alone, shared = (Pivot(share=s).posterior(prior, rows, y).refined(x, t, 30) for s in (1.0, 0.1))
    torch.testing.assert_close(alone, shared, atol=1e-3, rtol=1e-3)
    costs = [
        solve(prior, operator, y[:1], 100, replace(PIVOT, guidance=Pivot(share=s)), progress=False) for s in (1.0, 0.1)
    ]
    assert costs[0].nfe == costs[1].nfe and round(0.9 * 2) == costs[0].nvjp - costs[1].nvjp


def test_the_chosen_points_cover_all():
    """Against brute force: a point per cluster whatever the clusters' sizes, and the nearest one for every point."""
    g = torch.Generator().manual_seed(0)
    centres = 100 * torch.randn(3, 5, 4, generator=g)
    label = torch.cat([torch.arange(5), torch.zeros(45, dtype=torch.long)])[torch.randperm(50, generator=g)]
    x = centres[:, label] + torch.randn(3, 50, 4, generator=g)
    chosen, nearest = spread(x, 5)
    for b in range(3):
        assert sorted(label[chosen[b]].tolist()) == [0, 1, 2, 3, 4]
        torch.testing.assert_close(nearest[b], torch.cdist(x[b], x[b, chosen[b]]).argmin(1))


def test_a_pivot_too_low_for_the_draws_is_raised():
    """Where draws lie far apart beside the noise, theirs are the only kernels: left so, they come out too narrow."""
    sde = VPSDE()
    prior = Gaussian(torch.zeros(20), torch.eye(20), sde=sde)
    operator = LinearMap(torch.eye(20)[:1], GaussianNoise(0.3))
    y = operator.measure(prior.sample(1, seed=1).float(), seed=2)
    spread, lines = {}, {}
    for kernels in (0.0, 4.0):
        low = replace(PIVOT, population=Renoised(8, kernels), then=replace(PIVOT.then, foot=0.06))
        solution = solve(prior, operator, y, 300, low, progress=False)
        spread[kernels], lines[kernels] = solution.std[0, 1:].mean().item(), solution.lineages.item()
    assert spread[0.0] < 0.9 and spread[4.0] == pytest.approx(1.0, abs=0.05)
    assert lines[0.0] < 0.5 * lines[4.0]


def test_the_pivot_of_a_measurement_is_its_own():
    """It is raised for one and not for the other, and neither knows of the other."""
    prior = Gaussian(torch.zeros(6), torch.eye(6), sde=VPSDE(), event_shape=(1, 2, 3))
    masks = torch.stack([torch.ones(6), torch.eye(6)[0]]).view(2, 1, 2, 3)
    seen = Masking(masks, noise=GaussianNoise(0.05))
    y = seen.measure(prior.sample(2, seed=1).float(), seed=2)
    both = solve(prior, seen, y, 40, "pivot", progress=False)
    for b in (0, 1):
        alone = Masking(seen.mask[b], noise=GaussianNoise(0.05))
        found = solve(prior, alone, y[b : b + 1], 40, "pivot", progress=False)
        if b == 0:
            torch.testing.assert_close(found.samples[0], both.samples[0], atol=1e-4, rtol=1e-4)
        assert found.lineages.item() > 8


def test_no_row_takes_more_than_its_share():
    """A weight of 2 K times the others' is cut to K^1/2 times the mean: without the cut two lineages were left."""
    prior = gaussian(VPSDE(), 6)
    operator, y = measured(prior)

    class Partial(Pivot):
        def posterior(self, prior, operator, y, rng=None):
            found = super().posterior(prior, operator, y, rng)
            favour = math.log(800) * (torch.arange(len(y)) == 7)
            found.refined = lambda x, t, rows: type(found).refined(found, x, t, rows) + favour
            return found

    solution = solve(prior, operator, y, 400, replace(PIVOT, guidance=Partial()), progress=False)
    assert 20 < solution.lineages.item() < 140


def test_auto_takes_it_for_few_numbers_and_many_samples_only():
    prior = image_mixture(VPSDE())
    few = LinearMap(torch.randn(16, 64) / 8, GaussianNoise(0.1), event_shape=prior.event_shape)
    assert choose(few, prior.event_shape, 500).method.name == "pivot"
    assert choose(few, prior.event_shape, 8).method.name == "mmps"
    many = LinearMap(torch.randn(65, 128) / 8, GaussianNoise(0.1))
    assert choose(many, (128,), 10**6, "exact").method.name != "pivot"


# lineages -------------------------------------------------------------------------------------------------------------


def test_lineages_are_counted_through_both_stages(recwarn):
    """The second one, which does not resample, keeps what the first one counted."""
    instance = find("image-mixture-matrix")[0].instance(0)
    parts = instance.prior, instance.operator, instance.y
    both = solve(*parts, 100, "pivot", seed=1, progress=False)
    assert both.lineages is not None and 1 <= both.lineages.item() < 100
    assert bool(both.check()[0]) == (both.lineages.item() < 10) == bool(recwarn.list)
    assert solve(*parts, 4, "mmps", progress=False).lineages is None


def test_particles_may_be_handed_over_too():
    instance = find("image-mixture-matrix")[0].instance(0)
    method = Method("particles", TDS(), Ancestral(), (), log_snr, 20, SMC(), then=replace(LATER, foot=0.1))
    solution = solve(instance.prior, instance.operator, instance.y, 60, method, progress=False)
    assert 1 <= solution.lineages.item() < 60 and bool((solution.log_weights == 0).all())


def test_particles_that_are_kin_are_warned_of_and_others_are_not():
    """50 particles that see 64 pixels are soon kin, though their weights look even; 500 in a plane are not."""
    instance = find("image-mixture-blur")[0].instance(0)
    with pytest.warns(UnreliableWeights, match="descend from"):
        solution = solve(instance.prior, instance.operator, instance.y, 50, "tds", progress=False)
    assert solution.ess.item() > 10 > solution.lineages.item()
    prior = gaussian(VPSDE(), 2)
    operator, y = measured(prior, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        easy = solve(prior, operator, y, 500, "tds", progress=False)
    assert easy.lineages.item() > 50 and easy.check() == [""]
