"""Errors of weighed populations fall as one over the square root of their number, for each resampling scheme."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from inverse import METHODS
from inverse.engine import run
from inverse.guidance import Tweedie
from inverse.population import SMC
from inverse.types import weighted_mean
from inverse.weights import RESAMPLINGS
from operators import GaussianNoise, LinearMap
from priors import VPSDE, Evaluations, GaussianMixture
from tests.cases import BatchRNG

SIZES, REPEATS = (16, 64, 256), 120
# a measurement between two modes, of which no guidance knows the shares
PRIOR = GaussianMixture([[-1.0, -0.3], [1.0, 0.3]], 0.15 * torch.eye(2).expand(2, 2, 2), [0.3, 0.7], VPSDE())
OPERATOR = LinearMap(torch.tensor([[0.4, 1.0]]), GaussianNoise(0.3))
Y = torch.tensor([[0.1]])


def errors(method, size: int) -> tuple[float, float]:
    """Root mean square errors of log p(y) and of the posterior mean, over populations of one size."""
    n, population = REPEATS * size, method.population.sized(size)
    posterior = method.guidance.posterior(Evaluations(PRIOR.float()), OPERATOR, Y.expand(n, 1))
    grid = method.times(PRIOR)
    state = run(posterior, grid, method.predictor, (), population, BatchRNG(size), n)
    log_w = state.log_w.view(REPEATS, size)
    evidence = state.log_z.view_as(log_w)[:, 0] + log_w.logsumexp(1) - np.log(size)
    mean = weighted_mean(state.x.view(REPEATS, size, 2), log_w).double()
    truth = PRIOR.log_evidence(OPERATOR, Y), PRIOR.posterior(OPERATOR, Y).mean
    return float((evidence - truth[0]).square().mean().sqrt()), float((mean - truth[1]).square().mean().sqrt())


def slopes(method) -> list[float]:
    found = np.log([errors(method, size) for size in SIZES])
    return [np.polyfit(np.log(SIZES), column, 1)[0] for column in found.T]


@pytest.mark.parametrize(
    "scheme", [s if s == "systematic" else pytest.param(s, marks=pytest.mark.slow) for s in sorted(RESAMPLINGS)]
)
def test_particles(scheme):
    """Evidence and mean, resampled at every other step or so."""
    method = replace(METHODS["tds"], population=SMC(0.9, RESAMPLINGS[scheme]), n_steps=80)
    assert slopes(method) == pytest.approx([-0.5, -0.5], abs=0.13)


def test_independent_weights():
    """The same of the exact mode, at steps far too long for an unweighed flow."""
    assert slopes(replace(METHODS["exact"], n_steps=8)) == pytest.approx([-0.5, -0.5], abs=0.1)


def test_particles_by_the_tweedie_covariance():
    """A twist nearer to p(y | x_t) leaves smaller errors of the evidence at the same number of steps."""
    plain = replace(METHODS["tds"], n_steps=40)
    assert errors(replace(plain, guidance=Tweedie()), 64)[0] < errors(plain, 64)[0]
