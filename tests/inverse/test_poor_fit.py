"""After each solve: samples that do not explain y, or explain its noise, are warned of; right ones never are."""

import re
import warnings
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import avg_pool2d

from inverse import METHODS, PoorFit, examine, solve
from inverse.guidance import DPS
from inverse.methods import Method
from inverse.quality import mean_chi2, misfits, predictive_p
from operators import (
    Blur,
    Categorical,
    Composition,
    GaussianNoise,
    Grayscale,
    LinearMap,
    Masking,
    PhaseRetrieval,
    PoissonGaussianNoise,
    PoissonNoise,
    RicianNoise,
    SpeckleNoise,
)
from priors import VPSDE, Gaussian, from_denoiser
from tests.cases import gaussian, normal

EQUAL = torch.zeros(1, 2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_a_sample_of_weight_zero_is_absent(bad, sigma):
    operator = LinearMap(torch.eye(8), GaussianNoise(sigma))
    y, log_w = normal(2, 8), torch.tensor([[0.0, -torch.inf], [0.0, 0.0]])
    samples = torch.stack([y + 0.5 * normal(2, 8, seed=1), torch.full((2, 8), bad)], 1).float()
    y = y.float()
    with_it, alone = (misfits(operator, y, x, w, 0.5) for x, w in ((samples, log_w), (samples[:, :1], log_w[:, :1])))
    assert with_it[0] == alone[0] == "" and "no sample explains y" in with_it[1]  # which weighs half there
    if sigma:
        p = predictive_p(operator, y, samples, log_w), predictive_p(operator, y, samples[:, :1])
        torch.testing.assert_close(p[0][0], p[1][0])


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


@pytest.mark.parametrize(("stated", "text"), [(0.05, "no sample explains y"), (1.0, "the samples fit the noise")])
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


NOISES = {  # noise that is right, and the same stated 2.5 to 4 times too large
    "photons": (PoissonNoise(20.0), PoissonNoise(4.0)),
    "camera": (PoissonGaussianNoise(100.0, 0.02), PoissonGaussianNoise(10.0, 0.08)),
    "magnitudes": (RicianNoise(0.05), RicianNoise(0.15)),
    "speckle": (SpeckleNoise(10.0), SpeckleNoise(2.0)),
}


@pytest.mark.parametrize("name", NOISES)
def test_noise_that_is_not_gaussian_is_judged_from_both_sides(name):
    """Relative to measurements simulated with it, whose chi^2 is 1 on average."""
    right, large = (Masking(torch.ones(1, 32, 32), noise=noise) for noise in NOISES[name])
    x = 0.3 + 0.4 * torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    samples = x[:, None].expand(-1, 2, -1, -1, -1)
    y = right.measure(x, seed=2)
    found = mean_chi2(right, y, samples, EQUAL)
    assert found is not None and abs(float(found[0]) - 1) < 0.15
    assert misfits(right, y, samples, EQUAL) == [""]
    assert "less noise than stated" in misfits(large, y, samples, EQUAL)[0]
    assert "more noise than stated" in misfits(right, large.measure(x, seed=2), samples, EQUAL)[0]


def test_counts_far_from_their_rates_are_reported():
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


def test_counts_have_no_sigma_y():
    operator, samples = Masking(torch.ones(4, 4), noise=PoissonNoise(100.0)), torch.full((1, 2, 1, 4, 4), 0.2)
    (text,) = misfits(operator, torch.full((1, 1, 4, 4), 0.9), samples, EQUAL)
    assert "more noise than stated" in text and "sigma_y" not in text


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
    with pytest.warns(PoorFit, match=r"measurement 0: .*chi\^2 .*n_steps.*and 1 more, see inverse\.examine"):
        solve(prior, operator, y, 4, idle, 10, progress=False)


def smoothing(x, sigma):
    return avg_pool2d(x, 3, 1, 1)


WITHOUT = from_denoiser(torch.no_grad()(smoothing), event_shape=(1, 8, 8))  # no derivative
WITH = from_denoiser(smoothing, event_shape=(1, 8, 8))
SMALL = GaussianNoise(1e-3)  # so small that no sample explains y


@pytest.mark.parametrize("prior", [WITH, WITHOUT], ids=["derivative", "none"])
@pytest.mark.parametrize(
    "operator", [Blur.gaussian(0.5, noise=SMALL), PhaseRetrieval(noise=SMALL)], ids=["linear", "not linear"]
)
def test_the_method_that_a_warning_names_is_another_one_that_serves(prior, operator):
    y = operator.measure(torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)), seed=0)
    used = "daps" if "linear" not in operator.capabilities else "diffpir"
    few = {"n_samples": 2, "n_steps": 3, "progress": False}
    with pytest.warns(PoorFit, match=r"method '[\w-]+'") as caught:
        solution = solve(prior, operator, y, method=used, **few)
    texts = [str(w.message) for w in caught] + examine(solution, operator, y).warnings[0]
    named = [re.search(r"method '([\w-]+)'", text) for text in texts]
    for found in filter(None, named):
        assert found[1] != used
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            solve(prior, operator, y, method=found[1], **few)
    assert any(named)


def test_methods_that_a_refusal_names_serve_the_size_too():
    """ "pivot" takes 64 numbers at most: of 256 it is no way out."""
    operator = Blur.gaussian(0.5, noise=GaussianNoise(0.1))
    for size, there in ((8, True), (16, False)):
        prior = from_denoiser(smoothing, event_shape=(1, size, size))
        with pytest.raises(ValueError, match="methods that serve it are") as refused:
            solve(prior, operator, torch.zeros(1, 1, size, size), method="replacement", progress=False)
        assert ("'pivot'" in str(refused.value)) == there


def test_a_measurement_of_nothing_is_explained_by_everything():
    mask = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    mask[1] = False
    operator, x = Masking(mask, GaussianNoise(0.1)), normal(2, 1, 8, 8, seed=1).float()
    samples = x[:, None].expand(-1, 2, -1, -1, -1)
    assert misfits(operator, operator.measure(x), samples, torch.zeros(2, 2)) == ["", ""]
    assert [bool(m) for m in misfits(operator, operator.measure(x), samples + 1, torch.zeros(2, 2))] == [True, False]
