"""Ranks, coverage and their test, where truths and samples are known to be of one law or not."""

import math

import pytest
import torch

from benchmarks.exact.problems import smooth_covariance
from inverse.quality.ranks import LEVELS, Ranks, frequencies, ranks, uniformity
from operators import GaussianNoise, Masking
from priors import VPSDE, Gaussian
from tests.cases import normal

D = 64
PRIOR = Gaussian(torch.full((D,), 0.4), smooth_covariance(8, 1.5, 0.3), VPSDE(), event_shape=(1, 8, 8))
OPERATOR = Masking.random((1, 8, 8), 0.5, noise=GaussianNoise(0.1))
BASIS = torch.cat([torch.zeros(1, D), torch.eye(D)]).double()


def exact(n: int, k: int, seed: int, spread: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Truths (n, 64) and k exact samples of the posterior of each (n, k, 64), their spread about its mean scaled.

    The posteriors share their covariance and their means are linear in y, so one of them gives all: faster than n.
    """
    truth = PRIOR.sample(n, seed=seed, dtype=torch.float64)
    y = OPERATOR.measure(truth, seed=seed + 1)
    origin, *units = (PRIOR.posterior(OPERATOR, basis[None].view(1, 1, 8, 8)) for basis in BASIS)
    gain = torch.stack([(unit.mean - origin.mean).flatten() for unit in units])
    mean = origin.mean.flatten() + y.flatten(1) @ gain
    z = normal(n, k, D, seed=seed + 2) @ torch.linalg.cholesky(origin.covariance).mT
    return truth.flatten(1), mean[:, None] + spread * z


def test_the_samples_of_these_tests_are_exact():
    truth, samples = exact(3, 4000, seed=0)
    posterior = PRIOR.posterior(OPERATOR, OPERATOR.measure(truth.view(3, 1, 8, 8), seed=1)[1:2])
    z = (samples[1] - posterior.mean.flatten()) / posterior.covariance.diagonal().sqrt()
    assert z.mean(0).abs().max() < 4 / 4000**0.5
    assert (z.var(0) - 1).abs().max() < 4 * (2 / 4000) ** 0.5


@pytest.mark.parametrize("k", [1, 8, 19, 32])
def test_exact_samples_cover_as_they_should_for_any_k(k):
    """Within 4 standard errors over images. At K = 8 the 95 % interval lies between two that order statistics make."""
    found = ranks(*exact(400, k, seed=k))
    for level in LEVELS:
        covered = found.coverage(level)
        assert covered.mean() == pytest.approx(level, abs=4 * covered.std().item() / 20 + 1e-9)


def test_coverage_of_an_order_statistic_interval_is_the_plain_count():
    """With K = 19 the central 90 % lie strictly between the least and the largest sample: nothing is interpolated."""
    truth, samples = normal(50, 30, seed=1), normal(50, 19, 30)
    inside = (truth > samples.amin(1)) & (truth < samples.amax(1))
    torch.testing.assert_close(ranks(truth, samples).coverage(0.9), inside.double().mean(1))


def test_coverage_interpolates_between_its_neighbours():
    """K = 8: 7/9 between the outer samples, all of 1 without bounds: 95 % is .225 of the one, .775 of the other."""
    outside, inside = torch.tensor([[9.0]]), torch.tensor([[0.5]])
    samples = torch.arange(8.0).view(1, 8, 1)
    assert ranks(outside, samples).coverage(0.95).item() == pytest.approx((0.95 - 7 / 9) / (2 / 9))
    assert ranks(inside, samples).coverage(0.95).item() == pytest.approx(1)


def test_ties_share_their_ranks():
    """Truth and samples of a law of three values: the truth's cell spans its ties, so coverage is still exact."""
    draws = torch.randint(3, (4000, 10, 1), generator=torch.Generator().manual_seed(0)).double()
    found = ranks(draws[:, 0], draws[:, 1:])
    torch.testing.assert_close(found.high[0, 0, 0] - found.low[0, 0, 0], (draws[0] == draws[0, 0]).double().mean())
    for level in LEVELS:
        covered = found.coverage(level)
        assert covered.mean() == pytest.approx(level, abs=4 * covered.std().item() / 4000**0.5)
    assert uniformity(found, replicas=199).p_value > 0.01


def test_weighted_samples_are_repeated_ones():
    """Weights 3, 1, 2 and samples that are as often there: the same CDF at the truth, below it and at it."""
    truth, samples = (
        torch.tensor([[0.5], [1.0], [2.5], [-1.0]]),
        torch.tensor([0.0, 1.0, 2.0]).view(1, 3, 1).repeat(4, 1, 1),
    )
    weighted = ranks(truth, samples, torch.tensor([3.0, 1.0, 2.0]).log().expand(4, 3))
    repeated = ranks(truth, samples.repeat_interleave(torch.tensor([3, 1, 2]), 1))

    def cdf(found: Ranks):  # of the samples alone: the truth's own mass taken off
        own = found.mass[:, 0]
        return found.low[:, 0, 0] / (1 - own), (found.high[:, 0, 0] - own) / (1 - own)

    torch.testing.assert_close(cdf(weighted), cdf(repeated))
    torch.testing.assert_close(cdf(weighted)[0], torch.tensor([3, 3, 6, 0]).double() / 6)
    torch.testing.assert_close(weighted.mass[0, 0], torch.tensor(1 / (1 + 36 / 14)).double())  # ESS (3+1+2)^2/(9+1+4)


def test_equal_weights_are_no_weights():
    truth, samples = normal(5, 7), normal(5, 9, 7, seed=1)
    found, weighted = ranks(truth, samples), ranks(truth, samples, torch.full((5, 9), -3.0))
    torch.testing.assert_close((found.low, found.high, found.mass), (weighted.low, weighted.high, weighted.mass))
    counted = (samples < truth[:, None]).double().sum(1) / 10
    torch.testing.assert_close(found.low[:, 0], counted)


def test_importance_weights_cover_nearly_as_they_should():
    """Draws of N(.3, 1.3^2) weighed to N(0, 1), in one dimension; without their weights they do not cover."""
    truth, draws = normal(4000, 1), 0.3 + 1.3 * normal(4000, 100, 1, seed=1)
    log_w = (-0.5 * draws**2 + 0.5 * ((draws - 0.3) / 1.3) ** 2)[:, :, 0]
    weighted, plain = ranks(truth, draws, log_w), ranks(truth, draws)
    for level in LEVELS:
        assert weighted.coverage(level).mean() == pytest.approx(level, abs=0.015)
    assert plain.coverage(0.5).mean() > 0.56


def p_values(repeats: int, spread: float, k: int = 15, n: int = 12) -> torch.Tensor:
    truth, samples = exact(repeats * n, k, seed=3, spread=spread)
    found = ranks(truth, samples)
    parts = [slice(i * n, (i + 1) * n) for i in range(repeats)]
    split = (Ranks(found.low[p], found.high[p], found.mass[p]) for p in parts)
    return torch.tensor([uniformity(f, replicas=199, seed=i).p_value for i, f in enumerate(split)])


def test_p_values_of_exact_samples_are_uniform():
    """200 repeats of 12 images of correlated pixels: rejected at 5 % in 5 % of them, within 3 standard errors."""
    p = p_values(200, 1.0)
    for level in (0.05, 0.2, 0.5):
        assert (p <= level).double().mean() == pytest.approx(level, abs=3 * math.sqrt(level * (1 - level) / 200))


def test_chi2_tables_would_reject_them():
    """Why the null law is made by replicas: to the chi^2 law of independent pixels these ranks are not uniform."""
    truth, samples = exact(40 * 12, 15, seed=3)
    found = ranks(truth, samples)
    rejected = 0
    for i in range(40):
        counts = torch.histc(found.low[i * 12 : (i + 1) * 12, 0], 16, 0, 1)
        rejected += ((counts - 48) ** 2 / 48).sum().item() > 25.0  # the 95 % quantile of chi^2 with 15 degrees
    assert rejected > 10, "of 40, where 2 were due"


def test_too_narrow_samples_are_rejected():
    assert (p_values(30, 0.8, n=20) <= 0.05).double().mean() > 0.95


def test_an_error_of_one_coordinate_is_found():
    """A bias of one coefficient in 36 hardly moves the histogram of all, but moves its own."""
    truth, samples = normal(60, 36), normal(60, 15, 36, seed=1)
    assert uniformity(ranks(truth, samples), replicas=199).p_value > 0.05
    samples[:, :, 4] += 1.5
    assert uniformity(ranks(truth, samples), replicas=199).p_value < 0.02


def test_the_band_holds_right_ranks_and_not_narrow_ones():
    right, narrow = (uniformity(ranks(*exact(40, 15, seed=5, spread=s)), replicas=499) for s in (1.0, 0.6))
    assert right.histogram.sum() == pytest.approx(1) and (right.band[0] < 0.1).all() and (right.band[1] > 0.1).all()
    assert ((right.histogram >= right.band[0]) & (right.histogram <= right.band[1])).all()
    assert (narrow.histogram[[0, -1]] > narrow.band[1, [0, -1]]).all()


def test_frequencies_are_the_orthonormal_dct():
    from scipy.fft import dctn

    x = normal(2, 3, 8, 9)
    expected = dctn(x.numpy(), axes=(2, 3), norm="ortho")[:, :, :6, :6]
    torch.testing.assert_close(frequencies(x), torch.from_numpy(expected).flatten(1))
    assert frequencies(normal(2, 1, 4, 4)).shape == (2, 16)


def test_other_events_have_projections():
    x = normal(5, 11)
    assert frequencies(x).shape == (5, 36)
    torch.testing.assert_close(frequencies(x[:2] + x[3:]), frequencies(x)[:2] + frequencies(x)[3:])


@pytest.mark.parametrize("shape", [(5, 3, 4), (4, 3, 5), (5, 3, 4, 1)])
def test_shapes_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="expected"):
        ranks(normal(5, 5), normal(*shape))


def test_what_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="nan"):
        ranks(torch.full((1, 2), math.nan), normal(1, 3, 2))
