"""A stated sigma_y is compared with the noise that a measurement has; samples of photographs are searched for noise."""

import warnings

import pytest
import torch
from torch.nn.functional import interpolate

import priors
from inverse import DoubtfulNoise, PoorFit, solve
from inverse.quality.grain import MOST, grain, grainy
from inverse.quality.noise_correlated import correlated
from inverse.quality.noise_stated import misjudged
from inverse.quality.scale import outside
from operators import (
    Blur,
    Downsampling,
    Fourier,
    GaussianNoise,
    Identity,
    Masking,
    PoissonNoise,
    Radon,
    Resize,
)

PICTURES = priors.samples("natural").floats()
NATURAL = priors.load("natural")
SHAPE = tuple(PICTURES.shape[1:])


def make(name, sigma):
    noise = GaussianNoise(sigma)
    made = {
        "noise": Identity(noise),
        "blur": Blur.gaussian(1.5, "valid", noise),
        "shrunk": Downsampling(2, noise),
        "movement": Blur.motion(9, seed=1, boundary="valid", noise=noise),
    }
    return made[name].at(SHAPE)


@pytest.mark.parametrize("name", ["noise", "blur", "shrunk", "movement"])
def test_sigma_of_photographs(name):
    wrong = {"square": 0.02**2, "half": 0.01, "a 255th": 0.02 / 255, "times 255": 5.1}
    found = dict.fromkeys(wrong, 0)
    for i, x in enumerate(PICTURES[:, None]):
        y = make(name, 0.02).measure(x, seed=i)
        assert misjudged(NATURAL, make(name, 0.02), y) == [""]
        texts = {key: misjudged(NATURAL, make(name, sigma), y)[0] for key, sigma in wrong.items()}
        assert "standard deviation, in units of y" in texts["times 255"] or not texts["times 255"]
        assert "whose square was stated" in texts["square"] or not texts["square"]
        for key, text in texts.items():
            found[key] += bool(text)
    assert min(found.values()) >= len(PICTURES) - 1


@pytest.mark.parametrize(
    "make_", [Identity, lambda noise: Downsampling(2, noise), lambda noise: Resize(2, noise=noise)]
)
def test_correlated_noise_is_told_from_white(make_):
    """Noise that was enlarged by 2, as of demosaiced pictures; none is found in white noise of any level."""
    found = 0
    for i, x in enumerate(PICTURES[:, None]):
        operator = make_(GaussianNoise(0.03)).at(SHAPE)
        for sigma in (0.0005, 0.01, 0.05):
            white = operator.with_noise(GaussianNoise(sigma))
            assert correlated(NATURAL, white, white.measure(x, seed=i)) == [""]
        clean = operator(x)
        half = torch.randn(1, 3, *(n // 2 for n in clean.shape[-2:]), generator=torch.Generator().manual_seed(i))
        noise = interpolate(half, size=clean.shape[-2:], mode="bilinear")
        text = correlated(NATURAL, operator, clean + 0.03 * noise / noise.std())[0]
        found += "correlated between pixels" in text
    assert found >= len(PICTURES) - 1


def test_correlation_is_not_looked_for_elsewhere():
    x = PICTURES[:1]
    assert correlated(NATURAL, make("blur", 0.02), make("blur", 0.02).measure(x, seed=0)) == [""]
    small = Downsampling(2, GaussianNoise(0.02))
    assert correlated(NATURAL, small, small.measure(x[..., :90, :90], seed=0)) == [""]
    grey = priors.load("natural-grey")
    assert correlated(grey, Identity(GaussianNoise(0.02)), x) == [""]


@pytest.mark.parametrize("sigma", [0.0005, 0.003])
def test_texture_is_not_taken_for_noise(sigma):
    for name in ("noise", "shrunk", "blur", "movement"):
        for i, x in enumerate(PICTURES[:, None]):
            assert misjudged(NATURAL, make(name, sigma), make(name, sigma).measure(x, seed=i)) == [""]


@pytest.mark.parametrize("sigma", [0.02, 0.3])
def test_sigma_of_sinograms(sigma):
    prior, slices = priors.load("ct"), priors.samples("ct").floats()
    for i, x in enumerate(slices[:3, None]):
        op = Radon(60, noise=GaussianNoise(sigma)).at(tuple(x.shape[1:]))
        y = op.measure(x, seed=i)
        assert misjudged(prior, op, y) == [""]
        for factor in (0.5, 2.0, sigma):
            assert misjudged(prior, op.with_noise(GaussianNoise(factor * sigma)), y)[0]


@pytest.mark.parametrize("sigma", [0.003, 0.02])
def test_sigma_of_kspace(sigma):
    prior, slices = priors.load("brain-mri"), priors.samples("brain-mri").floats()
    mask = torch.ones(64, 64, dtype=torch.bool)
    for i, x in enumerate(slices[:, None]):
        op = Fourier(mask, noise=GaussianNoise(sigma)).at((1, 64, 64))
        y = op.measure(x, seed=i)
        assert misjudged(prior, op, y) == [""]
        assert "border of k-space" in misjudged(prior, op.with_noise(GaussianNoise(sigma / 255)), y)[0]
        assert "border of k-space" in misjudged(prior, op.with_noise(GaussianNoise(10 * sigma * 5)), y)[0]


def test_what_is_not_compared():
    x = PICTURES[:1]
    for op in (Identity(PoissonNoise(50.0)), Identity(GaussianNoise(0.0))):
        assert misjudged(NATURAL, op.at(SHAPE), x) == [""]
    few = Masking(torch.rand(1, *SHAPE[1:]) < 0.05, noise=GaussianNoise(1e-4)).at(SHAPE)
    assert misjudged(NATURAL, few, few.measure(x, seed=0)) == [""]
    small = Identity(GaussianNoise(5.0)).at((3, 24, 24))
    assert misjudged(NATURAL, small, x[..., :24, :24]) == [""]


def test_solve_warns_of_it():
    x = PICTURES[:1, :, 32:96, 32:96]
    op = Identity(GaussianNoise(0.05)).at((3, 64, 64))
    y, prior = op.measure(x, seed=0), NATURAL.resized((3, 64, 64))
    with pytest.warns(DoubtfulNoise, match="measurement 0: the noise of y is about"):
        solve(prior, op.with_noise(GaussianNoise(0.0025)), y, 1, "mmps", 3, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DoubtfulNoise)
        solve(prior, op, y, 1, "mmps", 3, progress=False)


@pytest.fixture
def evaluated():
    """The sizes of batches in which the network of a prior was evaluated, besides those of the samples."""
    sizes: list[int] = []
    network: torch.nn.Module = NATURAL.network
    hook = network.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    yield sizes
    hook.remove()


def test_samples_are_searched_once_for_all_measurements(evaluated):
    """As the noise of y; and a solve that is one of many does neither."""
    op = Identity(GaussianNoise(0.05)).at((3, 48, 48))
    y, prior = op.measure(PICTURES[:3, :, 32:80, 32:80], seed=0), NATURAL.resized((3, 48, 48))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        solution = solve(prior, op, y, 1, "ddrm", 2, progress=False)
        assert evaluated == [1] + [3] * solution.nfe + [1]
        evaluated.clear()
        misstated = op.with_noise(GaussianNoise(0.01))
        solve(prior, misstated, y, 1, "ddrm", 2, progress=False)
        assert len(evaluated) > solution.nfe + 2  # the prior was asked about the noise of y
        evaluated.clear()
        again = solve(prior, misstated, y, 1, "ddrm", 2, progress=False, noise_checks=False)
        assert evaluated == [3] * solution.nfe and again.nfe == solution.nfe
    with pytest.raises(TypeError, match="noise_checks"):
        solve(prior, op, y, 1, "ddrm", 2, progress=False, noise_checks=2)


def test_noise_in_pictures_is_seen():
    """White noise, noise that was enlarged, and none."""
    rng = torch.Generator().manual_seed(0)
    for x in PICTURES[:, None]:
        white = torch.randn(x.shape, generator=rng)
        wide = interpolate(
            torch.randn(1, 3, SHAPE[1] // 2, SHAPE[2] // 2, generator=rng), size=SHAPE[1:], mode="bilinear"
        )
        clean = grain(NATURAL, x)
        assert clean < MOST and grainy(NATURAL, x[None]) == [""]
        for noise in (white, wide / wide.std()):
            assert (
                grain(NATURAL, x + 0.05 * noise) > MOST and "correlated" in grainy(NATURAL, (x + 0.05 * noise)[None])[0]
            )


def test_grain_is_that_of_photographs_only():
    assert grain(priors.load("ct"), priors.samples("ct").floats()[:1]) is None
    assert grain(NATURAL, PICTURES[:1, :, :40, :40]) is None


def test_correlated_noise_shows_in_the_samples():
    x = PICTURES[:1, :, 32:96, 32:96]
    wide = interpolate(
        torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)), size=(64, 64), mode="bilinear"
    )
    op, prior = Identity(GaussianNoise(0.006)).at((3, 64, 64)), NATURAL.resized((3, 64, 64))
    with pytest.warns(PoorFit, match="the samples hold noise"):
        solve(prior, op, x + 0.05 * wide / wide.std(), 1, "mmps", 12, progress=False)


def test_a_single_sample_may_go_further_than_a_mean():
    x = torch.full((1, 3, 64, 64), 0.5)
    x[..., :4, :4] = -0.1
    op = Identity(GaussianNoise(0.05)).at((3, 64, 64))
    prior = NATURAL.resized((3, 64, 64))
    assert outside(prior, op, x, 1) == [""] and "below -0.1" in outside(prior, op, x, 2)[0]


def test_scans_have_no_white():
    x, brain = torch.full((1, 1, 64, 64), 1.5), priors.load("brain-mri")
    scan = Fourier(torch.ones(64, 64, dtype=torch.bool), noise=GaussianNoise(0.05)).at((1, 64, 64))
    assert outside(brain, scan, x) == [""] and outside(brain, Identity(GaussianNoise(0.05)), x)[0]
    assert "below -0.5" in outside(brain, scan, x - 2.0)[0]
