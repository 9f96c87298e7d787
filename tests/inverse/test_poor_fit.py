"""After each solve: samples that do not explain y, or explain its noise, are warned of; right ones never are."""

import warnings

import pytest
import torch

from inverse import METHODS, PoorFit, solve
from inverse.guidance import DPS
from inverse.methods import Method, replace
from inverse.quality import misfit, misfits
from operators import Categorical, Composition, GaussianNoise, Grayscale, LinearMap, Masking, PoissonNoise
from priors import VPSDE, Gaussian
from tests.cases import gaussian, normal

EQUAL = torch.zeros(1, 2)


@pytest.mark.parametrize("numbers", [1, 2, 8, 64])
def test_exact_posterior_draws_are_hardly_ever_warned_of(numbers):
    """2,000 measurements of each size: the chi^2 of one measured number is often above 2 and below .5."""
    prior = Gaussian(torch.zeros(64), torch.eye(64), VPSDE())
    operator = LinearMap(torch.eye(64)[:numbers], GaussianNoise(0.5))
    truth = prior.sample(2000, seed=1).float()
    y = operator.measure(truth, seed=2)
    gain = 1 / (1 + 0.25)  # closed form: independent coordinates of variance 1, seen with variance .25
    z = torch.randn(2000, 4, 64, generator=torch.Generator().manual_seed(3))
    samples = z.clone()
    samples[..., :numbers] = gain * y[:, None] + (0.25 * gain) ** 0.5 * z[..., :numbers]
    assert sum(map(bool, misfits(operator, y, samples, torch.zeros(2000, 4)))) <= 1  # of a chance of 1e-4 at most


@pytest.mark.parametrize(("stated", "text"), [(0.05, "no sample explains y"), (1.0, "the noise was fitted")])
def test_a_wrong_noise_level_is_warned_of(stated, text):
    operator = Masking(torch.ones(1, 8, 8), noise=GaussianNoise(stated))
    y = 0.2 * normal(1, 1, 8, 8, seed=1).float()
    found = misfits(operator, y, torch.zeros(1, 2, 1, 8, 8), EQUAL)
    assert text in found[0] and "sigma_y" in found[0]


def test_one_astray_among_right_samples_is_warned_of_unless_it_has_no_weight():
    operator = Masking(torch.ones(1, 8, 8), noise=GaussianNoise(0.2))
    y = 0.2 * normal(1, 1, 8, 8, seed=1).float()
    samples = torch.stack([torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 1e25)], 1)
    assert "no sample explains y" in misfits(operator, y, samples, EQUAL)[0]
    assert misfits(operator, y, samples, torch.tensor([[0.0, -1e4]])) == [""]


def test_counts_are_judged_from_above():
    operator = Masking(torch.ones(1, 16, 16), noise=PoissonNoise(4.0))
    truth = torch.full((1, 1, 16, 16), 0.5)
    y = operator.measure(truth, seed=0)
    assert misfits(operator, y, truth[:, None].expand(-1, 2, -1, -1, -1), EQUAL) == [""]
    dark = torch.full((1, 1, 16, 16), 0.01)  # of next to no counts, most 0
    assert misfits(operator, operator.measure(dark, seed=0), dark[:, None].expand(-1, 2, -1, -1, -1), EQUAL) == [""]
    for wrong in (-3.0, 4.0):
        assert misfits(operator, y, torch.full((1, 2, 1, 16, 16), wrong), EQUAL)[0]


def test_without_noise_the_prior_s_least_noise_is_the_measure():
    operator = Grayscale()
    x = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    y, noise = operator(x), normal(1, 3, 8, 8, seed=1).float()
    near, far = ((x + s * noise)[:, None].expand(-1, 2, -1, -1, -1) for s in (0.01, 0.1))
    assert misfits(operator, y, near, EQUAL, floor=0.01) == [""]
    assert misfits(operator, y, far, EQUAL, floor=0.01)[0]


def test_labels_are_not_judged():
    operator = LinearMap(torch.eye(4), noise=Categorical())
    assert misfits(operator, torch.tensor([1]), torch.zeros(1, 2, 4), EQUAL) == [""]


def test_unmeasured_numbers_do_not_count():
    mask = torch.zeros(1, 8, 8)
    mask[0, :4] = 1
    operator = Composition(Masking(mask, noise=GaussianNoise(0.1)), Masking(torch.ones(1, 8, 8)))
    y = operator.measure(torch.zeros(1, 1, 8, 8), seed=0)
    samples = torch.zeros(1, 2, 1, 8, 8)
    samples[..., 4:, :] = 1e6
    assert misfits(operator, y, samples, EQUAL) == [""]


def test_solve_warns_with_figure_and_remedy_and_is_silent_where_all_is_well():
    prior = gaussian(VPSDE(), 8)
    operator = LinearMap(normal(6, 8, seed=0).float(), GaussianNoise(0.05))
    y = operator.measure(prior.sample(2, seed=1).float(), seed=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PoorFit)
        solve(prior, operator, y, 4, "mmps", progress=False)
    idle: Method = replace(METHODS["dps"], guidance=DPS(1e-6))  # next to no guidance
    with pytest.warns(PoorFit, match=r"measurement 0: .*chi\^2 .*more steps.*and 1 more, see inverse\.examine"):
        solve(prior, operator, y, 4, idle, 10, progress=False)


def test_no_other_method_is_suggested_to_a_calibrated_one():
    """Of `mmps` itself the remedy "method mmps" would be empty."""
    for chi2, p in ((4.0, 0.0), (0.2, 1.0)):
        assert "mmps" in misfit(chi2, p, (0.5, 2.0), 0.01)
        assert "mmps" not in misfit(chi2, p, (0.5, 2.0), 0.01, calibrated=True)
    assert misfit(1.0, 0.5, (0.5, 2.0), 0.01) == ""
