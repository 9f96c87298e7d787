"""One step against a formula by hand, then the order at which many steps approach the truth."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch

from inverse.grids import log_snr
from inverse.predictors import DDIM, PREDICTORS, Ancestral, DPMSolver, ProbabilityFlow, ReverseDiffusion
from inverse.protocols import StatefulKernel
from priors import VPSDE, Gaussian, GaussianMixture
from tests.cases import F64, SDES, gaussian, normal, rotated

T, S = torch.tensor(0.62, dtype=F64), torch.tensor(0.55, dtype=F64)
X, Z = normal(5, 8, seed=3), normal(5, 8, seed=4)
ALL = {**{name: make() for name, make in PREDICTORS.items()}, "ddim eta=.5": DDIM(0.5), "ddim eta=1": DDIM(1.0)}
ORDER = {"probability_flow": 2, "stochastic_runge_kutta": 2}  # weak; of all others 1
STRONG = {"euler_maruyama": 1, "reverse_diffusion": 1, "ancestral": 1, "stochastic_runge_kutta": 1.5}
STEPS = (40, 80, 160, 320)
I3 = torch.eye(3, dtype=F64)


class ByHand:
    """Score and denoiser of a Gaussian prior with numpy's inverse, and the curves as floats."""

    def __init__(self, sde):
        prior = gaussian(sde)
        self.sde, self.mean, self.covariance = sde, prior.mean.numpy(), prior.covariance.numpy()
        self.alpha, self.sigma = (lambda t: float(sde.alpha(t))), (lambda t: float(sde.sigma(t)))
        self.alpha_t, self.alpha_s, self.sigma_t, self.sigma_s = map(
            float, (*map(sde.alpha, (T, S)), *map(sde.sigma, (T, S)))
        )
        self.a = self.alpha_t / self.alpha_s
        self.v = self.sigma_t**2 - self.a**2 * self.sigma_s**2
        self.x = X.numpy()

    def score(self, x, t):
        noised = self.alpha(t) ** 2 * self.covariance + self.sigma(t) ** 2 * np.eye(8)
        return -(x - self.alpha(t) * self.mean) @ np.linalg.inv(noised)

    def denoised(self, x, t):
        gain = (
            self.alpha(t)
            * self.covariance
            @ np.linalg.inv(self.alpha(t) ** 2 * self.covariance + self.sigma(t) ** 2 * np.eye(8))
        )
        return self.mean + (x - self.alpha(t) * self.mean) @ gain.T


def euler_maruyama(h):
    step, g2 = float(T - S), float(h.sde.g2(T))
    return h.x - step * (float(h.sde.f(T)) * h.x - g2 * h.score(h.x, T)), (g2 * step) ** 0.5


def reverse_diffusion(h):
    return (2 - h.a) * h.x + h.v * h.score(h.x, T), h.v**0.5


def ancestral(h):
    """The law of x_s given x_t and x0 = D, from their joint covariance."""
    to_s, var_t = h.a * h.sigma_s**2, h.sigma_t**2
    d = h.denoised(h.x, T)
    return h.alpha_s * d + to_s / var_t * (h.x - h.alpha_t * d), (h.sigma_s**2 - to_s**2 / var_t) ** 0.5


def ddim(h):
    d = h.denoised(h.x, T)
    return h.alpha_s * d + h.sigma_s * (h.x - h.alpha_t * d) / h.sigma_t, 0.0


def probability_flow(h):
    """Heun's rule for du/dr = (u - D) / r."""
    r_t, r_s = h.sigma_t / h.alpha_t, h.sigma_s / h.alpha_s
    u = h.x / h.alpha_t
    first = (u - h.denoised(h.x, T)) / r_t
    guess = u + (r_s - r_t) * first
    second = (guess - h.denoised(h.alpha_s * guess, S)) / r_s
    return h.alpha_s * (u + (r_s - r_t) * 0.5 * (first + second)), 0.0


def stochastic_runge_kutta(h):
    """SRA1 of dY = D dl + dB: stage noise 3/2 I / h, and the rest of B's increment given I; D from Y's own law."""
    precision = np.linalg.inv(h.covariance)

    def d(y, snr):  # Y = snr x0 + B, of precision snr
        return np.linalg.solve(precision + snr * np.eye(8), (precision @ h.mean + y).T).T

    first, last = (h.alpha_t / h.sigma_t) ** 2, (h.alpha_s / h.sigma_s) ** 2
    step, y = last - first, h.x * h.alpha_t / h.sigma_t**2
    integral = (step**3 / 3) ** 0.5 * Z.numpy()  # I = int B, whose regression on B's increment is 3 I / 2 step
    stage = d(y + 0.75 * step * d(y, first) + 1.5 * integral / step, first + 0.75 * step)
    mean = y + step * (d(y, first) + 2 * stage) / 3 + 1.5 * integral / step
    rest = step - (step**2 / 2) ** 2 / (step**3 / 3)
    return mean * h.sigma_s**2 / h.alpha_s, rest**0.5 * h.sigma_s**2 / h.alpha_s


def dpm_solver(h):
    """The first step, with D held: x / sigma is an Ornstein-Uhlenbeck process in log(alpha / sigma)."""
    step = np.log(h.alpha_s * h.sigma_t / (h.alpha_t * h.sigma_s))
    mean = h.sigma_s / h.sigma_t * np.exp(-step) * h.x + h.alpha_s * (1 - np.exp(-2 * step)) * h.denoised(h.x, T)
    return mean, h.sigma_s * (1 - np.exp(-2 * step)) ** 0.5


BY_HAND = {
    f.__name__: f
    for f in (euler_maruyama, reverse_diffusion, ancestral, ddim, probability_flow, stochastic_runge_kutta, dpm_solver)
}


class Given:
    """Draws that are known beforehand, one after the other."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def normal(self, shape):
        assert self.draws[0].shape == shape
        return self.draws.pop(0)


@pytest.mark.parametrize("name", PREDICTORS)
def test_one_step_by_hand(name, sde):
    assert name in BY_HAND, "a registered predictor needs its formula here"
    mean, std = BY_HAND[name](ByHand(sde))
    q = PREDICTORS[name]().transition(gaussian(sde), X, T, S, Given(Z))
    assert q.basis is None
    np.testing.assert_allclose(q.mean.numpy(), mean, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(float(q.std), std, rtol=1e-9)


def test_reverse_diffusion_under_ve_is_the_paper_s_recursion():
    """x_i-1 = x_i + (s_i^2 - s_i-1^2) score + sqrt(s_i^2 - s_i-1^2) z (Song et al. 2021, algorithm 2)."""
    sde = SDES["ve"]
    prior, step = gaussian(sde), float(sde.sigma(T)) ** 2 - float(sde.sigma(S)) ** 2
    q = ReverseDiffusion().transition(prior, X, T, S, None)
    torch.testing.assert_close(q.mean, X + step * prior.score(X, T))
    assert float(q.std) == pytest.approx(step**0.5)


def test_ddim_under_vp_is_the_paper_s_formula():
    """Equation 12 of Song, Meng & Ermon, whose alpha is alpha^2 here, with their sigma(eta)."""
    sde, eta = VPSDE(), 0.7
    prior = gaussian(sde)
    now, then = float(sde.alpha(T)) ** 2, float(sde.alpha(S)) ** 2
    spread = eta * ((1 - then) / (1 - now)) ** 0.5 * (1 - now / then) ** 0.5
    eps = -float(sde.sigma(T)) * prior.score(X, T)
    mean = then**0.5 * (X - (1 - now) ** 0.5 * eps) / now**0.5 + (1 - then - spread**2) ** 0.5 * eps
    q = DDIM(eta).transition(prior, X, T, S, None)
    torch.testing.assert_close(q.mean, mean)
    assert float(q.std) == pytest.approx(spread)


@pytest.mark.parametrize(("t", "s"), [(1.0, 0.9), (0.62, 0.55), (0.3, 0.05), (0.01, 0.001)])
def test_ancestral_sampling_is_ddim_of_eta_one(sde, t, s):
    t, s = torch.tensor(t, dtype=F64), torch.tensor(s, dtype=F64)
    a, b = (k.transition(gaussian(sde), X, t, s, None) for k in (Ancestral(), DDIM(1.0)))
    torch.testing.assert_close(a.mean, b.mean)
    torch.testing.assert_close(a.std, b.std)


@pytest.mark.parametrize("predictor", [DDIM(0.0), ProbabilityFlow()], ids=str)
def test_a_step_of_an_ode_has_no_noise(predictor, sde):
    q = predictor.transition(gaussian(sde), X, T, S, None)
    assert q.std.ndim == 0 and q.std.item() == 0


@pytest.mark.parametrize("eta", [-0.1, 1.1, float("nan")])
def test_eta_out_of_range(eta):
    with pytest.raises(ValueError, match=r"expected a number in \[0, 1\]"):
        DDIM(eta)


@cache
def law(sde, predictor, n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What n steps make of exact x_1, for on a Gaussian prior a step is affine: mean, covariance and linear map."""
    prior, times, none = three(sde), log_snr(sde, n), torch.zeros(4, 3, dtype=F64)
    mean, covariance = marginal(sde, 1.0)
    flow, probes = I3, torch.cat([none, I3])
    noises = torch.cat([none[:1], I3, none[:3]])  # of a step that has noise inside
    for t, s in pairwise(times):
        q = predictor.transition(prior, probes, t, s, Given(noises))
        inside, a = ((rows - q.mean[0]).mT for rows in (q.mean[1:4], q.mean[4:]))
        noise = inside @ inside.mT + q.std**2 * I3
        mean, covariance, flow = a @ mean + q.mean[0], a @ covariance @ a.mT + noise, a @ flow
    return mean, covariance, flow


def three(sde):
    """Standard deviations .2 to .8: with more spread between them the asymptotic regime needs more steps."""
    return Gaussian(torch.linspace(-0.5, 0.5, 3, dtype=F64), rotated(torch.tensor([0.04, 0.2, 0.64], dtype=F64)), sde)


def marginal(sde, t):
    """Mean and covariance of x_t."""
    prior = three(sde)
    return sde.alpha(t) * prior.mean, sde.alpha(t) ** 2 * prior.covariance + sde.sigma(t) ** 2 * I3


def order(errors):
    return -np.polyfit(np.log(STEPS), np.log(errors), 1)[0]


@pytest.mark.parametrize("name", [name for name, kernel in ALL.items() if not isinstance(kernel, StatefulKernel)])
def test_the_law_converges_at_the_claimed_order(name, sde):
    """Weak order, or better: Euler-Maruyama with equal log-sigma steps happens to be of second order under VE."""
    mean, covariance = marginal(sde, sde.t_min)
    laws = [law(sde, ALL[name], n) for n in STEPS]
    errors = [float((c - covariance).norm() + (m - mean).norm()) for m, c, _ in laws]
    claimed = ORDER.get(name, 1)
    assert order(errors) > claimed - 0.15, errors
    assert errors[-1] < {1: 0.03, 2: 1e-3}[claimed]


def multistep_law(sde, eta: float, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance after n multistep steps: a response to x_1's axes and to every step's noise is a row."""
    prior, times, solver = three(sde), log_snr(sde, n), DPMSolver(eta)
    mean, covariance = marginal(sde, 1.0)
    x = torch.cat([mean + torch.linalg.cholesky(covariance).mT, mean[None].expand(3 * n + 1, 3)])
    memory = {}
    for step, (t, s) in enumerate(pairwise(times)):
        q, memory = solver.step(prior, x, t, s, None, memory)
        x = q.mean.clone()
        x[3 * step + 3 : 3 * step + 6] += q.std * I3
    responses = x[:-1] - x[-1]
    return x[-1], responses.mT @ responses


@pytest.mark.parametrize("eta", [0.0, 1.0, 2.0])
def test_a_multistep_solver_is_of_second_order(sde, eta):
    mean, covariance = marginal(sde, sde.t_min)
    laws = [multistep_law(sde, eta, n) for n in STEPS]
    errors = [float((c - covariance).norm() + (m - mean).norm()) for m, c in laws]
    assert order(errors) > 2 - 0.15, errors
    assert errors[-1] < 2e-3


@pytest.mark.parametrize("name", ["ddim", "probability_flow"])
def test_paths_of_the_flow_converge_at_the_claimed_order(name, sde):
    """Strong order: the flow's map, which on a Gaussian prior scales the principal axes by standard deviations."""
    variances, axes = torch.linalg.eigh(three(sde).covariance)
    std = [torch.sqrt(sde.alpha(t) ** 2 * variances + sde.sigma(t) ** 2) for t in (1.0, sde.t_min)]
    exact = axes * (std[1] / std[0]) @ axes.mT
    errors = [float((law(sde, ALL[name], n)[2] - exact).norm() / exact.norm()) for n in STEPS]
    assert abs(order(errors) - ORDER.get(name, 1)) < 0.15, errors


def noises(name, path, clock, grid):
    """The standard normal draws that each predictor's steps take from one Brownian path, step by step.

    path: increments and iterated integrals of a Brownian motion in ``clock`` over the fine grid, both (fine, rows, d).
    """
    increments, integrals = path
    fine, per = clock.diff().abs().view(-1, 1, 1), len(increments) // (len(grid) - 1)
    for k in range(0, len(increments), per):
        db, h = increments[k : k + per], fine[k : k + per]
        moved = db.cumsum(0) - db
        total, step = db.sum(0), h.sum()
        if name != "stochastic_runge_kutta":
            yield (total / step.sqrt(),)
        else:
            stage = 1.5 * (integrals[k : k + per] + moved * h).sum(0) / step
            yield stage / (0.75 * step).sqrt(), (total - stage) / (0.25 * step).sqrt()


def strong_errors(name, sde, steps, finest, rows=1000):
    """Root mean square distance to the finest grid's end of n steps along the same paths.

    Of two narrow modes where the paths choose between them, from a ratio (alpha / sigma)^2 of .5 to 2 by equal steps:
    a drift that curves much, without which the Runge-Kutta step would be of order 2.
    """
    prior = GaussianMixture(torch.tensor([[-1.0], [1.0]]), 0.01 * torch.ones(2, 1, 1), torch.ones(2), sde)
    snr = torch.linspace(0.5, 2, finest + 1, dtype=F64)
    times = sde.time(snr.rsqrt())
    clock = times if name in ("euler_maruyama", "reverse_diffusion") else snr  # these draw w's increments, others B's
    h = clock.diff().abs().view(-1, 1, 1)
    xi, eta = normal(finest, rows, 1, seed=5), normal(finest, rows, 1, seed=6)
    path = h.sqrt() * xi, 0.5 * h**1.5 * (xi + eta / 3**0.5)
    start = float(sde.alpha(times[0])) * prior.sample(rows, dtype=F64)
    start = start + float(sde.sigma(times[0])) * normal(rows, 1, seed=7)
    ends = []
    for n in (*steps, finest):
        x, grid = start, times[:: finest // n]
        for (t, s), draws in zip(pairwise(grid), noises(name, path, clock, grid), strict=True):
            rng = Given(*draws)
            x = PREDICTORS[name]().transition(prior, x, t, s, rng).sample(rng)
        ends.append(x)
    return [float((x - ends[-1]).square().sum(1).mean().sqrt()) for x in ends[:-1]]


@pytest.mark.parametrize("name", STRONG)
def test_paths_of_the_reverse_sde_converge_at_the_claimed_order(name, sde):
    """Strong order along given Brownian paths: the noise is additive, so Euler steps have order 1, not 1/2.

    Against a grid 8 times finer than the finest of the fit, whose own error adds less than .06 to a slope.
    """
    steps = (16, 32, 64, 128) if STRONG[name] > 1 else (8, 16, 32)  # its part of second order is larger before
    errors = strong_errors(name, sde, steps, 8 * steps[-1])
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert abs(slope - STRONG[name]) < 0.15, errors
