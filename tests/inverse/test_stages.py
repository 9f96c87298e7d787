"""Methods in two stages, and the twisted particles that are handed over."""

import warnings
from dataclasses import replace

import pytest
import torch

from benchmarks.metrics import weight_error
from benchmarks.oracle_problems import find
from benchmarks.problems import image_mixture
from inverse import METHODS, Method, solve
from inverse.choice import choose
from inverse.flow import Flow
from inverse.grids import karras, log_snr
from inverse.guidance import MMPS, Tweedie, Twisted
from inverse.methods import Handover
from inverse.population import SMC, Importance
from inverse.predictors import Ancestral
from inverse.weights import UnreliableWeights
from operators import GaussianNoise, LinearMap
from priors import VPSDE, RowRNG
from tests.cases import draw, gaussian, w2_ratio

LATER = Handover(Method("later", MMPS(), Ancestral(), (), log_snr), foot=1.0, share=1 / 3)
TWO = Method("two", MMPS(), Ancestral(), (), karras, 30, head=6.0, then=LATER)


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
    assert float(ratio) == pytest.approx(prior.variance**0.5, rel=1e-4)


def test_twisted_draws_the_posterior_of_a_gaussian_with_even_weights(sde):
    """There its likelihood is p_t(y | x_t), up to what does not depend on x_t: steps alone make weights uneven."""
    prior = gaussian(sde, 8)
    operator, y = measured(prior)
    exact = prior.posterior(operator, y)
    assert w2_ratio(draw(prior, METHODS["twisted"].sized(400), 400, 60, operator, y), exact) < 1.25
    alone = replace(METHODS["twisted"], population=SMC(0.0), then=None)  # weights of the whole walk
    effective = [solve(prior, operator, y, 400, alone, n, progress=False).ess.item() for n in (30, 240)]
    assert effective[1] > effective[0] and effective[1] > 350


def test_its_likelihood_is_exact_on_a_gaussian(sde):
    prior = gaussian(sde, 8)
    operator, y = measured(prior)
    n, t = 20, torch.tensor(0.5, dtype=torch.float64)
    rows = operator.rows(torch.zeros(n, dtype=torch.long)), y.expand(n, -1)
    x = 3 * torch.randn(n, 8, generator=torch.Generator().manual_seed(0))
    twisted, tweedie = (g.posterior(prior, *rows) for g in (Twisted(), Tweedie()))
    gap = twisted.log_likelihood(x, t) - tweedie.log_likelihood(x, t)
    torch.testing.assert_close(gap, gap.mean().expand(n), atol=2e-3, rtol=0)
    torch.testing.assert_close(twisted.refined(x, t), tweedie.log_likelihood(x, t))
    torch.testing.assert_close(twisted.denoise(x, t), tweedie.denoise(x, t), atol=1e-3, rtol=1e-3)


def test_modes_get_their_shares_where_moment_matching_errs():
    """Of the image mixture through 16 random combinations, the instance where moment matching is furthest off."""
    problem = find("image-mixture-matrix")[0]
    instance = problem.instance(3)
    found = {}
    for name in ("mmps", "twisted"):
        x = solve(instance.prior, instance.operator, instance.y, 300, name, seed=3, progress=False).samples[0]
        found[name] = weight_error(x, instance.posterior)
    assert found["twisted"] < 0.1 < 0.3 < found["mmps"]


def test_an_uneven_population_is_handed_over_in_equal_rows():
    """Resampled by the refined weights: shares of two groups of rows follow them, whatever the weights before."""

    class Told:
        def log_likelihood(self, x, t):
            return 5 * x[:, 0]

        def refined(self, x, t):
            return torch.log(torch.where(x[:, 0] > 0, 0.9, 0.1))

    x = torch.tensor([1.0, -1.0]).repeat_interleave(500)[:, None]
    population, rng = SMC(threshold=0.0, rows=1000), RowRNG.rows(0, 1000)
    state = population.init(x, type("P", (Told,), {"opening": Told.log_likelihood})(), torch.tensor(0.5))
    out = population.hand_over(state, Told(), torch.tensor(0.5), rng)
    assert bool((out.log_w == 0).all())
    assert float((out.x > 0).double().mean()) == pytest.approx(0.9, abs=0.002)


def test_auto_takes_it_for_few_numbers_and_many_samples_only():
    prior = image_mixture(VPSDE())
    few = LinearMap(torch.randn(16, 64) / 8, GaussianNoise(0.1), event_shape=prior.event_shape)
    assert choose(few, prior.event_shape, 500).method.name == "twisted"
    assert choose(few, prior.event_shape, 8).method.name == "mmps"
    many = LinearMap(torch.randn(65, 128) / 8, GaussianNoise(0.1))
    assert choose(many, (128,), 10**6, "exact").method.name != "twisted"


def test_stages_that_cannot_follow_are_refused():
    for change in ({"foot": 0.0}, {"foot": -1.0}, {"share": 0.0}, {"share": 1.0}):
        with pytest.raises(ValueError, match="expected numbers > 0, the share below 1"):
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
        solve(prior, operator, y, 4, replace(METHODS["twisted"], guidance=Twisted(2)), progress=False)
    with pytest.raises(ValueError, match="most"):
        Twisted(-1)


# lineages -------------------------------------------------------------------------------------------------------------


def test_lineages_are_counted_through_both_stages(recwarn):
    """The second one, which does not resample, keeps what the first one counted."""
    instance = find("image-mixture-matrix")[0].instance(0)
    parts = instance.prior, instance.operator, instance.y
    both = solve(*parts, 100, "twisted", seed=1, progress=False)
    assert both.lineages is not None and 1 <= both.lineages.item() < 100
    assert bool(both.check()[0]) == (both.lineages.item() < 10) == bool(recwarn.list)
    assert solve(*parts, 4, "mmps", progress=False).lineages is None


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
