"""What several parts of a step need is computed once."""

import pytest
import torch

from inverse.gaussian import Wiener, given
from inverse.gaussian.low_rank import FEW, Components
from inverse.guidance import TDS, PiGDM
from operators import Blur, Fourier, GaussianNoise, LinearMap, Masking
from priors import VESDE, Evaluations, Moments
from tests.cases import F64, gaussian, normal

SHAPE = (1, 8, 8)
NOISE = GaussianNoise(0.125)  # whose square single precision has
OPERATORS = {
    "mask": Masking.random(SHAPE, 0.5, noise=NOISE),
    "k-space": Fourier.cartesian(SHAPE, 2, noise=NOISE),
    "blur": Blur.gaussian(0.6, noise=NOISE),
    "matrix": LinearMap(
        normal(20, 64, seed=3) * torch.logspace(0, -3, 20, dtype=F64)[:, None], NOISE, event_shape=SHAPE
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("s2", [float("inf"), 0.3, 1e-3])
def test_the_closed_inverse_is_that_of_the_matrix(name, s2):
    """Of few different singular values, whose products of components are kept, and of many."""
    operator = OPERATORS[name].at(SHAPE)
    images = normal(40, *SHAPE, seed=5) * torch.linspace(0.2, 2.0, 64, dtype=F64).view(SHAPE)
    moments = Moments.of_images(images, rank=12).to("cpu", F64)
    r = operator(normal(3, *SHAPE, seed=6)) + 0.1 * operator(normal(3, *SHAPE, seed=7))
    basis, values, rest = moments.low_rank(given(s2))
    components = Components.of(operator, basis)
    assert bool(components.grams) == (len(components.gains.unique()) <= FEW) == (name in ("mask", "k-space"))
    found = components.inverse(values, rest).solve(r)
    units = torch.eye(64, dtype=F64).view(64, *SHAPE)
    a = operator(units).flatten(1).mT
    spread = torch.stack([moments.apply(given(s2), unit[None]).flatten() for unit in units], 1)
    system = a @ spread @ a.mT + 0.125**2 * torch.eye(len(a), dtype=F64)
    expected = torch.linalg.solve(system, r.flatten(1).mT).mT.view_as(r)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(Wiener(moments, operator).precondition(r, s2), expected, rtol=1e-8, atol=1e-8)


class Counting(Masking):
    solves = 0

    def solve_gram(self, y, r2):
        type(self).solves += 1
        return super().solve_gram(y, r2)


@pytest.fixture
def counting():
    Counting.solves = 0
    return Counting(torch.tensor([1, 0] * 4), noise=NOISE).at((8,))


def test_a_likelihood_and_the_step_from_it_share_their_solve(counting):
    prior, t, s = gaussian(VESDE()), torch.tensor(0.6, dtype=F64), torch.tensor(0.5, dtype=F64)
    x, other, y = (normal(3, 8, seed=k) for k in (1, 2, 3))
    y = counting(y)
    own = TDS().posterior(Evaluations(prior), counting, y)
    fresh = [TDS().posterior(Evaluations(prior), counting, y) for _ in range(4)]
    expected = [fresh[0].log_likelihood(x, t), fresh[1].guide(x, t)[1], fresh[2].log_likelihood(other, t)]
    expected.append(fresh[3].log_likelihood(x, s))
    Counting.solves = 0
    likely, step = own.log_likelihood(x, t), own.guide(x, t)[1]
    assert torch.equal(own.log_likelihood(x, t), likely)
    assert Counting.solves == 1
    found = [likely, step, own.log_likelihood(other, t), own.log_likelihood(x, s)]
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert Counting.solves == 3


def test_a_state_that_was_changed_in_place_is_solved_again(counting):
    prior, t = gaussian(VESDE()), torch.tensor(0.6, dtype=F64)
    x, y = normal(3, 8, seed=1), counting(normal(3, 8, seed=3))
    own = PiGDM().posterior(Evaluations(prior), counting, y)
    own.guide(x, t)
    x.mul_(2)
    found = own.guide(x, t)[1]
    expected = PiGDM().posterior(Evaluations(prior), counting, y).guide(x, t)[1]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
