"""log p_t along lines of the score, beside closed forms."""

import pytest
import torch

from priors import Evaluations, Gaussian, Moments, Prior, log_density_along
from priors.density import radau
from tests.priors.cases import F64, SDES, covariances, draws, mixture

T = torch.tensor(0.4, dtype=F64)


class Blind(Prior):
    """A prior of which nothing but the denoiser is known, and its moments where they are told."""

    def __init__(self, prior, moments=None):
        self.prior, self.sde, self.event_shape = prior, prior.sde, prior.event_shape
        self.variance, self.moments = prior.variance, moments

    def denoise(self, x, t):
        return self.prior.denoise(x, t)


def differences(prior, law, x, nodes):
    """Errors of log p(x_i) - log p(x_0), nats."""
    found, exact = log_density_along(prior, x, T, nodes), law.log_prob(x, T)
    return ((found - found[0]) - (exact - exact[0])).abs().max().item()


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 20, 32])
def test_nodes_integrate_polynomials_exactly(n):
    nodes, weights = radau(n)
    assert nodes[0] == 1.0 and all(0 < a < 1 for a in nodes[1:]) and nodes == sorted(nodes, reverse=True)
    for power in range(2 * n - 1):
        total = sum(w * u**power for u, w in zip(nodes, weights, strict=True))
        assert total == pytest.approx(1 / (power + 1), rel=1e-10)
    total = sum(w * u ** (2 * n - 1) for u, w in zip(nodes, weights, strict=True))
    assert total != pytest.approx(1 / (2 * n), rel=1e-12) or n > 8, "more than it promises: the test sees nothing"


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_a_gaussian_needs_one_node(sde):
    """With its moments nothing is left to integrate; without, the integrand is linear, which two nodes integrate."""
    prior = Gaussian(draws(5, seed=5), covariances("dense", 1, 5)[0], sde=sde)
    x = 2 * draws(20, 5, seed=1)
    assert differences(prior, prior, x, 1) < 1e-4
    assert differences(Blind(prior), prior, x, 2) < 1e-6
    assert differences(Blind(prior), prior, x, 1) > 0.1


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_a_mixture_is_integrated_with_the_order_of_the_nodes(sde):
    law = mixture(sde, d=4)
    x = float(sde.alpha(T)) * law.sample(30, seed=2) + float(sde.sigma(T)) * draws(30, 4, seed=3)
    errors = [differences(law, law, x, n) for n in (2, 4, 8, 32)]
    assert errors[-1] < 1e-4 and errors[0] > errors[1] > errors[2]


def test_it_costs_an_evaluation_a_node_and_the_last_is_at_x():
    law = mixture(SDES["vp"], d=4)
    counted, x = Evaluations(law), draws(3, 4)
    counted.denoise(x, T)
    log_density_along(counted, x, T, 5)
    assert counted.nfe == 5 and counted.nvjp == 0


def test_moments_take_what_they_explain_from_the_nodes():
    """As a control variate the Gaussian of the moments leaves less to integrate than a Gaussian of one variance."""
    law = mixture(SDES["vp"], d=4)
    told = Blind(law, Moments.of_covariance(law.mean, law.covariance))
    x = law.sample(30, seed=2)
    assert differences(told, law, x, 3) < differences(Blind(law), law, x, 3)


def test_no_nodes():
    with pytest.raises(ValueError, match="nodes = 0: expected an integer >= 1"):
        log_density_along(mixture(SDES["vp"], d=4), draws(3, 4), T, 0)
