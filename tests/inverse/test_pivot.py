"""The method `pivot`: two runs of the engine, and the weights at the noise level between them."""

import math
import warnings
from dataclasses import replace

import pytest
import torch

from benchmarks.exact.metrics import weight_error
from benchmarks.exact.oracle_problems import find
from benchmarks.exact.problems import image_mixture
from inverse import METHODS, solve
from inverse.auto import choose
from inverse.methods import pivot
from inverse.methods.reweighting import log_likelihood, spread
from inverse.weights import UnreliableWeights
from operators import GaussianNoise, LinearMap, Masking
from priors import VESDE, VPSDE, Gaussian, GaussianMixture, RowRNG
from tests.cases import Untouchable, draw, gaussian, w2_ratio

PIVOT = METHODS["pivot"]


def measured(prior, m=3, seed=0):
    d = prior.event_shape[0]
    operator = LinearMap(torch.randn(m, d, generator=torch.Generator().manual_seed(seed)) / d**0.5, GaussianNoise(0.2))
    return operator, operator.measure(prior.sample(1, seed=seed + 1), seed=seed + 2)


def test_both_runs_share_the_steps_and_end_at_data():
    prior = gaussian(VPSDE(), 6)
    before, after = PIVOT.grids(prior, 32)
    assert (len(before) - 1, len(after) - 1) == (14, 18) and PIVOT.steps(prior, 32) == 32
    assert float(before[-1]) == float(after[-1]) == pytest.approx(prior.sde.t_min) and after[0] > before[-1]
    ratio = prior.sde.sigma(after[0]) / prior.sde.alpha(after[0])
    assert float(ratio) == pytest.approx(0.1 * (6 * prior.variance) ** 0.5, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *[({name: value}, rf"{name} = .*: expected a") for name, value in (
            ("level", 0.0), ("level", -1.0), ("share", 0.0), ("share", 1.0), ("most", -1), ("covariances", 0.0),
            ("covariances", 1.5), ("nodes", 0), ("kernels", -1.0), ("n_steps", 1),
        )],
        ({"first": METHODS["tds"]}, "first method 'tds' weights its rows"),
        ({"second": METHODS["exact"]}, "second method 'exact' weights its rows"),
        ({"second": METHODS["ode"]}, "second method 'ode' ignores y"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(PIVOT, **change)


def test_refusals_come_before_the_prior_is_evaluated():
    prior = Untouchable((6,), VPSDE())
    operator, y = measured(gaussian(VPSDE(), 6))
    for change, n_steps, message in (
        ({}, 1, "runs twice"),
        ({"most": 2}, None, "most 2"),
    ):
        with pytest.raises(ValueError, match=message):
            solve(prior, operator, y, 4, replace(PIVOT, **change), n_steps, progress=False)


@pytest.mark.filterwarnings("ignore::inverse.weights.UnreliableWeights")
@pytest.mark.parametrize("level", [1e-6, 1e3])
def test_a_level_outside_the_first_run_is_moved_inside(level):
    """As for 12 numbers of 32 x 32 pixels with a denoiser of few levels, where the default is above the largest."""
    prior = gaussian(VESDE(0.01, 0.3), 6)
    operator, y = measured(prior)
    method = replace(PIVOT, level=level)
    before, after = method.grids(prior)
    ratio = float(prior.sde.sigma(after[0]))
    start = float(prior.sde.sigma(before[0]))
    assert ratio == pytest.approx(0.5 * start if level > 1 else 0.02, rel=1e-3) and after[0] < before[0]
    assert bool(solve(prior, operator, y, 8, method, progress=False).samples.isfinite().all())


def test_a_first_run_of_hardly_a_level_is_refused():
    prior = gaussian(VESDE(0.01, 0.02), 6)
    operator, y = measured(prior)
    with pytest.raises(ValueError, match="leave no room for a pivot"):
        solve(prior, operator, y, 8, PIVOT, progress=False)


def test_at_the_pivot_a_wrong_first_walk_is_put_right(sde):
    """On a Gaussian every weight is exact: what is resampled is the posterior's law at the pivot."""
    prior = gaussian(sde, 6)
    operator, y = measured(prior)
    exact, n = prior.posterior(operator, y), 4000
    off = exact.sample(n, seed=5) * 1.3 + 0.2
    given = (operator.rows(torch.zeros(n, dtype=torch.long)), y.expand(n, -1), off.float())
    out, s = replace(PIVOT, nodes=8, rows=n).reweighted(prior, *given, PIVOT.grids(prior)[1][0], RowRNG.rows(0, n))
    assert bool((out.log_w == 0).all())
    alpha, sigma = float(prior.sde.alpha(s)), float(prior.sde.sigma(s))
    spread_there = (alpha**2 * exact.covariance.diagonal() + sigma**2).sqrt()
    error = (out.x.mean(0).double() - alpha * exact.mean) / spread_there
    assert float(error.abs().max()) < 0.12
    assert float((alpha * (off.mean(0) - exact.mean) / spread_there).abs().max()) > 0.25, "nothing was wrong"
    covariance = alpha**2 * exact.covariance + sigma**2 * torch.eye(6)
    assert float((out.x.double().mT.cov() - covariance).norm() / covariance.norm()) < 0.12


@pytest.mark.parametrize("share", [1.0, 0.05])
def test_it_draws_the_posterior_of_a_gaussian(sde, share):
    prior = gaussian(sde, 8)
    operator, y = measured(prior)
    method = replace(PIVOT, covariances=share).sized(400)
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
    alone, shared = (log_likelihood(prior, rows, y, x, t, 30, share) for share in (1.0, 0.1))
    torch.testing.assert_close(alone, shared, atol=1e-3, rtol=1e-3)
    costs = [solve(prior, operator, y[:1], 100, replace(PIVOT, covariances=s), progress=False) for s in (1.0, 0.1)]
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
        low = replace(PIVOT, nodes=8, kernels=kernels, level=0.06)
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


def test_no_row_takes_more_than_its_share(monkeypatch):
    """A weight of 2 K times the others' is cut to K^1/2 times the mean: without the cut two lineages were left."""
    prior = gaussian(VPSDE(), 6)
    operator, y = measured(prior)

    def partial(*given):
        found = log_likelihood(*given)
        return found + math.log(800) * (torch.arange(len(found)) == 7)

    monkeypatch.setattr(pivot, "log_likelihood", partial)
    solution = solve(prior, operator, y, 400, "pivot", progress=False)
    assert 20 < solution.lineages.item() < 140


def test_auto_takes_it_for_few_numbers_and_many_samples_only():
    prior = image_mixture(VPSDE())
    few = LinearMap(torch.randn(16, 64) / 8, GaussianNoise(0.1), event_shape=prior.event_shape)
    assert choose(few, prior.event_shape, 500).method.name == "pivot"
    assert choose(few, prior.event_shape, 8).method.name == "mmps"
    many = LinearMap(torch.randn(65, 128) / 8, GaussianNoise(0.1))
    assert choose(many, (128,), 10**6, "exact").method.name != "pivot"


# lineages -------------------------------------------------------------------------------------------------------------


def test_lineages_are_counted_through_both_runs(recwarn):
    """The second one, which does not resample, keeps what the first one counted."""
    instance = find("image-mixture-matrix")[0].instance(0)
    parts = instance.prior, instance.operator, instance.y
    both = solve(*parts, 100, "pivot", seed=1, progress=False)
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
