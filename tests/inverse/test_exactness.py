"""Every predictor with every corrector under every SDE draws from the prior: the analytic one, whose law is known.

The distance to exact draws, over that between two exact sets, is what a user would see; in 8 dimensions it forgives a lot,
so moments along every principal axis are tested too.
"""

import pytest

from inverse import METHODS, Method
from inverse.correctors import CORRECTORS
from inverse.grids import GRIDS, karras
from inverse.guidance import Unconditional
from inverse.predictors import DDIM, PREDICTORS, Ancestral, ProbabilityFlow
from tests.cases import SDES, draw, gaussian, moments, two_modes, w2_ratio

N, STEPS = 3000, 250
MOVES = {**{name: make() for name, make in PREDICTORS.items()}, "ddim eta=.5": DDIM(0.5)}
FIXES = {"none": (), **{name: (make(),) for name, make in CORRECTORS.items()}}


@pytest.fixture(params=SDES)
def sde(request):
    return SDES[request.param]


def method(predictor=Ancestral(), correctors=(), grid=karras) -> Method:  # noqa: B008 (frozen)
    return Method("tested", Unconditional(), predictor, correctors, grid)


def exact(x, prior):
    """Distance within 1.25 of the floor, mean within 4 standard errors, every variance within 15 %."""
    error, ratios = moments(x, prior)
    assert w2_ratio(x, prior) < 1.25
    assert error < 4
    assert 0.85 < float(ratios.min()) <= float(ratios.max()) < 1.15


@pytest.mark.parametrize("corrector", FIXES)
@pytest.mark.parametrize("predictor", MOVES)
def test_every_combination_draws_from_a_gaussian(predictor, corrector, sde):
    prior = gaussian(sde)
    exact(draw(prior, method(MOVES[predictor], FIXES[corrector]), N, STEPS), prior)


@pytest.mark.parametrize("grid", GRIDS)
def test_every_grid_draws_from_a_gaussian(grid, sde):
    prior = gaussian(sde)
    exact(draw(prior, method(grid=GRIDS[grid]), N, STEPS), prior)


@pytest.mark.parametrize("predictor", [Ancestral(), ProbabilityFlow()], ids=lambda p: type(p).__name__)
def test_two_modes(predictor, sde):
    """Both modes, with their weights: .3 of the samples in the first, within 4 standard errors."""
    prior = two_modes(sde)
    x = draw(prior, method(predictor), N, STEPS)
    exact(x, prior)
    in_first = (prior._log_joint(prior._offsets(x, 1.0), prior.eigenvalues[None]).argmax(1) == 0).double().mean()
    assert abs(float(in_first) - 0.3) < 4 * (0.3 * 0.7 / N) ** 0.5


@pytest.mark.parametrize("name", [name for name, m in METHODS.items() if not m.conditional])
def test_unconditional_methods_as_they_are(name, sde):
    prior = gaussian(sde)
    exact(draw(prior, METHODS[name], N), prior)


def test_the_test_sees_an_error():
    """Too few steps are caught, by the distance and by the moments."""
    prior = gaussian(SDES["ve"])
    x = draw(prior, method(), N, 8)
    assert w2_ratio(x, prior) > 1.25
    assert float(moments(x, prior)[1].min()) < 0.85
