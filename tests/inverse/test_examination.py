"""Every check of a solution at once: silent where all is right, and each thing that is wrong is told."""

import pytest
import torch

from inverse import PoorFit, Solution, examine, solve
from inverse.quality import misfits
from operators import (
    Categorical,
    GaussianNoise,
    LinearMap,
    Masking,
    PoissonGaussianNoise,
    PoissonNoise,
    RicianNoise,
    SpeckleNoise,
    Transmission,
)
from priors import VPSDE, Gaussian
from tests.cases import gaussian

D, B = 12, 20


@pytest.fixture(scope="module")
def posed():
    """A Gaussian prior, an operator, measurements of 20 draws, exact posterior samples, and draws of the prior."""
    prior = gaussian(VPSDE(), D)
    matrix = torch.randn(8, D, generator=torch.Generator().manual_seed(0)) / 3
    operator = LinearMap(matrix, GaussianNoise(0.2))
    y = operator.measure(prior.sample(B, seed=1).float(), seed=2)
    samples = torch.stack([prior.posterior(operator, one[None]).sample(200, seed=3).float() for one in y])
    return prior, operator, y, samples, prior.sample(400, seed=4).float()


def solution(samples, log_weights=None, seed=0, **fields):
    log_weights = torch.zeros(samples.shape[:2]) if log_weights is None else log_weights
    return Solution(samples, log_weights, "exact draws", 0, 0, 0.0, seed, **fields)


def test_right_samples_of_a_right_prior_pass(posed):
    prior, operator, y, samples, draws = posed
    found = examine(solution(samples), operator, y, prior, draws)
    assert found.warnings == [[] for _ in range(B)]
    assert float(found.chi2.mean()) == pytest.approx(1.0, abs=0.25)
    torch.testing.assert_close(found.ess, torch.full((B,), 200.0, dtype=found.ess.dtype))
    assert 0.2 < float(found.prior_p.mean()) < 0.8 and found.lineages is None


def test_too_small_a_noise_is_told_for_every_measurement(posed):
    _, operator, y, samples, _ = posed
    wrong = LinearMap(operator.matrix, GaussianNoise(0.02))
    found = examine(solution(samples), wrong, y)
    assert all("no sample explains y" in texts[0] and "sigma_y" in texts[0] for texts in found.warnings)


def test_fitted_noise_is_told(posed):
    _, operator, y, _, _ = posed
    fitted = operator.pinv(y)[:, None].expand(-1, 5, -1)
    assert all("fit the noise" in texts[0] for texts in examine(solution(fitted), operator, y).warnings)


def test_a_prior_that_does_not_cover_y_is_told(posed):
    """Measurements of pictures four times as far from the mean, with samples that explain them."""
    prior, operator, _, _, draws = posed
    far = prior.mean.float() + 6 * (prior.sample(B, seed=9).float() - prior.mean.float())
    y = operator.measure(far, seed=2)
    found = examine(solution(far[:, None].expand(-1, 2, -1)), operator, y, prior, draws)
    told = [any("does not cover y" in text for text in texts) for texts in found.warnings]
    assert sum(told) >= 18 and float(found.prior_p.min()) == pytest.approx(1 / 401)


def test_weights_and_lineages_are_told(posed):
    _, operator, y, samples, _ = posed
    alone = torch.zeros(B, 200)
    alone[:, 0] = 50.0
    assert all("effective sample size 1.0" in t[0] for t in examine(solution(samples, alone), operator, y).warnings)
    kin = examine(solution(samples, lineages=torch.full((B,), 2.0)), operator, y)
    assert all("descend from 2.0" in texts[0] for texts in kin.warnings)


def test_what_cannot_be_told_is_none():
    prior = gaussian(VPSDE(), 4)
    exact = Masking(torch.tensor([1, 0, 1, 0]), noise=GaussianNoise(0.0))
    found = examine(solution(prior.sample(6, seed=0).view(2, 3, 4)), exact, torch.zeros(2, 4))
    assert found.chi2 is None and found.predictive_p is None and found.warnings == [[], []]
    labels = LinearMap(torch.eye(4), noise=Categorical())
    unlabelled = examine(solution(torch.zeros(2, 3, 4)), labels, torch.tensor([1, 2]))
    assert unlabelled.chi2 is None
    assert "residuals  not checked: y has no noise" in found.summary[0]
    assert "residuals  not checked: y has no residual" in unlabelled.summary[0]


COUNTED = {
    "poisson": (PoissonNoise(100.0), PoissonNoise(10_000.0)),
    "camera": (PoissonGaussianNoise(100.0, 0.01), PoissonGaussianNoise(10_000.0, 0.001)),
    "rician": (RicianNoise(0.1), RicianNoise(0.02)),
    "speckle": (SpeckleNoise(4.0), SpeckleNoise(100.0)),
}


@pytest.mark.parametrize("operator", [Masking(torch.ones(1, 24, 24)), Transmission()], ids=["mask", "transmission"])
@pytest.mark.parametrize(("right", "wrong"), COUNTED.values(), ids=COUNTED)
def test_noise_that_is_not_gaussian_is_checked_as_solve_does(operator, right, wrong):
    """The truth itself in place of samples: chi^2 about 1 or below; with the wrong noise the warning of `solve`."""
    truth = torch.rand(3, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    y = operator.with_noise(right).measure(truth, seed=1)
    samples = solution(truth[:, None].expand(-1, 2, -1, -1, -1))
    found = examine(samples, operator.with_noise(right), y)
    assert found.warnings == [[], [], []] and float(found.chi2.min()) > 0.3 and float(found.chi2.max()) < 1.2
    assert "residuals  chi^2" in found.summary[0]
    told = examine(samples, operator.with_noise(wrong), y)
    assert float(told.chi2.min()) > 2
    for texts, expected in zip(
        told.warnings, misfits(operator.with_noise(wrong), y, samples.samples, samples.log_weights), strict=True
    ):
        assert len(texts) == 1 and "more noise than stated" in texts[0] and texts[0].startswith(expected)
    assert "residuals  chi^2" in told.summary[0] and "mean  in doubt" in told.summary[0]


def test_dark_magnitudes_are_no_misfit():
    """A Rician magnitude of 0 has the mean 1.25 sigma, which is no residual."""
    operator = Masking(torch.ones(1, 24, 24), noise=RicianNoise(0.1))
    dark = torch.zeros(2, 1, 24, 24)
    found = examine(solution(dark[:, None].expand(-1, 2, -1, -1, -1)), operator, operator.measure(dark, seed=1))
    assert found.warnings == [[], []] and float(found.chi2.max()) < 1.2


@pytest.mark.parametrize("method", ["ep", "dps"])
def test_the_warning_of_a_wrong_peak_is_that_of_solve(method):
    prior = Gaussian(0.5 * torch.ones(64), 0.0003 * torch.eye(64), VPSDE())
    truth = prior.sample(1, seed=1).float()
    right, wrong = (Masking(torch.ones(64), noise=PoissonNoise(peak)) for peak in (20.0, 20.0 * 100))
    y = right.measure(truth.clamp_min(0), seed=2)
    with pytest.warns(PoorFit) as caught:
        solved = solve(prior, wrong, y, 4, method, 5, progress=False)
    (texts,) = examine(solved, wrong, y).warnings
    assert any(text in str(w.message) for w in caught for text in texts)
    assert not examine(solve(prior, right, y, 4, "ep", 20, progress=False), right, y).warnings[0]


def test_without_noise_the_prior_s_least_noise_is_the_measure():
    prior = gaussian(VPSDE(), 4)
    exact = Masking(torch.tensor([1, 0, 1, 0]), noise=GaussianNoise(0.0))
    truth, draws = prior.sample(2, seed=0).float(), prior.sample(99, seed=1).float()
    y = exact.measure(truth)
    near, far = (examine(solution((truth + off)[:, None].expand(-1, 2, -1)), exact, y, prior, draws) for off in (0, 1))
    assert near.warnings == [[], []] and all("no sample explains y" in texts[0] for texts in far.warnings)


def test_it_takes_what_solve_gives(posed):
    prior, operator, y, _, draws = posed
    found = examine(solve(prior, operator, y[:2], 40, "mmps", progress=False), operator, y[:2], prior, draws)
    assert found.warnings == [[], []]


def test_what_does_not_belong_together_is_refused(posed):
    prior, operator, y, samples, draws = posed
    with pytest.raises(ValueError, match="3 measurements and a solution of 20"):
        examine(solution(samples), operator, y[:3])
    for arguments in ((prior, None), (None, draws)):
        with pytest.raises(ValueError, match="expected both"):
            examine(solution(samples), operator, y, *arguments)
    with pytest.raises(ValueError, match="98 draws"):
        examine(solution(samples), operator, y, prior, draws[:98])


def test_a_slight_misfit_of_many_numbers_is_not_complained_of():
    """chi^2 of 1.05 over 20,000 numbers is as improbable as can be, and nothing to warn of; one of 1.2 is."""
    operator = Masking(torch.ones(1, 100, 200), noise=GaussianNoise(0.1))
    z = torch.randn(1, 1, 100, 200, generator=torch.Generator().manual_seed(0))
    for chi2, count in ((1.05, 0), (1.2, 1)):
        y = 0.1 * chi2**0.5 * z / z.square().mean().sqrt()
        found = examine(solution(torch.zeros(1, 2, 1, 100, 200)), operator, y)
        assert (
            found.predictive_p is not None and float(found.predictive_p[0]) < 1e-4 and len(found.warnings[0]) == count
        )
    assert "10 % larger than sigma_y" in found.warnings[0][0] and "1.1 times" in found.warnings[0][0]


def test_another_solution_agrees_or_does_not(posed):
    _, operator, y, samples, _ = posed
    first, second = solution(samples[:, :100]), solution(samples[:, 100:], seed=1)
    found = examine(first, operator, y, other=second)
    assert sum("disagree" in text for texts in found.warnings for text in texts) <= 2
    assert "supported" in found.summary[0] and "no disagreement seen" in found.summary[0]
    mean = samples.mean(1, keepdim=True)
    narrow = solution((mean + 0.5 * (samples - mean))[:, 100:], seed=1)
    wrong = examine(narrow, operator, y, other=first)
    assert all(any("disagree" in text for text in texts) for texts in wrong.warnings)
    assert float(wrong.agreement.spread.mean()) == pytest.approx(0.5, abs=0.03)
    assert "supported" not in wrong.summary[0] and "intervals  in doubt" in wrong.summary[0]


def test_two_solutions_with_one_seed_are_not_compared(posed):
    """They share their random numbers, whatever their methods."""
    _, operator, y, samples, _ = posed
    with pytest.raises(ValueError, match="both solutions have seed 0"):
        examine(solution(samples[:, :100]), operator, y, other=solution(samples[:, 100:]))


def test_without_another_solution_modes_are_not_tested(posed):
    _, operator, y, samples, _ = posed
    text = examine(solution(samples), operator, y).summary[0]
    assert "modes  not tested" in text and "residuals  chi^2" in text
    assert "intervals  in doubt" in examine(solution(samples, calibrated=False), operator, y).summary[0]


def test_weighted_samples_are_compared_by_what_they_are_worth(posed):
    _, operator, y, samples, _ = posed
    log_weights = torch.randn(B, 100, generator=torch.Generator().manual_seed(0))
    found = examine(solution(samples[:, :100], log_weights), operator, y, other=solution(samples[:, 100:], seed=1))
    assert sum("disagree" in text for texts in found.warnings for text in texts) <= 3
    few = torch.zeros(B, 100)
    few[:, 0] = 50.0
    with pytest.raises(ValueError, match=r"worth 1\.0"):
        examine(solution(samples[:, :100], few), operator, y, other=solution(samples[:, 100:], seed=1))
    with pytest.raises(TypeError, match=r"expected an inverse\.Solution"):
        examine(solution(samples), operator, y, other=samples)
