"""What counts as a number, and that both rooms agree."""

import math

import numpy as np
import pytest
import torch

import operators
from inverse import predictors
from operators import Downsampling, Radon
from priors import VESDE, DataRange
from priors import arguments as prior_arguments
from priors.training import TrainingConfig

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize("value", [np.int64(3), np.int32(3), 3])
def test_numpy_integers_are_counts(value):
    assert Downsampling(value).factor == 3 and TrainingConfig(steps=value).steps == 3
    assert Radon(value, 8).angles.shape == (3,)
    assert type(prior_arguments.count("n", value)) is int


@pytest.mark.parametrize("value", [np.float32(0.5), np.float64(0.5), torch.tensor(0.5), 0.5])
def test_numbers_of_numpy_and_torch_are_numbers(value):
    assert type(VESDE(sigma_min=value).sigma_min) is float and DataRange(scale=value).scale == 0.5
    assert predictors.DDIM(value).eta == 0.5


def test_both_rooms_check_alike():
    """`operators.arguments` and `priors.arguments` cannot import each other, but say the same."""
    values = [0, 1, -1, 0.5, NAN, INF, True, None, "1", np.int64(2), torch.tensor(0.25), torch.ones(2), 1j, [1]]
    for check, more in (
        ("number", "[0, 1)"),
        ("number", "(0, inf)"),
        ("count", 1),
        ("choice", ["1", "2"]),
        ("shape", None),
    ):
        for value in values:
            said = []
            for room in (operators.arguments, prior_arguments):
                try:
                    given = (value,) if more is None else (value, more)
                    said.append(getattr(room, check)("n", *given))
                except (TypeError, ValueError) as error:
                    said.append((type(error), str(error)))
            assert said[0] == said[1]
