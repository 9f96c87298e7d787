import math
from itertools import pairwise

import pytest
import torch
from torchdiffeq import odeint

from priors import Evaluations, Gaussian, Prior, RowRNG, decode, encode, load, samples, slerp, temper
from priors.base import expand
from priors.ode import Clock, heun_step
from priors.runge_kutta import integrate
from tests.priors.cases import F64, SDES, draws, mixture, score_prior

MEAN, DEVIATION = torch.tensor([0.5, -1.0, 0.2], dtype=F64), torch.tensor([0.3, 0.7, 1.5], dtype=F64)
T_MIN = 1e-3


@pytest.fixture(params=list(SDES.values()), ids=list(SDES))
def exact(request):
    return Gaussian(MEAN, torch.diag(DEVIATION**2), sde=request.param)


def flow(sde, x, t, s):
    """The probability flow of a Gaussian from t to s: every coordinate keeps its place in standard deviations."""
    spread = [torch.sqrt(sde.alpha(u) ** 2 * DEVIATION**2 + sde.sigma(u) ** 2) for u in (t, s)]
    return sde.alpha(s) * MEAN + spread[1] / spread[0] * (x - sde.alpha(t) * MEAN)


def latents(sde, n, d=3, seed=0):
    return sde.sample_terminal((n, d), RowRNG.rows(seed, n, dtype=F64))


def error(exact, x, t, s, n):
    grid = torch.linspace(t, s, n + 1, dtype=F64)
    y = x
    for a, b in pairwise(grid):
        y = heun_step(exact, y, a, b)
    return (y - flow(exact.sde, x, t, s)).abs().max().item()


def slope_of(n, errors):
    n, errors = torch.tensor(n, dtype=F64).log(), torch.tensor(errors, dtype=F64).log()
    return (((n - n.mean()) * (errors - errors.mean())).sum() / (n - n.mean()).square().sum()).item()


@pytest.mark.parametrize(("t", "s"), [(0.9, 0.1), (0.1, 0.9)], ids=["to data", "to noise"])
def test_heun_is_of_second_order(exact, t, s):
    x = exact.sde.sigma(t) * draws(20, 3) + exact.sde.alpha(t) * MEAN
    steps = 64, 128, 256, 512
    assert 1.8 < -slope_of(steps, [error(exact, x, t, s, n) for n in steps]) < 2.4


def test_decode_follows_the_flow_and_denoises(exact):
    sde = exact.sde
    z = latents(sde, 20)
    clean = flow(sde, z, 1.0, sde.t_min)
    for denoise, expected in ((False, clean), (True, exact.denoise(clean, sde.t_min))):
        errors = [(decode(exact, z, n, denoise=denoise) - expected).abs().max().item() for n in (64, 256)]
        assert errors[1] < 0.01 and errors[1] < errors[0] / 8
        assert (decode(exact, z, denoise=denoise) - expected).abs().max() < 1e-3  # some ten steps of 1e-5 each


def test_encode_follows_the_flow(exact):
    sde = exact.sde
    x = exact.sample(20, dtype=F64)
    expected = flow(sde, x, sde.t_min, 1.0)
    assert ((encode(exact, x) - expected) / sde.sigma(1.0)).abs().max() < 1e-3
    errors = [((encode(exact, x, n) - expected) / sde.sigma(1.0)).abs().max().item() for n in (64, 256)]
    assert errors[1] < errors[0] / 8


def test_the_error_falls_with_the_tolerance(exact):
    """In proportion, as the error of a step is held at it: over 4 decades by 4, here at least by 3."""
    z = latents(exact.sde, 10)
    expected = flow(exact.sde, z, 1.0, T_MIN)
    tolerances = (1e-4, 1e-6, 1e-8)
    errors = [(decode(exact, z, rtol=tol, atol=tol, t_min=T_MIN) - expected).abs().max().item() for tol in tolerances]
    assert errors[2] < 1e-3 * errors[0] and errors[2] < 1e-6
    assert 0.7 < slope_of(tolerances, errors) < 1.3


@pytest.mark.parametrize("n_steps", [None, 400], ids=["adaptive", "Heun"])
@pytest.mark.parametrize("kind", ["dense", "tied"])
@pytest.mark.parametrize("name", list(SDES))
def test_a_round_trip_returns(name, kind, n_steps):
    """Heun's rule of 400 steps is the less exact: it starts with steps of t that are long for VP."""
    prior = mixture(SDES[name], kind)
    x = prior.sample(8, dtype=F64)
    back = decode(prior, encode(prior, x, n_steps), n_steps)
    assert (back - x).abs().max() < (1e-3 if n_steps is None else 0.1)


def test_a_round_trip_through_the_shipped_network():
    prior = load("fashion-mnist")
    clean = samples("fashion-mnist").floats()[:2]
    x = clean + prior.sde.sigma(prior.sde.t_min) * draws(*clean.shape).float()  # as the law at t_min is
    x[0] = clean[0]
    z = encode(prior, x)
    assert (decode(prior, z) - x).abs().max() < 1e-3
    length = (z / prior.sde.sigma(1.0)).flatten(1).square().mean(1)
    assert abs(length[1] - 1) < 0.15  # 784 standard normal numbers have .05; a network is no exact score
    assert length[0] < 0.7  # without the noise of t_min


def test_the_adaptive_rule_agrees_with_another_solver():
    """torchdiffeq's Dormand-Prince rule in t, on a mixture, where there is no closed form of the flow."""
    for name in ("ve", "vp", "subvp"):
        prior = mixture(SDES[name])
        sde, x = prior.sde, prior.sample(2, dtype=F64)

        def drift(t, x, prior=prior, sde=sde):
            return sde.f(t) * x - 0.5 * sde.g2(t) * prior.score(x, t)

        times = torch.tensor([sde.t_min, 1.0], dtype=F64)
        other = odeint(drift, x, times, rtol=1e-8, atol=1e-8, method="dopri5")[-1]
        ours = encode(prior, x, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(ours, other, rtol=1e-6, atol=1e-6)


def test_decode_turns_noise_into_data(exact):
    n = 4000
    x = decode(exact, latents(exact.sde, n, seed=1), n_steps=128, denoise=True)
    assert ((x.mean(0) - MEAN).abs() < 4.5 * DEVIATION / math.sqrt(n) + 0.01).all()
    correlation = (x / DEVIATION).mT.cov()
    assert (correlation - torch.eye(3, dtype=F64)).abs().max() < 4.5 * math.sqrt(2 / n) + 0.01


@pytest.mark.parametrize("n_steps", [None, 64])
def test_decode_finds_the_modes_in_their_proportions(n_steps):
    prior, n = mixture(SDES["ve"], "tied-diagonal", d=2), 2000
    x = decode(prior, prior.sde.sample_terminal((n, 2), RowRNG.rows(0, n)), n_steps).double()
    line = torch.tensor([0.6, 0.8], dtype=F64)
    spread = (prior.eigenvalues * line**2).sum(1).sqrt()
    normal = torch.distributions.Normal(prior.means @ line, spread)
    ranks = (prior.weights * normal.cdf((x @ line)[:, None])).sum(1).sort()[0]
    assert (ranks - (torch.arange(n) + 0.5) / n).abs().max() < 1.95 / math.sqrt(n) + 0.01


@pytest.mark.parametrize("n_steps", [None, 16], ids=["adaptive", "Heun"])
def test_rows_do_not_know_each_other(exact, n_steps):
    """A mate a thousand times as large asks for other steps; to rounding, nobody else notices."""
    z = latents(exact.sde, 5)
    z[0] *= 1000
    together = decode(exact, z, n_steps)
    for rows in (slice(2, 3), slice(1, 4)):
        torch.testing.assert_close(together[rows], decode(exact, z[rows], n_steps), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(together, decode(exact, z, n_steps, batch_size=2), rtol=1e-11, atol=1e-11)


def test_rows_of_a_network_do_not_know_each_other():
    """Within what a float32 network rounds differently in a batch of another size; coupled steps differ by 1e-3."""
    prior = score_prior()
    z = prior.sde.sample_terminal((4, 1, 8, 8), RowRNG.rows(0, 4))
    z[0] *= 50
    together = decode(prior, z, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(together[1:2], decode(prior, z[1:2], rtol=1e-3, atol=1e-3), rtol=1e-4, atol=1e-4)


def test_every_row_counts_its_own_evaluations():
    """Rows of unequal difficulty: du/ds = -k u with k per row, whose solution is u exp(-k s)."""
    rates = torch.tensor([0.0, 1.0, 50.0], dtype=F64)

    def slope(s, u, rows):
        return -rates[rows, None] * u, rates[rows]

    u = torch.ones(3, 2, dtype=F64)
    result, w, nfe = integrate(slope, u, 0.0, 2.0, 1e-8, 1e-8)
    torch.testing.assert_close(result, torch.exp(-2 * rates)[:, None].expand(3, 2), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(w, 2 * rates)
    assert nfe[0] < nfe[1] < nfe[2] and bool((nfe % 6 == 1).all())


def test_the_rule_is_of_fifth_order():
    """Steps forced to one length by a slack tolerance: the global error of u' = u cos s falls as h^5."""
    errors, steps = [], (4, 8, 16)
    for n in steps:
        u, s = torch.ones(1, 1, dtype=F64), 0.0
        for k in range(n):  # an interval no longer than the first step is one step
            s = 0.1 * k / n
            u, _, nfe = integrate(lambda s, u, rows: (u * torch.cos(30 * s)[:, None], s), u, s, s + 0.1 / n, 0.9, 0.9)
            assert nfe == 7
        errors.append(abs(u.item() - math.exp(math.sin(3.0) / 30)))
    assert -6.5 < slope_of(steps, errors) < -4.5


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_the_clock_inverts_the_noise_level(sde):
    clock = Clock(sde, 1e-5)
    t = torch.logspace(-5, 0, 997, dtype=F64)
    torch.testing.assert_close(clock.time(torch.log(sde.sigma(t) / sde.alpha(t))), t, rtol=1e-9, atol=0)
    assert clock.start < clock.stop


class _Broken(Prior):
    sde, event_shape = SDES["ve"], (2,)

    def __init__(self, factor):
        self.factor = factor

    def denoise(self, x, t):
        return torch.where(expand(self.sde.sigma(t), x) > 1, self.factor, 0.0) * x


def test_a_flow_that_breaks_says_where():
    x = torch.ones(3, 2)
    with pytest.raises(ArithmeticError, match=r"sample 0 becomes nan or infinite after s = -?\d"):
        encode(_Broken(float("nan")), x)
    with pytest.raises(ArithmeticError, match=r"sample 0 needs steps below 1e-07 at s = -?0.0\d*"):
        encode(_Broken(1e9), x)  # whose first step across sigma = 1 overflows, and must not pass for a good one


def test_no_rows_are_no_work():
    prior = Evaluations(mixture(SDES["ve"]))
    assert encode(prior, torch.zeros(0, 3)).shape == (0, 3) and prior.nfe == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_steps": 0}, "n_steps = 0: expected an integer >= 1"),
        ({"rtol": 0.0}, "rtol = 0.0: expected a number in"),
        ({"atol": float("nan")}, "atol = nan"),
        ({"t_min": 0.0}, "t_min = 0.0"),
        ({"t_min": 1.0}, "t_min = 1.0"),
        ({"batch_size": 0}, "batch_size = 0"),
    ],
)
def test_arguments_out_of_range_are_refused_before_the_first_evaluation(exact, arguments, message):
    prior = Evaluations(exact)
    for move in (encode, decode):
        with pytest.raises(ValueError, match=message):
            move(prior, torch.zeros(1, 3), **arguments)
    assert prior.nfe == 0


def test_x_that_is_not_finite_is_refused(exact):
    with pytest.raises(ValueError, match="nan or infinite"):
        encode(exact, torch.full((1, 3), float("nan")))


@pytest.mark.parametrize("x", [torch.zeros(3), torch.zeros(2, 4), torch.zeros(2, 3, dtype=torch.int64)])
def test_other_events_are_refused(exact, x):
    with pytest.raises((ValueError, TypeError), match=r"expected (a real floating tensor )?\(N, 3\)"):
        encode(exact, x)


def test_slerp_walks_a_great_circle():
    z0, z1 = draws(4, 2, 3, seed=1), draws(4, 2, 3, seed=2)
    z1 = z1 * (z0.flatten(1).norm(dim=1) / z1.flatten(1).norm(dim=1)).view(-1, 1, 1)
    torch.testing.assert_close(slerp(z0, z1, 0.0), z0)
    torch.testing.assert_close(slerp(z0, z1, 1.0), z1)
    weight = torch.tensor([0.1, 0.25, 0.5, 0.9], dtype=F64)
    between = slerp(z0, z1, weight)
    a, b, c = (z.flatten(1) / z0.flatten(1).norm(dim=1, keepdim=True) for z in (z0, between, z1))
    torch.testing.assert_close(b.norm(dim=1), torch.ones(4, dtype=F64))
    torch.testing.assert_close((a * b).sum(1).acos(), weight * (a * c).sum(1).acos())


def test_slerp_of_neighbours_is_a_line_and_of_opposites_refused():
    z = draws(2, 3)
    torch.testing.assert_close(slerp(z, z, 0.3), z)
    torch.testing.assert_close(slerp(z, z + 1e-7, 0.5), z + 0.5e-7, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="opposite"):
        slerp(z, -z, 0.5)
    with pytest.raises(ValueError, match="expected the same shape"):
        slerp(z, z[:1], 0.5)


def test_temper_scales_the_spread_of_what_is_decoded():
    """Of a Gaussian the flow is linear: latents of temperature T are data of standard deviations T times as large."""
    prior = Gaussian(torch.zeros(3), torch.diag(DEVIATION**2), sde=SDES["vp"])
    z = latents(prior.sde, 20)
    torch.testing.assert_close(decode(prior, temper(z, 0.5)), 0.5 * decode(prior, z), rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match=r"temperature = -1"):
        temper(z, -1)
