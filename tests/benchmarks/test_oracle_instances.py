"""Instances of the oracle's problems do not depend on the signs of eigenvectors, which differ between machines."""

import pytest
import torch

from benchmarks.exact import oracle_problems
from benchmarks.exact.oracle_problems import SINGLE, draw
from priors import VESDE, GaussianMixture
from tests.cases import F64, normal


def turned(monkeypatch) -> None:
    """Eigenvectors of the other sign, every second one, and another basis where eigenvalues are equal."""
    eigh = torch.linalg.eigh

    def other(matrix):
        values, vectors = eigh(matrix)
        signs = 1.0 - 2.0 * (torch.arange(matrix.shape[-1]) % 2)
        vectors = vectors * signs
        if matrix.shape[-1] == 4:  # of `test_equal_eigenvalues`: the last two are equal
            vectors[..., 2:] = vectors[..., 2:] @ torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=vectors.dtype)
        return values, vectors

    monkeypatch.setattr(torch.linalg, "eigh", other)


@pytest.mark.parametrize("name", ["mixture-8-2", *(n for n in SINGLE if n.startswith("image-mixture"))])
def test_signs_of_eigenvectors_do_not_matter(name, monkeypatch):
    (family,) = SINGLE[name]
    before = family.instance(3)
    turned(monkeypatch)
    after = family.instance(3)
    basis = before.prior.basis
    assert basis is None or not torch.allclose(basis, after.prior.basis)
    torch.testing.assert_close(after.truth, before.truth, rtol=0, atol=1e-6)
    torch.testing.assert_close(after.y, before.y, rtol=0, atol=1e-6)
    assert after.log_evidence == pytest.approx(before.log_evidence, abs=1e-3)
    torch.testing.assert_close(after.posterior.mean, before.posterior.mean, rtol=0, atol=1e-5)


def mixture() -> GaussianMixture:
    basis = torch.linalg.qr(normal(4, 4)).Q
    shapes = [basis * torch.tensor(v, dtype=F64) @ basis.mT for v in ([0.1, 0.4, 2.0, 2.0], [0.3, 0.5, 1.0, 1.0])]
    return GaussianMixture(normal(2, 4, seed=1), torch.stack(shapes), torch.tensor([0.3, 0.7]), VESDE())


def test_equal_eigenvalues(monkeypatch):
    before = torch.cat([draw(mixture(), seed) for seed in range(5)])
    sampled = mixture().sample(5)
    turned(monkeypatch)
    torch.testing.assert_close(torch.cat([draw(mixture(), seed) for seed in range(5)]), before, rtol=0, atol=1e-6)
    assert not torch.allclose(mixture().sample(5), sampled)  # what `draw` is for


def test_draws_are_of_the_mixture():
    law, n = mixture(), 4000
    x = torch.cat([draw(law, seed) for seed in range(n)]).double()
    spread = law.covariance.diagonal().sqrt()
    assert ((x.mean(0) - law.mean).abs() < 4.5 * spread / n**0.5).all()
    assert ((x.mT.cov() - law.covariance).abs() < 4.5 * 2 * torch.outer(spread, spread) / n**0.5).all()
    assert oracle_problems.draw(law, 7).dtype == torch.float32
