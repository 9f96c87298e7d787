"""Operators that others wrote are tried before a solve: rows of their own, and an adjoint that is one."""

import warnings

import pytest
import torch

from inverse import solve
from operators import GaussianNoise, InexactAdjoint, LinearOperator, Masking, Operator
from operators.trials import try_rows
from priors import VESDE, Gaussian

SHAPE = (1, 4, 4)
PRIOR = Gaussian(torch.full((16,), 0.5), 0.1 * torch.eye(16), VESDE(), event_shape=SHAPE)
MATRIX = torch.randn(6, 16, generator=torch.Generator().manual_seed(1)) / 4


class Own(LinearOperator):
    factor = 1.0

    def forward(self, x):
        return x.flatten(1) @ MATRIX.T

    def adjoint(self, y):
        return self.factor * (y @ MATRIX).view(-1, *SHAPE)


class Scaled(Own):
    factor = 0.9


class Negative(Own):
    factor = -1.0


class Transposed(Own):
    def adjoint(self, y):
        return super().adjoint(y).mT


class First(Operator):
    def forward(self, x):
        return (x[:1].flatten(1) @ MATRIX.T) ** 2


class FirstOfAll(Operator):
    def forward(self, x):
        return (x[:1].flatten(1) @ MATRIX.T).expand(len(x), -1) ** 2


class Centred(Operator):
    def forward(self, x):
        return (x - x.mean()).flatten(1) @ MATRIX.T


def test_a_right_operator_passes_alone_and_in_compositions():
    noise = GaussianNoise(0.1)
    mask = Masking(torch.ones(SHAPE, dtype=torch.bool))
    for operator in (Own(noise), Own(noise) @ mask):
        assert try_rows(operator.at(SHAPE), SHAPE) == ""
        with warnings.catch_warnings():
            warnings.simplefilter("error", InexactAdjoint)
            solve(PRIOR, operator, operator.measure(torch.rand(1, *SHAPE), seed=0), 1, progress=False)


@pytest.mark.parametrize("kind", [Scaled, Negative, Transposed])
def test_an_adjoint_that_is_none_is_warned_of(kind):
    operator = kind(GaussianNoise(0.1))
    y = operator.measure(torch.rand(1, *SHAPE), seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", InexactAdjoint)
        with pytest.warns(InexactAdjoint, match="not the adjoint of forward"):
            solve(PRIOR, operator, y, 1, method="diffpir", n_steps=2, progress=False)


@pytest.mark.parametrize(("kind", "words"), [(First, "1 measurements of two"), (FirstOfAll, "other events"),
                                             (Centred, "other events")])  # fmt: skip
def test_rows_that_mix_are_refused(kind, words):
    operator = kind(GaussianNoise(0.1))
    y = torch.zeros(1, 6)
    with pytest.raises(ValueError, match=words):
        solve(PRIOR, operator, y, 2, method="dps", progress=False)
