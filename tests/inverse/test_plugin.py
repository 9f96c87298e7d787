"""A stranger's operator, installed as packages are: `forward` alone is enough to be found, checked and solved."""

import sys

import numpy as np
import pytest
import torch

import operators
from benchmarks.exact.problems import smooth_covariance
from inverse import solve
from operators import GaussianNoise, registry
from priors import VPSDE, Gaussian

SOURCE = '''
from operators import LinearOperator


class Slopes(LinearOperator):
    """Differences of neighbouring columns."""

    def forward(self, x):
        return x[..., 1:] - x[..., :-1]
'''


@pytest.fixture
def installed(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))
    monkeypatch.setattr(registry, "_visited", set())
    (tmp_path / "stranger_slopes.py").write_text(SOURCE)
    info = tmp_path / "stranger_slopes-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger-slopes\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[inverse.operators]\nslopes = stranger_slopes:Slopes\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("stranger_slopes", None)


def test_an_installed_operator_is_solved(installed):
    """The posterior mean in closed form, with the matrix of differences written out here."""
    size, sigma, n = 5, 0.1, 600
    assert "slopes" in operators.available()
    operator = operators.make("slopes", noise=GaussianNoise(sigma))
    assert operators.check(operator, (1, size, size))["adjoint"] < 1e-5

    covariance = smooth_covariance(size, 1.0, 0.3).numpy()
    prior = Gaussian(torch.full((size**2,), 0.4), torch.from_numpy(covariance), VPSDE(), event_shape=(1, size, size))
    y = operator.measure(prior.sample(1, seed=3), seed=4)
    matrix = np.kron(np.eye(size), np.diff(np.eye(size), axis=0))
    gain = covariance @ matrix.T @ np.linalg.inv(matrix @ covariance @ matrix.T + sigma**2 * np.eye(len(matrix)))
    mean = 0.4 + gain @ (y.double().numpy().ravel() - matrix @ np.full(size**2, 0.4))
    std = np.sqrt(np.diag(covariance - gain @ matrix @ covariance))

    solution = solve(prior, operator, y, n_samples=n, seed=1, progress=False)
    assert solution.method == "pivot"
    error = (solution.mean.double().numpy().ravel() - mean) / (std / n**0.5)
    assert np.abs(error).max() < 4
    np.testing.assert_allclose(solution.std.numpy().ravel() / std, 1, atol=0.15)


def test_it_is_gone_afterwards():
    assert "slopes" not in operators.available()
