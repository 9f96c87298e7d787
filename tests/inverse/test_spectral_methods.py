"""Methods that edit steps in the singular basis, or solve for y in closed form, against dense formulas."""

from dataclasses import replace

import pytest
import torch

from inverse import Method
from inverse.grids import Sawtooth
from inverse.guidance import DDNM, DDRM, DPS, MCG, DiffPIR, Replacement, ScoreMRI, SplitGibbs
from inverse.methods import METHODS
from inverse.predictors import Ancestral, Renoise, ReverseDiffusion, StochasticRungeKutta, Travelling
from operators import Blur, GaussianNoise, LinearMap, Masking
from priors import Evaluations, Gaussian, RowRNG
from tests.cases import F64, SDES, draw, gaussian, level, normal, picture

D = 4
MASK = torch.tensor([1, 0, 1, 0])
ORTHOGONAL = torch.linalg.qr(normal(D, D, seed=8)).Q
VALUES = torch.tensor([2.0, 0.05], dtype=F64)
LEFT = torch.linalg.qr(normal(2, 2, seed=7)).Q
MATRIX = LEFT * VALUES @ ORTHOGONAL[:2]  # noise .1 is .05 or 2 in its two coordinates; two more are not seen
SIGMA_Y = 0.1
X = normal(3, D, seed=1)


def curves(sde, t) -> tuple[float, float]:
    return float(sde.alpha(t)), float(sde.sigma(t))


def measured(operator, prior, n: int = len(X)):
    """n rows of measurements in float64."""
    return operator(prior.sample(n, seed=9, dtype=F64)) + float(operator.noise.sigma) * normal(
        n, *operator.measurement_shape(prior.event_shape), seed=2
    )


def law(q) -> tuple[torch.Tensor, torch.Tensor]:
    """Means (N, d) and covariances (N, d, d) in pixels of a Gaussian in whatever basis."""
    variances = torch.diag_embed((q.std.to(q.mean) ** 2).expand_as(q.mean))
    if q.basis is None:
        return q.mean, variances
    v = q.basis.V(torch.eye(q.mean.shape[1], dtype=F64)).mT
    return q.mean @ v.mT, v @ variances @ v.mT


def same(q, mean, covariance, **tolerance):
    found = law(q)
    torch.testing.assert_close(found[0], mean, **tolerance)
    torch.testing.assert_close(found[1], covariance.expand_as(found[1]), **tolerance)


def coordinates(of_seen, unseen) -> torch.Tensor:
    """A covariance with variances of_seen along the two measured axes of MATRIX and unseen elsewhere, (d, d)."""
    values = torch.cat([of_seen, torch.full((D - 2,), unseen, dtype=F64)])
    return ORTHOGONAL.mT * values @ ORTHOGONAL


@pytest.fixture
def seen(sde):
    """(prior, operator with one precise and one noisy coordinate, y, u (3, 2) and noise (2,) along MATRIX's axes)."""
    prior, operator = gaussian(sde, D), LinearMap(MATRIX, GaussianNoise(SIGMA_Y))
    y = measured(operator, prior)
    return prior, operator, y, y @ LEFT / VALUES, SIGMA_Y / VALUES


# DDRM -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma_y", [0.0, 0.2])
def test_ddrm_is_replacement_where_the_state_is_noisier_than_the_measurement(sde, sigma_y):
    """With eta_b = 1 the two agree on what was seen, and what was not seen is the predictor's own."""
    prior, operator = gaussian(sde, D), Masking(MASK, noise=GaussianNoise(sigma_y))
    y, t, s = measured(operator, prior), level(sde, 0.9), level(sde, 0.5)
    q = Renoise(0.85).transition(prior, X, t, s, None)
    ours = DDRM(0.85, 1.0).posterior(Evaluations(prior), operator, y).condition(q, X, t, s)
    theirs = Replacement().posterior(Evaluations(prior), operator, y).condition(q, X, t, s)
    same(ours, *law(theirs))
    kept = ~operator.mask.bool()
    torch.testing.assert_close(law(ours)[0][:, kept], q.mean[:, kept], atol=0, rtol=0)
    torch.testing.assert_close(ours.std[:, kept], q.std.expand(3, 2), atol=0, rtol=0)


@pytest.mark.parametrize(("eta", "eta_b"), [(0.85, 1.0), (0.5, 0.7), (1.0, 0.0), (0.0, 1.0)])
def test_ddrm_by_hand(seen, eta, eta_b):
    """Equations 7 and 8 of the paper along every axis: seen well (n < r), seen badly (n > r) and not seen."""
    prior, operator, y, u, n = seen
    sde, t, s = prior.sde, level(prior.sde, 0.9), level(prior.sde, 0.5)
    (alpha_t, sigma_t), (alpha, sigma) = curves(sde, t), curves(sde, s)
    r, denoised = sigma / alpha, prior.denoise(X, t) @ ORTHOGONAL.mT
    eps = (X @ ORTHOGONAL.mT - alpha_t * denoised) / sigma_t
    assert float(n[0]) < r < float(n[1])
    mean = torch.stack(
        [
            (1 - eta_b) * denoised[:, 0] + eta_b * u[:, 0],
            denoised[:, 1] + (1 - eta**2) ** 0.5 * r * (u[:, 1] - denoised[:, 1]) / n[1],
            *(denoised[:, 2:] + (1 - eta**2) ** 0.5 * r * eps[:, 2:]).unbind(1),
        ],
        1,
    )
    variances = torch.stack([r**2 - (eta_b * n[0]) ** 2, torch.tensor((eta * r) ** 2, dtype=F64)])
    q = Renoise(eta).transition(prior, X, t, s, None)
    found = DDRM(eta, eta_b).posterior(Evaluations(prior), operator, y).condition(q, X, t, s)
    same(found, alpha * mean @ ORTHOGONAL, alpha**2 * coordinates(variances, (eta * r) ** 2))


# coordinates of which a blur leaves next to nothing -------------------------------------------------------------------


@pytest.mark.parametrize(("name", "most"), [("scoremri", 1.1), ("ddnm", 1.1), ("splitgibbs", 1.9)])
def test_coordinates_that_are_hardly_seen_do_not_bring_their_noise(name, most):
    """A Gaussian blur whose inverse makes noise of 70,000 of .05: about as near to the truth as exact draws.

    The noise of y is the same at every step, so that a method that takes a little of it each time has it all at last.
    """
    prior, operator = picture(SDES["ve"]), Blur.gaussian(1.2, truncate=2.5, noise=GaussianNoise(0.05))
    assert 0.05 / float(operator.spectrum(torch.zeros(1, 1, 8, 8)).min()) > 1e4
    truth = prior.sample(1, seed=9).float()
    y = operator.measure(truth, seed=3)
    posterior = prior.posterior(operator, y)
    x = draw(prior, METHODS[name], 16, 60, operator, y)
    spread = (posterior.sample(16, seed=1) - truth).square().mean().sqrt()
    assert float((x - truth).square().mean().sqrt()) < most * float(spread)


# Score-MRI ------------------------------------------------------------------------------------------------------------


def test_scoremri_of_weight_one_is_replacement(sde):
    prior, operator = gaussian(sde, D), Masking(MASK, noise=GaussianNoise(0.2))
    y, t, s = measured(operator, prior), level(sde, 0.9), level(sde, 0.5)
    q = ReverseDiffusion().transition(prior, X, t, s, None)
    laws = [g.posterior(Evaluations(prior), operator, y).condition(q, X, t, s) for g in (ScoreMRI(1.0), Replacement())]
    same(laws[0], *law(laws[1]))


@pytest.mark.parametrize("ratio", [0.5, 0.02])
def test_scoremri_by_hand(seen, ratio):
    """Equation 8 after a step: x <- (1 - L) x + L (alpha A^+ y + noise up to sigma), L = l on what was seen.

    The measurement's own noise counts towards sigma; where it is more, nothing is added and the pull is weaker.
    """
    prior, operator, y, _, n = seen
    t, s, weight = level(prior.sde, 2 * ratio), level(prior.sde, ratio), 0.6
    alpha, sigma = curves(prior.sde, s)
    q = ReverseDiffusion().transition(prior, X, t, s, None)
    weights = torch.full((2,), weight, dtype=F64)
    noisy = alpha * n > sigma
    assert bool(noisy[1]) and bool(noisy[0]) == (ratio < 0.05)
    weights[noisy] = (float(q.std) / (alpha * n[noisy])).square().clamp_max(weight)
    pulled = coordinates(weights, 0.0)
    left = torch.eye(D, dtype=F64) - pulled
    mean = q.mean @ left + alpha * y @ torch.linalg.pinv(MATRIX).mT @ pulled
    added = (sigma**2 - (alpha * n) ** 2).clamp_min(0)
    covariance = float(q.std) ** 2 * left @ left + coordinates(weights**2 * added, 0.0)
    same(ScoreMRI(weight).posterior(Evaluations(prior), operator, y).condition(q, X, t, s), mean, covariance)


def test_a_hard_pull_keeps_a_noise_free_measurement(sde):
    """Weight 1: A x = y to rounding; weight .5 is half as far off as the prior's own denoising, after every pull."""
    prior, operator = gaussian(sde, D), LinearMap(torch.diag(torch.tensor([2.0, 0.5]).double()) @ ORTHOGONAL[:2])
    y = operator(prior.sample(1, seed=9, dtype=F64))
    method = Method("", ScoreMRI(1.0), ReverseDiffusion())
    found = [
        draw(prior, replace(method, guidance=ScoreMRI(w)), 20, 30, operator.float(), y.float()) for w in (1.0, 0.5)
    ]
    errors = [float((operator.double()(x) - y).abs().max()) for x in found]
    assert errors[0] < 1e-5 < 1e-3 < errors[1]
    posterior = ScoreMRI(0.5).posterior(Evaluations(prior), operator, y.expand(3, -1))
    t = level(sde, 0.1)
    torch.testing.assert_close(operator(posterior.finish(X, t, None)), 0.5 * (y + operator(prior.denoise(X, t))))


# MCG ------------------------------------------------------------------------------------------------------------------


def test_mcg_is_dps_where_nothing_was_seen_and_replacement_elsewhere(sde):
    """The gradient, projected by 1 - A^+ A, is DPS's; a step's Gaussian is edited as by replacement."""
    prior, operator = gaussian(sde, D), LinearMap(ORTHOGONAL[:2], GaussianNoise(0.1))
    y, t, s = measured(operator, prior), level(sde, 0.9), level(sde, 0.5)
    posterior = MCG(3.0).posterior(Evaluations(prior), operator, y)
    denoised, gradient = posterior.guide(X, t)
    full = DPS(3.0).posterior(Evaluations(prior), operator, y).guide(X, t)[1]
    torch.testing.assert_close(operator(gradient), torch.zeros_like(y), atol=1e-10, rtol=0)
    torch.testing.assert_close(gradient, full - full @ ORTHOGONAL[:2].mT @ ORTHOGONAL[:2])
    torch.testing.assert_close(denoised, prior.denoise(X, t))
    assert gradient.abs().max() > 1e-3 and (full - gradient).abs().max() > 1e-3
    q = Ancestral().transition(posterior, X, t, s, None)
    replaced = Replacement().posterior(Evaluations(prior), operator, y).condition(q, X, t, s)
    same(posterior.condition(q, X, t, s), *law(replaced))


# DDNM -----------------------------------------------------------------------------------------------------------------


def test_ddnm_restores_a_noise_free_measurement_exactly(sde):
    """Equation 13: A D^ = y, and D^ has the denoiser's null-space part."""
    prior, operator = gaussian(sde, D), LinearMap(MATRIX)
    y, t = operator(prior.sample(3, seed=9, dtype=F64)), level(sde, 0.3)
    posterior, rng = DDNM().posterior(Evaluations(prior), operator, y), RowRNG.rows(0, 3, dtype=F64)
    found, denoised = posterior.finish(X, t, rng), prior.denoise(X, t)
    torch.testing.assert_close(operator(found), y)
    torch.testing.assert_close(found @ ORTHOGONAL[2:].mT, denoised @ ORTHOGONAL[2:].mT)
    x = draw(prior, METHODS["ddnm"], 5, 10, operator.float(), y[:1].float())
    torch.testing.assert_close(operator(x.float()).double(), y[:1].expand(5, 2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("eta", [0.85, 0.4])
def test_ddnm_by_hand(seen, eta):
    """Equations 17 to 19: D^ = D - A^+ L (A D - y), and noise that, with what A^+ L y brings, has sigma_s.

    Along the axis that is seen badly L < 1 and y brings the share 1 - eta^2 of it; along both of those that are seen
    nothing of the state's noise is carried on.
    """
    prior, operator, y, _, n = seen
    t, s = level(prior.sde, 0.9), level(prior.sde, 0.5)
    (alpha_t, sigma_t), (alpha, sigma) = curves(prior.sde, t), curves(prior.sde, s)
    assert float(n[0]) < sigma / alpha < float(n[1])
    trust = torch.stack([torch.ones_like(n[0]), (1 - eta**2) ** 0.5 * sigma / (alpha * n[1])])
    inverse = ORTHOGONAL[:2].mT * (trust / VALUES) @ LEFT.mT
    denoised = prior.denoise(X, t)
    rectified = denoised + (y - denoised @ MATRIX.mT) @ inverse.mT
    unseen = torch.eye(D, dtype=F64) - ORTHOGONAL[:2].mT @ ORTHOGONAL[:2]
    mean = alpha * rectified + (1 - eta**2) ** 0.5 * sigma * (X - alpha_t * denoised) / sigma_t @ unseen
    brought = (alpha * SIGMA_Y) ** 2 * inverse @ inverse.mT
    q = Renoise(eta).transition(prior, X, t, s, None)
    found = DDNM(eta).posterior(Evaluations(prior), operator, y).condition(q, X, t, s)
    same(found, mean, coordinates(torch.full((2,), sigma**2, dtype=F64), (eta * sigma) ** 2) - brought)
    left = torch.einsum("id,nde,je->nij", ORTHOGONAL[:2], law(found)[1], ORTHOGONAL[:2])
    torch.testing.assert_close(left[:, 1, 1], torch.full((3,), (eta * sigma) ** 2, dtype=F64))


# DiffPIR --------------------------------------------------------------------------------------------------------------

PROXIMAL = {
    "matrix": lambda sigma: (gaussian, LinearMap(normal(3, 8, seed=5), GaussianNoise(sigma))),
    "masking": lambda sigma: (picture, Masking.random((1, 8, 8), 0.4, noise=GaussianNoise(sigma))),
    "reflected blur": lambda sigma: (
        picture,
        Blur.gaussian(0.6, boundary="reflect", truncate=2, noise=GaussianNoise(sigma)).double(),
    ),
}


@pytest.mark.parametrize("name", PROXIMAL)
def test_diffpir_solves_its_proximal_problem(sde, name):
    """The gradient of |y - A z|^2 / (2 sigma_y^2) + lambda |z - D|^2 / (2 (sigma / alpha)^2) is 0 at its estimate."""
    make, operator = PROXIMAL[name](0.2)
    prior, weight = make(sde), 4.0
    y = measured(operator, prior, 2)
    for ratio in (0.05, 0.5, 5.0):
        t = level(sde, ratio)
        alpha, sigma = curves(sde, t)
        x = alpha * prior.sample(2, seed=4, dtype=F64) + sigma * normal(2, *prior.event_shape, seed=6)
        z = DiffPIR(weight).posterior(Evaluations(prior), operator, y).denoise(x, t)
        denoised = prior.denoise(x, t)
        terms = operator.adjoint(operator(z) - y) / 0.2**2, weight * (alpha / sigma) ** 2 * (z - denoised)
        assert (terms[0] + terms[1]).abs().max() < 1e-4 * terms[1].abs().max()
        assert (z - denoised).abs().max() > 1e-4


# split Gibbs ----------------------------------------------------------------------------------------------------------


def test_the_way_up_of_split_gibbs_by_hand(seen):
    """N(x_s; a x_t, v I) p(y | x_s / alpha_s), normalised, as dense matrices; the way down is the predictor's own."""
    prior, operator, y, _, _ = seen
    s, t = level(prior.sde, 0.9), level(prior.sde, 0.02)
    (a, v), alpha = prior.sde.bridge(s, t), float(prior.sde.alpha(s))
    posterior = SplitGibbs().posterior(Evaluations(prior), operator, y)
    q = Travelling(Ancestral()).transition(posterior, X, t, s, None)
    precision = torch.eye(D, dtype=F64) / v + MATRIX.mT @ MATRIX / (alpha * SIGMA_Y) ** 2
    covariance = torch.linalg.inv(precision)
    mean = (a / v * X + y @ MATRIX / (alpha * SIGMA_Y**2)) @ covariance
    same(posterior.condition(q, X, t, s), mean, covariance)
    assert posterior.condition(q, X, s, t) is q


def test_the_way_up_of_split_gibbs_takes_a_noise_free_measurement_as_it_is(sde):
    prior, operator = gaussian(sde, D), LinearMap(MATRIX)
    y, s, t = operator(prior.sample(3, seed=9, dtype=F64)), level(sde, 0.9), level(sde, 0.02)
    posterior = SplitGibbs().posterior(Evaluations(prior), operator, y)
    q = posterior.condition(Travelling(Ancestral()).transition(posterior, X, t, s, None), X, t, s)
    torch.testing.assert_close(law(q)[0] @ MATRIX.mT, sde.alpha(s) * y)
    torch.testing.assert_close(MATRIX @ law(q)[1] @ MATRIX.mT, torch.zeros(3, 2, 2, dtype=F64))


@pytest.mark.parametrize("name", ["ve", "subvp"])
def test_split_gibbs_has_the_law_of_its_coupling(name):
    """On a Gaussian prior the chain's x has the posterior of a measurement with noise rho^2 A A' more.

    So the covariance nears the exact one as rho falls; a constant rho and sweeps enough to forget the start.
    """
    sde = SDES[name]
    prior = Gaussian(torch.tensor([0.5, -0.5]), torch.tensor([[1.0, 0.6], [0.6, 1.0]]), sde)
    y, exact, errors = torch.tensor([[1.0, 0.0]]), None, []
    for rho in (1.2, 0.6, 0.4):
        least = float(sde.sigma(sde.t_min) / sde.alpha(sde.t_min))
        grid = Sawtooth(first=rho / least, last=rho / least, sweep=24)
        method = Method("", SplitGibbs(), Travelling(StochasticRungeKutta()), grid=grid)
        operator = Masking(torch.tensor([1, 0]), noise=GaussianNoise(0.3))
        exact = prior.posterior(operator, y)
        coupled = prior.posterior(Masking(operator.mask, noise=GaussianNoise((0.3**2 + rho**2) ** 0.5)), y)
        x = draw(prior, method, 3000, 25 * 16, operator, y)
        torch.testing.assert_close(x.mean(0), coupled.mean, atol=0.06, rtol=0)
        torch.testing.assert_close(x.mT.cov(), coupled.covariance, atol=0.07, rtol=0)
        errors.append(float((x.mT.cov() - exact.covariance).norm()))
    assert errors[0] > 1.3 * errors[1] > 1.3**2 * errors[2]


# all ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ScoreMRI(0.0), r"weight = 0\.0: expected a number in \(0, 1\]"),
        (lambda: ScoreMRI(1.1), r"weight = 1\.1"),
        (lambda: MCG(0.0), r"zeta = 0\.0: expected a finite number > 0"),
        (lambda: DDRM(eta=1.5), r"eta = 1\.5: expected a number in \[0, 1\]"),
        (lambda: DDRM(eta_b=-0.1), r"eta_b = -0\.1"),
        (lambda: DDNM(0.0), r"eta = 0\.0: expected a number in \(0, 1\]"),
        (lambda: DiffPIR(0.0), r"weight = 0\.0: expected a finite number > 0"),
        (lambda: Renoise(1.1), r"eta = 1\.1: expected a number in \[0, 1\]"),
        (lambda: Sawtooth(first=5.0), r"first = 5\.0, last = 10\.0: expected first >= last"),
    ],
)
def test_a_parameter_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
