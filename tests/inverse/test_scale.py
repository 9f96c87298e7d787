"""Measurements in 0..255 or in -1..1 are warned of, and no others."""

import warnings

import pytest
import torch

import inverse
import priors
from inverse import ImplausibleScale, PoorFit, solve
from inverse.quality.scale import implausible, out_of_range, outside
from operators import Blur, Fourier, GaussianNoise, LinearMap, Masking, PhaseRetrieval, PoissonNoise, Radon, Resize
from priors import VESDE, Gaussian, GaussianMixture, ScorePrior, Tiled
from tests.cases import picture, score_prior
from tests.operators.cases import ALL

CASES = [(label, case) for label, case in ALL if "classifier" not in label]


def trained(event_shape):
    """An untrained network's prior: pictures in [0, 1] by contract, whatever their size."""
    return ScorePrior(torch.nn.Identity(), VESDE(), event_shape)


def pictures(event_shape, n, seed=0):
    """Dark, bright, flat and noisy ones, smooth ones, and bars."""
    rng = torch.Generator().manual_seed(seed)
    level, contrast = torch.rand(2, n, *[1] * len(event_shape), generator=rng)
    noise = torch.rand(n, *event_shape, generator=rng)
    ramp = torch.linspace(0, 1, event_shape[-1]).expand(n, *event_shape)
    x = torch.where(torch.arange(n).view(level.shape) % 2 == 0, ramp, noise)
    return (level + contrast * (x - 0.5)).clamp(0, 1)


@pytest.mark.parametrize("case", [case for _, case in CASES], ids=[label for label, _ in CASES])
def test_no_measurement_of_a_picture_is_warned_of_and_255_times_each_is(case):
    if len(case.event_shape) != 3 or case.event_shape[0] not in (1, 3):
        pytest.skip("pictures have one or three channels")
    operator, prior = case.make(), trained(case.event_shape)
    rows = operator.batch or 3
    for seed in range(4):
        y = operator.measure(pictures(case.event_shape, rows, seed), seed=seed)
        assert implausible(prior, operator, y) == [""] * rows
    bright = operator.measure(torch.ones(rows, *case.event_shape) * 0.8, seed=0)
    expected = bright.abs().flatten(1).amax(1) > 0.05  # "difference" and the like make nearly nothing of it
    assert [bool(text) for text in implausible(prior, operator, 255 * bright)] == expected.tolist()


@pytest.mark.parametrize("case", [case for _, case in CASES], ids=[label for label, _ in CASES])
def test_the_units_of_an_analytic_prior_are_those_of_its_moments(case):
    """With a mean of 3: its own draws are plausible, 255 times them are not."""
    operator = case.make()
    d = torch.Size(case.event_shape).numel()
    prior = Gaussian(torch.full((d,), 3.0), torch.eye(d), VESDE(), event_shape=case.event_shape)
    x = prior.sample(operator.batch or 4, seed=1).float()
    y = operator.measure(x.clamp_min(0), seed=2)  # photons ask for no less
    assert not any(implausible(prior, operator, y))
    assert all(implausible(prior, operator, 255 * y)) or float(y.abs().max()) < 0.05  # of what is next to nothing


@pytest.mark.parametrize("name", priors.available())
def test_shipped_priors_and_their_own_pictures(name):
    prior, x = priors.load(name), priors.samples(name).floats(slice(12))[..., :64, :64]
    shape = tuple(x.shape[1:])
    prior = prior if prior.event_shape == shape else prior.resized(shape)
    noise = GaussianNoise(0.05)
    made = [Masking.random(shape, 0.1, noise=noise), Blur.gaussian(2.0, noise=noise), Resize(4, noise=noise)]
    made += [Masking.random(shape, noise=PoissonNoise(20.0)), PhaseRetrieval(noise=noise), Radon(20, noise=noise)]
    if shape[0] == 1:
        made += [Fourier.cartesian(shape, noise=noise), Fourier.radial(shape, 12, coils=4, noise=noise)]
    if isinstance(made[-1], Fourier):
        made.append(Fourier(high_frequencies(shape), noise=noise))
    for operator in made:
        y = operator.measure(x, seed=3)
        assert implausible(prior, operator, y) == [""] * len(x), operator
        assert all(implausible(prior, operator, 255 * y)), operator
    weak = GaussianNoise(0.05 / 32)
    for operator in (Masking.random(shape, 0.1, noise=weak), Blur.gaussian(2.0, noise=weak), Resize(4, noise=weak)):
        assert all(implausible(prior, operator, operator.measure(x / 32, seed=3))), operator
    for operator in made[:3]:  # of nothing but averages of pixels
        assert all(implausible(prior, operator, 2 * operator.measure(x, seed=3) - 1)), operator


def high_frequencies(shape):
    h, w = shape[1:]
    return (torch.arange(w) - w // 2).abs().expand(h, w) > w // 8


def test_what_is_small_beside_its_noise():
    """As k-space of a scanner, in its own units."""
    prior, operator = trained((1, 16, 16)), Fourier.cartesian((1, 16, 16), noise=GaussianNoise(0.05))
    y = operator.measure(pictures((1, 16, 16), 2), seed=0)
    (first, second) = implausible(prior, operator, 1e-6 * y)
    assert "below that of its own noise" in first and "below that of its own noise" in second
    assert implausible(prior, operator, torch.zeros_like(y)) == ["", ""]  # nothing to tell by


def test_sigma_in_0_to_255_hides_nothing():
    prior, operator = priors.load("fashion-mnist"), Blur.gaussian(1.0, noise=GaussianNoise(255 * 0.05))
    y = 255 * Blur.gaussian(1.0, noise=GaussianNoise(0.05)).measure(priors.samples("fashion-mnist").floats()[:4])
    assert all("255" in text for text in implausible(prior, operator, y))


def test_labels_priors_without_known_units_and_tiles():
    x = torch.rand(1, 3, 24, 32)
    operator = Blur.gaussian(1.0, noise=GaussianNoise(0.05))
    tiled = Tiled(priors.load("natural").resized((3, 24, 32)), 16)
    assert implausible(tiled, operator, 255 * operator(x)) != [""]

    class Unknown(priors.Prior):
        sde, event_shape = VESDE(), (3, 24, 32)

        def denoise(self, x, t):
            raise AssertionError("not to be evaluated")

    assert implausible(Unknown(), operator, 255 * operator(x)) == [""]
    assert implausible(tiled, operator, torch.zeros(2, dtype=torch.long)) == ["", ""]


def test_a_prior_of_two_scales_is_plausible_at_both():
    prior = GaussianMixture(torch.tensor([[0.0], [20.0]]), torch.ones(2, 1, 1), torch.tensor([0.9, 0.1]), VESDE())
    operator = LinearMap(torch.ones(1, 1), noise=GaussianNoise(0.1))
    y = operator.measure(torch.tensor([[0.1], [20.0], [22.0]]))
    assert implausible(prior, operator, y) == ["", "", ""]


def test_solve_warns_and_goes_on():
    prior, operator = score_prior(), Masking.random((1, 8, 8), noise=GaussianNoise(0.05))
    y = operator.measure(pictures((1, 8, 8), 2), seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ImplausibleScale)
        solve(prior, operator, y, 2, "mmps", 2, progress=False)
    with pytest.warns(ImplausibleScale, match=r"measurement 0: .* \(and 1 more\)"):
        warned = solve(prior, operator, 255 * y, 2, "mmps", 2, progress=False)
    assert warned.samples.shape == (2, 2, 1, 8, 8)


def test_moments_tell_where_pictures_are_no_pictures():
    """A Gaussian of pictures, whose draws leave [0, 1]."""
    prior = picture(VESDE())
    operator = Masking.random((1, 8, 8), noise=GaussianNoise(0.01))
    x = prior.sample(50, seed=3).float()
    assert x.min() < -0.3 and not any(implausible(prior, operator, operator.measure(x, seed=4)))


@pytest.mark.parametrize("peak", [3.0, torch.tensor([3.0, 20.0])])
def test_counts_that_are_not_whole_numbers_are_warned_of(peak):
    operator, prior = Masking(torch.ones(16, 16), noise=PoissonNoise(peak)), trained((1, 16, 16))
    y = operator.measure(pictures((1, 16, 16), 2), seed=0)
    assert implausible(prior, operator, y) == ["", ""]
    for text in implausible(prior, operator, 1.03 * y + 0.1):
        assert "not whole numbers" in text and "check the peak" in text
    exposed = operator.with_noise(GaussianNoise(0.5))
    assert implausible(prior, exposed, 1.03 * y + 0.1) == ["", ""]


def test_means_that_leave_the_range_of_pictures():
    """By a thousandth of their pixels or more, whatever single ones do; of priors of pictures only."""
    prior, mask, x = trained((1, 64, 64)), Masking(torch.ones(64, 64)), pictures((1, 64, 64), 4)
    assert outside(prior, mask, x) == [""] * 4
    dark, bright, single = x.clone(), x.clone(), x.clone()
    dark[:, :, 9:11, 9:17], bright[:, :, 9:11, 9:17], single[:, :, 9, 9:12] = -0.2, 1.4, -5.0
    assert all("below -0.2," in text for text in outside(prior, mask, dark))
    assert all("above 1.4," in text for text in outside(prior, mask, bright))
    assert outside(prior, mask, single) == [""] * 4
    border = x.clone()
    border[:, :, :3] = -0.5  # half a kernel that y hardly measures
    valid = Blur(torch.ones(7, 7) / 49, "valid")
    assert outside(prior, valid, border) == [""] * 4 and all(outside(prior, valid, dark))
    own = Gaussian(torch.zeros(64), torch.eye(64), VESDE(), event_shape=(1, 8, 8))
    assert outside(own, mask, dark[:, :, 8:16, 8:16]) == [""] * 4


def test_ringing_of_a_kernel_that_is_too_wide_is_reported():
    prior = priors.load("natural", event_shape=(3, 64, 64))
    x = priors.samples("natural").floats()[1:2, :, 40:104, 40:104]
    noise = GaussianNoise(0.005)
    y = Blur.gaussian(1.6, "circular", noise).measure(x, seed=0)
    how = (2, "mmps-wiener", 8)
    with pytest.warns(PoorFit, match="outside the range 0 to 1"):
        solve(prior, Blur.gaussian(2.2, "circular", noise), y, *how, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve(prior, Blur.gaussian(1.6, "circular", noise), y, *how, progress=False)


def test_known_pictures_of_another_range():
    prior, x = priors.load("fashion-mnist"), priors.samples("fashion-mnist").floats(slice(20))
    assert out_of_range(prior, x) == "" and out_of_range(prior, 0.02 * x) == ""
    assert "divide by 255" in out_of_range(prior, 255 * x)
    assert "(x + 1) / 2" in out_of_range(prior, 2 * x - 1)
    assert "[0, 1]" in out_of_range(prior, x / 255)
    operator = Masking.random((1, 28, 28), 0.5, noise=GaussianNoise(0.05))
    with pytest.warns(ImplausibleScale, match="known pictures"):
        inverse.conformal(prior, operator, 255 * x, method="ddrm", n_samples=2, n_steps=2, progress=False)
