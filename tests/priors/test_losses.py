from functools import cache

import pytest
import torch

from priors import VESDE, VPSDE, Gaussian, Prior
from priors.losses import (
    T_TRAIN,
    WEIGHTS,
    ddpm,
    denoising_score_matching,
    likelihood_density,
    likelihood_times,
    perturb,
    sliced_score_matching,
    smld,
)
from priors.objectives import OBJECTIVES, DenoisingScoreMatching, PriorObjective, SlicedScoreMatching
from priors.recipes import objective
from priors.sde import LadderSDE
from tests.priors.cases import F64, SDES, draws, stripes

VARIANCE = torch.tensor([0.1, 0.5, 2.0], dtype=F64)


class Shifted(Prior):
    """A prior that is wrong by a constant, or by a factor."""

    def __init__(self, exact, shift=0.0, factor=1.0):
        self.exact, self.shift, self.factor = exact, shift, factor
        self.sde, self.event_shape, self.variance = exact.sde, exact.event_shape, exact.variance

    def denoise(self, x, t):
        return self.factor * self.exact.denoise(x, t) + self.shift


def law(sde):
    return Gaussian(torch.tensor([0.5, -1.0, 0.0]), torch.diag(VARIANCE), sde=sde)


@pytest.fixture(params=list(SDES.values()), ids=list(SDES))
def exact(request):
    return law(request.param)


@cache
def clean(n):
    """Draws of x0, the same under every SDE: a stream each takes longer than the losses of as many."""
    return law(VESDE()).sample(n, dtype=F64)


def noised(exact, n):
    t = 0.02 + 0.98 * torch.rand(n, generator=torch.Generator().manual_seed(1), dtype=F64)
    return clean(n), t, draws(n, 3, seed=2)


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
    loss = denoising_score_matching(exact, clean(n), torch.full((n,), t, dtype=F64), draws(n, 3))
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
    cell = float(to.diff().max())
    assert cell < 1e-3
    torch.testing.assert_close(to[torch.searchsorted(fine, t)], u, rtol=0, atol=cell)


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
    trained = DenoisingScoreMatching(prior, "likelihood")
    fine = torch.logspace(-5, 0, 20001, dtype=F64)
    expected = torch.trapezoid(loss_at(prior, fine), fine) / (1 - T_TRAIN)
    t = trained.times(midpoints(2000))
    drawn = loss_at(prior, t) / likelihood_density(exact.sde, t)
    torch.testing.assert_close(drawn.mean(), expected, rtol=2e-3, atol=0)
    spread = torch.trapezoid((loss_at(prior, fine) - expected).square(), fine)
    uniform_already = isinstance(exact.sde, VESDE)  # whose log sigma is linear in t
    assert drawn.var() < (1.01 if uniform_already else 0.5) * spread
    x0, z = clean(len(t)), draws(len(t), 3, seed=4)
    by_hand = denoising_score_matching(prior, x0, t, z, "likelihood") / likelihood_density(exact.sde, t)
    torch.testing.assert_close(trained(x0, None, t, z), by_hand)


def test_other_weights_keep_uniform_times(exact):
    u = midpoints(5)
    for weight in ("score", "unit"):
        torch.testing.assert_close(DenoisingScoreMatching(exact, weight).times(u), T_TRAIN + (1 - T_TRAIN) * u)


# sliced score matching -----------------------------------------------------------------------------------------------


class Linear(Prior):
    """Score -K (x - alpha m) with a matrix K to be found."""

    def __init__(self, exact, matrix):
        self.sde, self.event_shape, self.variance = exact.sde, exact.event_shape, exact.variance
        self.mean, self.matrix = exact.mean, matrix

    def score(self, x, t):
        return -(x - self.sde.alpha(t)[:, None].to(x) * self.mean) @ self.matrix.mT


def signs(n, seed=7):
    return torch.sign(draws(n, 3, seed=seed))


def test_a_sliced_loss_by_hand(exact):
    """lambda / d (|s|^2 - 2 v' K v) for the score -K (x - alpha m), with the lambda of each weight."""
    x0, t, z = noised(exact, 12)
    matrix, v = draws(3, 3, seed=5), signs(12)
    prior, sigma, g2 = Linear(exact, matrix), exact.sde.sigma(t), exact.sde.g2(t)
    s = prior.score(perturb(exact.sde, x0, t, z), t)
    each = (s.square().sum(1) - 2 * (v @ matrix * v).sum(1)) / 3
    for weight, scale in {"score": sigma**2, "likelihood": g2}.items():
        torch.testing.assert_close(sliced_score_matching(prior, x0, t, z, v, weight), scale * each)


def test_sliced_and_denoising_losses_differ_by_a_constant(exact):
    """Their difference has the same mean for two scores: within 4 standard errors, by losses that differ by many."""
    n = 40000
    x0, t, z = noised(exact, n)
    t, v = torch.full_like(t, 0.3), signs(n)
    losses = []
    for matrix in (torch.eye(3, dtype=F64), 0.3 * draws(3, 3, seed=5)):
        prior = Linear(exact, matrix)
        losses.append((sliced_score_matching(prior, x0, t, z, v), denoising_score_matching(prior, x0, t, z)))
    (sliced, denoising), (other_sliced, other_denoising) = losses
    change = (sliced - other_sliced) - (denoising - other_denoising)
    assert abs(change.mean()) < 4 * change.std() / n**0.5
    assert abs((sliced - other_sliced).mean()) > 20 * change.std() / n**0.5


def test_the_sliced_optimum_is_the_score(exact):
    """Over linear scores the loss is a parabola in K, so that one Newton step from anywhere is its minimum."""
    n, t = 40000, 0.3
    x0, z, v = clean(n), draws(n, 3), signs(n)
    times = torch.full((n,), t, dtype=F64)

    def mean_loss(flat):
        return sliced_score_matching(Linear(exact, flat.view(3, 3)), x0, times, z, v).mean()

    start = torch.zeros(9, dtype=F64, requires_grad=True)
    basis = torch.eye(9, dtype=F64)

    def gradient(flat):
        flat = flat.detach().requires_grad_()
        return torch.autograd.grad(mean_loss(flat), flat)[0]

    at_zero = gradient(start)
    hessian = torch.stack([gradient(row) - at_zero for row in basis])
    found = -torch.linalg.solve(hessian, at_zero).view(3, 3)
    truth = torch.diag(1 / (exact.sde.alpha(t) ** 2 * VARIANCE + exact.sde.sigma(t) ** 2))
    assert (found - truth).abs().max() < 0.05 * truth.max()  # sampling error, about 3 / sqrt(n)


def test_the_sliced_objective_without_gradients(exact):
    """Held-out losses are computed under no_grad: the same numbers."""
    sliced = SlicedScoreMatching(exact)
    x0, t, z = noised(exact, 6)
    with torch.no_grad():
        held_out = sliced(x0, None, t, z)
    assert not held_out.requires_grad
    torch.testing.assert_close(held_out, sliced(x0, None, t, z).detach())
    with pytest.raises(ValueError, match="batch size of at least 2"):
        sliced(x0[:1], None, t[:1], z[:1])


# discrete losses ------------------------------------------------------------------------------------------------------


def test_discrete_losses_by_hand():
    """One pixel, two levels: s = (D - x) / sigma^2 and eps_hat = (x - alpha D) / sigma with D = x / 2."""

    class Half(Prior):
        event_shape = (1,)

        def __init__(self, sde):
            self.sde = sde

        def denoise(self, x, t):
            return x / 2

    x0, z, level = torch.tensor([[1.0], [1.0]]).double(), torch.tensor([[0.5], [-2.0]]).double(), torch.tensor([1, 2])
    loss = smld(Half(LadderSDE((1.0, 1.0), (0.1, 2.0))), x0, level, z)
    # x = 1.05 and -3, s = -x / (2 sigma^2), so sigma s + z = -5.25 + .5 and .75 - 2
    torch.testing.assert_close(loss, torch.tensor([4.75**2, 1.25**2], dtype=F64))
    loss = ddpm(Half(LadderSDE((0.8, 0.6), (0.6, 0.8))), x0, level, z)
    # x = 1.1 and -1, eps_hat = .6 x / .6 and .7 x / .8
    torch.testing.assert_close(loss, torch.tensor([(1.1 - 0.5) ** 2, (-0.875 + 2) ** 2], dtype=F64))


DISCRETE = {"smld": (LadderSDE.smld, VESDE()), "ddpm": (LadderSDE.ddpm, VPSDE())}


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_losses_tend_to_the_continuous_one(name):
    """Means over all levels, of a wrong prior and shared x0 and z, approach the integral over t as 1 / N."""
    make, limit = DISCRETE[name]

    def mean(sde, loss_at, t):
        exact, wrong = (Gaussian(torch.tensor([0.5, -1.0, 0.0]), torch.diag(k * VARIANCE), sde=sde) for k in (1, 3))
        x0, z = exact.sample(50, seed=3, dtype=F64), draws(50, 3, seed=4)
        return loss_at(wrong, x0.repeat(len(t), 1), t.repeat_interleave(50), z.repeat(len(t), 1))

    continuous = mean(limit, denoising_score_matching, midpoints(20000)).mean()
    errors = []
    for n in (100, 200, 400):
        sde, discrete = make(n=n), {"smld": smld, "ddpm": ddpm}[name]
        losses = mean(sde, lambda p, x0, level, z: discrete(p, x0, level, z), torch.arange(n) + 1)  # noqa: B023
        errors.append(float((losses.mean() / continuous - 1).abs()))
    assert errors[-1] < 0.05 and 1.7 < errors[0] / errors[1] < 2.4 and 1.7 < errors[1] / errors[2] < 2.4, errors


def test_discrete_times_are_the_levels():
    n = 1000
    discrete = OBJECTIVES["ddpm"](Shifted(Gaussian(torch.zeros(3), torch.eye(3), LadderSDE.ddpm(n=n))))
    u = torch.rand(5000, generator=torch.Generator().manual_seed(0))
    t = discrete.times(torch.cat([torch.tensor([0.0, 1 - 2**-24]), u]))
    assert t[0] == 1 / n and t[1] == 1
    torch.testing.assert_close(t * n, (t * n).round(), rtol=0, atol=1e-4)
    assert len((t * n).round().unique()) > 0.98 * n * (1 - 2.7**-5)


# objectives of recipes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_lessens_in_training(name):
    """As a recipe names it: Adam on a tiny network lowers the loss on fixed images, times and noise."""
    ladder = {"smld": {"type": "SMLD", "sigma_max": 10.0, "n": 30}, "ddpm": {"type": "DDPM", "n": 50, "beta_max": 10.0}}
    recipe = {
        "kind": "prior", "sde": ladder.get(name, {"type": "VESDE", "sigma_max": 10.0}),
        "range": {"shift": 0.3, "scale": 0.3}, "training": {},
        "prior": {"prediction": "preconditioned", "objective": name},
        "network": {"type": "ncsnpp", "image_channels": 1, "image_size": 8, "channels": 8, "multipliers": [1],
                    "res_blocks": 1, "attention": [], "dropout": 0.0},
    }  # fmt: skip
    images = stripes(32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trained = objective(recipe, images)
    assert isinstance(trained, PriorObjective)
    x0, z = images.floats(torch.arange(32)), draws(32, 1, 8, 8).float()
    t = trained.times(torch.linspace(0.3, 1, 33)[:-1])
    adam = torch.optim.Adam(trained.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        loss = trained(x0, None, t, z)
        assert loss.shape == (32,)
        adam.zero_grad()
        loss.mean().backward()
        adam.step()
        losses.append(loss.mean().item())
    assert losses[-1] < losses[0] - 0.02, losses


def test_what_objectives_refuse(exact):
    with pytest.raises(ValueError, match=r"expected \[sde\] type = 'SMLD' or 'DDPM'"):
        OBJECTIVES["ddpm"](exact)
    ladder = Gaussian(torch.zeros(3), torch.eye(3), LadderSDE.ddpm(n=10, beta_max=5.0))
    with pytest.raises(ValueError, match="use 'score'"):
        OBJECTIVES["ddpm"](ladder, "unit")
    x0, level = draws(2, 3), torch.tensor([1, 2])
    with pytest.raises(ValueError, match="alpha = 1 at every level"):
        smld(ladder, x0, level, x0)
    with pytest.raises(ValueError, match="has no discrete levels: expected a LadderSDE"):
        ddpm(exact, x0, level, x0)


def test_an_unknown_weight_is_refused(exact):
    with pytest.raises(ValueError, match="weight = 'snr': expected one of"):
        denoising_score_matching(exact, *noised(exact, 2), weight="snr")
