"""deepinv's denoisers as priors, and priors as deepinv's denoisers."""

import pytest
import torch

import priors
from priors import VESDE, VPSDE, Gaussian
from priors.denoised import denoised
from tests.priors.cases import F64, draws

deepinv = pytest.importorskip("deepinv")
SHAPE = (1, 4, 4)
D = 16
ROOT = draws(D, D, seed=3) / D**0.5
COVARIANCE = 0.05 * (ROOT @ ROOT.mT + 0.1 * torch.eye(D, dtype=F64))


def gaussian(sde):
    return Gaussian(0.5 * torch.ones(D, dtype=F64), COVARIANCE, sde=sde, event_shape=SHAPE)


def wiener(x, sigma):
    """E[x0 | x0 + sigma z = x] of the Gaussian, in closed form."""
    gain = torch.linalg.solve(COVARIANCE + sigma**2 * torch.eye(D, dtype=F64), COVARIANCE)
    return 0.5 + ((x.double().flatten(1) - 0.5) @ gain).view_as(x)


@pytest.mark.parametrize("sde", [VPSDE(), VESDE(0.001, 5.0)], ids=["VP", "VE"])
class TestToDeepinv:
    # 20 and 300 are above what the VE SDE knows: there D is continued by the Gaussian of the variance
    @pytest.mark.parametrize(("sigma", "tolerance"), [(0.05, 1e-4), (1.0, 1e-4), (20.0, 1e-3), (300.0, 1e-3)])
    def test_the_denoiser_is_exact_at_any_level(self, sde, sigma, tolerance):
        denoiser, x = priors.to_deepinv(gaussian(sde)), 0.5 + sigma * draws(5, *SHAPE).float()
        for level in (sigma, torch.tensor(sigma), torch.full((5,), sigma), torch.full((5, 1, 1, 1), sigma)):
            found = denoiser(x, level)
            assert (found - wiener(x, sigma)).abs().max() < tolerance

    def test_each_row_has_its_own_level(self, sde):
        denoiser, x = priors.to_deepinv(gaussian(sde)), draws(3, *SHAPE).float()
        levels = torch.tensor([0.1, 1.0, 20.0])
        together = denoiser(x, levels)
        for i, level in enumerate(levels):
            torch.testing.assert_close(together[i : i + 1], denoiser(x[i : i + 1], level), rtol=1e-4, atol=1e-4)


def test_a_derivative_passes_through():
    denoiser, x = priors.to_deepinv(gaussian(VPSDE())), draws(2, *SHAPE).requires_grad_()
    v = draws(2, *SHAPE, seed=1)
    found = torch.autograd.grad((denoiser(x, 0.3) * v).sum(), x)[0]
    gain = torch.linalg.solve(COVARIANCE + 0.09 * torch.eye(D, dtype=F64), COVARIANCE)
    torch.testing.assert_close(found.flatten(1), v.flatten(1) @ gain, rtol=1e-4, atol=1e-5)


def test_it_is_a_denoiser_of_images_of_its_shape():
    denoiser = priors.to_deepinv(gaussian(VPSDE()))
    assert isinstance(denoiser, deepinv.models.Denoiser)
    with pytest.raises(ValueError, match=r"images \(1, 4, 4\), given \(2, 3, 4, 4\)"):
        denoiser(torch.zeros(2, 3, 4, 4), 0.1)
    with pytest.raises(TypeError, match=r"expected a priors\.Prior"):
        priors.to_deepinv(torch.nn.Identity())


def test_a_level_of_zero_is_the_image():
    prior, x = gaussian(VPSDE()), draws(2, *SHAPE)
    torch.testing.assert_close(denoised(prior, x, 0.0), x, rtol=1e-3, atol=1e-3)


MODELS = {  # a small one of each class that knows the noise level: (its range, the model)
    "FFDNet": lambda m: ((0.0, 75 / 255), m.FFDNet(pretrained=None, img_channels=1, nf=8, n_conv_layers=3)),
    "DRUNet": lambda m: (
        (0.0, 50 / 255), m.DRUNet(in_channels=1, out_channels=1, nc=(4, 4, 4, 4), nb=1, pretrained=None)
    ),
    "NCSNpp": lambda m: (
        (0.001, 40.0),
        m.NCSNpp(
            img_resolution=8, in_channels=1, out_channels=1, model_channels=32, channel_mult=(1,), num_blocks=1,
            attn_resolutions=(), pretrained=None, _was_trained_on_minus_one_one=True,
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_denoiser_is_a_prior_with_its_range(name):
    (low, high), model = MODELS[name](deepinv.models)
    shape = (1, 8, 8)
    sde = VESDE(0.01, high) if high < 1 else None
    prior = priors.from_deepinv(model, shape, sde)
    assert (prior.sigma_min, prior.sigma_max) == pytest.approx((low, high)) and not model.training
    assert float(prior.sde.sigma(1.0)) == pytest.approx(high, rel=1e-5)
    x, t = draws(2, *shape).float(), prior.sde.time(torch.tensor(0.1))
    with torch.no_grad():
        torch.testing.assert_close(prior.denoise(x, t), model(x, 0.1), rtol=1e-3, atol=1e-4)


def test_more_noise_than_it_serves_is_refused():
    model = MODELS["FFDNet"](deepinv.models)[1]
    with pytest.raises(ValueError, match=r"up to 50, and it serves 0\.294"):
        priors.from_deepinv(model, (1, 8, 8))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda m: m.DnCNN(in_channels=1, out_channels=1, depth=3, nf=4, pretrained=None), "blind"),
        (lambda m: m.MedianFilter(), "minimises a penalty"),
        (lambda m: type("Mine", (m.Denoiser,), {})(), "Mine was trained on are unknown; state sigma_min and sigma_max"),
    ],
    ids=["blind", "median", "unknown"],
)
def test_what_is_no_posterior_mean_at_every_level_is_refused(make, why):
    model = make(deepinv.models)
    with pytest.raises(ValueError, match=why):
        priors.from_deepinv(model, (1, 8, 8))
    assert priors.from_deepinv(model, (1, 8, 8), sigma_max=100.0).sigma_max == 100.0  # on request


def test_no_denoiser():
    with pytest.raises(TypeError, match=r"priors\.from_denoiser takes any function"):
        priors.from_deepinv(lambda x, sigma: x, (1, 8, 8))


def test_there_and_back_is_the_same():
    prior = gaussian(VPSDE())
    back = priors.from_deepinv(priors.to_deepinv(prior), SHAPE, VPSDE(), sigma_max=1000.0)
    x = draws(3, *SHAPE)
    torch.testing.assert_close(back.denoise(x, 0.5), prior.denoise(x, 0.5), rtol=1e-3, atol=1e-3)
