"""The one loop: what is evaluated when, and what a kernel, a guidance and a population are told."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
import torch

from inverse import METHODS, Method, solve
from inverse.correctors import AnnealedLangevin
from inverse.engine import run
from inverse.grids import uniform
from inverse.guidance import Unconditional
from inverse.population import Independent
from inverse.predictors import Ancestral, ProbabilityFlow
from inverse.protocols import Posterior
from inverse.types import Gaussian as Law
from operators import GaussianNoise, Masking
from priors import Evaluations, Prior
from tests.cases import SDES, BatchRNG, draw, gaussian

SDE = SDES["vp"]
GRID = uniform(SDE, 4)
TIMES = GRID.tolist()


class Diary(Prior):
    """A prior that writes down the times at which it is evaluated."""

    def __init__(self):
        self.prior = gaussian(SDE)
        self.sde, self.event_shape, self.times = SDE, self.prior.event_shape, []

    def denoise(self, x, t):
        self.times.append(float(t))
        return self.prior.denoise(x, t)


def sampled(predictor, correctors=(), posterior=None, rng=None, order="predict-first"):
    diary, method = Diary(), Method("", Unconditional(), predictor, correctors, order=order)
    posterior = posterior or Unconditional().posterior(Evaluations(diary), None, None)
    rng = rng or BatchRNG(0)
    state = run(posterior, GRID, predictor, correctors, Independent(), rng, 3, openers=method.openers)
    return state, diary.times


def repeated(times, n):
    return [t for t in times for _ in range(n)]


LANGEVIN = (AnnealedLangevin(),)


@pytest.mark.parametrize(
    ("predictor", "correctors", "order", "expected"),
    [
        (Ancestral(), (), "predict-first", TIMES),
        (Ancestral(), (), "correct-first", TIMES),
        (Ancestral(), LANGEVIN, "predict-first", TIMES[:1] + repeated(TIMES[1:], 2)),
        (Ancestral(), LANGEVIN, "correct-first", repeated(TIMES, 2)),
        (Ancestral(), LANGEVIN * 3, "predict-first", TIMES[:1] + repeated(TIMES[1:], 4)),
        (None, LANGEVIN * 2, "predict-first", repeated(TIMES[1:], 2) + TIMES[-1:]),
        (None, LANGEVIN * 2, "correct-first", repeated(TIMES, 2) + TIMES[-1:]),
        (ProbabilityFlow(), (), "predict-first", [t for pair in pairwise(TIMES) for t in pair] + TIMES[-1:]),
    ],
)
def test_the_times_of_evaluations(predictor, correctors, order, expected):
    """Correctors work where the predictor arrived, and before it leaves t = 1 in the other order; then the denoiser."""
    assert sampled(predictor, correctors, order=order)[1] == expected


def test_the_orders_are_the_paper_s_algorithms():
    """P C P C ... D of algorithm 1 and C P C P ... C P of the code, whose last prediction has no noise: a denoising."""
    prior, sde = gaussian(SDE), SDE

    def predict(x, t, s, rng):
        return Ancestral().transition(prior, x, t, s, rng).sample(rng)

    def correct(x, t, rng):
        return AnnealedLangevin().transition(prior, x, t, t, rng).sample(rng)

    for order in ("predict-first", "correct-first"):
        rng = BatchRNG(0)
        x = sde.sample_terminal((3, *prior.event_shape), rng)
        if order == "predict-first":
            for t, s in pairwise(GRID):
                x = correct(predict(x, t, s, rng), s, rng)
        else:
            for t, s in pairwise(GRID):
                x = predict(correct(x, t, rng), t, s, rng)
            x = correct(x, GRID[-1], rng)
        state, _ = sampled(Ancestral(), LANGEVIN, order=order)
        torch.testing.assert_close(state.x, prior.denoise(x, GRID[-1]), rtol=1e-6, atol=1e-6)


def test_what_a_method_refuses():
    with pytest.raises(ValueError, match="order = 'backwards': expected one of"):
        Method("", Unconditional(), order="backwards")
    with pytest.raises(ValueError, match="neither a predictor nor correctors"):
        Method("nothing", Unconditional(), None)


class Pinned(Posterior):
    """Puts the first coordinate at 2 whatever a kernel says, and writes down what it was told."""

    def __init__(self):
        super().__init__(gaussian(SDE), None, None)
        self.told = []

    def condition(self, q, x, t, s):
        self.told.append((float(t), float(s), bool((x[:, 0] == 2).all())))
        mean, std = q.mean.clone(), q.std.to(q.mean).expand(q.mean.shape).clone()
        mean[:, 0], std[:, 0] = 2.0, 0.0
        return Law(mean, std)

    def denoise(self, x, t):
        return x if float(t) == TIMES[-1] else super().denoise(x, t)  # so that the last state is seen


def test_every_draw_is_conditioned():
    posterior = Pinned()
    state, _ = sampled(Ancestral(), (AnnealedLangevin(),), posterior)
    steps = list(pairwise(TIMES))
    assert [told[:2] for told in posterior.told] == [move for t, s in steps for move in ((t, s), (s, s))]
    assert [told[2] for told in posterior.told] == [False] + [True] * 7  # x is the state that the kernel saw
    assert bool((state.x[:, 0] == 2).all()) and float(state.x[:, 1:].std()) > 0.1


def test_an_ode_draws_only_its_start():
    class Once(BatchRNG):
        draws = 0

        def normal(self, shape):
            self.draws += 1
            return super().normal(shape)

    rng = Once(0)
    state, _ = sampled(ProbabilityFlow(), rng=rng)
    assert rng.draws == 1
    assert torch.equal(state.log_w, torch.zeros(3))


@pytest.mark.parametrize("name", ["mmps", "reddiff", "daps"])
def test_a_method_keeps_nothing_of_a_solve(name):
    """One `Method` for two solves in turn, and for two threads at once: the same samples as alone."""
    prior, operator = gaussian(SDE), Masking(torch.tensor([1.0, 0] * 4), noise=GaussianNoise(0.1))
    ys = operator.measure(prior.sample(2, seed=1).float(), seed=2).split(1)
    method = METHODS[name]

    def samples(y):
        return solve(prior, operator, y, 3, method, 12, progress=False).samples

    alone = [samples(y) for y in ys]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(samples, ys))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert torch.equal(samples(ys[0]), alone[0]) and not torch.equal(alone[0], alone[1])


def test_any_object_with_a_transition_is_a_kernel():
    class Mine:
        def transition(self, field, x, t, s, rng):
            return Ancestral().transition(field, x, t, s, rng)

    prior = gaussian(SDE)
    found, expected = (draw(prior, Method("", Unconditional(), kernel), 4, 5) for kernel in (Mine(), Ancestral()))
    assert torch.equal(found, expected)
