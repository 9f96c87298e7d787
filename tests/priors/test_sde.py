import json
import math

import pytest
import torch
from torch.distributions import Normal

from priors import VESDE, VPSDE, RectifiedFlowSDE, RowRNG, SubVPSDE
from priors.noising import checked_sde
from priors.sde import LadderSDE, from_spec
from tests.priors.cases import F64, SDES

TIMES = torch.tensor([1e-3, 0.05, 0.3, 0.7, 1.0], dtype=F64)
ALL = SDES | {"smld": LadderSDE.smld(n=40), "ddpm": LadderSDE.ddpm(n=40, scale=0.5)}


@pytest.fixture(params=list(ALL.values()), ids=list(ALL))
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


@pytest.mark.parametrize(("s", "t"), [(0.01, 0.02), (0.1, 0.6), (0.4, 0.9)])
def test_bridge_is_the_transition_of_the_equation(sde, s, t):
    """x_t | x_s of dx = f x dt + g dw: mean factor exp(int f), variance int exp(2 int_u^t f) g2 du, by midpoints.

    The cells' ends hit the levels of a ladder, where its f jumps.
    """
    h = (t - s) / 20000
    u = s + h * (torch.arange(20000, dtype=F64) + 0.5)
    f = sde.f(u)
    to_t = h * (f.flip(0).cumsum(0).flip(0) - 0.5 * f)
    a, v = sde.bridge(t, s)
    torch.testing.assert_close(a, (h * f.sum()).exp(), rtol=1e-7, atol=0)
    torch.testing.assert_close(v, h * (torch.exp(2 * to_t) * sde.g2(u)).sum(), rtol=1e-6, atol=0)


def test_bridges_compose(sde):
    a, v = sde.bridge(0.9, 0.2)
    (a0, v0), (a1, v1) = sde.bridge(0.5, 0.2), sde.bridge(0.9, 0.5)
    torch.testing.assert_close(a, a1 * a0, rtol=1e-12, atol=0)
    torch.testing.assert_close(v, a1**2 * v0 + v1, rtol=1e-12, atol=0)
    still = sde.bridge(0.4, 0.4)
    assert still[0] == 1 and still[1] == 0


def test_times_of_a_ratio(sde):
    torch.testing.assert_close(sde.time(sde.sigma(TIMES) / sde.alpha(TIMES)), TIMES, rtol=1e-9, atol=0)


def test_ladders_by_hand():
    """beta_i = .1 / N + (i - 1) / (N (N - 1)) 4.9 and its products; sigma_i in equal ratios; level i at t = i / N."""
    n, product = 10, 1.0
    smld, ddpm = LadderSDE.smld(0.01, 50.0, n), LadderSDE.ddpm(0.1, 5.0, n, scale=0.5)
    for i in range(1, n + 1):
        product *= 1 - (0.1 / n + (i - 1) / (n * (n - 1)) * 4.9)
        assert float(ddpm.alpha(i / n)) == pytest.approx(product**0.5, rel=1e-12)
        assert float(ddpm.sigma(i / n)) == pytest.approx(0.5 * (1 - product) ** 0.5, rel=1e-12)
        assert float(smld.sigma(i / n)) == pytest.approx(0.01 * 5000 ** ((i - 1) / (n - 1)), rel=1e-12)
        assert float(smld.alpha(i / n)) == 1
    assert smld.t_min == ddpm.t_min == 1 / n


def test_ladders_tend_to_their_limits():
    """Song et al. 2021, appendix B: the curves of DDPM and SMLD approach VP and VE as 1 / N."""
    for make, limit in ((LadderSDE.ddpm, VPSDE()), (LadderSDE.smld, VESDE())):
        t = torch.linspace(0.1, 1, 10, dtype=F64)
        errors = [float((make(n=n).sigma(t) / limit.sigma(t) - 1).abs().max()) for n in (100, 200, 400)]
        assert errors[-1] < 0.03
        assert 1.8 < errors[0] / errors[1] < 2.3 and 1.8 < errors[1] / errors[2] < 2.3, errors


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


class Whole(RectifiedFlowSDE):
    """The path to its very end."""

    def alpha(self, t):
        return 1 - torch.as_tensor(t)


def test_the_linear_path_of_the_paper():
    """Straight lines, x_u = (1 - u) x0 + u z at u = end t, and nearly all of it."""
    sde, u = RectifiedFlowSDE(scale=0.5, end=0.8), 0.8 * TIMES
    torch.testing.assert_close(sde.alpha(TIMES), 1 - u)
    torch.testing.assert_close(sde.sigma(TIMES), 0.5 * u)
    # less of x0 is left at t = 1 than under VP
    assert 0 < float(RectifiedFlowSDE().alpha(1.0)) < float(VPSDE().alpha(1.0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VESDE(sigma_min=0.0), "sigma_min = 0.0: expected a finite number > 0"),
        (lambda: VESDE(sigma_min=2.0, sigma_max=1.0), "sigma_min = 2.0 >= sigma_max = 1.0"),
        (lambda: VESDE(sigma_max=math.inf), "sigma_max = inf"),
        (lambda: VPSDE(beta_min=-1.0), "beta_min = -1.0"),
        (lambda: VPSDE(beta_min=3.0, beta_max=2.0), "beta must not fall"),
        (lambda: SubVPSDE(scale=0.0), "scale = 0.0"),
        (lambda: LadderSDE((1.0, 1.0), (1.0,)), "2 alphas and 1 sigmas"),
        (lambda: LadderSDE((1.0,), (1.0,)), "1 alphas and 1 sigmas"),
        (lambda: LadderSDE((1.0, 1.0), (0.0, 1.0)), "numbers > 0"),
        (lambda: LadderSDE((1.0, 1.0), (math.nan, 1.0)), "sigmas, a level = nan: expected a finite number"),
        (lambda: LadderSDE((1.0, 1.0), (2.0, 1.0)), "reverse a falling ladder"),
        (lambda: RectifiedFlowSDE(end=1.0), "end = 1.0"),
        (lambda: checked_sde(Whole()), r"alpha\(1\) = 0 of Whole: .*as priors.RectifiedFlowSDE does"),
        (lambda: VPSDE(scale="1"), "scale = '1'"),  # type: ignore[arg-type]
        (lambda: from_spec({"type": "Brownian"}), "Brownian.*expected one of"),
        (lambda: from_spec({"type": "VESDE", "beta_min": 1.0}), "beta_min"),
        (lambda: from_spec({}), "SDE type None"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
