"""What a plan says, against what the solve then costs."""

import importlib
import time

import pytest
import torch

import priors
from inverse import METHODS, plan, rehearsal, solve
from inverse.evaluation import activations
from inverse.plan import span
from inverse.population import SMC
from operators import Blur, Classifier, GaussianNoise, Masking
from priors import Tiled
from priors.base import Wrapped
from tests.cases import score_prior

SHAPE = (1, 8, 8)
OPERATOR = Masking.random(SHAPE, keep=0.5, noise=GaussianNoise(0.05))
Y = OPERATOR.measure(torch.full((1, *SHAPE), 0.4), seed=0)
SERVING = [name for name, m in METHODS.items() if m.conditional and m.needs <= OPERATOR.capabilities]


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """Nothing is timed on more than the least part, and walks are counted to their end however slow the machine is."""
    monkeypatch.setattr(importlib.import_module("inverse.evaluation"), "TIMED", 0.0)
    monkeypatch.setattr(rehearsal, "LIMIT", float("inf"))


SLOW = pytest.param("exact", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [SLOW if name == "exact" else name for name in SERVING])
@pytest.mark.filterwarnings("ignore::inverse.UnreliableWeights")
def test_counts_are_those_of_the_solve(name):
    """Particles are resampled when their weights ask for it, which no stand-in tells: there an evaluation or two."""
    prior = score_prior()
    steps, n = (2, 1) if name == "exact" else (12, 3)  # exact pays dearly, per measured number
    operator = Masking.random(SHAPE, keep=0.1, noise=GaussianNoise(0.05)) if name == "exact" else OPERATOR
    said = plan(prior, operator, Y, n, name, steps)
    solution = solve(prior, operator, Y, n, name, steps, progress=False)
    away = 2 if isinstance(said.method.population, SMC) else 0
    assert abs(said.nfe - solution.nfe) <= away and abs(said.nvjp - solution.nvjp) <= away
    assert (said.method.name, said.n_steps, said.n_samples, said.reason) == (name, steps, n, "")


def test_a_label_is_planned_for_too():
    operator = Classifier(lambda x, t: torch.tanh(x.flatten(1)[:, :3]))
    y = torch.tensor([1])
    said = plan(score_prior(), operator, y, 2, n_steps=4)
    solution = solve(score_prior(), operator, y, 2, n_steps=4, progress=False)
    assert said.method.name == "classifier" and (said.nfe, said.nvjp) == (solution.nfe, solution.nvjp)


@pytest.mark.parametrize("budget", ["fast", "balanced", SLOW])
def test_counts_of_auto(budget):
    """A trained network, whose denoiser is not linear, on a blur without an SVD."""
    prior = priors.load("natural", event_shape=(3, 24, 32))
    operator = Blur.gaussian(1.0, "reflect", noise=GaussianNoise(0.05))
    y = operator.measure(torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0)), seed=0)
    said = plan(prior, operator, y, 1, budget=budget)
    solution = solve(prior, operator, y, 1, budget=budget, progress=False)
    assert (said.nfe, said.nvjp) == (solution.nfe, solution.nvjp) and said.reason == solution.reason != ""


class Slow(Wrapped):
    """A prior that takes a known time: 40 ms for an evaluation, 80 ms for a backward pass."""

    def denoise(self, x, t):
        time.sleep(0.04)
        return super().denoise(x, t)

    def denoise_vjp(self, x, t):
        denoised, vjp = super().denoise_vjp(x, t)

        def slow(v):
            time.sleep(0.08)
            return vjp(v)

        return denoised, slow


@pytest.mark.parametrize(("method", "batches"), [("ddrm", 1), ("mmps", 2)])
def test_seconds_within_a_factor_of_one_and_a_half(method, batches):
    prior = Slow(score_prior())
    said = plan(prior, OPERATOR, Y, 2, method, 6, batch_size=2 // batches)
    took = solve(prior, OPERATOR, Y, 2, method, 6, batch_size=2 // batches, progress=False).seconds
    least = batches * (0.04 * said.nfe + 0.08 * said.nvjp)
    assert least <= said.seconds < 1.5 * took and took < 1.5 * said.seconds


class Whole(Wrapped):
    """Of no known least size, so that it is measured as it is."""

    def parameters(self):
        return self.prior.network.parameters()


def test_activations_grow_with_the_picture_or_with_the_tile():
    """What a small picture tells of a large one, against the large one itself."""
    prior = priors.load("natural", event_shape=(3, 96, 160))
    whole = activations(Whole(prior))
    assert activations(prior) == pytest.approx(whole, rel=0.01) and whole > 96 * 160 * 100
    large = prior.resized((3, 1024, 2048))
    tiled = Tiled(large, 64)
    side = tiled.tile + 2 * tiled.margin
    assert activations(tiled) == pytest.approx(activations(prior) * side**2 / (96 * 160), rel=1e-3)
    assert activations(Tiled(prior, 512)) == activations(prior)


def test_rows_and_memory():
    prior = score_prior()
    one, both = (plan(prior, OPERATOR, Y, 6, "dps", 2, batch_size=n) for n in (1, 2))
    assert (one.rows, both.rows) == (1, 2) and plan(prior, OPERATOR, Y, 6, "dps", 2).rows == 6
    samples = 4 * 6 * 64
    assert both.bytes - samples == pytest.approx(2 * (one.bytes - samples), abs=2) and one.bytes > samples


class Untouched(Wrapped):
    def denoise(self, x, t):
        raise AssertionError("evaluated")


@pytest.mark.parametrize(
    ("changed", "fragment"),
    [
        ({"method": "nobody"}, "nobody"),
        ({"method": "ode"}, "ignores y"),
        ({"n_samples": 0}, "n_samples = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"budget": "cheap"}, "cheap"),
        ({"y": Y[..., :7]}, "expected shape"),
    ],
)
def test_refusals_come_before_any_evaluation(changed, fragment):
    given = {"prior": Untouched(score_prior()), "operator": OPERATOR, "y": Y, "n_steps": 3} | changed
    with pytest.raises(ValueError, match=fragment):
        plan(**given)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.2 s"), (42.4, "42 s"), (190, "3 min 10 s"), (3900, "1 h 5 min")]
)
def test_times_as_they_are_said(seconds, text):
    assert span(seconds) == text
