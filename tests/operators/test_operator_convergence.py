"""What iterative solves reach: the residual that was asked for, or a warning that names the one they end at."""

import copy
import warnings

import pytest
import torch
from operator_cases import LINEAR, mask, peaked, uniform

import operators
from operators import GaussianNoise, LinearOperator, NotConverged
from operators.coils import smooth_sensitivities
from operators.solvers import conjugate_gradients, least_squares, solve

GAUSSIAN = [(label, case) for label, case in LINEAR if "gaussian" in case.make().capabilities]
RTOL = LinearOperator.cg_rtol


def noisy(op, sigma):
    """A copy of an operator whose noise levels have the maximum sigma."""
    op = copy.deepcopy(op)
    for part in op.modules():
        if isinstance(part, GaussianNoise):
            part.noiseless, level = False, part.sigma.max()
            part.sigma = part.sigma * (sigma / level) if level > 0 else torch.full_like(part.sigma, sigma)
    return op


def restricted(op, v):
    return v if op.support is None else torch.where(op.support, v, 0)


def gram(op, v, r2):
    return restricted(op, r2 * op(op.adjoint(v)) + op.noise.aligned("sigma", v) ** 2 * v)


def size(v):
    return v.double().flatten(1).norm(dim=1)


def missed(op, y, v, r2):
    """The residual in double precision, relative to RTOL |y| and what rounding v to its own precision makes of it."""
    b, v = restricted(op, y).double(), v.double()
    probe = torch.randn(b.shape, generator=torch.Generator().manual_seed(0)).double()
    for _ in range(8):  # the norm of the system, by power iterations
        probe = gram(op, probe / size(probe).reshape(-1, *[1] * (b.ndim - 1)), r2)
    rounding = 4 * torch.finfo(y.dtype).eps * size(probe) * size(v)
    return float((size(gram(op, v, r2) - b) / (1.01 * RTOL * size(b) + rounding)).max())


@pytest.mark.parametrize("case", [case for _, case in GAUSSIAN], ids=[label for label, _ in GAUSSIAN])
def test_the_residual_is_reached_or_warned_of(case):
    original = case.make()
    x = uniform(original.batch or 1, *case.event_shape)
    for sigma in (1e-3, 1e-1):
        op = noisy(original, sigma).at(case.event_shape)
        y = op.measure(x, seed=1)
        for r2 in (1e-4, 1.0):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                v = op.solve_gram(y, r2)
            assert v.dtype == y.dtype
            assert caught or missed(op, y, v, r2) <= 1, (sigma, r2, missed(op, y, v, r2))
            assert not caught, (sigma, r2, str(caught[0].message))  # so small that all are reached


LARGER = {  # 250 steps in single precision ended at a residual of 4e-4 to 7e-2 on these, without a warning
    "mirrored blur": lambda: operators.Blur.gaussian(2.0, "reflect", noise=GaussianNoise(1e-3)),
    "mirrored motion": lambda: operators.Blur.motion(15, 1, boundary="reflect", noise=GaussianNoise(1e-2)),
    "four coils": lambda: operators.Fourier(mask(1, 24), smooth_sensitivities(4, (24, 24)), noise=GaussianNoise(3e-3)),
    "radon": lambda: operators.Radon(60, noise=GaussianNoise(0.1)),
    "fan beam": lambda: operators.FanBeam(60, 40.0, noise=GaussianNoise(0.1)),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", LARGER)
def test_back_projections_are_those_of_the_exact_solution(name):
    op = LARGER[name]().at((1, 24, 24))
    y = op.measure(uniform(1, 1, 24, 24), seed=1)
    basis = torch.eye(576).double().reshape(-1, 1, 24, 24)
    a = op(basis).flatten(1).T
    exact = a.T @ torch.linalg.solve(a @ a.T + op.noise.sigma.double() ** 2 * torch.eye(len(a)), y.flatten().double())
    back = op.adjoint(op.solve_gram(y, 1.0)).flatten().double()
    assert (back - exact).norm() < 1e-3 * exact.norm()


def test_preconditioners_of_blurs_save_steps():
    for make in (
        LARGER["mirrored blur"],
        lambda: operators.Blur.motion(9, 1, boundary="valid", noise=GaussianNoise(1e-2)),
    ):
        op = make().at((1, 32, 32))
        b = op.measure(uniform(1, 1, 32, 32), seed=1).double()
        steps = []
        for precondition in (None, op.gram_preconditioner(b, torch.tensor(1.0))):
            calls = []
            solve(
                lambda v, op=op, calls=calls: calls.append(1) or gram(op, v, 1.0),
                b,
                rtol=1e-6,
                max_steps=3000,
                what="",
                precondition=precondition,
            )
            steps.append(len(calls))
        assert 4 * steps[1] < steps[0], steps


def test_a_preconditioner_of_uneven_noise_is_the_closed_form_of_its_mean():
    sigma = torch.logspace(-3, -1, 30).reshape(1, 6, 5)
    op = operators.Blur(peaked(3, 3), noise=GaussianNoise(sigma, event_ndim=3))
    y = op.measure(uniform(2, 3, 6, 5))
    mean = operators.Blur(peaked(3, 3), noise=GaussianNoise(float(sigma.log().mean().exp())))
    torch.testing.assert_close(op.gram_preconditioner(y, torch.tensor(0.5))(y), mean.solve_gram(y, 0.5))


@pytest.mark.parametrize("call", ["pinv", "solve_gram"])
def test_too_few_steps_are_warned_of(call):
    op = operators.Radon(9, noise=GaussianNoise(1e-3)).at((1, 12, 12))
    y = op.measure(uniform(2, 1, 12, 12), seed=1)
    op.cg_steps = 5
    with pytest.warns(NotConverged, match=rf"Radon\.{call}: relative residual .*requested 1\.0e-06.*cg_steps"):
        op.pinv(y) if call == "pinv" else op.solve_gram(y, 1.0)
    op.cg_steps = LinearOperator.cg_steps  # the remedies
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        op.pinv(y) if call == "pinv" else op.solve_gram(y, 1.0)
        op.cg_steps, op.cg_rtol = 5, 1.0
        op.pinv(y) if call == "pinv" else op.solve_gram(y, 1.0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["mirrored motion", "four coils", "radon"])
def test_least_squares_reach_a_gradient_of_next_to_nothing(name):
    op = LARGER[name]().at((1, 24, 24))
    y = op.measure(uniform(1, 1, 24, 24), seed=1)
    op.cg_rtol = 1e-5
    gradient = op.adjoint(y.double() - op(op.pinv(y).double()))
    assert float(size(gradient)) < 2e-5 * float(size(op.adjoint(y)))


def test_rough_solves_do_not_warn():
    a = torch.diag(torch.logspace(-4, 0, 50))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conjugate_gradients(lambda v: v @ a, torch.ones(1, 50), max_steps=3)
        least_squares(lambda v: v @ a, lambda v: v @ a, torch.ones(1, 50), max_steps=3)
    with pytest.warns(NotConverged, match="mine: relative residual .* after 3 steps"):
        conjugate_gradients(lambda v: v @ a, torch.ones(1, 50), max_steps=3, what="mine")


def test_an_operator_without_double_precision_is_solved_in_its_own():
    class Single(LinearOperator):
        def forward(self, x):
            return x.float().cumsum(-1)

        def adjoint(self, y):
            return y.float().flip(-1).cumsum(-1).flip(-1)

    op = Single(GaussianNoise(0.1))
    y = op.measure(uniform(1, 1, 20, 20), seed=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        v = op.solve_gram(y, 1.0)
    assert v.dtype == torch.float32
    residual = float(size(gram(op, v, 1.0) - y) / size(y))
    assert residual < 1e-4 and all("relative residual" in str(w.message) for w in caught)


@pytest.mark.parametrize("gain", [1.0, 1.2])
def test_an_operator_that_rounds_to_single_precision_inside_is_checked_as_such(gain):
    class Rounded(LinearOperator):
        def forward(self, x):
            return x.float().cumsum(-1).to(x.dtype)

        def adjoint(self, y):
            return gain * y.float().flip(-1).cumsum(-1).flip(-1).to(y.dtype)

    op = Rounded(GaussianNoise(0.1))
    if gain == 1:
        assert operators.check(op, (1, 4, 4))["vjp"] < 1e-4
    else:
        with pytest.raises(operators.OperatorCheckError):
            operators.check(op, (1, 4, 4))
