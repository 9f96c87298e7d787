"""The one loop: what is evaluated when, and what a kernel, a guidance and a population are told."""

from itertools import pairwise

import pytest
import torch

from inverse.correctors import AnnealedLangevin
from inverse.engine import run
from inverse.grids import uniform
from inverse.guidance import Unconditional
from inverse.population import Independent
from inverse.predictors import Ancestral, ProbabilityFlow
from inverse.protocols import Posterior
from inverse.types import Gaussian as Law
from priors import Evaluations, Prior
from tests.cases import SDES, BatchRNG, gaussian

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


def sampled(predictor, correctors=(), posterior=None, rng=None):
    diary = Diary()
    posterior = posterior or Unconditional().posterior(Evaluations(diary), None, None)
    state = run(posterior, GRID, predictor, correctors, Independent(), rng or BatchRNG(0), 3)
    return state, diary.times


@pytest.mark.parametrize(
    ("predictor", "correctors", "expected"),
    [
        (Ancestral(), (), TIMES),
        (Ancestral(), (AnnealedLangevin(),), [t for t in TIMES[:-1] for _ in range(2)] + TIMES[-1:]),
        (None, (AnnealedLangevin(),) * 2, [t for t in TIMES[:-1] for _ in range(2)] + TIMES[-1:]),
        (ProbabilityFlow(), (), [t for pair in pairwise(TIMES) for t in pair] + TIMES[-1:]),
    ],
    ids=["predictor", "corrector first", "correctors alone", "two evaluations a step"],
)
def test_the_times_of_evaluations(predictor, correctors, expected):
    """A corrector works at t, before the predictor that leaves it; the result is denoised at t_min."""
    assert sampled(predictor, correctors)[1] == expected


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
    assert [told[:2] for told in posterior.told] == [move for t, s in steps for move in ((t, t), (t, s))]
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
