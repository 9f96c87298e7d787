"""The noise level of a measured picture, with the prior's help where y is a sharp picture."""

import numpy as np
import pytest
import tifffile
import torch
from skimage import data

import priors
from inverse.app.noise_text import estimated_level
from inverse.app.photo import pose
from operators import Blur, Downsampling, GaussianNoise, Identity, estimate_sigma


@pytest.mark.parametrize("name", ["downsampling:factor=2", "identity"])
def test_detail_of_a_sharp_picture_is_not_taken_for_noise(tmp_path, name):
    """A part of "coffee" without smooth places: `estimate_sigma` finds 2.7 and 2 times the noise."""
    clean = torch.from_numpy(data.coffee()[300:364, 50:114].copy()).permute(2, 0, 1)[None].float() / 255
    operator = (Downsampling if "down" in name else Identity)(**({"factor": 2} if "down" in name else {}))
    z = torch.randn(operator(clean).shape, generator=torch.Generator().manual_seed(0))
    y = (operator(clean) + 0.01 * z).clamp(0, 1)
    tifffile.imwrite(tmp_path / "y.tif", np.rint(65535 * y[0].permute(1, 2, 0).numpy()).astype(np.uint16))
    alone = estimate_sigma(y, operator).item()
    problem = pose(tmp_path / "y.tif", name, "auto", measured=True)
    assert alone > 0.017 and problem.sigma == pytest.approx(0.01, rel=0.4)
    assert float(problem.operator.noise.sigma) == pytest.approx(problem.sigma)


def test_where_the_prior_is_not_asked(tmp_path):
    """A blurred picture is none of its kind, a prior of one size has no other, and JPEG leaves no noise to see."""
    grey = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "y.npy", grey.numpy())
    prior, noise = priors.load("natural-grey"), GaussianNoise(0.1)
    alone, how = estimated_level(tmp_path / "y.npy", grey, Identity(noise=noise), prior=prior)
    assert alone > 0 and "estimated" in how
    for operator, other in (
        (Blur.gaussian(1.0, noise=noise), prior),
        (Identity(noise=noise), priors.load("fashion-mnist")),
        (Identity(noise=noise), None),
        (Identity(noise=noise), priors.load("natural")),
    ):
        found, how = estimated_level(tmp_path / "y.npy", grey, operator, prior=other)
        assert found == pytest.approx(estimate_sigma(grey, operator).item(), rel=1e-3) and "smooth regions" in how
