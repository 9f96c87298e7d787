"""Samples in pairs of opposite noise: each a draw as before, the mean of few as good as of many."""

from dataclasses import replace

import pytest
import torch

from benchmarks.suite.metrics import Judged, measure
from benchmarks.suite.scores import LEVEL, crps
from inverse import METHODS, Solution, solve
from operators import GaussianNoise, Masking
from tests.cases import SDES, picture

SDE = SDES["vp"]
OPERATOR = Masking.random((1, 8, 8), 0.5, noise=GaussianNoise(0.1))
PAIRED = [name for name, m in METHODS.items() if m.conditional and not m.weighted and name != "classifier"]


def run(n_samples=4, method="mmps", seed=0, **arguments):
    prior = picture(SDE)
    y = OPERATOR.measure(prior.sample(3, seed=5), seed=6)
    return solve(prior, OPERATOR, y, n_samples, method, 12, seed, progress=False, antithetic=True, **arguments)


def close(a, b, atol=1e-4):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


@pytest.mark.parametrize("name", PAIRED)
def test_the_first_of_a_pair_is_the_sample_of_its_key(name):
    """So that its law is what it was; the second one's is the same, for normal draws are symmetric."""
    prior = picture(SDE)
    y = OPERATOR.measure(prior.sample(3, seed=5), seed=6)
    plain = solve(prior, OPERATOR, y, 2, name, 12, progress=False)
    paired = run(method=name)
    close(paired.samples[:, ::2], plain.samples)
    assert not torch.isclose(paired.samples[:, 1::2], plain.samples).all()
    close(run(method=name, batch_size=3).samples, paired.samples)


def test_on_a_gaussian_a_pair_has_the_mean_of_all():
    """There a sample is linear in its noise, and what is left of a pair's mean does not depend on the seed."""
    means = torch.stack([run(2, seed=seed).mean for seed in range(3)])
    spread = run(2).samples.std(1).mean()
    assert (means - means[0]).abs().max() < 1e-3 * spread


def test_a_pair_of_draws_is_needed():
    for numbers in ({"n_samples": 3}, {"n_samples": 2, "first": 1}):
        with pytest.raises(ValueError, match="pairs"):
            run(**numbers)
    with pytest.raises(ValueError, match="'tds' weights"):
        run(method="tds")


def test_a_solution_in_parts_and_its_file(tmp_path):
    whole, first, rest = run(6), run(2), run(4, first=2)
    joined = first.followed_by(rest)
    close(joined.samples, whole.samples)
    close(joined.std, whole.std)
    joined.save(tmp_path / "solution.h5")
    assert Solution.load(tmp_path / "solution.h5").antithetic
    with pytest.raises(ValueError, match="pairing"):
        first.followed_by(replace(rest, antithetic=False))


@pytest.mark.parametrize("correlation", [-1.0, -0.8, 0.0])
@pytest.mark.parametrize("n_pairs", [2, 5])
def test_the_variance_of_pairs_is_unbiased(correlation, n_pairs):
    found = _solution(correlation, n_pairs, 4000).std.square().mean().item()
    assert found == pytest.approx(4.0, abs=0.2)  # 6 standard errors of 4000 sets of 2 pairs


def test_a_single_pair_tells_of_its_difference():
    assert _solution(-1.0, 1, 4000).std.square().mean().item() == pytest.approx(4.0, abs=0.6)


def test_coverage_and_crps_are_those_of_independent_samples():
    """Truths of the samples' own law: intervals cover as told, and the score is that of draws without pairs."""
    n, pairs = 20000, 4
    truth = 2 * torch.randn(n, 1, generator=torch.Generator().manual_seed(3))
    paired = _solution(-0.9, pairs, n)

    def judged(antithetic):
        return Judged(truth, truth, OPERATOR, paired.mean, paired.samples, antithetic=antithetic)

    for level in (0.5, 0.8, LEVEL):
        assert judged(True).ranked.coverage(level).mean().item() == pytest.approx(level, abs=0.01)
    wrong = judged(False).ranked.coverage(0.5).mean().item()
    assert abs(wrong - 0.5) > 0.02  # taken for independent, they are not
    halves = judged(True).independent(paired.samples)
    weights = torch.full((n, pairs), 1 / pairs)
    scores = [crps(truth, x, weights).mean().item() for x in halves]
    assert scores == pytest.approx([2 / torch.pi**0.5] * 2, abs=0.03)  # sigma / sqrt(pi): the CRPS of a right Gaussian


def test_a_single_pair_has_no_intervals():
    """One independent sample: whatever the truth, an interval would cover as told."""
    truth, pair = torch.zeros(3, 1, 8, 8), run(2)
    found = measure(Judged(truth, truth, OPERATOR, pair.mean, pair.samples, antithetic=True))[0]
    assert not {"coverage80", "coverage95", "width95", "crps"} & set(found) and "psnr_mean" in found


def _solution(correlation: float, n_pairs: int, n: int) -> Solution:
    """Samples of N(0, 4) in pairs of that correlation."""
    z, w = 2 * torch.randn(2, n, n_pairs, 1, generator=torch.Generator().manual_seed(7))
    other = correlation * z + (1 - correlation**2) ** 0.5 * w
    x = torch.stack([z, other], 2).flatten(1, 2)
    return Solution(x, torch.zeros(n, 2 * n_pairs), "made", 0, 0, 0.0, 0, antithetic=True)
