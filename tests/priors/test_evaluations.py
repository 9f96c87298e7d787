"""Evaluations that are counted, the last of them kept, and none longer than that."""

import gc
import weakref

import pytest
import torch
from torch import nn

from priors import VESDE, Evaluations, ScorePrior


class Watched(nn.Module):
    """A network that notes which of its activations are alive when it is called."""

    def __init__(self):
        super().__init__()
        self.weight, self.made, self.alive = nn.Parameter(torch.tensor(0.5)), [], []

    def forward(self, x, t):
        self.alive.append(sum(ref() is not None for ref in self.made))
        hidden = self.weight * x
        self.made.append(weakref.ref(hidden))
        return hidden.sin()


@pytest.fixture
def watched():
    network = Watched()
    yield network, Evaluations(ScorePrior(network, VESDE(), (1, 4, 4), "preconditioned"))
    gc.enable()


def test_no_graph_is_kept_beside_the_next_one(watched):
    """Activations of a network are most of the memory of a solve."""
    network, counter = watched
    for _ in range(3):
        x = torch.rand(2, 1, 4, 4)
        denoised, vjp = counter.denoise_vjp(x, 0.5)
        vjp(denoised)
        del denoised, vjp
    assert network.alive == [0, 0, 0]
    assert (counter.nfe, counter.nvjp) == (3, 3)


def test_the_last_graph_goes_with_the_prior_that_counts(watched):
    """Without waiting for the garbage collector."""
    network, counter = watched
    gc.disable()
    counter.denoise_vjp(torch.rand(2, 1, 4, 4), 0.5)
    assert network.made[-1]() is not None
    del counter
    watched[1].__dict__.clear()  # the fixture holds it too
    assert network.made[-1]() is None


@torch.no_grad()
def test_the_last_evaluation_is_kept_and_part_of_the_rows_does_not_replace_it():
    network = Watched()
    counter = Evaluations(ScorePrior(network, VESDE(), (1, 4, 4), "preconditioned"), 4)
    x, y = torch.rand(4, 1, 4, 4), torch.rand(4, 1, 4, 4)
    first = counter.denoise(x, 0.5)
    counter.denoise(x[:2], 0.5)
    assert counter.denoise(x, 0.5) is first and len(network.alive) == 2
    counter.denoise(y, 0.5)
    assert counter.denoise(x, 0.5) is not first and len(network.alive) == 4
    _, vjp = counter.denoise_vjp(x, 0.5)
    assert counter.denoise_vjp(x, 0.5)[1] is vjp and len(network.alive) == 5
    vjp(x)
    vjp(x)
    assert (counter.nfe, counter.nvjp) == (4, 2)  # 4.5, to the even one
