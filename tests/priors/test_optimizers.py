"""Optimisers for training."""

import pytest
import torch
from torch import nn

from priors.optimizers import NAMES, Muon, optimizers, orthogonal


@pytest.mark.parametrize("shape", [(3, 16, 40), (2, 40, 16), (1, 24, 24)])
def test_orthogonal_has_the_singular_vectors_and_values_near_one(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    rotated = u.mT @ orthogonal(matrices) @ v.mT
    values = rotated.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(rotated, torch.diag_embed(values), atol=1e-9, rtol=0)
    assert values.min() > 0.6 and values.max() < 1.25


def test_orthogonal_of_small_singular_values_and_of_zeros():
    """Of a condition number of 300, in single precision; a matrix of zeros stays."""
    generator = torch.Generator().manual_seed(1)
    u, v = (torch.linalg.qr(torch.randn(32, 32, generator=generator))[0] for _ in range(2))
    values = torch.linalg.svdvals(orthogonal(((u * torch.logspace(0, -2.5, 32)) @ v)[None]))
    assert values.min() > 0.3 and values.max() < 1.25
    assert not orthogonal(torch.zeros(1, 4, 8)).any()


def test_muon_steps_by_its_formula():
    """Two steps against the singular value decomposition, with which U V' is exact."""
    generator = torch.Generator().manual_seed(2)
    weight = nn.Parameter(torch.randn(16, 20, 3, 3, generator=generator))
    start, muon = weight.detach().clone(), Muon([weight], lr=0.1, momentum=0.9)
    momentum, expected = torch.zeros(16, 180), torch.zeros(16, 180)
    for _ in range(2):
        weight.grad = torch.randn(16, 20, 3, 3, generator=generator)
        muon.step()
        momentum = 0.9 * momentum + weight.grad.flatten(1)
        u, _, v = torch.linalg.svd(weight.grad.flatten(1) + 0.9 * momentum, full_matrices=False)
        expected -= 0.2 * 0.1 * 180**0.5 * u @ v
    moved = (weight.detach() - start).flatten(1)
    cosine = (moved * expected).sum() / (moved.norm() * expected.norm())
    assert cosine > 0.98 and 0.8 < moved.norm() / expected.norm() < 1.2


@pytest.mark.parametrize("name", NAMES)
def test_each_weight_has_one_optimizer(name):
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 3, 3), nn.Flatten(), nn.Linear(3, 2)
    )
    made = optimizers(name, network, 1e-3)
    weights = [id(w) for optimizer in made.values() for group in optimizer.param_groups for w in group["params"]]
    assert sorted(weights) == sorted(id(w) for w in network.parameters())
    if name == "muon":
        assert [tuple(w.shape) for w in made["muon"].param_groups[0]["params"]] == [(16, 16, 3, 3)]


def test_a_network_without_inner_convolutions_has_adam_alone():
    assert set(optimizers("muon", nn.Linear(2, 2), 1e-3)) == {"adam"}


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="optimizer = 'sgd'"):
        optimizers("sgd", nn.Linear(2, 2), 1e-3)
