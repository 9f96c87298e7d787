"""A published measurement set gives the same y to the last bit, or is refused."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import priors
from benchmarks.cli import app
from benchmarks.suite import measurements, units
from benchmarks.suite.problems import Spec
from operators import GaussianNoise, Masking

from .conftest import SHAPE


@pytest.fixture(scope="module")
def published(bench, tmp_path_factory):
    """The sets of the benchmark, as the command line writes them."""
    folder = tmp_path_factory.mktemp("published")
    result = CliRunner().invoke(app, ["measure", str(bench / "bench.toml"), "--out", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


PRIOR = priors.Gaussian(torch.zeros(64), torch.eye(64), sde=priors.VESDE(), event_shape=SHAPE)


@pytest.mark.parametrize("name", ["mask", "motion"])
def test_a_set_comes_back_to_the_last_bit(published, config, name):
    spec = config.problems[name]
    made = measurements.make(spec, PRIOR)
    read = measurements.read(published / f"{name}.h5", spec, PRIOR)
    assert measurements.identity(spec, made) == measurements.identity(spec, read)
    ours, theirs = measurements.numbers(made), measurements.numbers(read)
    assert ours.keys() == theirs.keys() >= {"truth", "y", "operator/noise.sigma"}
    for key, array in ours.items():
        np.testing.assert_array_equal(array, theirs[key], err_msg=key)
    ours, theirs = (units.plan(config, [name], ["dps", "tv"], measured=m)[0] for m in (None, published))
    assert [u.name for u in ours] == [u.name for u in theirs], "a unit's key is that of what was measured"


def test_a_set_says_what_it_is(published):
    with h5py.File(published / "mask.h5") as file:
        assert file["y"].chunks == (1, *SHAPE) and file["y"].compression == "gzip"
        assert {"format", "sha256", "units", "problem"} <= set(file.attrs)
        assert '"recipe": "random"' in file.attrs["problem"] and '"gaussian": 0.1' in file.attrs["problem"]


def test_what_stands_in_the_file_is_used_and_nothing_is_drawn(published, config, monkeypatch, tmp_path):
    problem = config.problems["mask"]
    held = measurements.read(published / "mask.h5", problem, PRIOR)
    other = Masking(~held.operator.mask, noise=GaussianNoise(0.1))  # as another version of torch might draw it
    measurements.write(problem, replace(held, operator=other), tmp_path / "mask.h5")
    monkeypatch.setattr(Masking, "measure", lambda *a, **k: pytest.fail("it measures"))
    read = measurements.read(tmp_path / "mask.h5", problem, PRIOR)
    assert torch.equal(read.operator.mask, other.mask) and torch.equal(read.y, held.y)


def test_fewer_images_are_the_first_ones(published, config):
    few = replace(config.problems["mask"], images=2, task="another title", prior="elsewhere")
    read = measurements.read(published / "mask.h5", few, PRIOR)
    assert len(read.y) == len(read.truth) == 2
    made = measurements.make(config.problems["mask"], PRIOR).part((0, 1))
    assert measurements.identity(few, read) == measurements.identity(few, made)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise": {"gaussian": 0.2}}, r"mask\.h5: noise = .*problem mask has"),
        ({"seed": 1}, r"mask\.h5: seed = 0, problem mask has 1"),
        ({"images": 9}, r"mask\.h5: 5 images, problem mask asks for 9"),
        ({"operator": {"name": "grayscale"}}, r"mask\.h5: operator = "),
    ],
)
def test_a_set_of_another_problem_is_refused(published, config, changes, message):
    with pytest.raises(ValueError, match=message):
        measurements.read(published / "mask.h5", replace(config.problems["mask"], **changes), PRIOR)


def test_a_set_of_another_prior_is_refused(published, config):
    larger = priors.Gaussian(torch.zeros(81), torch.eye(81), sde=priors.VESDE(), event_shape=(1, 9, 9))
    with pytest.raises(ValueError, match="those of the prior"):
        measurements.read(published / "mask.h5", config.problems["mask"], larger)


def test_damaged_sets_are_named(published, config, tmp_path):
    problem, path = config.problems["mask"], tmp_path / "mask.h5"
    whole = (published / "mask.h5").read_bytes()
    path.write_bytes(whole[:-500])
    with pytest.raises(ValueError, match=r"mask\.h5 is not a readable .* fetch it again"):
        measurements.read(path, problem, PRIOR)
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        y = file["y"][()]
        y[0, 0, 0, 0] += 1e-6
        file["y"][...] = y
    with pytest.raises(ValueError, match=r"mask\.h5.*does not match its checksum"):
        measurements.read(path, problem, PRIOR)
    with h5py.File(path, "w") as file:
        file["y"] = y
    with pytest.raises(ValueError, match=r"its format is 'no format'"):
        measurements.read(path, problem, PRIOR)
    with pytest.raises(FileNotFoundError, match="inverse-bench measure"):
        measurements.read(tmp_path / "none.h5", problem, PRIOR)


def test_labels_are_what_a_classifier_measures():
    operator = {"name": "classifier", "network": "fashion-mnist-classifier"}
    problem = Spec("label", "label", "fashion-mnist", operator, images=3)
    made = measurements.make(problem, priors.load("fashion-mnist"))
    assert made.y.tolist() == [0, 1, 2] and torch.equal(made.y, made.labels)
    names = measurements.numbers(made)
    assert not any(name.startswith("operator/") for name in names), "a network is named, not copied"
    with pytest.raises(ValueError, match=r"have no labels"):
        measurements.make(replace(problem, prior="cifar10"), priors.load("cifar10"))


def test_commands_say_what_is_wrong(bench, tmp_path):
    runner = CliRunner()
    for words, said in (
        (["measure", str(bench / "none.toml")], "no benchmark at"),
        (["measure", str(bench / "bench.toml"), "--problem", "masc"], "expected of"),
        (["run", "suite", str(bench / "bench.toml"), "--measured", str(tmp_path)], "no measurements at"),
        (["run", "suite", str(bench / "bench.toml"), "--method", "none"], "expected one of"),
        (["run", "suite", str(bench / "bench.toml"), "--method", "classifier"], "nothing to run"),
    ):
        result = runner.invoke(app, [*words, *(["--out", str(tmp_path)] if words[0] == "measure" else [])])
        assert result.exit_code == 2 and said in result.output, result.output
    words = ["run", "suite", str(bench / "bench.toml"), "--dry", "--device", "cpu", "--records", str(tmp_path / "none")]
    result = runner.invoke(app, words)
    assert result.exit_code == 0 and "units, " in result.output and not (tmp_path / "none").exists()


def test_noise_in_other_units_is_refused(config):
    with pytest.raises(ValueError, match="by 255"):
        measurements.make(replace(config.problems["mask"], noise={"gaussian": 12.75}), PRIOR)
