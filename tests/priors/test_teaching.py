"""A trained denoiser as a teacher: its targets, the batches that they are kept for, and trainings that resume."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from priors import VESDE, Gaussian, checkpoints
from priors.losses import denoising_score_matching, perturb
from priors.objectives import DenoisingScoreMatching, SlicedScoreMatching
from priors.teaching import Targets, Teacher
from priors.training import STATE, Trainer, TrainingConfig
from tests.priors.cases import score_prior, stripes

SHAPE = (1, 4, 4)
CONFIG = TrainingConfig(steps=9, batch_size=8, lr=2e-3, warmup=2, ema=0.9, held_out=8, cosine=True)


def gaussian():
    root = torch.randn(16, 16, generator=torch.Generator().manual_seed(3)) / 8
    return Gaussian(torch.full((16,), 0.5), root @ root.mT + 0.01 * torch.eye(16), VESDE(), event_shape=SHAPE)


def test_targets_are_partly_the_teachers_where_it_serves():
    prior, sde = gaussian(), VESDE(0.002, 20.0)
    targets = Targets(Teacher("", share=0.7, least=0.03, most=0.5), prior, sde)
    x0, z = torch.rand(6, *SHAPE), torch.randn(6, *SHAPE)
    t = sde.time(torch.tensor([0.02, 0.2, 0.49, 0.51, 3.0, 0.04]).double()).float()
    found = targets(0, x0, t, z)
    exact = prior.denoise(perturb(sde, x0, t, z), prior.sde.time(sde.sigma(t)))
    for k in range(6):
        expected = x0[k] if k in (0, 3, 4) else 0.3 * x0[k] + 0.7 * exact[k]
        torch.testing.assert_close(found[k], expected.to(x0), atol=1e-5, rtol=1e-4)


def test_a_network_that_is_its_own_teacher_has_nothing_to_learn():
    prior = score_prior()
    targets = Targets(Teacher("", share=1.0, least=0.0), prior, prior.sde)
    x0 = stripes(8).floats(torch.arange(8))
    t, z = torch.linspace(0.1, 0.9, 8), torch.randn_like(x0)
    with torch.no_grad():
        assert float(denoising_score_matching(prior, x0, t, z, "unit", targets(0, x0, t, z)).max()) < 1e-8
        assert float(denoising_score_matching(prior, x0, t, z, "unit").min()) > 1e-3


def test_every_batch_is_used_as_often_as_the_others():
    teacher = Teacher("", reuse=3, kept=4)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    numbers = [teacher.batch(step, order) for step in range(24)]
    assert sorted(numbers[:12]) == sorted(3 * [0, 1, 2, 3]) and sorted(numbers[12:]) == sorted(3 * [4, 5, 6, 7])


def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(tmp_path):
    teacher = tmp_path / "teacher"
    checkpoints.save(teacher, score_prior())

    def trainer(out, config=CONFIG):
        torch.manual_seed(0)
        objective = DenoisingScoreMatching(score_prior(), "unit").taught(Teacher(str(teacher), reuse=2, kept=2))
        objective.sheet = lambda out: None
        return Trainer(objective, stripes(48), config, out)

    trainer(tmp_path / "broken", replace(CONFIG, steps=5, cosine=False)).run()
    trainer(tmp_path / "alike", replace(CONFIG, cosine=False)).run()
    resumed = trainer(tmp_path / "broken", replace(CONFIG, cosine=False))
    assert resumed.resume() and resumed.step == 5
    resumed.run()
    a, b = (load_file(tmp_path / name / STATE) for name in ("alike", "broken"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    plain = DenoisingScoreMatching(score_prior(), "unit")
    assert plain.targets is None and trainer(tmp_path / "x").objective.targets is not None


def test_other_losses_have_no_teacher():
    with pytest.raises(ValueError, match="denoising"):
        SlicedScoreMatching(score_prior(), "unit").taught(Teacher("fashion-mnist"))


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"share": 1.5}, {"reuse": 0}, {"kept": 0}, {"most": -1.0}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Teacher("fashion-mnist", **wrong)
