"""Every predictor with every corrector under every SDE draws from the prior: the analytic one, whose law is known.

The moments along every principal axis do the work. The distance to exact draws over that between two exact sets is what
a user would see, but in many dimensions it finds gross errors only: draws with too little spread even lie nearer to
others.
"""

from dataclasses import replace
from functools import cache

import pytest

from inverse import METHODS, Method
from inverse.correctors import CORRECTORS, AnnealedLangevin, Langevin
from inverse.grids import GRIDS, karras
from inverse.guidance import Unconditional
from inverse.methods import ORDERS
from inverse.predictors import DDIM, PREDICTORS, Ancestral, ProbabilityFlow
from tests.cases import SDES, draw, gaussian, moments, two_modes, w2_ratio

N, STEPS, D = 2000, 250, 12
MOVES = {**{name: make() for name, make in PREDICTORS.items()}, "ddim eta=.5": DDIM(0.5)}
FIXES = {"none": (), **{name: (make(),) for name, make in CORRECTORS.items()}}


@cache
def law(sde):
    """One object per SDE: `w2_ratio` keeps the exact draws of it."""
    return gaussian(sde, D)


def method(predictor=Ancestral(), correctors=(), grid=karras) -> Method:  # noqa: B008 (frozen)
    return Method("tested", Unconditional(), predictor, correctors, grid)


def exact(prior, method, n_steps=None):
    """Distance within 1.25 of the floor, mean within 4 standard errors, every variance within 15 %; gives the draws."""
    x = draw(prior, method, N, n_steps)
    error, ratios = moments(x, prior)
    assert w2_ratio(x, prior) < 1.25
    assert error < 4
    assert 0.85 < float(ratios.min()) <= float(ratios.max()) < 1.15
    return x


@pytest.mark.parametrize("corrector", FIXES)
@pytest.mark.parametrize("predictor", MOVES)
def test_every_combination_draws_from_a_gaussian(predictor, corrector, sde):
    exact(law(sde), method(MOVES[predictor], FIXES[corrector]), STEPS)


@pytest.mark.parametrize("correctors", [(Langevin(0.1),) * 3, (Langevin(), AnnealedLangevin())], ids=["three", "two"])
@pytest.mark.parametrize("order", ORDERS)
def test_both_orders_and_several_correctors(order, correctors, sde):
    """The benchmark `inverse-bench run exactness` has every predictor in both orders."""
    exact(law(sde), replace(method(correctors=correctors), order=order), STEPS)


def test_correctors_alone_lag_behind_the_noise(sde):
    """As they have no way to follow p_t but mixing: with many steps within the bounds, but for .15 in the mean, and .18
    in the variances, because on the linear path alpha still rises where their steps are small."""
    prior = law(sde)
    x = draw(prior, METHODS["corrector"], N)
    error, ratios = moments(x, prior)
    assert w2_ratio(x, prior) < 1.25
    assert error / N**0.5 < 0.15
    assert 0.82 < float(ratios.min()) <= float(ratios.max()) < 1.15


@pytest.mark.parametrize("grid", GRIDS)
def test_every_grid_draws_from_a_gaussian(grid, sde):
    """By second-order steps, for a grid that suits first-order ones less well is no error (uniform, under VP)."""
    exact(law(sde), method(ProbabilityFlow(), grid=GRIDS[grid]), 100)


@pytest.mark.parametrize("predictor", [Ancestral(), ProbabilityFlow()], ids=lambda p: type(p).__name__)
def test_two_modes(predictor, sde):
    """Both modes, with their weights: .3 of the samples in the first, within 4 standard errors."""
    prior = two_modes(sde, D)
    x = exact(prior, method(predictor), STEPS)
    in_first = (prior._log_joint(prior._offsets(x, 1.0), prior.eigenvalues[None]).argmax(1) == 0).double().mean()
    assert abs(float(in_first) - 0.3) < 4 * (0.3 * 0.7 / N) ** 0.5


@pytest.mark.parametrize(
    "name", [name for name, m in METHODS.items() if not m.conditional and isinstance(m, Method) and m.predictor]
)
def test_unconditional_methods_as_they_are(name, sde):
    exact(law(sde), METHODS[name])


def test_the_test_sees_an_error():
    """Too few steps are caught by the moments; correctors alone, which cannot keep up in so few steps, by both."""
    prior = law(SDES["ve"])
    assert float(moments(draw(prior, method(), N, 30), prior)[1].min()) < 0.85
    x = draw(prior, method(None, FIXES["annealed_langevin"]), N, STEPS)
    assert w2_ratio(x, prior) > 1.25
    assert float(moments(x, prior)[1].min()) > 1.15
