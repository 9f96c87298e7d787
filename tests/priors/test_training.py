import copy
import json
import multiprocessing
from dataclasses import replace
from itertools import chain

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from priors import load
from priors.data import ImageSet
from priors.objectives import T_TRAIN, DenoisingScoreMatching, NoisyClassification
from priors.optimizers import NAMES
from priors.pictures import MEASURED, Crops, Pictures
from priors.training import STATE, Trainer, TrainingConfig
from tests.priors.cases import classifier, score_prior, stripes

CONFIG = TrainingConfig(steps=4, batch_size=8, lr=2e-3, warmup=2, ema=0.9, held_out=8, cosine=True)


class Quiet(DenoisingScoreMatching):
    """Without a sheet of samples, and stopped from outside at a step."""

    stop_at = None
    calls = 0

    def forward(self, *args):
        self.calls += self.training
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        return super().forward(*args)

    def sheet(self, out):
        pass


def trainer(out, config=CONFIG, data=None, **fields) -> Trainer:
    objective = Quiet(score_prior(**fields), "unit")
    return Trainer(objective, stripes(48) if data is None else data, config, out)


@pytest.mark.parametrize("optimizer", NAMES)
def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(tmp_path, optimizer):
    """With dropout, whose randomness must resume as well."""
    config, fields = replace(CONFIG, optimizer=optimizer), {"dropout": 0.3, "channels": 16}
    whole = trainer(tmp_path / "whole", config, **fields)
    whole.run()
    broken = trainer(tmp_path / "broken", replace(config, save_minutes=0.0), **fields)
    broken.objective.stop_at = 3  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    torch.rand(5)  # another process has another global state
    resumed = trainer(tmp_path / "broken", config, **fields)
    assert resumed.resume() and resumed.step == 2
    resumed.run()
    for kind in (STATE, "weights.safetensors"):
        a, b = load_file(tmp_path / "whole" / kind), load_file(tmp_path / "broken" / kind)
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    steps = [json.loads(line)["step"] for line in (tmp_path / "broken" / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 4]


def test_a_finished_run_resumes_to_nothing(tmp_path):
    trainer(tmp_path).run()
    before = (tmp_path / STATE).read_bytes()
    again = trainer(tmp_path)
    assert again.resume()
    again.run()
    assert again.step == 4 and (tmp_path / STATE).read_bytes() == before


def test_there_may_be_nothing_to_resume(tmp_path):
    assert trainer(tmp_path).resume() is False


def test_the_state_of_another_network_is_refused(tmp_path):
    trainer(tmp_path).run()
    with pytest.raises(ValueError, match="was saved for another network"):
        trainer(tmp_path, channels=12).resume()


def test_the_state_of_another_optimizer_is_refused(tmp_path):
    trainer(tmp_path, channels=16).run()
    with pytest.raises(ValueError, match="'muon'"):
        trainer(tmp_path, replace(CONFIG, optimizer="adam"), channels=16).resume()


def test_the_seed_decides_and_the_global_state_does_not(tmp_path):
    weights = []
    for i, seed in enumerate((0, 0, 1)):
        torch.manual_seed(i)
        run = trainer(tmp_path / str(i), replace(CONFIG, seed=seed))
        run.run()
        weights.append(torch.cat([p.detach().flatten() for p in run.network.parameters()]))
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_the_loss_falls_and_the_checkpoint_has_the_averaged_weights(tmp_path):
    run = trainer(tmp_path, replace(CONFIG, steps=150, batch_size=16, warmup=10, cosine=False))
    before = run.held_out_loss()
    run.run()
    losses = run.losses
    assert losses["held_out"] < 0.6 * before
    assert run.held_out_loss() == losses["held_out"]  # at fixed times and noise
    prior = load(tmp_path)
    for name, value in prior.network.state_dict().items():
        assert torch.equal(value, run.ema[name])
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["training"]["steps"] == 150 and card["training"]["losses"] == losses
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["held_out"] == losses["held_out"] and log[-1]["step"] == 150


def test_the_average_by_its_formula(tmp_path):
    run = trainer(tmp_path)
    average = copy.deepcopy(run.network.state_dict())
    for n in range(1, 5):
        run._update(run.objective, 0.0)
        decay = min(0.9, (1 + n) / (10 + n))
        for name, value in run.network.state_dict().items():
            average[name] = decay * average[name] + (1 - decay) * value
    for name, value in run.ema.items():
        torch.testing.assert_close(value, average[name])
    assert any((value - run.network.state_dict()[name]).abs().max() > 1e-4 for name, value in run.ema.items())


def test_every_epoch_visits_every_image_once(tmp_path):
    images = torch.arange(48, dtype=torch.uint8)[:, None, None, None].expand(48, 1, 8, 8).contiguous()
    run = trainer(tmp_path, data=ImageSet(images))
    seen = []
    for step in range(10):  # two epochs of 40 images in batches of 8
        run.step = step
        x0, labels, t, z = run._batch()
        seen.append((x0[:, 0, 0, 0] * 255).round().int().tolist())
        assert labels is None and z.shape == x0.shape
        assert sorted((t.double() * 8).floor().int().tolist()) == list(range(8))  # one time in each eighth
    first, second = list(chain(*seen[:5])), list(chain(*seen[5:]))
    assert sorted(first) == sorted(second) == list(range(40)) and first != second


def test_processes_share_the_rows_of_a_batch(tmp_path):
    run = trainer(tmp_path)
    whole = run._batch()
    for rank in (0, 1):
        run.rank, run.world = rank, 2
        for mine, all_rows in zip(run._batch(), whole, strict=True):
            assert mine is not None and all_rows is not None and torch.equal(mine, all_rows[rank::2])


def test_times_reach_from_almost_zero_to_one():
    objective = Quiet(score_prior())
    assert objective.times(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([T_TRAIN, 1.0])


def test_learning_rate():
    flat, curved = replace(CONFIG, cosine=False, lr=1.0, warmup=4), replace(CONFIG, lr=1.0, warmup=1)
    assert [flat.rate(n, 0.0) for n in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert [curved.rate(9, p) for p in (0.0, 0.5, 1.0)] == pytest.approx([1, 0.5, 0])
    late = replace(curved, decay=0.2)  # constant up to the last fifth
    assert [late.rate(9, p) for p in (0.0, 0.79, 0.8, 0.9, 1.0)] == pytest.approx([1, 1, 1, 0.5, 0])


def test_whichever_limit_comes_first():
    both = replace(CONFIG, steps=10, minutes=1.0)
    assert both.progress(5, 6.0) == 0.5 and both.progress(1, 45.0) == 0.75 and both.progress(99, 0.0) == 1.0
    assert replace(CONFIG, steps=0, minutes=1.0).progress(10**9, 30.0) == 0.5


def test_a_time_limit_ends_a_run(tmp_path):
    run = trainer(tmp_path, replace(CONFIG, steps=10**6, minutes=0.02))
    run.run()
    assert 0 < run.step < 10**4 and run.seconds >= 1.2 and (tmp_path / STATE).exists()


@pytest.mark.parametrize("fast", [True, False])
def test_auto_is_the_faster_precision_of_the_device(monkeypatch, fast):
    monkeypatch.setattr("priors.training_config.fast_in_bfloat16", lambda device: fast)
    config = replace(CONFIG, precision="auto")
    assert config.on(torch.device("cpu")) == replace(CONFIG, precision="bfloat16" if fast else "float32")
    assert CONFIG.on(torch.device("cpu")) is CONFIG


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "neither steps nor minutes"),
        ({"batch_size": 0}, "batch_size = 0: expected an integer >= 1"),
        ({"lr": 0.0}, "lr = 0.0: expected a finite number > 0"),
        ({"ema": 1.0}, r"ema = 1.0: expected a number in \[0, 1\)"),
        ({"held_out": 0}, "held_out"),
        ({"precision": "int8"}, "precision = 'int8': expected one of auto, float32, bfloat16, float16"),
    ],
)
def test_bad_configs_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **fields)


def test_too_few_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="15 images: too few for held_out = 8 and one batch of 8"):
        trainer(tmp_path, data=stripes(15))


def test_a_classifier_learns(tmp_path):
    objective = NoisyClassification(classifier())
    run = Trainer(objective, stripes(56), replace(CONFIG, steps=60, batch_size=16, lr=5e-3), tmp_path)
    before = run.held_out_loss()
    run.run()
    assert run.losses["held_out"] < 0.8 * before
    unlabelled = ImageSet(stripes(56).images)
    with pytest.raises(ValueError, match="no labels: training a classifier needs them"):
        Trainer(objective, unlabelled, CONFIG, tmp_path).run()


def one_of_two(rank: int, folder):
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.set_num_threads(1)
    trainer(folder / "two").run()
    dist.destroy_process_group()


def test_two_processes_follow_one(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["priors.training", "torch._dynamo"])  # imported once, not by each: seconds
    processes = [context.Process(target=one_of_two, args=(rank, tmp_path)) for rank in (0, 1)]
    for process in processes:
        process.start()
    trainer(tmp_path / "one").run()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    one, two = (load_file(tmp_path / name / STATE) for name in ("one", "two"))
    start = score_prior().network.state_dict()
    for name in one:
        if not name.endswith(".k.bias"):  # has no gradient but rounding, which Adam blows up to the learning rate
            torch.testing.assert_close(
                two[name], one[name], rtol=1e-5, atol=1e-5, msg=lambda text, name=name: name + text
            )
    moved = [(one[f"network.{name}"] - value).abs().max().item() for name, value in start.items()]
    assert max(moved) > 100 * 1e-5  # the run went far enough for a difference to show


def test_a_batch_that_does_not_divide_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "get_world_size", lambda: 3)
    with pytest.raises(ValueError, match="batch_size 8 is not divisible by the 3 processes"):
        trainer(tmp_path)


def test_flip_mirrors_about_half_of_the_images_and_nothing_else(tmp_path):
    plain = trainer(tmp_path, replace(CONFIG, batch_size=40, held_out=8))
    flipped = trainer(tmp_path, replace(CONFIG, batch_size=40, held_out=8, flip=True))
    (x, _, *noise), (z, _, *other) = plain._batch(), flipped._batch()
    assert all(torch.equal(a, b) for a, b in zip(noise, other, strict=True))
    mirrored = (z == x.flip(-1)).flatten(1).all(1)
    assert ((z == x).flatten(1).all(1) ^ mirrored).all(), "each image as it was or mirrored"
    assert 10 <= mirrored.sum() <= 30  # of 40 tosses; beyond 3 standard deviations


def crops() -> Crops:
    made = torch.randint(0, 256, (20, 1, 11, 14), generator=torch.Generator().manual_seed(1)).byte()
    return Crops(Pictures(tuple(made)), 8, (1.0, 0.8))


def test_training_on_crops_resumes_bit_for_bit(tmp_path):
    whole = trainer(tmp_path / "whole", data=crops())
    whole.run()
    broken = trainer(tmp_path / "broken", replace(CONFIG, save_minutes=0.0), data=crops())
    broken.objective.stop_at = 3  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    resumed = trainer(tmp_path / "broken", data=crops())
    assert resumed.resume() and resumed.step == 2
    resumed.run()
    a, b = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    prior = load(tmp_path / "whole")
    assert prior.event_shape == (1, 8, 8) and prior.spectrum is not None
    assert prior.moments is not None and prior.moments.approximate


def test_the_step_draws_the_crops(tmp_path):
    run = trainer(tmp_path, data=crops())
    first = run._batch()[0]
    assert first.shape == (8, 1, 8, 8) and torch.equal(run._batch()[0], first)
    run.step = 1
    assert not torch.equal(run._batch()[0], first)
    assert len(run.held_out) == 8 * MEASURED and len(run.data) == 12
