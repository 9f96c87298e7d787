import pytest
import torch

import priors
from benchmarks.common.baselines import fit_gaussian
from benchmarks.common.intervals import gain
from benchmarks.trained import colour
from priors import VESDE, Gaussian
from priors.data import ImageSet


def pictures(n: int, seed: int) -> ImageSet:
    """Pictures of one tint: what is bright is red, what is dark is blue, with some noise."""
    generator = torch.Generator().manual_seed(seed)
    grey = torch.rand(n, 1, 1, 1, generator=generator).expand(n, 1, 4, 4)
    x = torch.cat([0.2 + 0.6 * grey, torch.full_like(grey, 0.5), 0.8 - 0.3 * grey], dim=1)
    x = x + 0.02 * torch.randn(x.shape, generator=generator)
    return ImageSet((x.clamp(0, 1) * 255).round().to(torch.uint8))


def test_chroma_knows_no_grey_and_keeps_lengths():
    x = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(colour.chroma(x), colour.chroma(x + 0.3))
    torch.testing.assert_close(
        colour.chroma(x).square().sum(1), (x - x.mean(1, keepdim=True)).square().sum(1), atol=1e-5, rtol=1e-5
    )
    assert colour.chroma_psnr(x, x).min() > 100


def test_the_gain_of_all_images_error():
    """Half the error is 3 dB whatever the images' shares of it; an image without chroma counts for what it errs."""
    spread = torch.tensor([1e-4, 1, 2, 3, 4, 5])[:, None, None, None]
    noise = 0.01 * spread * torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    truth = torch.full_like(noise, 0.5)

    def error(of: torch.Tensor) -> torch.Tensor:
        return colour.chroma_error(truth + of, truth).double()

    gained, low, high = gain(error(noise), error(2**0.5 * noise))
    assert gained == pytest.approx(3.0103, abs=1e-3) and low == pytest.approx(high, abs=1e-3)
    better = noise.clone()
    better[0] *= 100  # of next to nothing
    gained, _, _ = gain(error(better), error(noise))
    assert abs(gained) < 0.01


def test_fitted_moments_are_those_of_the_images():
    images = pictures(200, 0)
    gaussian, x = fit_gaussian(images, VESDE()), images.floats().flatten(1).double()
    torch.testing.assert_close(gaussian.mean.flatten(), x.mean(0), atol=1e-6, rtol=0)
    torch.testing.assert_close(gaussian.covariance, torch.cov(x.T) + 1e-6 * torch.eye(48).double(), atol=1e-6, rtol=0)


def test_on_a_gaussian_prior_the_mean_is_the_linear_estimate(tmp_path, monkeypatch):
    """The fitted Gaussian as the prior: MMPS then samples the posterior whose mean linear MMSE is."""
    train, test = pictures(500, 0), pictures(4, 1)
    prior = fit_gaussian(train, VESDE(0.01, 10.0))
    monkeypatch.setattr(priors, "load", lambda name: prior)
    monkeypatch.setattr(colour, "identity", lambda name: "fitted")
    rows = {row["method"]: row for row in colour.run("p", train, test, 24, 20, 4, 0, tmp_path, progress=False)}
    linear, mmps = (float(rows[name]["PSNR of chroma, dB"]) for name in ("linear MMSE (Gaussian prior)", "mmps, mean"))
    assert isinstance(prior, Gaussian) and abs(mmps - linear) < 1.0
    assert linear > 10 + float(rows["grey"]["PSNR of chroma, dB"])
    assert float(rows["mmps, one sample"]["PSNR of chroma, dB"]) < mmps, "a sample is noisier than the mean"


def test_images_of_another_shape_are_refused(tmp_path):
    images = pictures(4, 0)
    with pytest.raises(ValueError, match="expected"):
        colour.run("fashion-mnist", images, images, 2, 2, 1, 0, tmp_path, progress=False)
