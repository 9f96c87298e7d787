"""A network that knows a Gaussian's answer in its own units must reproduce that Gaussian in data units."""

import pytest
import torch
from torch import Tensor, nn

from priors import VESDE, VPSDE, DataRange, Gaussian, NoisyClassifier, ScorePrior, SubVPSDE
from tests.priors.cases import F64, classifier, draws, score_prior

SHIFT, SCALE = 0.3, 0.4
MEAN, VARIANCE = torch.tensor([-0.5, 0.2, 1.0], dtype=F64), torch.tensor([0.3, 1.0, 2.0], dtype=F64)  # network units


def wiener(u: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """E[u0 | u] for u = alpha u0 + sigma z."""
    return MEAN + alpha * VARIANCE / (alpha**2 * VARIANCE + sigma**2) * (u - alpha * MEAN)


class Exact(nn.Module):
    """What a perfectly trained network says, from its input and label by the convention of its training."""

    def __init__(self, prediction: str, sde):
        super().__init__()
        self.prediction, self.sde = prediction, sde  # sde in network units
        self.anchor = nn.Parameter(torch.zeros((), dtype=F64))

    def forward(self, u: Tensor, label: Tensor) -> Tensor:
        assert label.shape == (len(u),)
        if self.prediction == "noise":  # eps from the label 999 t
            t = label[:, None] / 999
            alpha, sigma = self.sde.alpha(t), self.sde.sigma(t)
            return (u - alpha * wiener(u, alpha, sigma)) / sigma
        if self.prediction == "score":  # sigma * score from the label log sigma
            sigma = label[:, None].exp()
            return -sigma * (u - MEAN) / (VARIANCE + sigma**2)
        ratio = (4 * label[:, None]).exp()  # of a unit-variance input, from the label log(sigma / alpha) / 4
        gain = torch.rsqrt(1 + ratio**2)
        return (wiener(u / gain, torch.ones_like(ratio), ratio) - gain * u) / (ratio * gain)


def pair(prediction: str, sde, network_sde) -> tuple[ScorePrior, Gaussian]:
    prior = ScorePrior(Exact(prediction, network_sde), sde, (3,), prediction, DataRange(SHIFT, SCALE))
    return prior, Gaussian(SHIFT + SCALE * MEAN, SCALE**2 * torch.diag(VARIANCE), sde=sde)


CASES = {
    "noise, vp": ("noise", VPSDE(scale=SCALE), VPSDE()),
    "noise, subvp": ("noise", SubVPSDE(scale=SCALE), SubVPSDE()),
    "score, ve": ("score", VESDE(0.01 * SCALE, 50 * SCALE), VESDE(0.01, 50)),
    "preconditioned, ve": ("preconditioned", VESDE(), None),
    "preconditioned, vp": ("preconditioned", VPSDE(), None),
    "preconditioned, subvp": ("preconditioned", SubVPSDE(), None),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
@pytest.mark.parametrize("t", [1e-3, 0.4, 1.0, torch.tensor([1e-3, 0.2, 0.6, 1.0], dtype=F64)])
def test_every_prediction_is_the_same_denoiser(case, t):
    prior, exact = pair(*case)
    x = exact.sde.sigma(1.0) * draws(4, 3)
    torch.testing.assert_close(prior.denoise(x, t).detach(), exact.denoise(x, t), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(prior.score(x, 0.4).detach(), exact.score(x, 0.4), rtol=1e-6, atol=1e-7)


def test_vp_of_scale_one_half_is_the_convention_of_2x_minus_1():
    """A network trained on 2x - 1 with the plain VP SDE is shown exactly what its training showed it."""
    shown = {}

    class Spy(nn.Module):
        def forward(self, u, label):
            shown.update(u=u, label=label)
            return torch.zeros_like(u)

    sde, t = VPSDE(scale=0.5), torch.tensor(0.3, dtype=F64)
    prior = ScorePrior(Spy(), sde, (3,), "noise", DataRange(0.5, 0.5))
    x0, z = draws(2, 3).sigmoid(), draws(2, 3, seed=1)
    prior.denoise(sde.alpha(t) * x0 + sde.sigma(t) * z, t)
    official = VPSDE()
    torch.testing.assert_close(shown["u"], official.alpha(t) * (2 * x0 - 1) + official.sigma(t) * z)
    torch.testing.assert_close(shown["label"], torch.full((2,), 999 * 0.3, dtype=F64))


class TestAnotherSDE:
    def test_the_denoiser_is_one_function_of_x_over_alpha_and_sigma_over_alpha(self):
        ve, vp = score_prior(VESDE(0.01, 10.0)), VPSDE()
        other = ve.with_sde(vp)
        for t in (0.1, 0.3, 0.6):
            ratio = vp.sigma(t) / vp.alpha(t)
            t_ve = torch.log(ratio / 0.01) / torch.log(torch.tensor(1000.0, dtype=F64))
            u = draws(2, 1, 8, 8).float()
            with torch.no_grad():
                found, expected = other.denoise(vp.alpha(t).float() * u, t), ve.denoise(u, t_ve)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    def test_an_exact_network_is_exact_under_it(self):
        prior, _ = pair("preconditioned", VESDE(), None)
        other, x = prior.with_sde(SubVPSDE()), draws(4, 3)
        expected = Gaussian(SHIFT + SCALE * MEAN, SCALE**2 * torch.diag(VARIANCE), sde=SubVPSDE())
        torch.testing.assert_close(other.denoise(x, 0.3).detach(), expected.denoise(x, 0.3), rtol=1e-6, atol=1e-7)

    def test_all_but_the_sde_is_kept(self):
        prior = score_prior()
        other = prior.with_sde(VPSDE(scale=0.4))
        assert other.network is prior.network and other.range == prior.range and other.event_shape == prior.event_shape
        assert other.sde == VPSDE(scale=0.4) and prior.sde == VESDE(sigma_max=10.0) and other.training is False

    @pytest.mark.parametrize("prediction", ["noise", "score"])
    def test_a_network_that_sees_the_time_is_refused(self, prediction):
        with pytest.raises(ValueError, match=f"prediction = '{prediction}': only a preconditioned.*keep VESDE"):
            score_prior(prediction=prediction).with_sde(VPSDE())


def test_an_unknown_prediction_is_refused():
    with pytest.raises(ValueError, match="prediction = 'v': expected one of"):
        score_prior(prediction="v")


def test_attributes_of_a_prior():
    prior = score_prior()
    assert prior.device == torch.device("cpu") and prior.event_shape == (1, 8, 8)
    assert prior.variance == pytest.approx(0.16)  # the variance of data that are shift + scale times unit-variance ones


class TestNoisyClassifier:
    def test_the_network_sees_unit_variance_and_the_noise_level(self):
        shown = {}

        class Spy(nn.Module):
            config = type("Config", (), {"classes": 2})

            def forward(self, u, label):
                shown.update(u=u, label=label)
                return u[:, :2]

        sde, t = VPSDE(), torch.tensor([0.2, 0.7], dtype=F64)
        noisy = NoisyClassifier(Spy(), sde, (1000,), DataRange(SHIFT, SCALE))
        x0 = SHIFT + SCALE * draws(2, 1000)
        noisy(sde.alpha(t)[:, None] * x0 + sde.sigma(t)[:, None] * draws(2, 1000, seed=1), t)
        assert shown["u"].std(1).tolist() == pytest.approx([1, 1], abs=0.1)
        torch.testing.assert_close(shown["label"], 0.25 * torch.log(sde.sigma(t) / SCALE / sde.alpha(t)))

    @pytest.mark.parametrize("t", [0, 0.0, torch.tensor(0.0), torch.zeros(3)])
    def test_time_zero_is_the_least_noise(self, t):
        noisy, x = classifier(), draws(3, 1, 8, 8).float()
        logits = noisy(x, t)
        assert logits.isfinite().all() and logits.shape == (3, 3) and noisy.n_classes == 3
        torch.testing.assert_close(logits, noisy(x, noisy.sde.t_min))

    def test_one_time_or_one_per_row(self):
        noisy, x = classifier(), draws(3, 1, 8, 8).float()
        torch.testing.assert_close(noisy(x, 0.4), noisy(x, torch.full((3,), 0.4)))
        assert (noisy(x, 0.4) - noisy(x, 0.8)).abs().max() > 1e-3
