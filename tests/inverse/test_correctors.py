"""Correctors: their step by hand, rows that do not know each other, and the law at t left alone."""

import pytest
import torch

from inverse.correctors import CORRECTORS, AnnealedLangevin, Langevin
from priors import Gaussian
from tests.cases import BatchRNG, gaussian, normal

T = torch.tensor(0.3, dtype=torch.float64)


def test_a_langevin_step_by_hand(sde):
    """e = 2 (snr |z| / |score|)^2 per row, |z| = sqrt(d), and no more than twice the annealed step."""
    prior, x = gaussian(sde), 5 * normal(6, 8, seed=1)
    x[0] = sde.alpha(T) * prior.mean + 1e-3  # a row whose score is short
    q = Langevin(0.1).transition(prior, x, T, T, None)
    for row in range(6):
        score = prior.score(x[row : row + 1], T)
        e = min(2 * (0.1 * 8**0.5 / float(score.norm())) ** 2, 4 * (0.1 * float(sde.sigma(T))) ** 2)
        torch.testing.assert_close(q.mean[row], x[row] + e * score[0])
        assert float(q.std[row]) == pytest.approx((2 * e) ** 0.5)
    assert float(q.std[0]) == pytest.approx(8**0.5 * 0.1 * float(sde.sigma(T))), "the bound was not met"
    assert float(q.std[1]) < float(q.std[0])


def test_an_annealed_step_by_hand(sde):
    prior, x = gaussian(sde), normal(6, 8, seed=1)
    q = AnnealedLangevin(0.1).transition(prior, x, T, T, None)
    e = 2 * (0.1 * float(sde.sigma(T))) ** 2
    torch.testing.assert_close(q.mean, x + e * prior.score(x, T))
    assert float(q.std) == pytest.approx((2 * e) ** 0.5)


@pytest.mark.parametrize("make", CORRECTORS.values(), ids=CORRECTORS)
def test_rows_do_not_know_each_other(make, sde):
    prior, x = gaussian(sde), normal(4, 8, seed=1)
    together, alone = make().transition(prior, x, T, T, None), make().transition(prior, x[2:3], T, T, None)
    torch.testing.assert_close(together.mean[2:3], alone.mean)
    torch.testing.assert_close(together.std.expand(4, 1)[2:3], alone.std.expand(1, 1))


def ratios(corrector, prior, t, start, n=1500, steps=60):
    """Variances after some steps over those of p_t, per axis of a prior with a diagonal covariance."""
    rng, t = BatchRNG(2), torch.tensor(t, dtype=torch.float64)
    alpha, sigma = float(prior.sde.alpha(t)), float(prior.sde.sigma(t))
    exact = alpha**2 * prior.eigenvalues[0] + sigma**2
    x = (alpha * prior.mean + start * exact.sqrt() * rng.normal((n, len(exact)))).float()
    for _ in range(steps):
        x = corrector.transition(prior, x, t, t, rng).sample(rng)
    return x.double().var(0) / exact


@pytest.mark.parametrize("t", [0.4, 0.9])
@pytest.mark.parametrize("make", CORRECTORS.values(), ids=CORRECTORS)
def test_the_law_at_t_is_left_alone(make, sde, t):
    """From exact draws variances stay, but for the 1 % of a finite step; from too wide a start they approach."""
    prior = Gaussian(torch.zeros(48), torch.logspace(-1.5, 0, 48).diag(), sde)
    stay, approach = ratios(make(snr=0.1), prior, t, start=1.0), ratios(make(snr=0.1), prior, t, start=1.5)
    assert 0.97 < stay.mean() < 1.06
    assert stay.min() > 0.85 and stay.max() < 1.2
    assert approach.mean() < 0.85 * 1.5**2


def test_a_step_that_follows_the_score_spreads_in_few_dimensions(sde):
    """A step in proportion to 1 / |score|^2 keeps p_t |score|^2 in place of p_t, however small it is.

    For a Gaussian of d equal variances that is wider by (d + 2) / d, which is nothing for an image; the bound on the
    step keeps it below. A step that does not see the state (`AnnealedLangevin`) has no such bias.
    """
    for d in (2, 8, 32):
        ratio = ratios(Langevin(0.1), Gaussian(torch.zeros(d), 0.01 * torch.eye(d), sde), 0.9, 1.0, n=4000).mean()
        assert 1 < ratio < (d + 2) / d + 0.03


@pytest.mark.parametrize(("make", "limit"), [(Langevin, 0.5), (AnnealedLangevin, 0.5**0.5)])
def test_a_step_that_would_overshoot(make, limit):
    for snr in (0.0, -0.1, limit, float("nan")):
        with pytest.raises(ValueError, match="expected a number in"):
            make(snr)
    make(limit - 1e-6)
