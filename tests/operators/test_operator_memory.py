"""A call leaves no trace on an operator: what it answers next does not depend on what it was asked before."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from operator_cases import ALL, LINEAR, peaked, uniform

import operators
from operators import GaussianNoise, LinearOperator, Operator


class Half(LinearOperator):
    """A user's operator: every second column, and only `forward`."""

    def forward(self, x):
        return x[..., ::2]


G = GaussianNoise(0.1)
ANY_SIZE = {  # operators of pictures of any size, and two event shapes
    "user's": (lambda: Half(G), (1, 17, 18), (1, 17, 17)),  # of one measurement shape
    "resize": (lambda: operators.Resize(4.0, noise=G), (1, 17, 19), (1, 20, 20)),  # of one measurement shape
    "radon": (lambda: operators.Radon(4, detectors=12, noise=G), (1, 7, 7), (1, 8, 8)),  # of one measurement shape
    "fan beam": (lambda: operators.FanBeam(4, 20.0, detectors=12, noise=G), (1, 7, 6), (1, 8, 8)),
    "circular blur": (lambda: operators.Blur(peaked(3, 3), noise=G), (1, 7, 8), (1, 8, 8)),
    "valid blur": (lambda: operators.Blur(peaked(3, 3), "valid", noise=G), (1, 7, 8), (1, 8, 8)),
    "compressed": (lambda: operators.CompressedSensing(0.5, noise=G), (1, 4, 6), (1, 5, 5)),  # of one measurement shape
    "bayer": (lambda: operators.Bayer(noise=G), (3, 4, 6), (3, 5, 5)),
    "stack": (lambda: operators.Stack([operators.Grayscale(G), Half(GaussianNoise(0.2))]), (3, 6, 4), (3, 4, 6)),
    "composition": (lambda: operators.Resize(2, noise=G) @ operators.Blur(peaked(3, 3), "valid"), (1, 9, 9), (1, 8, 8)),
}
two_sizes = pytest.mark.parametrize("name", ANY_SIZE)


@two_sizes
def test_two_sizes_in_turn(name):
    make, *shapes = ANY_SIZE[name]
    op, x = make(), {shape: uniform(2, *shape) for shape in shapes}
    fresh = {shape: make().at(shape) for shape in shapes}
    for shape in (*shapes, *shapes):
        y = op(x[shape])
        for other in shapes:
            op(x[other])
        bound = op.at(shape)
        assert bound.adjoint(y).shape == x[shape].shape
        for call in ("adjoint", "pinv"):
            torch.testing.assert_close(getattr(bound, call)(y), getattr(fresh[shape], call)(y))
        torch.testing.assert_close(bound.solve_gram(y, 0.5), fresh[shape].solve_gram(y, 0.5))
        torch.testing.assert_close(op.log_likelihood(y, x[shape]), fresh[shape].log_likelihood(y, x[shape]))
        torch.testing.assert_close(op.measure(x[shape], seed=1), fresh[shape].measure(x[shape], seed=1))
        op.validate_y(y, shape)
    assert op.event_shape is None


@two_sizes
def test_a_measurement_that_does_not_tell_the_size_is_refused(name):
    make, *shapes = ANY_SIZE[name]
    op = make()
    for shape in shapes:
        y = op(uniform(1, *shape))
        try:
            assert op.adjoint(y).shape[1:] == shape
        except ValueError as error:
            assert "operator.at(" in str(error)
            assert op.at(shape).adjoint(y).shape[1:] == shape  # the remedy
    y = [op(uniform(1, *shape)) for shape in shapes]
    if y[0].shape == y[1].shape:
        with pytest.raises(ValueError, match=r"operator\.at\("):
            op.adjoint(y[0])


@two_sizes
def test_two_threads_share_an_operator(name):
    """600 answers of each, of sizes that differ."""
    make, *shapes = ANY_SIZE[name]
    op, xs = make(), [uniform(1, *shape) for shape in shapes]
    expected = [(make()(x), make().at(tuple(x.shape[1:])).adjoint(make()(x))) for x in xs]

    def ask(i):
        wrong = 0
        for _ in range(600):
            y = op(xs[i])
            back = op.at(shapes[i]).adjoint(y)
            wrong += not (torch.equal(y, expected[i][0]) and torch.equal(back, expected[i][1]))
        return wrong

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, (0, 1))) == [0, 0]


@pytest.mark.parametrize("case", [case for _, case in ALL], ids=[label for label, _ in ALL])
def test_calls_write_nothing_on_an_operator(case):
    op, x = case.make(), uniform(case.make().batch or 1, *case.event_shape)

    def state(module):
        held = {k: v for k, v in vars(module).items() if not isinstance(v, operators.kept.Kept)}
        return {k: copy.copy(v) if isinstance(v, dict) else v for k, v in held.items()}

    before = [state(module) for module in op.modules()]
    y = op.measure(x)
    op.measurement_shape(case.event_shape)
    op.validate_y(y, case.event_shape)
    op.vjp(x, torch.ones_like(op(x)))
    bound = op.at(case.event_shape)
    if isinstance(bound, LinearOperator):
        bound.adjoint(op(x))
    for module, was in zip(op.modules(), before, strict=True):
        now = state(module)
        assert now.keys() == was.keys()
        for key, value in was.items():
            same = now[key] is value or (isinstance(value, dict) and all(now[key][k] is v for k, v in value.items()))
            assert same or now[key] == value, f"{type(module).__name__}.{key}"


@pytest.mark.parametrize("case", [case for _, case in LINEAR], ids=[label for label, _ in LINEAR])
def test_copies_pickles_and_moves_know_the_size(case):
    op = case.make().at(case.event_shape)
    x = uniform(op.batch or 1, *case.event_shape)
    y = op(x)
    back = op.adjoint(y)
    for twin in (copy.deepcopy(op), pickle.loads(pickle.dumps(op)), op.rows(torch.arange(len(x)))):
        assert twin.event_shape == case.event_shape
        torch.testing.assert_close(twin.adjoint(twin(x)), back)
    there = case.make().at(case.event_shape).double()
    torch.testing.assert_close(there.adjoint(there(x.double())).float(), back, atol=1e-5, rtol=1e-5)


def test_a_bound_operator_shares_parameters_and_leaves_the_original_alone():
    op = operators.Masking(uniform(6, 5) > 0.5, G) @ operators.Blur(peaked(3, 3))
    bound = op.at((1, 6, 5))
    assert bound.inner.kernel is op.inner.kernel and bound.outer.mask is op.outer.mask
    assert bound.at((1, 6, 5)) is bound and op.event_shape is op.inner.event_shape is op.outer.event_shape is None
    bound.to(torch.float64)
    assert op.inner.kernel.dtype == torch.float32 and op.noise.sigma.dtype == torch.float32


def test_events_of_another_shape_than_the_operators_are_refused():
    for op in (Half(event_shape=(1, 6, 5)), Half().at((1, 6, 5))):
        with pytest.raises(ValueError, match=r"expected events of shape \(1, 6, 5\), given \(1, 6, 6\).*operator\.at"):
            op(uniform(1, 1, 6, 6))
    with pytest.raises(ValueError, match="crop the kernel"):
        operators.Blur(torch.ones(9, 3)).at((1, 6, 5))


def test_an_operator_around_another_needs_no_size_of_its_own():
    class Wrapped(Operator):
        def __init__(self, inner):
            super().__init__(G)
            self.inner = inner

        def forward(self, x):
            return self.inner(x) ** 2

    operators.check(Wrapped(operators.Resize(2)), (1, 5, 7))
