import itertools

import numpy as np
import pytest
import torch

from benchmarks.exact.metrics import frechet, sliced_wasserstein, wasserstein2


def points(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_wasserstein_is_the_best_of_all_permutations():
    a, b = points(6, 3, 0), points(6, 3, 1)
    brute = min((a - b[list(order)]).square().sum(1).mean() for order in itertools.permutations(range(6)))
    assert wasserstein2(a, b) == pytest.approx(brute.sqrt().item(), rel=1e-5)


def test_wasserstein_of_a_shift_is_its_length():
    a, shift = points(50, 4, 0), torch.tensor([3.0, 0.0, 4.0, 0.0])
    assert wasserstein2(a, a[torch.randperm(50)] + shift) == pytest.approx(5.0, rel=1e-5)


@pytest.mark.parametrize("p", [1, 2])
def test_sliced_wasserstein_in_one_dimension_is_the_sorted_difference(p):
    a, b = points(100, 1, 0), 2 * points(100, 1, 1) + 1
    gaps = np.abs(np.sort(a[:, 0].numpy()) - np.sort(b[:, 0].numpy()))
    assert sliced_wasserstein(a, b, p) == pytest.approx((gaps**p).mean() ** (1 / p), rel=1e-4)


def test_sliced_wasserstein_of_a_shift():
    """E (shift . u)^2 = |shift|^2 / d over directions u."""
    a, shift = points(200, 5, 0), torch.tensor([1.0, 2.0, 0.0, -2.0, 0.0])
    assert sliced_wasserstein(a, a + shift, n_projections=20000) == pytest.approx(3 / 5**0.5, rel=0.03)


@pytest.mark.parametrize("distance", [wasserstein2, sliced_wasserstein])
def test_sets_of_different_size_are_refused(distance):
    with pytest.raises(ValueError, match="same shape"):
        distance(points(4, 2, 0), points(5, 2, 0))


def test_frechet_is_the_closed_form_of_two_gaussians():
    """Against scipy's matrix square root, for sets of different size."""
    from scipy.linalg import sqrtm

    a, b = points(60, 4, 0), 1 + points(90, 4, 1) @ points(4, 4, 2)
    ca, cb = np.cov(a.T.numpy()), np.cov(b.T.numpy())
    expected = (a.mean(0) - b.mean(0)).square().sum().item() + np.trace(ca + cb - 2 * sqrtm(ca @ cb).real)
    assert frechet(a, b) == pytest.approx(expected, rel=1e-4)
    assert frechet(b, a) == pytest.approx(expected, rel=1e-4)


def test_frechet_is_zero_for_a_set_and_itself_and_the_square_of_a_shift():
    a = points(40, 3, 0)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet(a, a + 2.0) == pytest.approx(12.0)


@pytest.mark.parametrize("other", [points(5, 2, 0), points(1, 3, 0), points(4, 1, 0)[:, 0]])
def test_frechet_of_other_features_is_refused(other):
    with pytest.raises(ValueError, match="expected"):
        frechet(points(5, 3, 0), other)
