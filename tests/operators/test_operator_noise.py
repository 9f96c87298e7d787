"""Noise laws, and the seed of a measurement."""

import pytest
import torch
from operator_cases import ALL, uniform

import operators
from operators import Categorical, GaussianNoise, PoissonNoise
from operators.decoder import Linearization

cases = pytest.mark.parametrize("case", [case for _, case in ALL], ids=[label for label, _ in ALL])


def test_gaussian_log_prob():
    y, clean = uniform(3, 2, 4), uniform(3, 2, 4, seed=1)
    for sigma, event_ndim, wide in [
        (0.3, None, torch.tensor(0.3)),
        (torch.tensor([0.1, 0.2, 0.3]), None, torch.tensor([0.1, 0.2, 0.3])[:, None, None]),
        (0.1 + uniform(2, 4), 2, 0.1 + uniform(2, 4)),
        (0.1 + uniform(4), 1, 0.1 + uniform(4)),
        (0.1 + uniform(3, 2, 4), 2, 0.1 + uniform(3, 2, 4)),
        (0.1 + uniform(3, 4), 1, (0.1 + uniform(3, 4))[:, None]),
    ]:
        noise = GaussianNoise(sigma, event_ndim)
        expected = torch.distributions.Normal(clean, wide).log_prob(y)
        torch.testing.assert_close(noise.log_prob(y, clean), expected)
        torch.testing.assert_close(noise.variance(clean), (wide**2).expand_as(clean))


def test_poisson_log_prob():
    counts, clean = torch.arange(6.0).reshape(2, 3), 0.1 + uniform(2, 3)
    for peak, wide in [(20.0, torch.tensor(20.0)), (torch.tensor([5.0, 50.0]), torch.tensor([[5.0], [50.0]]))]:
        expected = torch.distributions.Poisson(wide * clean).log_prob(counts)
        torch.testing.assert_close(PoissonNoise(peak).log_prob(counts / wide, clean), expected)


def test_poisson_log_prob_of_a_dark_estimate_has_finite_gradients():
    clean = torch.tensor([[-0.1, 0.0, 0.5]], requires_grad=True)
    PoissonNoise(10.0).log_prob(torch.tensor([[0.1, 0.0, 0.5]]), clean).sum().backward()
    assert clean.grad is not None and clean.grad.isfinite().all()


def test_categorical_log_prob():
    logits, y = uniform(4, 5) * 3, torch.tensor([0, 4, 2, 2])
    torch.testing.assert_close(
        Categorical().log_prob(y, logits), torch.distributions.Categorical(logits=logits).log_prob(y)
    )


@cases
def test_a_measurement_depends_on_its_seed_and_row_only(case):
    op = case.make()
    x = uniform(6, *case.event_shape)
    op = op.at(case.event_shape)
    index = torch.arange(6) % (op.batch or 1)
    all_rows = op.rows(index).measure(x, seed=3)
    for n in (1, 2, 5):
        first = op.rows(index[:n]).measure(x[:n], seed=3)
        torch.testing.assert_close(first, all_rows[:n])
    state = torch.get_rng_state()
    again = op.rows(index).measure(x.clone().requires_grad_(), seed=3)
    assert torch.equal(again, all_rows) and not again.requires_grad
    assert torch.equal(state, torch.get_rng_state())


def test_seed_zero_is_a_seed():
    op, x = operators.Masking.random((1, 8, 8), noise=GaussianNoise(0.1)), uniform(2, 1, 8, 8)
    assert torch.equal(op.measure(x), op.measure(x, seed=0))
    assert not torch.equal(op.measure(x, seed=0), op.measure(x, seed=1))
    assert not torch.equal(op.measure(x)[0] - op(x)[0], op.measure(x)[1] - op(x)[1])


def test_noise_and_likelihood_live_on_the_support():
    mask = uniform(8, 8) > 0.5
    op, x = operators.Masking(mask, noise=GaussianNoise(0.1)), uniform(2, 3, 8, 8)
    y = op.measure(x)
    assert (y[:, :, ~mask] == 0).all() and (y[:, :, mask] != x[:, :, mask]).all()
    expected = torch.distributions.Normal(x, 0.1).log_prob(y)[:, :, mask].sum((1, 2))
    torch.testing.assert_close(op.log_likelihood(y, x), expected)
    torch.testing.assert_close(op.log_likelihood(y[:1], x)[0], expected[0])


def test_poisson_is_in_image_units():
    op, x = operators.Masking(torch.ones(4, 4), noise=PoissonNoise(8.0)), torch.full((500, 1, 4, 4), 0.5)
    y = op.measure(x)
    torch.testing.assert_close(y * 8, (y * 8).round())
    assert abs(float(y.mean()) - 0.5) < 0.02 and abs(float(y.var()) - 0.5 / 8) < 0.005


def test_poisson_has_a_slope_where_the_rate_is_not_positive():
    noise = PoissonNoise(10.0)
    clean = torch.tensor([-0.5, 0.0, 5e-8, 1e-7, 0.02, 0.5], dtype=torch.float64).requires_grad_()
    counts = torch.tensor([3.0, 1.0, 2.0, 1.0, 0.0, 7.0], dtype=torch.float64)
    log_prob = noise.log_prob(counts / 10, clean)
    log_prob.sum().backward()
    assert log_prob.isfinite().all() and clean.grad.isfinite().all()
    assert (clean.grad[:4] > 0).all()  # towards larger rates
    truth = torch.distributions.Poisson(10 * clean.detach()[3:]).log_prob(counts[3:])
    torch.testing.assert_close(log_prob.detach()[3:], truth)
    torch.testing.assert_close(clean.grad[4:], 10 * (counts[4:] / (10 * clean.detach()[4:]) - 1))
    # larger rates are likelier all the way up to the count, and no rate makes 0 counts likelier than certain
    rates = torch.linspace(-1, 3, 400, dtype=torch.float64) / 10
    assert (noise.log_prob(torch.full_like(rates, 0.3), rates).diff() > 0).all()
    assert (noise.log_prob(torch.zeros_like(rates), rates) <= 0).all()


@cases
def test_an_assigned_noise_is_the_one_used(case):
    """Of every operator, made of others or not; a stack, whose noise is that of its parts, says so."""
    op, loud = case.make(), GaussianNoise(2.0)
    if isinstance(op, operators.Stack):
        with pytest.raises(ValueError, match=r"is that of its parts: assign theirs, such as stack\.parts\[0\]"):
            op.noise = loud
        return
    op.noise = loud
    assert op.noise is loud
    measured = op.at(case.event_shape).rows(torch.zeros(3, dtype=torch.int64) if op.batch else torch.arange(3))
    x = uniform(1, *case.event_shape).expand(3, *case.event_shape)
    if isinstance(op, operators.Classifier):  # labels have no Gaussian noise
        return
    clean = measured(x)
    expected = loud.sample(clean, torch.Generator().manual_seed(4))
    seen = True if measured.support is None else measured.support
    torch.testing.assert_close(measured.measure(x, seed=4), torch.where(torch.as_tensor(seen), expected, 0))


def test_an_assigned_noise_is_of_this_composition_alone():
    inner, outer = operators.Blur.gaussian(0.5), operators.Downsampling(2, noise=GaussianNoise(0.1))
    both, loud = outer @ inner, GaussianNoise(0.5)
    nested = operators.Composition(operators.Identity() @ outer, inner)
    for op in (both, nested):
        op.noise = loud
        assert op.noise is loud and isinstance(op, operators.LinearOperator)
    assert float(outer.noise.sigma) == pytest.approx(0.1) and outer(uniform(1, 1, 8, 8)).shape == (1, 1, 4, 4)
    with pytest.raises(TypeError, match=r"expected an operators\.Noise, given 0\.05"):
        both.noise = 0.05
    point = uniform(2, 1, 8, 8)
    derivative = Linearization(both, point)
    derivative.noise = GaussianNoise(0.7)
    assert float(derivative.noise.sigma) == pytest.approx(0.7) and both.noise is loud
    torch.testing.assert_close(derivative(point), both(point))


def test_the_parts_of_a_stack_take_another_noise():
    stack = operators.Stack([operators.Identity(event_shape=(1, 2, 2)), operators.Identity(event_shape=(1, 2, 2))])
    stack = stack.at((1, 2, 2))
    stack.parts[1].noise = GaussianNoise(0.5)
    assert stack.noise.sigma.tolist() == [0.0] * 4 + [0.5] * 4
