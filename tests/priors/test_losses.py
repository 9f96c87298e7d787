import pytest
import torch

from priors import VESDE, Gaussian, Prior
from priors.losses import T_TRAIN, WEIGHTS, denoising_score_matching, likelihood_density, likelihood_times, perturb
from priors.objectives import DenoisingScoreMatching
from tests.priors.cases import F64, SDES, draws

VARIANCE = torch.tensor([0.1, 0.5, 2.0], dtype=F64)


class Shifted(Prior):
    """A prior that is wrong by a constant, or by a factor."""

    def __init__(self, exact, shift=0.0, factor=1.0):
        self.exact, self.shift, self.factor = exact, shift, factor
        self.sde, self.event_shape, self.variance = exact.sde, exact.event_shape, exact.variance

    def denoise(self, x, t):
        return self.factor * self.exact.denoise(x, t) + self.shift


@pytest.fixture(params=list(SDES.values()), ids=list(SDES))
def exact(request):
    return Gaussian(torch.tensor([0.5, -1.0, 0.0]), torch.diag(VARIANCE), sde=request.param)


def noised(exact, n):
    t = 0.02 + 0.98 * torch.rand(n, generator=torch.Generator().manual_seed(1), dtype=F64)
    return exact.sample(n, dtype=F64), t, draws(n, 3, seed=2)


def test_perturb(exact):
    x0, t, z = noised(exact, 4)
    rows = [exact.sde.alpha(s) * a + exact.sde.sigma(s) * b for a, s, b in zip(x0, t, z, strict=True)]
    torch.testing.assert_close(perturb(exact.sde, x0, t, z), torch.stack(rows))


def test_weights_by_hand(exact):
    """In terms of the score s, as the papers write them; means over the event, not sums."""
    prior, (x0, t, z) = Shifted(exact, shift=0.1), noised(exact, 20)
    x, sigma, alpha = perturb(exact.sde, x0, t, z), exact.sde.sigma(t)[:, None], exact.sde.alpha(t)[:, None]
    s = prior.score(x, t)
    by_hand = {
        "score": (sigma * s + z).square().mean(1),
        "likelihood": (exact.sde.g2(t)[:, None] * (s + z / sigma).square()).mean(1),
        "unit": ((sigma * s + z) / alpha * sigma).square().mean(1) * ((alpha / sigma) ** 2 + 1 / exact.variance)[:, 0],
    }
    assert set(by_hand) == set(WEIGHTS)
    for weight, expected in by_hand.items():
        torch.testing.assert_close(denoising_score_matching(prior, x0, t, z, weight), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_the_exact_prior_is_the_minimum(exact, weight):
    x0, t, z = noised(exact, 20000)
    loss = denoising_score_matching(exact, x0, t, z, weight)
    for wrong in (Shifted(exact, 0.1), Shifted(exact, -0.1), Shifted(exact, factor=1.1), Shifted(exact, factor=0.9)):
        excess = denoising_score_matching(wrong, x0, t, z, weight) - loss
        assert excess.mean() > 4 * excess.std() / len(excess) ** 0.5


def test_the_minimum_is_the_posterior_variance(exact):
    """E |D - x0|^2 is the trace of Cov[x0 | x_t], which a Gaussian's data do not change."""
    n, t = 40000, 0.3
    loss = denoising_score_matching(exact, exact.sample(n, dtype=F64), torch.full((n,), t, dtype=F64), draws(n, 3))
    alpha, sigma = exact.sde.alpha(t), exact.sde.sigma(t)
    expected = (alpha / sigma) ** 2 * (VARIANCE * sigma**2 / (alpha**2 * VARIANCE + sigma**2)).mean()
    assert abs(loss.mean() - expected) < 4 * loss.std() / n**0.5


# importance-sampled times ---------------------------------------------------------------------------------------------


def midpoints(n):
    return (torch.arange(n, dtype=F64) + 0.5) / n


def test_likelihood_times_have_their_density(exact):
    """Their distribution function, integrated by quadrature on a fine logarithmic grid, is the number drawn from."""
    u = midpoints(200)
    t = likelihood_times(exact.sde, u)
    fine = torch.logspace(-5, 0, 200001, dtype=F64)
    ratio = likelihood_density(exact.sde, fine) / (1 - T_TRAIN)
    to = torch.cat([ratio.new_zeros(1), torch.cumulative_trapezoid(ratio, fine)])
    assert bool((t.diff() > 0).all()) and t[0] >= T_TRAIN and t[-1] <= 1
    torch.testing.assert_close(to[-1], torch.ones((), dtype=F64), rtol=1e-6, atol=0)
    torch.testing.assert_close(to[torch.searchsorted(fine, t)], u, rtol=0, atol=2e-4)  # one cell of the fine grid


def loss_at(prior, t):
    """The likelihood-weighted loss of a wrong prior, mean over 20 x0 and z that all times share."""
    x0, z = prior.exact.sample(20, dtype=F64), draws(20, 3, seed=3)
    n = len(t)
    rows = [row.repeat(n, 1) for row in (x0, z)]
    loss = denoising_score_matching(prior, rows[0], t.repeat_interleave(20), rows[1], "likelihood")
    return loss.view(n, 20).mean(1)


def test_importance_sampled_times_keep_the_mean_and_lessen_the_variance(exact):
    """Expectations by quadrature: over t on a fine grid, and over u by the midpoint rule, whose error is 1 / n^2."""
    prior = Shifted(exact, factor=0.9)
    objective = DenoisingScoreMatching(prior, "likelihood")
    fine = torch.logspace(-5, 0, 20001, dtype=F64)
    expected = torch.trapezoid(loss_at(prior, fine), fine) / (1 - T_TRAIN)
    t = objective.times(midpoints(2000))
    drawn = loss_at(prior, t) / likelihood_density(exact.sde, t)
    torch.testing.assert_close(drawn.mean(), expected, rtol=2e-3, atol=0)
    spread = torch.trapezoid((loss_at(prior, fine) - expected).square(), fine)
    uniform_already = isinstance(exact.sde, VESDE)  # whose log sigma is linear in t
    assert drawn.var() < (1.01 if uniform_already else 0.5) * spread
    x0, z = exact.sample(len(t), dtype=F64), draws(len(t), 3, seed=4)
    by_hand = denoising_score_matching(prior, x0, t, z, "likelihood") / likelihood_density(exact.sde, t)
    torch.testing.assert_close(objective(x0, None, t, z), by_hand)


def test_other_weights_keep_uniform_times(exact):
    u = midpoints(5)
    for weight in ("score", "unit"):
        torch.testing.assert_close(DenoisingScoreMatching(exact, weight).times(u), T_TRAIN + (1 - T_TRAIN) * u)


def test_an_unknown_weight_is_refused(exact):
    with pytest.raises(ValueError, match="weight = 'snr': expected one of"):
        denoising_score_matching(exact, *noised(exact, 2), weight="snr")
