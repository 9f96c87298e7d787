"""Operators with parameters per measurement, and what operators are made of."""

import copy

import pytest
import torch
from operator_cases import ALL, peaked, uniform

import operators
from operators import GaussianNoise, Stack
from operators.base import Operator
from operators.solvers import conjugate_gradients, least_squares

BATCHED = [(label, case) for label, case in ALL if case.make().batch]
MASKS = uniform(3, 1, 6, 5) > 0.4
KERNELS = peaked(3, 1, 3, 3)
MATRICES = uniform(3, 4, 90)
SIGMAS = torch.tensor([0.1, 0.2, 0.4])
IMAGE = (3, 6, 5)

PAIRS = {
    "masking": (
        lambda: operators.Masking(MASKS, GaussianNoise(SIGMAS)),
        lambda b: operators.Masking(MASKS[b], GaussianNoise(SIGMAS[b])),
    ),
    "circular": (
        lambda: operators.Blur(KERNELS, noise=GaussianNoise(0.1)),
        lambda b: operators.Blur(KERNELS[b], noise=GaussianNoise(0.1)),
    ),
    "valid": (
        lambda: operators.Blur(KERNELS, "valid", GaussianNoise(SIGMAS)),
        lambda b: operators.Blur(KERNELS[b], "valid", GaussianNoise(SIGMAS[b])),
    ),
    "linear": (
        lambda: operators.LinearMap(MATRICES, GaussianNoise(SIGMAS), IMAGE),
        lambda b: operators.LinearMap(MATRICES[b], GaussianNoise(SIGMAS[b]), IMAGE),
    ),
    "sigma only": (
        lambda: operators.Grayscale(GaussianNoise(SIGMAS)),
        lambda b: operators.Grayscale(GaussianNoise(SIGMAS[b])),
    ),
    "composition": (
        lambda: operators.Masking(MASKS, GaussianNoise(SIGMAS)) @ operators.Blur(KERNELS, "reflect"),
        lambda b: operators.Masking(MASKS[b], GaussianNoise(SIGMAS[b])) @ operators.Blur(KERNELS[b], "reflect"),
    ),
    "stack": (
        lambda: Stack([operators.Masking(MASKS, GaussianNoise(SIGMAS)), operators.Grayscale(GaussianNoise(0.3))]),
        lambda b: Stack(
            [operators.Masking(MASKS[b], GaussianNoise(SIGMAS[b])), operators.Grayscale(GaussianNoise(0.3))]
        ),
    ),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_rows_are_operators_of_single_measurements(kind):
    batched, single = PAIRS[kind]
    op, index = batched().at(IMAGE), torch.tensor([2, 0, 0, 1, 2])
    x = uniform(5, *IMAGE)
    assert op.batch == 3
    rows = op.rows(index)
    y = rows.measure(x, seed=1)
    back, like, gram = rows.adjoint(y), rows.log_likelihood(y, x), rows.solve_gram(y, torch.linspace(0.1, 1, 5))
    for i, b in enumerate(index.tolist()):
        one, xi, yi = single(b).at(IMAGE), x[i : i + 1], y[i : i + 1]
        assert one.batch is None
        torch.testing.assert_close(rows(x)[i : i + 1], one(xi))
        torch.testing.assert_close(back[i : i + 1], one.adjoint(yi))
        torch.testing.assert_close(like[i : i + 1], one.log_likelihood(yi, xi))
        torch.testing.assert_close(
            gram[i : i + 1], one.solve_gram(yi, torch.linspace(0.1, 1, 5)[i]), atol=1e-3, rtol=1e-3
        )
    torch.testing.assert_close(op(x[:3]), op.rows(torch.arange(3))(x[:3]))  # as many rows as measurements
    torch.testing.assert_close(rows.rows(torch.tensor([0, 3]))(x[:2]), op.rows(torch.tensor([2, 1]))(x[:2]))


def test_rows_leave_the_original_alone():
    op = operators.Masking(MASKS, GaussianNoise(SIGMAS))
    rows = op.rows(torch.tensor([1]))
    assert rows.batch == 1 and op.batch == 3 and rows.noise is not op.noise
    rows.mask.zero_()
    assert torch.equal(op.mask, MASKS)
    plain = operators.Masking(MASKS[0])
    assert plain.rows(torch.tensor([0, 0, 0])) is plain


def test_a_strangers_operator_gets_rows_and_adjoint_free():
    class Gain(operators.LinearOperator):
        def __init__(self, gain, noise=None):
            super().__init__(noise)
            self.batched_buffer("gain", gain, event_ndim=0)

        def forward(self, x):
            return self.aligned("gain", x) * x.flip(-1)[..., ::2]

    op = Gain(torch.tensor([1.0, 2.0]), GaussianNoise(torch.tensor([0.1, 0.2])))
    operators.check(op, (2, 3, 4))
    x = uniform(3, 2, 3, 4)
    torch.testing.assert_close(
        op.rows(torch.tensor([1, 0, 1]))(x)[:, 0, 0, 0], torch.tensor([2.0, 1, 2]) * x[:, 0, 0, 3]
    )


def test_default_adjoint_can_be_differentiated_and_runs_in_inference_mode():
    op = operators.Blur(peaked(3, 3), "valid").double()
    y = uniform(1, 1, 3, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(op.adjoint, (y,))
    with torch.inference_mode():
        torch.testing.assert_close(op.adjoint(y.detach() * 1), op.adjoint(y).detach())
        op.vjp(uniform(1, 1, 5, 6).double(), y.detach() * 1)


def test_likelihood_is_differentiable():
    for op in (operators.Blur(peaked(3, 3), noise=GaussianNoise(0.1)), operators.Masking(MASKS[0], GaussianNoise(0.1))):
        x = uniform(2, *IMAGE).requires_grad_()
        y = op.measure(x, seed=2)
        op.log_likelihood(y, x).sum().backward()
        torch.testing.assert_close(x.grad, op.adjoint(y - op(x)).detach() / 0.1**2, atol=1e-2, rtol=1e-4)


@pytest.mark.parametrize("case", [case for _, case in ALL], ids=[label for label, _ in ALL])
def test_copies(case):
    op = case.make()
    twin, x = copy.deepcopy(op), uniform(op.batch or 1, *case.event_shape)
    assert type(twin) is type(op) and twin.capabilities == op.capabilities
    torch.testing.assert_close(twin(x), op(x))


@pytest.mark.parametrize("case", [case for _, case in ALL], ids=[label for label, _ in ALL])
def test_devices(case):
    """What an operator makes on the way must be on its device: torch's device without numbers sees where it is not."""
    op = case.make()
    clean = op(uniform(op.batch or 1, *case.event_shape))
    try:
        there = op.to("meta")(torch.empty(op.batch or 1, *case.event_shape, device="meta"))
    except NotImplementedError as error:
        if "SparseCsrMeta" not in str(error):
            raise
        pytest.skip("torch has no products with sparse rows without numbers")
    assert there.device.type == "meta" and there.shape == clean.shape and there.dtype == clean.dtype


def test_stack_is_the_product_of_its_likelihoods():
    parts = [
        operators.Masking(uniform(6, 5) > 0.5, GaussianNoise(0.1)),
        operators.Blur(peaked(3, 3), "valid", GaussianNoise(torch.tensor([0.1, 0.3]))),
        operators.Grayscale(GaussianNoise(0.05 + uniform(6, 5), event_ndim=2)),
    ]
    stack, x = Stack(parts).at(IMAGE), uniform(2, *IMAGE)
    y = stack.measure(x, seed=4)
    assert y.shape == (2, 90 + 36 + 30)
    expected = sum(op.log_likelihood(part, x + 0.1) for op, part in zip(parts, stack.split(y), strict=True))
    torch.testing.assert_close(stack.log_likelihood(y, x + 0.1), expected)
    assert "isotropic" not in stack.capabilities
    same = Stack([operators.Grayscale(GaussianNoise(0.1)), operators.Blur(peaked(3, 3), noise=GaussianNoise(0.1))])
    assert same.capabilities == {"linear", "differentiable", "gaussian", "isotropic", "numeric", "density"}


def test_composition_and_stack_are_linear_only_if_their_parts_are():
    class Square(Operator):
        def forward(self, x):
            return x**2

    square, gray = Square(GaussianNoise(0.1)), operators.Grayscale(GaussianNoise(0.1))
    for op in (gray @ square, square @ gray, Stack([gray, square])):
        assert "linear" not in op.capabilities and not isinstance(op, operators.LinearOperator)
        operators.check(op, IMAGE)
    assert isinstance(gray @ operators.Blur(peaked(3, 3)), operators.LinearOperator)


def test_conjugate_gradients_treat_rows_apart():
    """Rows of very different scale and conditioning, of more axes than one: each must end as if alone."""
    q = torch.linalg.qr(uniform(3, 12, 12).double()).Q
    spectra = torch.stack(
        [torch.linspace(1, 2, 12), torch.logspace(-3, 3, 12), torch.linspace(1e-4, 2e-4, 12)]
    ).double()
    matrices = q @ torch.diag_embed(spectra) @ q.mT

    def apply(rows):
        return lambda x: torch.einsum("nij,nj->ni", matrices[rows], x.flatten(1)).reshape(x.shape)

    b = uniform(3, 3, 4, seed=2).double() * torch.tensor([1.0, 1e4, 0.0]).double()[:, None, None]
    together = conjugate_gradients(apply(slice(None)), b, rtol=1e-12, max_steps=500)
    exact = torch.linalg.solve(matrices, b.flatten(1)[..., None]).reshape(b.shape)
    torch.testing.assert_close(together, exact, rtol=1e-5, atol=1e-8)
    squares = least_squares(apply(slice(None)), apply(slice(None)), b, rtol=1e-14, max_steps=2000)
    torch.testing.assert_close(squares[::2], exact[::2], rtol=1e-6, atol=1e-8)
    for i in range(3):
        rows = slice(i, i + 1)
        for solver, args in ((conjugate_gradients, [apply(rows)]), (least_squares, [apply(rows)] * 2)):
            for settings in ({"max_steps": 3}, {"rtol": 1e-3}):  # stopped before the end, where coupling would show
                alone = solver(*args, b[rows], **settings)
                all_three = solver(*[apply(slice(None))] * len(args), b, **settings)
                torch.testing.assert_close(all_three[rows], alone)


@pytest.mark.parametrize("case", [case for _, case in BATCHED], ids=[label for label, _ in BATCHED])
def test_batched_operators_refuse_other_numbers_of_rows(case):
    op = case.make()
    with pytest.raises(ValueError, match=r"operator\.rows\(index\)"):
        op(uniform(op.batch * 2, *case.event_shape))


SHARED = [(label, case) for label, case in ALL if "svd" in case.make().capabilities and case.make().batch is None]


@pytest.mark.parametrize(("label", "case"), SHARED, ids=[label for label, _ in SHARED])
def test_the_singular_basis_of_no_rows(label, case):
    """The moments of a prior may have no component of their own: V' (0, *E), and singular values all the same."""
    op, x = case.make().at(case.event_shape), torch.empty(0, *case.event_shape)
    z = op.Vt(x)
    assert len(z) == 0
    assert torch.equal(op.spectrum(z), op.spectrum(op.Vt(torch.zeros(1, *case.event_shape))))
