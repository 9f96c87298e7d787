"""Total variation against known answers and another optimiser."""

import numpy as np
import pytest
import torch

from benchmarks.common import tv
from operators import Blur, Downsampling, GaussianNoise, Grayscale, Masking, PoissonNoise


def picture(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def variation(x):
    return tv.gradient(x).square().sum((0, 2)).sqrt().sum((1, 2))


def test_divergence_is_the_adjoint_of_the_gradient():
    x, p = picture(2, 3, 5, 6), picture(2, 2, 3, 5, 6, seed=1)
    torch.testing.assert_close((tv.gradient(x) * p).sum(), (x * tv.divergence(p)).sum())


def test_a_step_is_denoised_in_closed_form():
    """Two flat halves of n pixels and levels 0 and 1: total variation moves both towards each other by the same d, with
    2 n d^2 = sigma^2 2 n, so that d = sigma."""
    x = torch.zeros(1, 1, 6, 10, dtype=torch.float64)
    x[..., 5:] = 1
    operator = Masking(torch.ones(6, 10), noise=GaussianNoise(0.2))
    found = tv.total_variation(operator, x, 3000)
    torch.testing.assert_close(found, torch.where(x > 0.5, 0.8, 0.2).double(), atol=2e-3, rtol=0)


def test_what_is_flat_within_the_noise_is_flat():
    y = 0.5 + 0.01 * picture(1, 1, 6, 6)
    found = tv.total_variation(Masking(torch.ones(6, 6), noise=GaussianNoise(0.1)), y, 2000)
    assert variation(found) < 1e-3


@pytest.mark.parametrize(
    ("operator", "shape"),
    [
        (Masking.random((1, 4, 4), 0.7, noise=GaussianNoise(0.1)), (1, 4, 4)),
        (Masking.random((2, 3, 3), 0.7, noise=GaussianNoise(0.1)), (2, 3, 3)),
        (Blur(picture(3, 3), noise=GaussianNoise(0.3)), (1, 4, 4)),
        (Blur(picture(3, 2), "valid", noise=GaussianNoise(0.3)), (1, 4, 4)),
    ],
    ids=["mask", "two channels", "blur", "valid blur"],
)
def test_it_is_the_least_variation_by_another_optimiser(operator, shape):
    """scipy's SLSQP on the same constrained problem, with gradients smoothed by 1e-6."""
    from scipy.optimize import minimize

    x = picture(1, *shape)
    y = operator.measure(x, seed=0)
    found = tv.total_variation(operator, y, 3000)
    seen = torch.ones_like(y) if operator.support is None else operator.support.expand_as(y).double()
    sigma = operator.noise.sigma.double()

    def objective(flat):
        z = torch.tensor(flat, requires_grad=True)
        value = (tv.gradient(z.view(1, *shape)).square().sum((0, 2)) + 1e-12).sqrt().sum()
        value.backward()
        return value.item(), z.grad.numpy()

    def slack(flat):
        z = torch.tensor(flat, requires_grad=True)
        value = seen.sum() - (seen * (y - operator(z.view(1, *shape))) / sigma).square().sum()
        (gradient,) = torch.autograd.grad(value, z)
        return value.item(), gradient.numpy()

    constraint = {"type": "ineq", "fun": lambda z: slack(z)[0], "jac": lambda z: slack(z)[1]}
    best = min(
        (
            minimize(objective, start.numpy().ravel(), jac=True, constraints=[constraint], method="SLSQP",
                     options={"maxiter": 500, "ftol": 1e-10})
            for start in (found, x)
        ),
        key=lambda r: r.fun,
    )  # fmt: skip
    residual = (seen * (y - operator(found)) / sigma).square().sum() / seen.sum()
    assert residual == pytest.approx(1, abs=2e-3)
    assert variation(found).item() == pytest.approx(best.fun, rel=5e-3)


@pytest.mark.parametrize(
    "operator",
    [Grayscale(noise=GaussianNoise(0.1)), Downsampling(2, noise=GaussianNoise(torch.tensor([0.05, 0.1])))],
    ids=["grey", "blocks, a sigma each"],
)
def test_the_residual_is_that_of_the_noise(operator):
    x = picture(2, 3, 6, 6).float()
    y = operator.measure(x, seed=0)
    found = tv.total_variation(operator, y, 2000)
    residual = ((y - operator(found)) / operator.noise.aligned("sigma", y)).square().flatten(1).mean(1)
    np.testing.assert_allclose(residual.numpy(), 1, atol=0.01)


def test_a_row_does_not_depend_on_those_beside_it():
    operator = Blur.gaussian(0.7, noise=GaussianNoise(0.05))
    y = operator.measure(picture(3, 1, 8, 8).float(), seed=0)
    torch.testing.assert_close(tv.total_variation(operator, y, 100)[:1], tv.total_variation(operator, y[:1], 100))


@pytest.mark.parametrize("noise", [PoissonNoise(30.0), GaussianNoise(0.0)])
def test_noise_without_a_level_is_refused(noise):
    with pytest.raises(ValueError, match="Gaussian noise of positive sigma"):
        tv.total_variation(Blur.gaussian(1.0, noise=noise), torch.zeros(1, 1, 8, 8))
