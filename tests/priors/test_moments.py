"""Mean and covariance of a prior, as functions of the covariance: against matrices."""

import pytest
import torch

from priors import Moments, RowRNG
from tests.cases import F64, SDES, normal, rotated, two_modes


def images(n: int, d: int) -> torch.Tensor:
    """Images whose covariance falls off, with a mean."""
    return 0.3 + (normal(n, d, seed=1) * torch.logspace(0, -2, d, dtype=F64)).float().view(n, 1, d // 4, 4)


def test_those_of_a_mixture_are_its_own():
    prior = two_modes(SDES["vp"])
    torch.testing.assert_close(prior.moments.mean.double(), prior.mean, atol=1e-6, rtol=0)
    covariance = prior.moments.apply(lambda v: v, torch.eye(8)).double()
    torch.testing.assert_close(covariance, prior.covariance, atol=1e-5, rtol=0)


@pytest.mark.parametrize("n", [400, 12], ids=["more images than pixels", "fewer"])
def test_leading_components_and_one_variance_for_the_rest(n):
    x = images(n, 16)
    found = Moments.of_images(x, rank=5)
    covariance = torch.cov(x.flatten(1).mT)
    torch.testing.assert_close(found.mean, x.mean(0))
    assert found.basis.shape == (16, 5)
    torch.testing.assert_close(found.variances, torch.linalg.eigvalsh(covariance)[-5:], atol=1e-5, rtol=1e-3)
    whole = found.apply(lambda v: v, torch.eye(16).view(16, 1, 4, 4)).view(16, 16)
    assert float(whole.trace()) == pytest.approx(float(covariance.trace()), rel=1e-4), "no variance is lost"
    torch.testing.assert_close(found.basis.mT @ found.basis, torch.eye(5), atol=1e-4, rtol=0)


def test_more_dimensions_than_a_matrix_holds(monkeypatch):
    from priors import moments

    x = images(60, 16)
    direct = Moments.of_images(x, rank=4)
    monkeypatch.setattr(moments, "MOST_DIRECT", 15)  # 15 images stand for all
    few = Moments.of_images(x, rank=4)
    assert few.basis.shape == direct.basis.shape
    assert float(few.variances.sum() + 12 * few.rest) == pytest.approx(float(direct.variances.sum() + 12 * direct.rest))


def test_functions_of_the_covariance():
    covariance = rotated(torch.linspace(0.1, 2, 6, dtype=F64))
    moments = Moments.of_covariance(torch.zeros(6), covariance)
    root = moments.apply(torch.sqrt, torch.eye(6)).double()
    torch.testing.assert_close(root @ root, covariance, atol=1e-5, rtol=0)


def test_draws_have_the_moments():
    x, n = images(400, 16), 4000
    moments = Moments.of_images(x, rank=5)
    drawn = moments.draw(n, RowRNG.rows(0, n)).flatten(1)
    wanted = moments.apply(lambda v: v, torch.eye(16).view(16, 1, 4, 4)).view(16, 16)
    assert (torch.cov(drawn.mT) - wanted).norm() < 5 * wanted.trace() / n**0.5
    torch.testing.assert_close(drawn.mean(0), moments.mean.flatten(), atol=5 * (1 / n) ** 0.5, rtol=0)
    again = moments.draw(2, RowRNG.rows(0, 2)).flatten(1)
    torch.testing.assert_close(again, drawn[:2])


def test_one_image_has_no_spread():
    with pytest.raises(ValueError, match="at least 2"):
        Moments.of_images(torch.zeros(1, 1, 4, 4))


def test_the_old_name_of_approximate_warns():
    moments = Moments.isotropic((2,), 1.0)
    with pytest.warns(DeprecationWarning, match="use moments.approximate"):
        assert moments.rough == moments.approximate
