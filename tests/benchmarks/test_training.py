"""The table of what trainings took, on networks whose operations are counted by hand."""

import torch
from typer.testing import CliRunner

import priors
from benchmarks.cli import app
from benchmarks.trained import training
from priors import VESDE, ScorePrior, checkpoints
from priors.checkpoints import history
from priors.nets import LocalConfig, LocalUNet
from priors.pictures import Pictures, write
from tests.priors.cases import made

RECORD = {"steps": 10, "seconds": 90, "config": {"batch_size": 4}}
FIRST = {"event_shape": [3, 16, 16], "batch_size": 4, "steps": 10, "seconds": 90}


def network() -> LocalUNet:
    return made(LocalUNet, LocalConfig(3, (4,), (1,), embedding=8))


def saved(folder, **notes):
    checkpoints.save(folder, ScorePrior(network(), VESDE(0.002, 50.0), (3, 16, 16)), training=RECORD, **notes)
    return folder


def test_operations_by_hand():
    """conv_in, two convolutions of the one block, conv_out: 3 x 3, at half the size; and the embedding's matrices."""
    prior = ScorePrior(network(), VESDE(0.002, 50.0), (3, 16, 16))
    convolutions = 2 * 9 * 8 * 8 * (12 * 4 + 4 * 4 + 4 * 4 + 4 * 12)
    matrices = 2 * (8 * 8 + 8 * 8 + 8 * 8)
    assert training.forward_operations(prior, (3, 16, 16)) == convolutions + matrices


def test_the_cost_is_that_of_all_trainings(tmp_path):
    first = saved(tmp_path / "first")
    assert history(first, "prior") == [FIRST]
    second = saved(tmp_path / "second", history=history(first, "prior"))
    one, two = training.cost(first), training.cost(second)
    assert (one.minutes, one.images) == (1.5, 40) and (two.minutes, two.images) == (3.0, 80)
    each = training.forward_operations(priors.load(first), (3, 16, 16))  # type: ignore[arg-type]
    assert one.operations == 3 * 40 * each and two.operations == 2 * one.operations


def test_a_checkpoint_without_a_record_has_no_cost(tmp_path):
    checkpoints.save(tmp_path, ScorePrior(network(), VESDE(0.002, 50.0), (3, 16, 16)))
    assert training.cost(tmp_path) == training.Cost()


def test_a_batch_size_that_is_not_stated(tmp_path):
    saved(tmp_path, history=[FIRST | {"batch_size": None}])
    assert training.cost(tmp_path) == training.Cost(minutes=3.0)


def test_the_command(tmp_path):
    generator = torch.Generator().manual_seed(0)
    pictures = Pictures(tuple(torch.randint(0, 255, (3, 24, 20), generator=generator).byte() for _ in range(2)))
    write(tmp_path / "p.h5", pictures)
    arguments = ["--data", str(tmp_path / "p.h5"), "--prior", str(saved(tmp_path / "first")), "--out", str(tmp_path)]
    result = CliRunner().invoke(app, ["run", "training", *arguments, "--level", "25"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    table = (tmp_path / "training.md").read_text()
    assert "sigma 25" in table and "| first | 0.00 | 2 | 0 |" in table
