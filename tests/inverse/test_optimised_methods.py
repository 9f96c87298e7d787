"""Methods that optimise, anneal or travel back in time: RED-diff, DAPS, TMPD, RePaint, each against its own formula."""

import warnings
from itertools import pairwise

import pytest
import torch

from inverse import METHODS, Method, UncalibratedSpread, solve
from inverse.grids import TimeTravel, karras, uniform
from inverse.guidance import DAPS, TMPD, REDDiff, Replacement
from inverse.predictors import Ancestral, Travelling
from operators import GaussianNoise, LinearMap, Masking, Operator
from priors import VESDE, Evaluations, Gaussian
from priors.ode import decode
from tests.cases import F64, SDES, draw, gaussian, level, normal, rotated

D = 4
X = normal(3, D, seed=1)


class Curved(Operator):
    """A nonlinear measurement."""

    def forward(self, x):
        return x + 0.3 * x.square()


class Doubles:
    """One stream for all rows, in float64."""

    def __init__(self, seed: int = 0):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, shape):
        return torch.randn(shape, generator=self.generator, dtype=F64)


# RED-diff -------------------------------------------------------------------------------------------------------------


def test_reddiff_is_adam_on_the_paper_s_loss(sde):
    """Algorithm 1 by autograd and torch's Adam, for a nonlinear operator, from a starting point of one's own."""
    prior, operator, weight, lr = gaussian(sde, D), Curved(GaussianNoise(0.1)), 0.4, 0.3
    y = operator(prior.sample(3, seed=9, dtype=F64))
    posterior = REDDiff(weight, lr).posterior(Evaluations(prior), operator, y)
    times, x = karras(sde, 6), X * float(sde.sigma(1.0))
    mu = prior.denoise(x, times[0]).requires_grad_()
    adam = torch.optim.Adam([mu], lr=lr * prior.variance**0.5, betas=(0.9, 0.99), eps=1e-12)
    memory = {}
    for step, (t, s) in enumerate(pairwise(times)):
        alpha, sigma = sde.alpha(t), sde.sigma(t)
        if step:  # the noise of the state is what the last Gaussian added
            x = alpha * mu.detach() + sigma * normal(3, D, seed=20 + step)
        found, memory = posterior.edit(None, x, t, s, memory)
        eps, eps_hat = (x - alpha * mu.detach()) / sigma, -sigma * prior.score(x, t)
        loss = 0.5 * (operator(mu) - y).square().sum() + weight * sigma / alpha * ((eps_hat - eps) * mu).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
        torch.testing.assert_close(found.mean, sde.alpha(s) * mu.detach(), rtol=1e-6, atol=1e-6)
        assert float(found.std) == float(sde.sigma(s))
    torch.testing.assert_close(posterior.result(x, times[-1], None, memory), mu.detach(), rtol=1e-6, atol=1e-6)


def test_reddiff_minimises(sde):
    """With an isotropic prior N(m, c): what was seen goes to y, what was not seen stays about m.

    The regulariser's gradient is (mu - m) sigma^2 / (alpha^2 c + sigma^2) on average, which vanishes with the noise.
    """
    prior = Gaussian(torch.tensor([0.5, 0.5, -1.0, -1.0]), 0.25 * torch.eye(D), sde)
    operator = Masking(torch.tensor([1, 0, 1, 0]), noise=GaussianNoise(0.05))
    y = torch.tensor([[1.2, 0.0, -0.2, 0.0]])
    x = draw(prior, METHODS["reddiff"], 300, 300, operator, y)
    assert (x[:, ::2] - y[:, ::2]).abs().mean() < 0.05
    torch.testing.assert_close(x.mean(0)[1::2], prior.mean[1::2], atol=0.1, rtol=0)
    assert not METHODS["reddiff"].guidance.samples


# DAPS -----------------------------------------------------------------------------------------------------------------


def linear_problem(sde, sigma_y: float = 0.3):
    prior, operator = gaussian(sde, D), LinearMap(normal(2, D, seed=5), GaussianNoise(sigma_y))
    return prior, operator, operator(prior.sample(1, seed=9, dtype=F64))


@pytest.mark.parametrize(("steps", "lr"), [(10, 0.2), (200, 0.1)])
def test_the_inner_draw_of_daps(steps, lr):
    """The law of Langevin steps on a quadratic is known after any number of them: at infinity, and for small steps, it
    is N(D_ode, r^2 I) p(y | x0).

    Along an eigenvector of the Hessian p = A'A / sigma_y^2 + I / r^2 the mean nears the mode by (1 - h p) a step and
    the variance is 2 h sum (1 - h p)^(2 k).
    """
    n, r, sigma_y = 4000, 0.3, 0.6
    prior, operator, y = linear_problem(SDES["vp"], sigma_y)
    centre = torch.linspace(-1, 1, D, dtype=F64)
    posterior = DAPS(langevin_steps=steps, lr=lr).posterior(prior, operator, y.expand(n, 2), Doubles())
    x = posterior._langevin(centre.expand(n, D), r)
    a = operator.matrix
    hessian = a.mT @ a / sigma_y**2 + torch.eye(D, dtype=F64) / r**2
    mode = torch.linalg.solve(hessian, a.mT @ y[0] / sigma_y**2 + centre / r**2)
    largest = posterior.curvature(centre[None])
    h = lr / (float(largest) / sigma_y**2 + 1 / r**2)
    p, axes = torch.linalg.eigh(hessian)
    decay = 1 - h * p
    mean = mode + axes @ (decay**steps * (axes.mT @ (centre - mode)))
    variances = 2 * h * (1 - decay ** (2 * steps)) / (1 - decay**2)
    z = (x - mean) @ axes
    assert (z.mean(0) / (variances / n).sqrt()).abs().max() < 4
    torch.testing.assert_close(z.var(0), variances, atol=0, rtol=5 * (2 / n) ** 0.5)
    if steps == 200:
        torch.testing.assert_close(variances * p, torch.ones(D, dtype=F64), atol=0.05, rtol=0)
        torch.testing.assert_close(mean, mode, atol=0.02, rtol=0)


class Silence:
    def normal(self, shape):
        return torch.zeros(shape, dtype=F64)


def ended(prior, operator, y, x, t, ode_steps):
    """Where the inner flow ends, seen through Langevin steps of next to no length, and its evaluations."""
    counting, still = Evaluations(prior), DAPS(ode_steps, 1, lr=1e-12)
    posterior = still.posterior(counting, operator, y.expand(len(x), *y.shape[1:]), Silence())
    return posterior.condition(None, x, t, t).mean / prior.sde.alpha(t), counting.nfe


def test_daps_noises_its_draw_to_the_next_level(sde):
    """x_s ~ N(alpha_s x0, sigma_s^2), r is sigma / alpha of the level that it left, and the last draw is the result."""
    prior, operator, y = linear_problem(sde)
    t, s = level(sde, 0.8), level(sde, 0.5)
    centre = ended(prior, operator, y, X, t, 5)[0]
    posteriors = [DAPS(langevin_steps=3).posterior(prior, operator, y.expand(3, 2), Doubles(1)) for _ in range(2)]
    posterior, x0 = posteriors[0], posteriors[1]._langevin(centre, 0.8)
    q, memory = posterior.edit(None, X, t, s, {})
    torch.testing.assert_close(q.mean, sde.alpha(s) * x0, rtol=1e-6, atol=1e-6)
    assert float(q.std) == float(sde.sigma(s))
    torch.testing.assert_close(posterior.result(X, s, None, memory), x0, rtol=1e-6, atol=1e-6)


def test_the_inner_flow_of_daps_is_the_probability_flow(sde):
    """First order: twice the steps halve the distance to the flow's end by an adaptive rule; n steps cost n."""
    prior, operator, y = linear_problem(sde)
    x = X * float(sde.sigma(1.0))
    exact, errors = decode(prior, x, denoise=True, rtol=1e-8, atol=1e-8), []
    for steps in (5, 100, 200):
        end, nfe = ended(prior, operator, y, x, torch.tensor(1.0, dtype=F64), steps)
        errors.append(float((end - exact).norm()))
        assert nfe == steps
    assert errors[2] < 0.02
    assert 0.4 < errors[2] / errors[1] < 0.6
    assert errors[0] < 0.5 * float((prior.mean - exact).norm()), "five steps are not the flow at all"


@pytest.mark.parametrize("seed", range(5))
def test_daps_bounds_the_curvature(seed):
    """The step's eigenvalue is at least the largest of A'A, and at most 1.3 times it."""
    operator = LinearMap(normal(3, 6, seed=seed), GaussianNoise(0.1))
    posterior = DAPS().posterior(gaussian(SDES["vp"], 6), operator, torch.zeros(2, 3, dtype=F64))
    largest = float(torch.linalg.matrix_norm(operator.matrix, 2)) ** 2
    for found in posterior.curvature(normal(2, 6, seed=50 + seed)).tolist():
        assert largest <= found <= 1.3 * largest


def test_daps_scales_with_a_nonlinear_operator():
    """J'J of x + .3 x^2 is (1 + .6 x)^2 per pixel, whose largest is the step's eigenvalue."""
    prior, x0 = gaussian(SDES["vp"], D), torch.tensor([[0.5, -0.5, 3.0, 0.0]], dtype=F64)
    posterior = DAPS().posterior(prior, Curved(GaussianNoise(0.1)), x0)
    assert 2.8**2 <= float(posterior.curvature(x0)) <= 1.3 * 2.8**2


def test_daps_draws_too_widely_where_nothing_was_measured():
    """The paper's N(D_ode, r^2) adds variance that D_ode already has: 1.33 times the standard deviation, of a prior
    whose other half is measured. docs/methods.md says so."""
    prior = Gaussian(torch.zeros(16), 0.05 * torch.eye(16), VESDE(0.01, 50.0))
    operator = LinearMap(torch.eye(16)[:8], GaussianNoise(0.05))
    y = operator.measure(prior.sample(1, seed=0), seed=1)
    samples = solve(prior, operator, y, 200, "daps", 100, progress=False).samples[0]
    assert 1.2 < float(samples[:, 8:].std()) / 0.05**0.5 < 1.45


@pytest.mark.parametrize(("operator", "cautious"), [
    (LinearMap(torch.eye(16)[:8]), True),
    (Masking(torch.arange(16) % 2), True),
    (LinearMap(torch.eye(16)), False),
    (Curved(GaussianNoise(0.1)), False),
])  # fmt: skip
def test_daps_warns_where_nothing_was_measured(operator, cautious):
    prior, operator = Gaussian(torch.zeros(16), 0.05 * torch.eye(16), VESDE()), operator.with_noise(GaussianNoise(0.1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        solve(prior, operator, operator.measure(torch.zeros(1, 16), seed=0), 1, "daps", 2, progress=False)
    assert any(w.category is UncalibratedSpread and "too widely" in str(w.message) for w in caught) == cautious


def test_daps_takes_an_exact_measurement_as_nearly_exact():
    """sigma_y = 0 counts as tau standard deviations of the prior."""
    prior, operator = gaussian(SDES["vp"], D), Masking(torch.ones(D))
    posterior = DAPS(tau=0.05).posterior(prior, operator, X)
    assert posterior.floor**0.5 == pytest.approx(0.05 * prior.variance**0.5)


# TMPD -----------------------------------------------------------------------------------------------------------------


def test_tmpd_is_exact_where_the_covariance_is_diagonal(sde):
    """Row sums are the diagonal then: a diagonal Gaussian prior and a mask, at every noise level."""
    prior = Gaussian(torch.linspace(-1, 1, D), torch.diag(torch.tensor([0.04, 0.3, 1.0, 2.0])), sde)
    operator = Masking(torch.tensor([1, 0, 1, 1]), noise=GaussianNoise(torch.tensor([0.1, 0.2, 0.3, 0.4]), 1))
    y = operator.measure(prior.sample(1, seed=9), seed=3).double()
    truth = prior.posterior(operator, y)
    for ratio in (0.02, 0.3, 2.0, 20.0):
        t = level(sde, ratio)
        x = sde.alpha(t) * prior.sample(3, seed=4, dtype=F64) + sde.sigma(t) * normal(3, D, seed=6)
        found = TMPD().posterior(Evaluations(prior), operator, y.expand(3, D)).denoise(x, t)
        torch.testing.assert_close(found, truth.denoise(x, t), rtol=1e-6, atol=1e-6)


def test_tmpd_by_hand(sde):
    """J' A' (y - A D) / (sigma_y^2 + row sums of A C A'), negative sums as 0, J from the Gaussian's own formula.

    Counting a negative sum as 0 can overshoot: a row is then shortened, and keeps its direction (`guidance.bounds`).
    """
    prior = Gaussian(torch.zeros(D), rotated(torch.logspace(-1, 0, D, dtype=F64), seed=2), sde)
    matrix = torch.tensor([[1.0, 0.0, 0.0, 0.0], [-2.0, 0.3, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]], dtype=F64)
    operator = LinearMap(matrix, GaussianNoise(0.2))
    y, t = operator(prior.sample(3, seed=9, dtype=F64)), level(sde, 0.5)
    alpha, sigma = float(sde.alpha(t)), float(sde.sigma(t))
    jacobian = (
        alpha * prior.covariance @ torch.linalg.inv(alpha**2 * prior.covariance + sigma**2 * torch.eye(D, dtype=F64))
    )
    a = operator.matrix
    sums = (sigma**2 / alpha * a @ jacobian @ a.mT).sum(1)
    assert float(sums.min()) < 0 < float(sums.max()), "a problem that shows both"
    denoised = X @ jacobian.mT
    expected = (y - denoised @ a.mT) / (0.2**2 + sums.clamp_min(0)) @ a @ jacobian
    found = TMPD().posterior(Evaluations(prior), operator, y).guide(X, t)
    torch.testing.assert_close(found[0], denoised)
    share = (found[1] * expected).sum(1, keepdim=True) / expected.square().sum(1, keepdim=True)
    torch.testing.assert_close(found[1], share * expected)
    assert bool(((share > 0.01) & (share < 1 + 1e-6)).all())
    clean = operator(X)
    inside = TMPD().posterior(Evaluations(prior), LinearMap(matrix[2:], GaussianNoise(0.2)), clean[:, 2:])
    row, total = matrix[2:], 0.2**2 + (sigma**2 / alpha * matrix[2:] @ jacobian @ matrix[2:].mT).sum(1)
    torch.testing.assert_close(
        inside.guide(X, t)[1], (clean[:, 2:] - denoised @ row.mT) / total @ row @ jacobian, msg="no overshoot, no limit"
    )


# RePaint --------------------------------------------------------------------------------------------------------------


def test_a_grid_that_travels_back_by_hand(sde):
    """Four steps down in blocks of two, each walked twice: for n = 8 there are two blocks."""
    once = uniform(sde, 2).tolist()
    few = TimeTravel(2, 2, uniform)(sde, 4).tolist()
    assert few == [once[0], once[1], once[2], once[0], once[1], once[2]]
    a, b, c, d, e = uniform(sde, 4).tolist()
    assert TimeTravel(2, 2, uniform)(sde, 8).tolist() == [a, b, c, a, b, c, d, e, c, d, e]


@pytest.mark.parametrize(("jump", "repeats", "n"), [(10, 10, 1000), (3, 4, 60), (5, 1, 40), (10, 10, 7), (1, 3, 9)])
def test_a_grid_that_travels_back(sde, jump, repeats, n):
    """From 1 to t_min in monotone blocks of ``jump`` steps, each ``repeats`` times, no more than n steps down but for a
    grid of one block."""
    times = TimeTravel(jump, repeats)(sde, n)
    assert times[0] == 1 and times[-1] == sde.t_min and times.dtype == F64
    down = times.diff() < 0
    length = min(jump, n)
    blocks = max(1, n // (length * repeats))
    assert int(down.sum()) == blocks * length * repeats
    assert int((~down).sum()) == blocks * (repeats - 1)
    unique = times.unique()
    assert len(unique) == blocks * length + 1
    for i in (~down).nonzero()[:, 0].tolist():  # a way up takes back exactly one block
        assert int((unique <= times[i + 1]).sum() - (unique <= times[i]).sum()) == length


def test_the_way_up_is_the_forward_sde(sde):
    """N(a x, v) of the bridge at no evaluation; the way down is the predictor's own step."""
    counting, t, s = Evaluations(gaussian(sde, D)), level(sde, 0.1), level(sde, 0.7)
    q = Travelling(Ancestral()).transition(counting, X, t, s, None)
    assert counting.nfe == 0
    (alpha_t, sigma_t), (alpha_s, sigma_s) = ((float(sde.alpha(u)), float(sde.sigma(u))) for u in (t, s))
    torch.testing.assert_close(q.mean, alpha_s / alpha_t * X)
    assert float(q.std) ** 2 == pytest.approx(sigma_s**2 - (alpha_s / alpha_t * sigma_t) ** 2)
    down = [p.transition(counting, X, s, t, None) for p in (Travelling(Ancestral()), Ancestral())]
    assert torch.equal(down[0].mean, down[1].mean) and torch.equal(down[0].std, down[1].std)


def test_repaint_lessens_the_bias_of_replacement(sde):
    """Two pixels of covariance .8, the first seen as 1.5: the second is N(1.20, .60^2), by replacement about .75."""
    prior = Gaussian(torch.zeros(2), torch.tensor([[1.0, 0.8], [0.8, 1.0]]), sde)
    operator, y = Masking(torch.tensor([1, 0])), torch.tensor([[1.5, 0.0]])
    plain = draw(prior, Method("", Replacement(), Ancestral()), 2000, 100, operator, y)[:, 1]
    method = Method("", Replacement(), Travelling(Ancestral()), grid=TimeTravel(10, 5))
    mended = draw(prior, method, 2000, 500, operator, y)[:, 1]
    assert float(plain.mean()) < 0.85
    assert 1.0 < float(mended.mean()) < 1.25
    assert 0.53 < float(mended.std()) < 0.67


# all ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: REDDiff(weight=0.0), r"weight = 0\.0: expected a finite number > 0"),
        (lambda: REDDiff(lr=-1.0), r"lr = -1\.0"),
        (lambda: DAPS(ode_steps=0), r"ode_steps = 0: expected an integer >= 1"),
        (lambda: DAPS(langevin_steps=0), r"langevin_steps = 0"),
        (lambda: DAPS(lr=2.0), r"lr = 2\.0: expected a number in \(0, 2\)"),
        (lambda: DAPS(tau=0.0), r"tau = 0\.0: expected a finite number > 0"),
        (lambda: TimeTravel(jump=0), r"jump = 0: expected an integer >= 1"),
        (lambda: TimeTravel(repeats=0), r"repeats = 0"),
    ],
)
def test_a_parameter_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
