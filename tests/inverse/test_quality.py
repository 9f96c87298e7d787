import pytest
import torch

from inverse.quality import predictive_p, prior_predictive_p, psnr, residual_chi2, ssim
from operators import Categorical, GaussianNoise, LinearMap, Masking
from priors import VPSDE, Gaussian
from tests.cases import gaussian, two_modes


def noisy(sigma, seed=0):
    x = torch.full((2, 1, 32, 32), 0.5)
    return x, x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def test_psnr_of_white_noise():
    x, estimate = noisy(0.1)
    torch.testing.assert_close(psnr(estimate, x), torch.full((2,), 20.0), atol=0.4, rtol=0)


def test_psnr_clips_what_no_image_can_be():
    x = torch.ones(1, 1, 4, 4)
    assert psnr(x + 5, x).item() == pytest.approx(120)


def test_ssim_is_one_for_the_truth_and_falls_with_noise():
    x = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    a, b = (ssim(x + s * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)), x) for s in (0.05, 0.2))
    torch.testing.assert_close(ssim(x, x), torch.ones(2))
    assert (b < a).all() and (a < 1).all()


def test_chi2_of_the_truth_is_one_and_counts_measured_pixels_only():
    x, _ = noisy(0.0)
    operator = Masking.random((1, 32, 32), keep=0.3, noise=GaussianNoise(0.05))
    y = operator.measure(x, seed=0)
    torch.testing.assert_close(residual_chi2(operator, y, x), torch.ones(2), atol=0.3, rtol=0)
    torch.testing.assert_close(residual_chi2(operator, y, y), torch.zeros(2))


def test_chi2_needs_a_noise():
    x, _ = noisy(0.0)
    with pytest.raises(ValueError, match="sigma > 0"):
        residual_chi2(Masking.random((1, 32, 32), noise=GaussianNoise(0.0)), x, x)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_shapes_must_agree(measure):
    with pytest.raises(ValueError, match="same shape"):
        measure(torch.zeros(1, 1, 8, 8), torch.zeros(2, 1, 8, 8))


def test_predictive_p_is_the_chance_of_a_larger_residual():
    """Against y measured anew 20000 times from each of two samples of unequal weight, some pixels unmeasured."""
    operator = Masking(torch.tensor([[[1, 1, 0, 1]]]), noise=GaussianNoise(0.5))
    samples = torch.tensor([[0.0, 0.4, 9.0, 0.2], [0.6, 0.1, 0.0, 1.0]]).view(1, 2, 1, 1, 4)
    y, log_weights = torch.tensor([0.3, 1.0, 0.0, -0.2]).view(1, 1, 1, 4), torch.tensor([[0.0, 1.0]])
    w, chance = torch.softmax(log_weights, 1)[0], []
    for x in samples[0]:
        again = operator.measure(x.expand(20000, 1, 1, 4), seed=1)
        further = residual_chi2(operator, again, x.expand(20000, 1, 1, 4)) >= residual_chi2(operator, y, x[None])
        chance.append(further.double().mean())
    expected = float(w[0] * chance[0] + w[1] * chance[1])
    assert 0.05 < expected < 0.95
    assert float(predictive_p(operator, y, samples, log_weights)) == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize(("stated", "low", "high"), [(0.3, 0.02, 0.98), (0.06, 0.0, 0.01), (3.0, 0.99, 1.0)])
def test_predictive_p_finds_a_wrong_noise_level(stated, low, high):
    """Exact posterior draws of a Gaussian prior; the noise was .3."""
    prior, matrix = Gaussian(torch.zeros(4), 0.01 * torch.eye(4), VPSDE()), torch.eye(4).repeat(8, 1)
    y = LinearMap(matrix, GaussianNoise(0.3)).measure(prior.sample(5, seed=1), seed=2)
    operator = LinearMap(matrix, GaussianNoise(stated))
    samples = torch.stack([prior.posterior(operator, one[None]).sample(200, seed=3) for one in y])
    p = predictive_p(operator, y, samples)
    assert low <= float(p.min()) and float(p.max()) <= high, p


def test_predictive_p_needs_gaussian_noise_and_as_many_measurements():
    samples = torch.zeros(2, 3, 4)
    operator = LinearMap(torch.eye(4), GaussianNoise(0.1))
    with pytest.raises(ValueError, match="3 measurements and samples of 2"):
        predictive_p(operator, torch.zeros(3, 4), samples)
    operator.noise = Categorical()
    with pytest.raises(ValueError, match="Categorical: expected GaussianNoise"):
        predictive_p(operator, torch.zeros(2, 4), samples)


# the prior against the measurement ------------------------------------------------------------------------------------

FAR = Masking(torch.tensor([1.0, 1, 1, 0, 0, 1]), noise=GaussianNoise(0.1))


def test_prior_predictive_p_is_uniform_where_the_prior_is_right():
    """Of a mixture, whose T follows no chi^2 law: mean and share below .1 of 300 measurements, to 4 standard errors."""
    prior = two_modes(VPSDE(), 6)
    y = FAR.measure(prior.sample(300, seed=1), seed=2)
    p = prior_predictive_p(prior, FAR, y, prior.sample(400, seed=3)).double()
    assert abs(float(p.mean()) - 0.5) < 4 * (1 / 12 / 300) ** 0.5
    assert abs(float((p < 0.1).double().mean()) - 0.1) < 4 * (0.1 * 0.9 / 300) ** 0.5


def test_prior_predictive_p_ranks_as_the_evidence_of_a_gaussian_does():
    """The closed form: on a Gaussian prior T is -2 log p(y), the rank that of the evidence under the prior's draws."""
    prior = gaussian(VPSDE(), 6)
    y, draws = FAR.measure(prior.sample(4, seed=5), seed=6), prior.sample(50, seed=7)
    again = FAR.measure(draws, seed=0)
    evidence = [prior.log_evidence(FAR, row[None]) for row in torch.cat([y, again])]
    expected = [(1 + sum(other <= own for other in evidence[4:])) / 51 for own in evidence[:4]]
    torch.testing.assert_close(prior_predictive_p(prior, FAR, y, draws).tolist(), expected)
    torch.testing.assert_close(prior_predictive_p(prior, FAR, y.double(), draws.float()).tolist(), expected)
    torch.testing.assert_close(prior_predictive_p(prior, FAR, y.float(), draws.double()).tolist(), expected)


def test_prior_predictive_p_finds_what_the_prior_does_not_cover():
    prior = gaussian(VPSDE(), 6)
    inside = prior.sample(1, seed=5)
    y = FAR.measure(torch.cat([inside, inside + 30]), seed=6)
    p = prior_predictive_p(prior, FAR, y, prior.sample(200, seed=7))
    assert float(p[0]) > 0.01 and float(p[1]) == pytest.approx(1 / 201)


def test_prior_predictive_p_says_what_it_needs():
    prior = gaussian(VPSDE(), 6)
    with pytest.raises(ValueError, match="no draws"):
        prior_predictive_p(prior, FAR, torch.zeros(1, 6), torch.zeros(0, 6))
    with pytest.raises(ValueError, match="LinearOperator with GaussianNoise"):
        prior_predictive_p(prior, Masking(torch.ones(6), noise=Categorical()), torch.zeros(1, 6), torch.zeros(2, 6))
