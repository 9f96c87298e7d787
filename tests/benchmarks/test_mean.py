"""The table of the posterior mean, on a prior whose posterior is known."""

import torch

from benchmarks.trained.efficiency import Scene
from benchmarks.trained.mean import ERRORS, MOST, Reference, execute, rows
from operators import GaussianNoise, Masking
from priors import VESDE, Gaussian

F64 = torch.float64


def test_figures_of_a_gaussian():
    prior = Gaussian(torch.zeros(16), 0.1 * torch.eye(16), VESDE(0.01, 30.0), event_shape=(1, 4, 4))
    operator = Masking.random((1, 4, 4), 0.5, seed=0, noise=GaussianNoise(0.1))
    record = execute(prior, operator, prior.sample(1, seed=0).view(1, 1, 4, 4), 0)
    scene = Scene("a Gaussian", None, 1, 1, {})
    table = rows(scene, "mask", [record])
    assert [row["error asked"] for row in table] == [f"{error:g}" for error in ERRORS]
    for error in ERRORS:
        found = record[f"{error:g}"]
        assert found["stated"] <= error or found["samples"] == MOST
        assert found["actual"] < 3 * max(error, record["reference error"])


def test_the_error_of_the_reference_is_taken_off():
    reference = Reference(torch.zeros(1, 4), 0.3, 2.0)
    assert reference.away(torch.full((1, 4), 1.0)) == (0.25 - 0.09) ** 0.5
    assert reference.away(torch.full((1, 4), 0.1)) == 0.0
