"""Times drawn more often where a training's noise levels matter."""

import math

import pytest
import torch

from priors import VESDE, VPSDE
from priors.losses import T_TRAIN
from priors.objectives import DenoisingScoreMatching, Focus
from priors.recipes import objective
from priors.sde import LadderSDE
from tests.priors.cases import score_prior, stripes
from tests.priors.test_cli import PRIOR

U = (torch.arange(40_000, dtype=torch.float64) + 0.5) / 40_000


@pytest.mark.parametrize("sde", [VESDE(0.002, 50.0), VPSDE(scale=0.5)], ids=["ve", "vp"])
def test_the_share_is_log_normal_in_sigma_over_alpha(sde):
    t = Focus(0.1, 0.5, share=1.0).times(sde, U)
    logs = torch.log(sde.sigma(t) / sde.alpha(t))
    assert logs.mean() == pytest.approx(math.log(0.1), abs=2e-3) and logs.std() == pytest.approx(0.5, abs=2e-3)


def test_the_others_are_uniform():
    sde, focus = VESDE(0.002, 50.0), Focus(0.1, 0.5, share=0.6)
    t = focus.times(sde, U)
    assert float(t.min()) >= T_TRAIN and float(t.max()) <= 1
    far = t > sde.time(torch.tensor(0.1 * math.exp(5 * 0.5)))  # beyond five spreads only the uniform ones are
    share = float(far.double().mean() / (1 - t[far].min()))
    assert share == pytest.approx(0.4, abs=0.01)
    assert t.dtype == U.dtype and focus.times(sde, U.float()).dtype == torch.float32
    torch.testing.assert_close(Focus(0.1, 0.5, 0.0).times(sde, U), T_TRAIN + (1 - T_TRAIN) * U)


def test_an_objective_draws_by_its_focus_and_weighs_as_before():
    focus, prior = Focus(0.1, 0.5), score_prior()
    plain, focused = DenoisingScoreMatching(prior, "unit"), DenoisingScoreMatching(prior, "unit").focused(focus)
    torch.testing.assert_close(focused.times(U), focus.times(prior.sde, U))
    x0, t = stripes(4).floats(), torch.tensor([0.1, 0.4, 0.6, 0.9])
    z = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(focused(x0, None, t, z), plain(x0, None, t, z))


def test_a_recipe_names_it():
    import tomllib

    recipe = tomllib.loads(PRIOR)
    recipe["prior"]["focus"] = {"sigma": 0.2, "spread": 1.0}
    made = objective(recipe, stripes(4))
    assert made.focus == Focus(0.2, 1.0, 0.75)  # type: ignore[attr-defined]
    assert "focus" in recipe["prior"]  # a recipe is read, not used up


@pytest.mark.parametrize("fields", [(0.0, 1.0), (0.1, 0.0), (0.1, 1.0, 1.5)])
def test_values_out_of_range(fields):
    with pytest.raises(ValueError, match=r"(sigma|spread|share) = .*: expected a (finite )?number"):
        Focus(*fields)


def test_times_that_are_not_free():
    from priors.objectives import OBJECTIVES

    with pytest.raises(ValueError, match="weight 'likelihood': expected a continuous loss"):
        DenoisingScoreMatching(score_prior(), "likelihood").focused(Focus(0.1, 1.0))
    discrete = OBJECTIVES["ddpm"](score_prior(LadderSDE.ddpm(), "ddpm"))
    with pytest.raises(ValueError, match="focus with Discrete"):
        discrete.focused(Focus(0.1, 1.0))
