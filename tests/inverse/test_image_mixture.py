"""The image mixture of METHODS.md, section 3: 8 x 8 pixels, 20 components, 40 % of them seen with sigma_y = .1."""

import pytest

from benchmarks.exact.metrics import sliced_wasserstein
from benchmarks.exact.problems import image_mixture
from inverse import METHODS
from inverse.auto import VARIANTS
from operators import GaussianNoise, Masking
from priors import VPSDE
from tests.cases import draw, w2_ratio


@pytest.fixture(scope="module")
def problem():
    prior = image_mixture(VPSDE())
    operator = Masking.random((1, 8, 8), keep=0.4, seed=0, noise=GaussianNoise(0.1))
    y = operator.measure(prior.sample(1, seed=11), seed=12)
    return prior, operator, y, prior.posterior(operator, y)


def test_the_mixture_is_the_same_for_everybody(problem):
    prior, _, _, truth = problem
    assert len(prior.means) == 20 and prior.event_shape == (1, 8, 8)
    assert float(prior.means.sum()) == pytest.approx(float(image_mixture(VPSDE()).means.sum()))
    assert 0.2 < prior.variance < 0.5 and truth.variance < 0.25 * prior.variance


def test_mmps_in_few_steps(problem):
    """30 evaluations and backward passes."""
    prior, operator, y, truth = problem
    n = 100
    x = draw(prior, VARIANTS["mmps, fast"], n, None, operator, y)
    assert w2_ratio(x, truth, n, sliced_wasserstein, repeats=5) < 1.6
    assert w2_ratio(prior.sample(n), truth, n, sliced_wasserstein, repeats=5) > 4


@pytest.mark.slow
def test_mmps(problem):
    """100 evaluations and backward passes, within 1.2 floors."""
    prior, operator, y, truth = problem
    n = 500
    x = draw(prior, METHODS["mmps"], n, None, operator, y)
    assert w2_ratio(x, truth, n, sliced_wasserstein, repeats=10) < 1.2
    assert w2_ratio(prior.sample(n), truth, n, sliced_wasserstein, repeats=10) > 8
