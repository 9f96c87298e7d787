"""Noise laws, and the seed of a measurement."""

import pytest
import torch
from noise_cases import F64, NOISES
from operator_cases import ALL, uniform

import operators
from operators import Categorical, GaussianNoise, PoissonGaussianNoise, PoissonNoise, RicianNoise, SpeckleNoise
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


# noise that is not Gaussian -------------------------------------------------------------------------------------------


def test_many_photons_have_a_precise_slope_in_single_precision():
    y, clean = torch.tensor([[0.5, 0.61]]), torch.tensor([[0.6, 0.6]], requires_grad=True)
    PoissonNoise(1e4).log_prob(y, clean).sum().backward()
    torch.testing.assert_close(clean.grad, 1e4 * (y / 0.6 - 1), rtol=1e-3, atol=0.1)


def test_camera_log_prob_is_the_sum_over_counts():
    for peak, sigma in [(0.5, 0.4), (5.0, 0.02), (30.0, 0.1), (2000.0, 0.01)]:
        noise, clean = PoissonGaussianNoise(peak, sigma), torch.tensor([[1e-3, 0.2, 1.0]], dtype=F64)
        y = noise.sample(clean, torch.Generator().manual_seed(1))
        k = torch.arange(0.0, 4000.0, dtype=F64)[:, None]
        terms = torch.distributions.Poisson(peak * clean[0]).log_prob(k)
        terms = terms + torch.distributions.Normal(k / peak, sigma).log_prob(y)
        torch.testing.assert_close(noise.log_prob(y, clean)[0], terms.logsumexp(0), rtol=1e-5, atol=1e-5)


def test_a_camera_is_described_by_its_raw_values():
    noise = PoissonGaussianNoise.from_camera(gain=2.0, read=3.0, white=1100.0, offset=100.0)
    assert (float(noise.peak), float(noise.sigma)) == (500.0, pytest.approx(0.003))
    for wrong in ({"gain": 0.0}, {"read": -1.0}, {"white": 100.0}):
        with pytest.raises(ValueError, match="expected gain > 0, read > 0 and white > offset"):
            PoissonGaussianNoise.from_camera(**({"gain": 2.0, "read": 3.0, "white": 1100.0, "offset": 100.0} | wrong))


def test_rician_and_speckle_log_prob_are_those_of_other_libraries():
    from scipy.stats import rice

    y, clean = 0.05 + uniform(2, 3).double(), 0.05 + uniform(2, 3, seed=1).double()
    expected = torch.from_numpy(rice.logpdf(y.numpy(), clean.numpy() / 0.2, scale=0.2))
    torch.testing.assert_close(RicianNoise(0.2).log_prob(y, clean), expected)
    law = rice(clean.numpy() / 0.2, scale=0.2)
    torch.testing.assert_close(RicianNoise(0.2).mean(clean), torch.from_numpy(law.mean()))
    torch.testing.assert_close(RicianNoise(0.2).variance(clean), torch.from_numpy(law.var()))
    gamma = torch.distributions.Gamma(torch.tensor(3.0, dtype=F64), 3.0 / clean)
    torch.testing.assert_close(SpeckleNoise(3.0).log_prob(y, clean), gamma.log_prob(y))


@pytest.mark.parametrize("name", NOISES)
def test_the_quasi_score_and_information_are_those_of_the_likelihood(name):
    """Of Rician noise they are not, nor is the quasi-score of counts with read noise: their mean and variance do not
    determine the law."""
    noise, _ = NOISES[name]
    clean = torch.full((1, 20_000), 0.6, dtype=F64).requires_grad_()
    y = noise.sample(clean.detach(), torch.Generator().manual_seed(0))
    score = torch.autograd.grad(noise.log_prob(y, clean).sum(), clean)[0]
    fisher = score.square().mean()
    assert abs(score.mean()) < 5 * (fisher / 20_000) ** 0.5
    information = noise.information(clean)[0, 0]
    if name == "rician":
        assert information <= fisher * 1.05  # the bound of Cramer and Rao for the mean alone
    else:
        assert abs(information / fisher - 1) < 0.05
        if name not in ("transmission", "camera"):
            torch.testing.assert_close(noise.quasi_score(y, clean.detach()), score)


def test_an_entrywise_function_of_a_linear_operator_has_a_linear_part():
    radon = operators.Radon(12).at((1, 16, 16))
    counting = operators.Transmission(PoissonNoise(100.0)) @ radon
    linear, noise = counting.linear_part()
    assert linear is radon and "generalized_linear" in counting.capabilities
    x = uniform(2, 1, 16, 16)
    y = counting.measure(x)
    torch.testing.assert_close(noise.log_prob(y, linear(x)).flatten(1).sum(1), counting.log_likelihood(y, x))
    blurred = operators.Blur.gaussian(0.5, noise=PoissonNoise(10.0))
    assert blurred.linear_part() == (blurred, blurred.noise)
    with pytest.raises(ValueError, match="not an entrywise function of a linear operator"):
        operators.JPEG(30).linear_part()


def test_another_noise_leaves_the_operator_as_it_was():
    inner = operators.Blur.gaussian(0.5, noise=GaussianNoise(0.1))
    for op in (inner, operators.Grayscale(GaussianNoise(0.1)) @ inner):
        twin = op.with_noise(PoissonNoise(5.0))
        assert isinstance(twin.noise, PoissonNoise) and isinstance(op.noise, GaussianNoise)
        assert "generalized_linear" in twin.capabilities and "gaussian" not in twin.capabilities
        torch.testing.assert_close(twin(uniform(1, 3, 8, 8)), op(uniform(1, 3, 8, 8)))
    with pytest.raises(ValueError, match="is that of its parts"):
        operators.Stack([inner]).with_noise(PoissonNoise(5.0))


def test_declaring_entrywise_without_being_so_is_found():
    class Shifted(operators.Transmission):
        def forward(self, x):
            return super().forward(x.roll(1, -1))

    with pytest.raises(operators.OperatorCheckError, match="entrywise"):
        operators.check(Shifted(PoissonNoise(10.0)), (1, 4, 4))


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda: PoissonGaussianNoise(0.0, 0.1), "peak must be > 0"),
        (lambda: PoissonGaussianNoise(5.0, 0.0), "sigma must be > 0"),
        (lambda: RicianNoise(-0.1), "sigma must be > 0"),
        (lambda: SpeckleNoise(0.0), "looks must be > 0"),
        (lambda: operators.Identity(SpeckleNoise(1.0)).measure(-uniform(1, 4)), "expected intensities >= 0"),
        (lambda: operators.Identity(PoissonGaussianNoise(1.0, 1.0)).measure(-uniform(1, 4)), "intensities >= 0"),
        (
            lambda: operators.Identity(RicianNoise(1.0)).validate_y(-uniform(1, 4), (4,)),
            "magnitudes cannot be negative",
        ),
        (lambda: operators.Identity(SpeckleNoise(1.0)).validate_y(-uniform(1, 4), (4,)), "cannot be negative"),
    ],
)
def test_what_no_such_noise_can_be_is_refused(make, wrong):
    with pytest.raises(ValueError, match=wrong):
        make()


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
