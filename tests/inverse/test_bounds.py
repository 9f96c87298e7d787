"""Corrections by a Jacobian that is none of a posterior mean stay as long as the noise level allows."""

import pytest
import torch

from inverse import METHODS, PoorFit, solve
from inverse.guidance import MMPS, TMPD, PiGDM
from inverse.guidance.bounds import LARGEST, LONGEST, OVERSHOOT, bounded, reach, step_length
from operators import GaussianNoise, LinearMap, Masking
from priors import VESDE, Evaluations, Gaussian
from tests.cases import F64, SDES, normal

S2 = 0.04


def test_nothing_changes_where_the_covariance_is_one():
    """p'(Sigma_y + A C A') p for a positive definite C below 25 s^2 I, and the step of conjugate gradients."""
    root = normal(6, 6, seed=1)
    c = root @ root.mT
    c = 20 * S2 * c / torch.linalg.eigvalsh(c).max()
    a, p, noise = normal(3, 6, seed=2), normal(5, 3, seed=3), GaussianNoise(0.3)
    w = p @ a @ c
    aw = w @ a.mT
    residual = aw + 0.09 * p  # that p solves the system for
    decrease = (residual * p).sum(1)
    found = step_length(decrease, residual, p, w, aw, noise, S2)
    torch.testing.assert_close(found, torch.ones(5, dtype=F64))
    assert bool((reach(residual, aw, noise) > 1).all())
    assert torch.equal(bounded(w, torch.ones(5, dtype=F64), w.square().mean()), w)


def test_a_step_across_the_residual_is_no_longer_than_the_bound_and_falls_to_nothing():
    p, w = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[0.0, 0.2]]).double()
    one, none = torch.ones(1, dtype=F64), GaussianNoise(0.0)
    lengths = []
    for along in (1e-2, 1e-4, 1e-6, 0.0, -1e-3):
        aw = w + torch.tensor([[along, 0.0]])
        lengths.append(float(step_length(one, p, p, w, aw, none, S2)) * 0.2)
    assert max(lengths) <= LARGEST * S2 / 0.2 + 0.2 / 1e-2
    assert lengths[1] > lengths[2] > lengths[3] == 0.0 == lengths[4]


def test_no_step_makes_the_residual_larger():
    """Whatever the Jacobian, in units of the noise; and across the residual there is none."""
    noise = GaussianNoise(torch.tensor([0.1, 1.0, 3.0]), event_ndim=1)
    residual, aw = normal(200, 3, seed=1), 10 * normal(200, 3, seed=2)
    a = reach(residual, aw, noise)
    before = (residual / noise.sigma).square().sum(1)
    after = ((residual - a[:, None] * aw) / noise.sigma).square().sum(1)
    assert 50 < int((a > 0).sum()) < 150
    torch.testing.assert_close(after, before)


def test_a_correction_has_a_length():
    x = torch.full((2, 4), 1e6)
    found = bounded(x, torch.tensor([0.5, 4.0]), S2)
    torch.testing.assert_close(found[:, 0], LONGEST * 0.2 * torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize("guidance", [MMPS(), PiGDM(), TMPD()], ids=lambda g: type(g).__name__)
def test_a_rotating_denoiser_cannot_throw_a_state_away(guidance):
    """J is antisymmetric up to rounding: conjugate gradients divide by next to nothing, and went 1e7 s far."""

    class Rotating(Gaussian):
        def denoise(self, x, t):
            return torch.stack([x[:, 1] + 1e-7 * x[:, 0], -x[:, 0] + 1e-7 * x[:, 1]], 1)

    prior, t = Rotating(torch.zeros(2), torch.eye(2), SDES["ve"]), torch.tensor(0.5, dtype=F64)
    s = float(prior.sde.sigma(t))
    operator = Masking(torch.tensor([1, 0]), noise=GaussianNoise(1e-4))
    x = s * normal(8, 2).float()
    found = guidance.posterior(Evaluations(prior), operator, torch.tensor([1.0, 0.0]).expand(8, 2)).denoise(x, t)
    denoised = prior.denoise(x, t)
    # |w| = s^2 |A'p| here, so that a share of 2 r'p / (|w|^2 / 25 s^2) of w is 50 |r| long; MMPS takes less
    most = OVERSHOOT * LARGEST * float((1 - denoised[:, 0]).abs().max())
    assert float((found - denoised).abs().max()) < 1.01 * most


@pytest.mark.parametrize("name", ["pigdm", "tmpd"])
@pytest.mark.filterwarnings("ignore::inverse.PoorFit")
def test_a_brightness_that_varies_more_than_pixels_do_does_not_run_away(name):
    """Pictures whose mean varies 200 times as much as a coordinate does on average: one variance overshoots there."""
    d = 64
    bright = torch.full((d, d), 1.0, dtype=F64) / d
    prior = Gaussian(torch.zeros(d), 30 * bright + 0.02 * torch.eye(d, dtype=F64), VESDE(0.01, 50.0))
    operator = LinearMap(torch.eye(d), GaussianNoise(0.1))
    truth = prior.sample(1, seed=1).float()
    y = operator.measure(truth, seed=2)
    x = solve(prior, operator, y, 4, name, 30, progress=False).samples[0]
    assert float((x - truth).square().mean().sqrt()) < 0.4


def test_a_denoiser_beyond_its_range_is_warned_of():
    """Past what it was made for it doubles its input: no method can mend that, and it is not passed over."""

    class Short(Gaussian):
        def denoise(self, x, t):
            return super().denoise(x, t) if float(self.sde.sigma(t)) < 0.3 else 2 * x

    prior = Short(torch.zeros(8), 0.05 * torch.eye(8), VESDE(0.01, 50.0))
    operator = Masking(torch.tensor([1, 0] * 4), noise=GaussianNoise(0.05))
    with pytest.warns(PoorFit, match="no sample explains y"):
        solve(prior, operator, operator.measure(torch.zeros(1, 8), seed=1), 2, METHODS["dps"], 30, progress=False)
