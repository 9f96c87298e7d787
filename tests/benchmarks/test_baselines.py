import pytest
import torch

from benchmarks.common import baselines
from inverse.quality import psnr
from operators import Blur, GaussianNoise, Masking
from priors import VESDE, Gaussian
from priors.data import ImageSet

SHAPE = (1, 12, 12)


def images(n, seed=0):
    """Smooth random pictures in [0, 1]."""
    rough = torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(rough, SHAPE[1:], mode="bicubic", align_corners=True).clamp(0, 1)


@pytest.fixture(scope="module")
def gaussian(tmp_path_factory):
    path = tmp_path_factory.mktemp("moments") / "moments.h5"
    baselines.fit_moments(ImageSet((images(2000) * 255).round().to(torch.uint8)), path)
    return baselines.load_gaussian(VESDE(), path)


def test_moments_are_those_of_the_images(gaussian):
    x = (images(2000) * 255).round().flatten(1).double() / 255
    torch.testing.assert_close(gaussian.mean.flatten(), x.mean(0))
    torch.testing.assert_close(gaussian.covariance, torch.cov(x.T) + 1e-6 * torch.eye(144).double(), atol=1e-7, rtol=0)


def test_missing_moments_name_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="inverse-bench moments"):
        baselines.load_gaussian(VESDE(), tmp_path / "none.h5")


@pytest.mark.parametrize(
    "operator",
    [Masking.random(SHAPE, 0.5, noise=GaussianNoise(0.05)), Blur.gaussian(1.0, noise=GaussianNoise(0.02))],
    ids=["masking", "blur"],
)
def test_linear_mmse_is_the_mean_of_the_gaussian_posterior(gaussian: Gaussian, operator):
    y = operator.measure(images(3, seed=1), seed=0)
    estimates = baselines.linear_mmse(gaussian, operator, y)
    for i in range(3):
        exact = gaussian.posterior(operator, y[i : i + 1]).mean
        torch.testing.assert_close(estimates[i].double(), exact, atol=1e-5, rtol=0)


def test_biharmonic_keeps_what_was_seen_and_fills_the_rest():
    x = images(2)
    operator = Masking.random(SHAPE, 0.7, noise=GaussianNoise(0.0))
    filled = baselines.biharmonic(operator, operator.measure(x))
    torch.testing.assert_close(torch.where(operator.mask, filled, 0), torch.where(operator.mask, x, 0))
    assert psnr(filled, x).min() > 25


@pytest.mark.parametrize("restore", [lambda o, y: baselines.wiener(o, y, 1e-2), baselines.unsupervised_wiener])
def test_deconvolution_sharpens(restore):
    x = images(2)
    operator = Blur.gaussian(1.2, noise=GaussianNoise(0.005))
    y = operator.measure(x, seed=0)
    assert (psnr(restore(operator, y), x) > psnr(y, x)).all()
