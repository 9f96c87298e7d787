"""How many calls lie between `solve` and the network: `uv run pytest -n 0 -s tests/inverse/test_call_depth.py`."""

import contextlib
import inspect
from pathlib import Path

import pytest
import torch

import inverse
from inverse import METHODS, solve
from operators import GaussianNoise, Masking
from priors import Moments
from tests.cases import score_prior

OURS = [Path(inverse.__file__).parents[1] / package for package in ("inverse", "operators", "priors")]
MOST = 17
ENOUGH = 10  # calls of the network: `exact` makes many, with 64 backward passes each
ELSEWHERE = {"classifier", "pivot"}  # need a classifier and a prior in closed form


class Enough(Exception):
    pass


def calls_since_solve() -> int:
    """Functions of ours on the stack below `solve`, which is one of them."""
    files = [Path(frame.filename) for frame in inspect.stack(0)[1:]]
    return sum(any(file.is_relative_to(room) for room in OURS) for file in files)


@pytest.mark.filterwarnings("ignore")  # about samples of three steps
@pytest.mark.parametrize("name", sorted(n for n, m in METHODS.items() if m.conditional and n not in ELSEWHERE))
def test_the_network_is_near(name):
    prior = score_prior()
    prior.moments = Moments.of_images(torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(0)), rank=8)
    seen = []

    def record(*_) -> None:
        seen.append(calls_since_solve())
        if len(seen) == ENOUGH:
            raise Enough

    prior.network.register_forward_hook(record)
    operator = Masking(torch.eye(8), noise=GaussianNoise(0.1))
    y = torch.full((1, 1, 8, 8), 0.5) * torch.eye(8)
    with contextlib.suppress(Enough):
        solve(prior, operator, y, method=name, n_samples=2, n_steps=3)
    print(f"{name:12} {max(seen)}")
    assert 0 < max(seen) <= MOST
