"""Likelihoods by the probability flow, beside closed forms.

The flow's law at t_min is not the prior's own: it starts from N(0, sigma(1)^2 I) where p_1 has a mean and a variance
more, and it stops at noise sigma(t_min). Tests at tight tolerances therefore compare with the law that the exact flow
carries (of a Gaussian in closed form), and tests against `log_prob` use noisings whose ends are close enough.
"""

import math

import pytest
import torch

from priors import (
    VESDE,
    VPSDE,
    Evaluations,
    Gaussian,
    Prior,
    RowRNG,
    SubVPSDE,
    bits_per_dim,
    encode,
    log_likelihood,
)
from priors.base import expand
from priors.likelihood import dequantise
from tests.priors.cases import F64, SDES, covariances, draws, mixture, score_prior

D = 8
BIT = D * math.log(2)  # nats in one bit per dimension
# alpha(1) and sigma_max put the mismatch at t = 1, about E |mu x_1| / sigma(1)^2, below 1e-4 bits per dimension, and
# sigma_min puts that at t_min, about sigma_min^2 / variance, there too
WIDE = {"ve": VESDE(1e-3, 2e4), "vp": VPSDE(beta_max=40.0), "subvp": SubVPSDE(beta_max=40.0)}


def gaussian(sde, d=D):
    return Gaussian(draws(d, seed=5), covariances("dense", 1, d)[0], sde=sde)


PRIORS = {"Gaussian": gaussian, "mixture": lambda sde: mixture(sde, d=D)}


def carried(prior, x, t):
    """log density at t of what the exact flow makes of N(0, sigma(1)^2 I): a Gaussian's flow is linear."""
    sde, spread = prior.sde, []
    for s in (t, 1.0):
        spread.append(torch.sqrt(sde.alpha(s) ** 2 * prior.eigenvalues[0] + sde.sigma(s) ** 2))
    rotated = (x - sde.alpha(t) * prior.mean) @ prior.basis[0]
    end = sde.alpha(1.0) * prior.mean + (rotated * spread[1] / spread[0]) @ prior.basis[0].mT
    return sde.terminal_log_prob(end) + (spread[1] / spread[0]).log().sum()


@pytest.mark.parametrize("make", PRIORS.values(), ids=PRIORS)
@pytest.mark.parametrize("name", WIDE)
def test_it_is_the_closed_form(name, make):
    prior = make(WIDE[name])
    x = prior.sample(12, dtype=F64)
    error = (log_likelihood(prior, x, probe="exact") - prior.log_prob(x)).abs().max() / BIT
    assert error < 1e-3


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_it_is_the_flow_s_own_law(sde):
    prior = gaussian(sde)
    x = prior.sample(6, dtype=F64)
    for t_min in (1e-5, 1e-2):
        value = log_likelihood(prior, x, probe="exact", t_min=t_min)
        torch.testing.assert_close(value, carried(prior, x, t_min), rtol=0, atol=1e-4 * BIT)


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_the_error_falls_with_the_tolerance(sde):
    prior = gaussian(sde)
    x = prior.sample(6, dtype=F64)
    expected = carried(prior, x, 1e-5)
    errors = [
        (log_likelihood(prior, x, probe="exact", rtol=tol, atol=tol) - expected).abs().max().item()
        for tol in (1e-3, 1e-5, 1e-7)
    ]
    assert errors[1] < errors[0] / 10 and errors[2] < errors[1] / 10 and errors[2] < 1e-5


@pytest.mark.parametrize("probe", ["rademacher", "gaussian"])
@pytest.mark.parametrize("name", ["ve", "vp", "subvp"])
def test_probes_are_unbiased(name, probe):
    """The flow does not depend on the probes, so neither does the exact value; 400 rows are one x and 400 probes."""
    prior, n = mixture(SDES[name], d=D), 400
    x = prior.sample(1, dtype=F64)
    exact = log_likelihood(prior, x, probe="exact", rtol=1e-4, atol=1e-4).item()
    estimates = log_likelihood(prior, x.expand(n, D), seed=3, probe=probe, rtol=1e-4, atol=1e-4)
    error = estimates.std().item() / math.sqrt(n)  # without the control variate 0.23 bits for VP and Gaussian probes
    assert 0.005 * BIT < error < 0.1 * BIT  # the estimates differ, and their mean is informative
    assert abs(estimates.mean().item() - exact) < 4 * error


def test_hutchinson_has_a_mean_within_the_tolerance_of_the_closed_form():
    """Averaged probes reach what the exact trace reaches, up to their standard error."""
    prior = gaussian(WIDE["vp"])
    x = prior.sample(4, dtype=F64)
    averaged = log_likelihood(prior, x, n_probes=16)
    single = log_likelihood(prior, x.repeat_interleave(100, 0), probe="rademacher").view(4, 100)
    error = single.std(1) / 4  # of the mean of 16 probes
    assert ((averaged - prior.log_prob(x)).abs() < 4 * error + 1e-3 * BIT).all()
    assert (error > 0.001 * BIT).all()


def test_rademacher_is_exact_for_a_diagonal_matrix():
    prior = Gaussian(torch.zeros(3), torch.diag(torch.tensor([0.1, 1.0, 2.0])), sde=SDES["vp"])
    x = prior.sample(2, dtype=F64)
    signs = log_likelihood(prior, x, probe="rademacher")
    torch.testing.assert_close(signs, log_likelihood(prior, x, probe="exact"))
    assert (log_likelihood(prior, x, probe="gaussian") - signs).abs().max() > 0.1


def test_the_trace_is_exact_up_to_64_dimensions_unless_probes_are_asked_for():
    loose = {"rtol": 1e-2, "atol": 1e-2}
    for d, exact in ((16, True), (64, True), (65, False)):
        prior = gaussian(SDES["vp"], d)
        x = prior.sample(2, dtype=F64)
        found, signs = log_likelihood(prior, x, **loose), log_likelihood(prior, x, probe="rademacher", **loose)
        assert torch.equal(found, log_likelihood(prior, x, probe="exact", **loose) if exact else signs)
        assert torch.equal(log_likelihood(prior, x, n_probes=1, **loose), signs)
        assert (signs - log_likelihood(prior, x, probe="exact", **loose)).abs().min() > 1e-2


@pytest.mark.parametrize("probe", ["rademacher", "gaussian"])
def test_the_standard_error_is_the_spread_between_seeds(probe):
    """Of 200 rows that are one x with 8 probes each, the values differ by what each one states."""
    prior, n = mixture(SDES["vp"], d=D), 200
    x = prior.sample(1, dtype=F64).expand(n, D)
    settings = {"probe": probe, "n_probes": 8, "rtol": 1e-3, "atol": 1e-3}
    values, errors = log_likelihood(prior, x, 3, standard_error=True, **settings)
    assert torch.equal(values, log_likelihood(prior, x, 3, **settings))
    spread = float(values.std() / errors.square().mean().sqrt())
    assert abs(spread - 1) < 4 * (1 / (2 * n) + 1 / (2 * 7 * n)) ** 0.5 * 1.5  # tails heavier than a Gaussian's
    bits, bit_errors = bits_per_dim(prior, torch.zeros(4, D, dtype=F64), 3, standard_error=True, **settings)
    assert torch.equal(bits, bits_per_dim(prior, torch.zeros(4, D, dtype=F64), 3, **settings))
    nats = log_likelihood(prior, dequantise(torch.zeros(4, D, dtype=F64), 3), 3, standard_error=True, **settings)
    torch.testing.assert_close(bit_errors, nats[1] / BIT)


def test_an_exact_trace_has_no_standard_error_and_one_probe_does_not_know_its_own():
    prior = gaussian(SDES["vp"])
    x = prior.sample(2, dtype=F64)
    values, errors = log_likelihood(prior, x, standard_error=True)
    assert torch.equal(values, log_likelihood(prior, x)) and torch.equal(errors, torch.zeros(2, dtype=F64))
    with pytest.raises(ValueError, match="n_probes of at least 2"):
        log_likelihood(prior, x, probe="rademacher", standard_error=True)


@pytest.mark.parametrize(
    "probe", ["rademacher", *(pytest.param(p, marks=pytest.mark.slow) for p in ("gaussian", "exact"))]
)
def test_a_row_is_the_same_whatever_shares_its_batch(probe):
    """Rows have their own probes, times and steps. A batch rounds otherwise, which moves steps: 1e-7 is allowed,
    where steps shared with the far mate would move the other rows by the tolerance, 1e-5."""
    prior = mixture(SDES["vp"], d=D)
    x = prior.sample(4, dtype=F64)
    x[0] *= 5  # asks for other steps than its mates
    close = {"rtol": 0, "atol": 1e-7 * BIT}
    whole = log_likelihood(prior, x, seed=7, probe=probe)
    for size in (1, 3):
        torch.testing.assert_close(log_likelihood(prior, x, 7, probe=probe, batch_size=size), whole, **close)
    torch.testing.assert_close(log_likelihood(prior, x[:2], 7, probe=probe), whole[:2], **close)
    if probe != "exact":
        assert (log_likelihood(prior, x, seed=8, probe=probe) - whole).abs().min() > 1e-4


def test_a_network_s_rows_are_the_same_whatever_shares_their_batch():
    prior = score_prior()
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    loose = {"dequantize": False, "probe": "rademacher", "rtol": 1e-3, "atol": 1e-3}
    whole, split = (bits_per_dim(prior, x, 2, batch_size=size, **loose) for size in (None, 1))
    torch.testing.assert_close(split, whole, rtol=1e-4, atol=0)  # float32 sums of a batch of another size


class Wavy(Prior):
    """A smooth denoiser in 4 dimensions that belongs to no density: its Jacobian is not symmetric."""

    sde, event_shape = VESDE(0.1, 10.0), (4,)

    def denoise(self, x, t):
        sigma = expand(self.sde.sigma(t), x)
        return 0.5 * x / (1 + sigma**2) + torch.tanh(x @ draws(4, 4, seed=6)) / (1 + sigma)


def test_it_is_the_change_of_volume_of_encode():
    """log p(x) = log N(z) + log |det dz/dx|, with dz/dx by central differences of `encode` (error about step^2)."""
    prior, x, step = Wavy(), draws(1, 4, seed=7), 1e-4
    settings = {"rtol": 1e-9, "atol": 1e-9, "t_min": 1e-5}
    ends = encode(prior, torch.cat([x, x + step * torch.eye(4), x - step * torch.eye(4)]), **settings)
    volume = torch.linalg.slogdet((ends[1:5] - ends[5:]) / (2 * step)).logabsdet
    by_hand = prior.sde.terminal_log_prob(ends[:1])[0] + volume
    value = log_likelihood(prior, x, probe="exact", rtol=1e-7, atol=1e-7)[0]
    assert abs(value - by_hand) < 1e-5


def test_bits_per_dim_of_a_flat_law_are_eight():
    """Pixels uniform over [0, 1] carry 8 bits each; 48 narrow Gaussians are nearly a flat law in one pixel."""
    k = 40
    centres = (torch.arange(-4, k + 4, dtype=F64) + 0.5)[:, None] / k
    flat = mixture_of(centres, 1 / k)
    x = torch.tensor([[0.2], [0.4], [0.6], [0.8]], dtype=F64)
    mass = k / len(centres)  # what lies within [0, 1] of the law
    bits = bits_per_dim(flat, x, probe="exact")
    torch.testing.assert_close(bits, torch.full((4,), 8 - math.log2(mass), dtype=F64), rtol=0, atol=1e-2)
    coarse = bits_per_dim(flat, x, levels=6, probe="exact")  # fifths are levels of 6 too
    torch.testing.assert_close(coarse, bits - 8 + math.log2(6), rtol=0, atol=1e-2)


def mixture_of(centres, deviation):
    from priors import GaussianMixture

    covariance = torch.full((len(centres), 1, 1), deviation**2, dtype=F64)
    return GaussianMixture(centres, covariance, torch.ones(len(centres)), sde=WIDE["vp"])


def test_bits_per_dim_are_the_dequantised_likelihood():
    prior = mixture(WIDE["ve"], d=D)
    x = torch.randint(0, 256, (4, D), generator=torch.Generator().manual_seed(0)).double() / 255
    spread = dequantise(x, seed=3)
    closed = -prior.log_prob(spread) / BIT + 8
    torch.testing.assert_close(bits_per_dim(prior, x, seed=3, probe="exact"), closed, rtol=0, atol=1e-3)
    plain = bits_per_dim(prior, x, seed=3, dequantize=False, probe="exact")
    torch.testing.assert_close(plain, -prior.log_prob(x) / BIT + 8, rtol=0, atol=1e-3)


def test_dequantisation_fills_each_cell_evenly_by_row():
    n = 4000
    k = torch.tensor([0, 100, 255])
    spread = dequantise((k / 255).expand(n, 3), seed=1)
    within = 256 * spread.double() - k
    assert within.min() >= -1e-4 and within.max() <= 1 + 1e-4  # float32 of numbers near 256
    assert (within.mean(0) - 0.5).abs().max() < 4 / math.sqrt(12 * n)
    assert (within.var(0) - 1 / 12).abs().max() < 4 * math.sqrt(1 / 180 / n)
    assert torch.equal(dequantise((k / 255).expand(5, 3), seed=1), spread[:5])
    # not the stream of the probes, whose first entries are of the same generator otherwise
    probes = RowRNG.rows(1, n).uniform((n, 3))
    assert torch.stack([within[:, 1], probes[:, 1].double()]).corrcoef()[0, 1].abs() < 4 / math.sqrt(n)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"probe": "normal"}, "probe = 'normal': expected one of rademacher, gaussian, exact"),
        ({"n_probes": 0}, "n_probes = 0"),
        ({"rtol": -1.0}, "rtol = -1.0"),
        ({"t_min": 2.0}, "t_min = 2.0"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_arguments_out_of_range_are_refused_before_the_first_evaluation(arguments, message):
    prior = Evaluations(gaussian(SDES["ve"]))
    with pytest.raises(ValueError, match=message):
        log_likelihood(prior, torch.zeros(1, D), **arguments)
    assert prior.nfe == 0


def test_an_exact_trace_of_a_large_image_is_refused():
    prior = score_prior()
    prior.event_shape = (1, 65, 65)
    with pytest.raises(ValueError, match=r"4225 backward passes.*rademacher"):
        log_likelihood(prior, torch.zeros(1, 1, 65, 65), probe="exact")


def test_images_that_are_no_images_are_refused():
    prior = gaussian(SDES["ve"])
    with pytest.raises(ValueError, match="outside"):
        bits_per_dim(prior, torch.full((1, D), 1.2))
    with pytest.raises(ValueError, match=r"not on the 256 grey levels.*dequantize=False"):
        bits_per_dim(prior, torch.full((1, D), 0.5))
    with pytest.raises(ValueError, match="levels = 1"):
        bits_per_dim(prior, torch.zeros(1, D), levels=1)
