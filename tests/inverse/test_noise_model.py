"""Residuals of a wrong noise model name the right one; those of the right model say nothing."""

import pytest
import torch
from torch.nn.functional import avg_pool2d

import priors
from inverse import examine, solve
from inverse.quality.noise_model import noise_doubts
from operators import (
    Blur,
    Categorical,
    Fourier,
    GaussianNoise,
    Identity,
    Masking,
    Noise,
    PoissonGaussianNoise,
    PoissonNoise,
    RicianNoise,
    SpeckleNoise,
)

X = 0.1 + 0.8 * torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
EQUAL = torch.zeros(1, 1)
NOISES: dict[str, Noise] = {
    "GaussianNoise": GaussianNoise(0.03),
    "PoissonNoise": PoissonNoise(80.0),
    "PoissonGaussianNoise": PoissonGaussianNoise(200.0, 0.03),
    "SpeckleNoise": SpeckleNoise(20.0),
}


def doubts(actual: Noise, stated: Noise) -> str:
    """The truth is a sample of the posterior of its measurement."""
    return noise_doubts(Identity(stated), Identity(actual).measure(X, seed=1), X[:, None], EQUAL)[0]


@pytest.mark.parametrize("stated", NOISES)
@pytest.mark.parametrize("actual", NOISES)
def test_the_model_that_fits_is_named_with_its_parameters(actual: str, stated: str):
    text = doubts(NOISES[actual], NOISES[stated])
    if actual == stated:
        assert text == ""
        return
    assert f"{actual}(" in text and "fits better" in text
    named = text.split(f"{actual}(")[1].split(")")[0]
    right = [float(getattr(NOISES[actual], name)) for name in NOISES[actual].inferable]
    assert [float(value) for value in named.split(", ")] == pytest.approx(right, rel=0.15)


@pytest.mark.parametrize("level", [0.5, 1.0, 2.0])
def test_the_level_of_the_right_model_is_not_its_matter(level: float):
    assert doubts(GaussianNoise(0.03), GaussianNoise(0.03 * level)) == ""
    assert doubts(PoissonNoise(80.0), PoissonNoise(80.0 * level)) == ""
    assert doubts(RicianNoise(0.05), RicianNoise(0.05)) == ""


def test_noise_that_is_correlated_is_reported():
    z = torch.randn(1, 1, 66, 66, generator=torch.Generator().manual_seed(1))
    operator, smooth = Identity(GaussianNoise(0.05)), 3 * avg_pool2d(z, 3, 1)
    assert "correlation 0.6" in noise_doubts(operator, X + 0.05 * smooth, X[:, None], EQUAL)[0]
    assert noise_doubts(operator, X + 0.05 * z[..., 1:-1, 1:-1], X[:, None], EQUAL) == [""]


def test_what_is_not_checked():
    scan = Fourier(torch.ones(64, 64), noise=GaussianNoise(0.1))
    for operator in (scan, Masking.random((1, 64, 64), 0.5, noise=GaussianNoise(0.03)), Identity(GaussianNoise(0.0))):
        assert noise_doubts(operator, operator.measure(X, seed=5), X[:, None], EQUAL) == [""]
    few = X[..., :8, :8]
    assert noise_doubts(Identity(GaussianNoise(1e-3)), few + 0.1, few[:, None], EQUAL) == [""], "too few values"
    assert noise_doubts(Identity(Categorical()), torch.tensor([1]), X[:, None], EQUAL) == [""]


def test_photon_counts_solved_with_gaussian_noise_are_found_by_examine():
    prior = priors.load("natural", event_shape=(3, 64, 64))
    x = priors.samples("natural").floats()[1:2, :, 40:104, 40:104]
    counted = Blur.gaussian(1.2, noise=PoissonNoise(60.0))
    y = counted.measure(x, seed=0)
    sigma = float(counted.noise.variance(counted(x)).mean().sqrt())
    stated = counted.with_noise(GaussianNoise(sigma))
    texts = examine(solve(prior, stated, y, 2, "mmps-wiener", 8, progress=False), stated, y).warnings[0]
    assert any("PoissonNoise(" in text for text in texts)
    white = stated.measure(x, seed=0)
    texts = examine(solve(prior, stated, white, 2, "mmps-wiener", 8, progress=False), stated, white).warnings[0]
    assert not any("fits better" in text or "correlation" in text for text in texts)
