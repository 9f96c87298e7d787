import pytest
import torch

from inverse.quality import psnr, residual_chi2, ssim
from operators import GaussianNoise, Masking


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
