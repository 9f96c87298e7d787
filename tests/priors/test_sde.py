import json
import math

import pytest
import torch
from torch.distributions import Normal

from priors import VESDE, VPSDE, RowRNG, SubVPSDE
from priors.sde import from_spec
from tests.priors.cases import F64, SDES

TIMES = torch.tensor([1e-3, 0.05, 0.3, 0.7, 1.0], dtype=F64)


@pytest.fixture(params=list(SDES.values()), ids=list(SDES))
def sde(request):
    return request.param


def derivative(curve, t):
    t = t.clone().requires_grad_()
    return torch.autograd.grad(curve(t).sum(), t)[0]


def test_curves_solve_their_equations(sde):
    alpha_rate = derivative(lambda t: sde.alpha(t).log() + 0 * t, TIMES)
    torch.testing.assert_close(alpha_rate, sde.f(TIMES), rtol=1e-9, atol=1e-12)
    variance_rate = derivative(lambda t: sde.sigma(t) ** 2, TIMES)
    torch.testing.assert_close(
        variance_rate, 2 * sde.f(TIMES) * sde.sigma(TIMES) ** 2 + sde.g2(TIMES), rtol=1e-9, atol=1e-12
    )


def test_curves_of_the_paper():
    t = TIMES
    integral = 0.1 * t + 0.5 * 19.9 * t**2
    torch.testing.assert_close(VESDE().sigma(t), 0.01 * 5000**t)
    assert torch.equal(VESDE().alpha(t), torch.ones_like(t))
    torch.testing.assert_close(VPSDE().alpha(t) ** 2 + VPSDE().sigma(t) ** 2, torch.ones_like(t))
    torch.testing.assert_close(SubVPSDE().sigma(t), 1 - torch.exp(-integral), rtol=1e-9, atol=0)
    torch.testing.assert_close(SubVPSDE().alpha(t), torch.exp(-integral / 2))


def test_curves_hold_near_zero_in_float32(sde):
    t = torch.tensor([1e-5, sde.t_min])
    torch.testing.assert_close(sde.sigma(t).double(), sde.sigma(t.double()), rtol=1e-5, atol=0)


def test_scale_is_a_change_of_units():
    for cls in (VPSDE, SubVPSDE):
        torch.testing.assert_close(cls(scale=0.5).sigma(TIMES), 0.5 * cls().sigma(TIMES))
        torch.testing.assert_close(cls(scale=0.5).g2(TIMES), 0.25 * cls().g2(TIMES))


def test_a_float_is_a_float64_time_and_shapes_are_kept(sde):
    for curve in (sde.alpha, sde.sigma, sde.f, sde.g2):
        assert curve(0.3).dtype == F64 and curve(0.3).shape == ()
        assert curve(TIMES.float()).dtype == torch.float32 and curve(TIMES).shape == TIMES.shape
        torch.testing.assert_close(curve(0.3), curve(torch.tensor(0.3, dtype=F64)))


@pytest.mark.parametrize(("s", "t"), [(0.01, 0.02), (0.1, 0.6), (0.4, 1.0)])
def test_bridge_is_the_transition_of_the_equation(sde, s, t):
    """x_t | x_s of dx = f x dt + g dw: mean factor exp(int f), variance int exp(2 int_u^t f) g2 du, by quadrature."""
    u = torch.linspace(s, t, 20001, dtype=F64)
    f = sde.f(u)
    to_t = torch.trapezoid(f, u) - torch.cat([u.new_zeros(1), torch.cumulative_trapezoid(f, u)])
    a, v = sde.bridge(t, s)
    torch.testing.assert_close(a, to_t[0].exp(), rtol=1e-7, atol=0)
    torch.testing.assert_close(v, torch.trapezoid(torch.exp(2 * to_t) * sde.g2(u), u), rtol=1e-6, atol=0)


def test_bridges_compose(sde):
    a, v = sde.bridge(0.9, 0.2)
    (a0, v0), (a1, v1) = sde.bridge(0.5, 0.2), sde.bridge(0.9, 0.5)
    torch.testing.assert_close(a, a1 * a0, rtol=1e-12, atol=0)
    torch.testing.assert_close(v, a1**2 * v0 + v1, rtol=1e-12, atol=0)
    still = sde.bridge(0.4, 0.4)
    assert still[0] == 1 and still[1] == 0


def test_terminal_law(sde):
    x = sde.sample_terminal((2000, 2, 3), RowRNG.rows(0, 2000))
    sigma = sde.sigma(1.0).item()
    n = x.numel()
    assert abs(x.mean()) < 4 * sigma / math.sqrt(n)
    assert abs(x.std() / sigma - 1) < 4 / math.sqrt(2 * n)
    expected = Normal(0.0, sigma).log_prob(x).sum((1, 2))
    torch.testing.assert_close(sde.terminal_log_prob(x), expected, rtol=1e-5, atol=1e-4)


def test_spec_survives_json(sde):
    again = from_spec(json.loads(json.dumps(sde.spec())))
    assert again == sde and type(again) is type(sde)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VESDE(sigma_min=0.0), "sigma_min = 0.0: expected a finite number > 0"),
        (lambda: VESDE(sigma_min=2.0, sigma_max=1.0), "sigma_min = 2.0 >= sigma_max = 1.0"),
        (lambda: VESDE(sigma_max=math.inf), "sigma_max = inf"),
        (lambda: VPSDE(beta_min=-1.0), "beta_min = -1.0"),
        (lambda: VPSDE(beta_min=3.0, beta_max=2.0), "beta must not fall"),
        (lambda: SubVPSDE(scale=0.0), "scale = 0.0"),
        (lambda: VPSDE(scale="1"), "scale = '1'"),  # type: ignore[arg-type]
        (lambda: from_spec({"type": "Brownian"}), "Brownian.*expected one of"),
        (lambda: from_spec({"type": "VESDE", "beta_min": 1.0}), "beta_min"),
        (lambda: from_spec({}), "SDE type None"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
