import math
from itertools import pairwise

import pytest
import torch

from priors import Gaussian, RowRNG, decode
from priors.ode import heun_step
from tests.priors.cases import F64, SDES, draws, mixture

MEAN, DEVIATION = torch.tensor([0.5, -1.0, 0.2], dtype=F64), torch.tensor([0.3, 0.7, 1.5], dtype=F64)


@pytest.fixture(params=list(SDES.values()), ids=list(SDES))
def exact(request):
    return Gaussian(MEAN, torch.diag(DEVIATION**2), sde=request.param)


def flow(sde, x, t, s):
    """The probability flow of a Gaussian from t to s: every coordinate keeps its place in standard deviations."""
    spread = [torch.sqrt(sde.alpha(u) ** 2 * DEVIATION**2 + sde.sigma(u) ** 2) for u in (t, s)]
    return sde.alpha(s) * MEAN + spread[1] / spread[0] * (x - sde.alpha(t) * MEAN)


def error(exact, x, t, s, n):
    grid = torch.linspace(t, s, n + 1, dtype=F64)
    y = x
    for a, b in pairwise(grid):
        y = heun_step(exact, y, a, b)
    return (y - flow(exact.sde, x, t, s)).abs().max().item()


@pytest.mark.parametrize(("t", "s"), [(0.9, 0.1), (0.1, 0.9)], ids=["to data", "to noise"])
def test_heun_is_of_second_order(exact, t, s):
    x = exact.sde.sigma(t) * draws(20, 3) + exact.sde.alpha(t) * MEAN
    steps = 64, 128, 256, 512
    errors = torch.tensor([error(exact, x, t, s, n) for n in steps]).log()
    n = torch.tensor(steps, dtype=torch.float32).log()
    slope = ((n - n.mean()) * (errors - errors.mean())).sum() / (n - n.mean()).square().sum()
    assert 1.8 < -slope.item() < 2.4


def test_decode_follows_the_flow_and_denoises(exact):
    sde = exact.sde
    z = sde.sample_terminal((20, 3), RowRNG.rows(0, 20, dtype=F64))
    expected = exact.denoise(flow(sde, z, 1.0, sde.t_min), sde.t_min)
    errors = [(decode(exact, z, n_steps=n) - expected).abs().max().item() for n in (64, 256)]
    assert errors[1] < 0.01 and errors[1] < errors[0] / 8


def test_decode_turns_noise_into_data(exact):
    n = 4000
    x = decode(exact, exact.sde.sample_terminal((n, 3), RowRNG.rows(1, n, dtype=F64)), n_steps=128)
    assert ((x.mean(0) - MEAN).abs() < 4.5 * DEVIATION / math.sqrt(n) + 0.01).all()
    correlation = (x / DEVIATION).mT.cov()
    assert (correlation - torch.eye(3, dtype=F64)).abs().max() < 4.5 * math.sqrt(2 / n) + 0.01


def test_decode_finds_the_modes_in_their_proportions():
    prior, n = mixture(SDES["ve"], "tied-diagonal", d=2), 2000
    x = decode(prior, prior.sde.sample_terminal((n, 2), RowRNG.rows(0, n)), n_steps=64).double()
    line = torch.tensor([0.6, 0.8], dtype=F64)
    spread = (prior.eigenvalues * line**2).sum(1).sqrt()
    normal = torch.distributions.Normal(prior.means @ line, spread)
    ranks = (prior.weights * normal.cdf((x @ line)[:, None])).sum(1).sort()[0]
    assert (ranks - (torch.arange(n) + 0.5) / n).abs().max() < 1.95 / math.sqrt(n) + 0.01


def test_rows_do_not_know_each_other(exact):
    z = exact.sde.sample_terminal((5, 3), RowRNG.rows(0, 5, dtype=F64))
    torch.testing.assert_close(decode(exact, z, 16)[2:3], decode(exact, z[2:3], 16))


def test_no_steps_are_refused(exact):
    with pytest.raises(ValueError, match="n_steps = 0: expected at least 1"):
        decode(exact, torch.zeros(1, 3), n_steps=0)
