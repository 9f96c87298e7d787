"""The Gaussian of a transition: draws, change of coordinates; weighted means."""

import numpy as np
import pytest
import torch

from inverse.types import Gaussian, weighted_mean
from operators import Grayscale, LinearMap
from tests.cases import normal

X = normal(4, 3, 2, 2, seed=1).float()


class Fixed:
    """An rng that hands out what it was given, once."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def normal(self, shape):
        z = self.draws.pop(0)
        assert z.shape == shape
        return z.clone()  # a new tensor, as of every RNG


def test_a_zero_std_draws_nothing():
    rng = Fixed()  # would fail
    assert Gaussian(X, torch.zeros(())).sample(rng) is X
    torch.testing.assert_close(Gaussian(X, torch.zeros(()), Grayscale()).sample(rng), Grayscale().V(X))


@pytest.mark.parametrize("std", [torch.tensor(0.5), X[:, :1, :1, :1].abs(), X.abs(), X[0, 0].abs()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_draw_is_mean_plus_std_times_z(std, dtype):
    z = normal(4, 3, 2, 2, seed=2).float()
    x = Gaussian(X, std.to(dtype)).sample(Fixed(z))
    assert x.dtype == X.dtype
    torch.testing.assert_close(x, X + std * z)


def test_coordinates_go_there_and_back():
    basis = LinearMap(normal(5, 12, seed=3).float(), event_shape=(3, 2, 2))
    turned = Gaussian(X, torch.zeros(())).within(basis)
    assert (turned.mean - X).abs().max() > 0.1
    torch.testing.assert_close(turned.sample(Fixed()), X, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "std", [torch.tensor(0.3), torch.full((1,), 0.3), torch.tensor([0.1, 0.2, 0.3, 0.4]).view(4, 1, 1, 1)]
)
def test_an_isotropic_law_is_the_same_in_every_basis(std):
    basis = LinearMap(normal(5, 12, seed=3).float(), event_shape=(3, 2, 2))
    z = normal(4, 3, 2, 2, seed=2).float()
    turned = Gaussian(X, std).within(basis)
    torch.testing.assert_close(turned.std, std)
    torch.testing.assert_close(turned.sample(Fixed(basis.Vt(z))), X + std * z, atol=1e-5, rtol=0)


@pytest.mark.parametrize("std", [X.abs(), X[:1, :, :1, :1].abs(), X[0, 0, 0].abs(), X[0, 0, :, :1].abs()])
def test_only_an_isotropic_law_changes_coordinates(std):
    with pytest.raises(ValueError, match="only an isotropic Gaussian"):
        Gaussian(X, std).within(Grayscale())


def test_coordinates_change_once():
    with pytest.raises(ValueError, match="one guidance at a time"):
        Gaussian(X, torch.tensor(0.3)).within(Grayscale()).within(Grayscale())


@pytest.mark.parametrize("shift", [0.0, -2000.0])
def test_weighted_mean(shift):
    """Weights are given up to a common factor, however small."""
    samples, log_w = normal(2, 5, 3, seed=4).float(), normal(2, 5, seed=5)
    w = np.exp(log_w.numpy())
    w = w / w.sum(1, keepdims=True)
    expected = np.einsum("bk,bkd->bd", w, samples.double().numpy())
    torch.testing.assert_close(
        weighted_mean(samples, log_w + shift).double(), torch.from_numpy(expected), atol=1e-6, rtol=0
    )
