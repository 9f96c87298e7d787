"""The last step is a draw, not a mean: the spread of samples where y is finer than the last noise level."""

import warnings

import pytest
import torch

from benchmarks.exact.exactness import SDES
from benchmarks.exact.spread import OPERATORS, SHAPE, Cell, ratio, smooth_gaussian
from inverse import METHODS, Solution, UncalibratedSpread, solve
from inverse.guidance.covariance import covariance_draw
from operators import GaussianNoise, Masking
from priors import VESDE


@pytest.mark.parametrize("sde", SDES)
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("sigma_y", [0.001, 0.01, 0.1])
def test_mmps_has_the_spread_of_the_exact_posterior(sde, operator, sigma_y):
    """.95 to 1.05 of the exact standard deviation; .1 and .7 before, where all pixels were measured with .001, .01."""
    found = ratio(Cell("Gaussian", sde, operator, sigma_y), "mmps", 200, 1)
    assert found is not None and 0.95 < found < 1.05


@pytest.mark.parametrize("method", ["repaint", "replacement", "ddrm", "splitgibbs", "mcg", "mcgdiff", "ddnm", "mmps"])
def test_what_is_known_stays_known(method):
    """Noiseless pixels are returned as they were measured; they moved by .011 to .063 before."""
    prior, operator = smooth_gaussian(VESDE()).float(), Masking.random(SHAPE, keep=0.5, seed=0)
    y = operator.measure(prior.sample(1, seed=3), seed=1)
    solution = solve(prior, operator, y, 4, method, 100, progress=False)
    assert float((operator(solution.samples[0]) - y).abs().max()) < 1e-4


def test_the_covariance_of_a_draw():
    """Exact with as many steps as there are eigenvalues: C^(1/2) z of a matrix with three."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(12, 12, generator=generator, dtype=torch.float64)).Q
    values = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64).repeat(4)
    j = basis * values @ basis.mT
    z = torch.randn(5, 12, generator=generator, dtype=torch.float64)
    root = 0.3 * basis * values.sqrt() @ basis.mT
    torch.testing.assert_close(covariance_draw(lambda v: v @ j, 0.09, z, 3), z @ root, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", [name for name, m in METHODS.items() if m.conditional and name != "classifier"])
def test_a_spread_that_is_not_known_to_be_right_is_warned_of(method, tmp_path):
    """Of mmps, pivot and exact it is, by benchmarks/results/spread.md, of ep by photons.md; the warning is kept."""
    prior, operator = smooth_gaussian(VESDE()).float(), Masking.random(SHAPE, keep=0.1, noise=GaussianNoise(0.1))
    y = operator.measure(prior.sample(1, seed=3), seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        solution = solve(prior, operator, y, 4, method, 3 if method == "exact" else 20, progress=False)
    solution.save(tmp_path / "run.h5")
    for kept in (solution, Solution.load(tmp_path / "run.h5")):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert kept.std.shape == (1, *SHAPE)
        warned = any(issubclass(w.category, UncalibratedSpread) for w in caught)
        assert warned == (method not in ("mmps", "pivot", "exact", "ep", "pivot-ep"))
