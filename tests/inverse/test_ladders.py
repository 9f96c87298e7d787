"""The paper's discrete recursions are the one engine on a ladder: same draws, same states, step by step.

Every recursion is written in the paper's own symbols, levels N to 1. States agree to rounding; 1e-9 of float64 numbers,
where the paper's own formulas are exact.
"""

import pytest
import torch

from inverse import Method
from inverse.correctors import AnnealedLangevin
from inverse.engine import run
from inverse.grids import uniform
from inverse.guidance import Unconditional
from inverse.predictors import DDIM, Ancestral, ReverseDiffusion
from priors import VPSDE, Prior
from priors.sde import LadderSDE
from tests.cases import F64, gaussian

N = 50
SMLD, DDPM = LadderSDE.smld(0.01, 20.0, N), LadderSDE.ddpm(n=N, beta_max=10.0)
SIGMAS = 0.01 * 2000 ** (torch.arange(N, dtype=F64) / (N - 1))  # sigma_1 .. sigma_N
BETAS = torch.tensor([0.1 / N + i / (N * (N - 1)) * 9.9 for i in range(N)], dtype=F64)
BARS = (1 - BETAS).cumprod(0)


class Recorded(Prior):
    """A prior that keeps the states at which it is asked: those that the engine arrived at."""

    def __init__(self, prior):
        self.prior, self.sde, self.event_shape, self.states = prior, prior.sde, prior.event_shape, []

    def denoise(self, x, t):
        self.states.append(x)
        return self.prior.denoise(x, t)


class Stream:
    def __init__(self):
        self.generator = torch.Generator().manual_seed(3)

    def normal(self, shape):
        return torch.randn(shape, generator=self.generator, dtype=F64)


def engine(sde, predictor, correctors=(), order="predict-first"):
    """The states at which the score is asked for, in turn."""
    prior = Recorded(gaussian(sde))
    method = Method("", Unconditional(), predictor, correctors, uniform, N - 1, order=order)
    posterior = method.guidance.posterior(prior, None, None)
    grid = uniform(sde, N - 1)
    run(posterior, grid, predictor, correctors, method.population, Stream(), 4, openers=method.openers)
    return torch.stack(prior.states)


def score(sde):
    prior = gaussian(sde)
    return lambda x, i: prior.score(x, torch.tensor(i / N, dtype=F64))  # i from 1 to N


def ancestral_smld():
    """Song et al. 2021, equation 47."""
    s, rng = score(SMLD), Stream()
    x = SIGMAS[-1] * rng.normal((4, 8))
    yield x
    for i in range(N, 1, -1):
        now, then = SIGMAS[i - 1] ** 2, SIGMAS[i - 2] ** 2
        x = x + (now - then) * s(x, i) + torch.sqrt(then * (now - then) / now) * rng.normal((4, 8))
        yield x


def reverse_diffusion_smld():
    """Song et al. 2021, algorithm 2."""
    s, rng = score(SMLD), Stream()
    x = SIGMAS[-1] * rng.normal((4, 8))
    yield x
    for i in range(N, 1, -1):
        step = SIGMAS[i - 1] ** 2 - SIGMAS[i - 2] ** 2
        x = x + step * s(x, i) + torch.sqrt(step) * rng.normal((4, 8))
        yield x


def start_ddpm(rng):
    return torch.sqrt(1 - BARS[-1]) * rng.normal((4, 8))


def ancestral_ddpm():
    """Ho et al. 2020, equation 11 and the smaller variance of section 3.2, equation 7."""
    s, rng = score(DDPM), Stream()
    x = start_ddpm(rng)
    yield x
    for i in range(N, 1, -1):
        beta, bar, before = BETAS[i - 1], BARS[i - 1], BARS[i - 2]
        eps = -torch.sqrt(1 - bar) * s(x, i)
        mean = (x - beta / torch.sqrt(1 - bar) * eps) / torch.sqrt(1 - beta)
        x = mean + torch.sqrt((1 - before) / (1 - bar) * beta) * rng.normal((4, 8))
        yield x


def reverse_diffusion_ddpm():
    """Song et al. 2021, algorithm 3."""
    s, rng = score(DDPM), Stream()
    x = start_ddpm(rng)
    yield x
    for i in range(N, 1, -1):
        beta = BETAS[i - 1]
        x = (2 - torch.sqrt(1 - beta)) * x + beta * s(x, i) + torch.sqrt(beta) * rng.normal((4, 8))
        yield x


def ddim():
    """Song, Meng & Ermon 2021, equation 12 with sigma = 0."""
    s, rng = score(DDPM), Stream()
    x = start_ddpm(rng)
    yield x
    for i in range(N, 1, -1):
        bar, before = BARS[i - 1], BARS[i - 2]
        eps = -torch.sqrt(1 - bar) * s(x, i)
        x = torch.sqrt(before) * (x - torch.sqrt(1 - bar) * eps) / torch.sqrt(bar) + torch.sqrt(1 - before) * eps
        yield x


def annealed_langevin(repeats=3, snr=0.2):
    """Song & Ermon 2019, algorithm 1: a_i = e sigma_i^2 / sigma_1^2, of which e = 4 snr^2 sigma_1^2; T = repeats."""
    s, rng = score(SMLD), Stream()
    x = SIGMAS[-1] * rng.normal((4, 8))
    yield x
    e = 4 * snr**2 * SIGMAS[0] ** 2
    for i in range(N, 0, -1):
        a = e * SIGMAS[i - 1] ** 2 / SIGMAS[0] ** 2
        for _ in range(repeats):
            x = x + a / 2 * s(x, i) + torch.sqrt(a) * rng.normal((4, 8))
            yield x


def corrected_smld(snr=0.2):
    """Song et al. 2021, algorithm 2 with one corrector step, of the step size of annealed Langevin dynamics."""
    s, rng = score(SMLD), Stream()
    x = SIGMAS[-1] * rng.normal((4, 8))
    yield x
    for i in range(N, 1, -1):
        step = SIGMAS[i - 1] ** 2 - SIGMAS[i - 2] ** 2
        x = x + step * s(x, i) + torch.sqrt(step) * rng.normal((4, 8))
        yield x
        e = 2 * (snr * SIGMAS[i - 2]) ** 2
        x = x + e * s(x, i - 1) + torch.sqrt(2 * e) * rng.normal((4, 8))
        yield x


CASES = {
    "smld ancestral": (ancestral_smld, SMLD, Ancestral(), (), "predict-first"),
    "smld reverse diffusion": (reverse_diffusion_smld, SMLD, ReverseDiffusion(), (), "predict-first"),
    "smld reverse diffusion, corrected": (
        corrected_smld, SMLD, ReverseDiffusion(), (AnnealedLangevin(0.2),), "predict-first",
    ),
    "annealed langevin": (annealed_langevin, SMLD, None, (AnnealedLangevin(0.2),) * 3, "correct-first"),
    "ddpm ancestral": (ancestral_ddpm, DDPM, Ancestral(), (), "predict-first"),
    "ddpm reverse diffusion": (reverse_diffusion_ddpm, DDPM, ReverseDiffusion(), (), "predict-first"),
    "ddim": (ddim, DDPM, DDIM(0.0), (), "predict-first"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_state_is_the_paper_s(name):
    recursion, *parts = CASES[name]
    found, expected = engine(*parts), torch.stack(list(recursion()))
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_the_ladders_are_the_paper_s():
    grid = uniform(SMLD, N - 1).flip(0)
    torch.testing.assert_close(SMLD.sigma(grid), SIGMAS, rtol=1e-12, atol=0)
    torch.testing.assert_close(DDPM.alpha(grid) ** 2, BARS, rtol=1e-12, atol=0)
    torch.testing.assert_close(DDPM.sigma(grid) ** 2, 1 - BARS, rtol=1e-12, atol=0)


def test_a_continuous_sde_is_another_recursion():
    """These tests see a wrong ladder: VP's curve at t = i / N is not the product."""
    vp = VPSDE(beta_max=10.0)
    assert float((vp.alpha(uniform(DDPM, N - 1)) / DDPM.alpha(uniform(DDPM, N - 1)) - 1).abs().max()) > 0.01
