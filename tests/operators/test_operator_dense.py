"""Every linear operator against its own dense matrix, in double precision."""

import pytest
import torch
from operator_cases import LINEAR, uniform

import operators

GAUSSIAN = [(label, case) for label, case in LINEAR if "gaussian" in case.make().capabilities]
cases = pytest.mark.parametrize("case", [case for _, case in LINEAR], ids=[label for label, _ in LINEAR])


def dense(op, event_shape):
    """[(the operator for one measurement, its matrix (m, d))], one entry per measurement."""
    d = torch.Size(event_shape).numel()
    basis = torch.eye(d, dtype=torch.float64).reshape(d, *event_shape)
    for b in range(op.batch or 1):
        rows = op.rows(torch.full((d,), b))
        yield op.rows(torch.tensor([b])), rows(basis).reshape(d, -1).T


def precise(case):
    op = case.make().double().at(case.event_shape)
    op.cg_rtol, op.cg_steps = 1e-13, 5000
    return op


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@cases
def test_adjoint_pinv_and_singular_values(case):
    for one, matrix in dense(precise(case), case.event_shape):
        x = normal(1, *case.event_shape)
        y = normal(*one(x).shape, seed=2)
        torch.testing.assert_close(one.adjoint(y).flatten(1), y.flatten(1) @ matrix, atol=1e-6, rtol=0)
        inverse = torch.linalg.pinv(matrix, rtol=1e-6)  # the matrices were rounded to single precision
        torch.testing.assert_close(one.pinv(y).flatten(1), y.flatten(1) @ inverse.T, atol=1e-5, rtol=1e-5)
        if "svd" in one.capabilities:
            s = one.singular_values.double().expand(1, *case.event_shape).flatten().sort(descending=True).values
            expected = torch.zeros_like(s)
            values = torch.linalg.svdvals(matrix)
            expected[: len(values)] = values
            torch.testing.assert_close(s, expected, atol=2e-6, rtol=0)


@cases
def test_solve_gram(case):
    op = precise(case)
    if "gaussian" not in op.capabilities:
        with pytest.raises(ValueError, match="expected Gaussian noise"):
            op.solve_gram(op(normal(op.batch or 1, *case.event_shape)), 1.0)
        return
    for one, matrix in dense(op, case.event_shape):
        clean = one(normal(1, *case.event_shape))
        y = clean + (0 if one.noise.noiseless else normal(*clean.shape, seed=2))
        r2 = torch.tensor([0.37], dtype=torch.float64)
        seen = torch.ones_like(clean, dtype=torch.bool) if one.support is None else one.support.expand_as(clean)
        seen = seen.flatten()
        a, variance = matrix[seen], one.noise.variance(clean).flatten()[seen]
        expected = torch.zeros_like(y).flatten()
        expected[seen] = torch.linalg.lstsq(r2 * a @ a.T + variance.diag(), y.flatten()[seen], driver="gelsd").solution
        for scale in (r2, r2[0], 0.37):
            solution = one.solve_gram(y, scale)
            torch.testing.assert_close(solution.flatten(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", [case for _, case in GAUSSIAN], ids=[label for label, _ in GAUSSIAN])
def test_solve_gram_has_its_own_r2_in_every_row(case):
    op = precise(case)
    index = torch.arange(4) % (op.batch or 1)
    op = op.rows(index) if op.batch else op
    y = op(normal(4, *case.event_shape))
    r2 = torch.tensor([0.01, 0.1, 1.0, 10.0], dtype=torch.float64)
    together = op.solve_gram(y, r2)
    for i in range(4):
        one = op.rows(torch.tensor([i])) if op.batch else op
        torch.testing.assert_close(together[i : i + 1], one.solve_gram(y[i : i + 1], r2[i]), atol=1e-8, rtol=1e-6)


def test_small_sigma_survives_single_precision():
    """(1 - U U^T) y is rounding if A has full row rank; divided by sigma^2 it must not swamp the answer."""
    matrix = uniform(6, 12)
    op = operators.LinearMap(matrix, noise=operators.GaussianNoise(1e-4))
    y = op(uniform(1, 12, seed=3))
    gram = (0.5 * matrix @ matrix.T).double() + 1e-8 * torch.eye(6, dtype=torch.float64)
    expected = torch.linalg.solve(gram, y[0].double())
    assert (op.solve_gram(y, 0.5)[0] - expected).norm() < 1e-3 * expected.norm()
