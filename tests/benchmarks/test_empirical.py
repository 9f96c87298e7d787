"""The benchmark of data sets as priors: its problems, its measures on samples of known quality, reused records."""

import json

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import cli
from benchmarks.common.records import Records
from benchmarks.exact import oracle_entries
from benchmarks.exact.empirical import measure, references, run, table
from benchmarks.exact.empirical_problems import TASKS, Pictures, instance
from benchmarks.exact.oracle_entries import EXACT, PRIOR
from priors.data import ImageSet, write

N = 200


@pytest.fixture(scope="module")
def data():
    """Smooth pictures 16 x 16 of 4 classes, each with a mean of its own."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(N) % 4
    coarse = torch.rand(4, 1, 4, 4, generator=generator)[labels] + 0.25 * torch.rand(N, 1, 4, 4, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=16, mode="bilinear") / 1.25
    return ImageSet((255 * images).to(torch.uint8), labels)


@pytest.fixture(scope="module")
def pictures(data):
    return Pictures.of(data, N, 16)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_problem_leaves_some_pictures(task, pictures):
    posed = instance(task, pictures, 0)
    assert 5 <= posed.posterior.ess <= 500 and posed.prior.bandwidth == task.bandwidth
    again = instance(task, pictures, 0)
    assert torch.equal(posed.y, again.y) and not torch.equal(posed.y, instance(task, pictures, 1).y)
    log_p = posed.prior.posterior(posed.operator, posed.y).log_weights
    torch.testing.assert_close(log_p, posed.posterior.log_weights)
    assert float(posed.classes.sum()) == pytest.approx(1)


def test_pictures_are_means_of_blocks(data):
    half = Pictures.of(data, 10, 8)
    expected = data.floats(slice(0, 10)).unflatten(2, (8, 2)).unflatten(4, (8, 2)).mean((3, 5))
    torch.testing.assert_close(half.images, expected)
    assert torch.equal(half.labels, data.labels[:10]) and half.identity != Pictures.of(data, 11, 8).identity


def test_measures_of_exact_draws_and_of_worse_ones(pictures):
    posed, n = instance(TASKS[0], pictures, 0), 400
    sets = references(posed, 0, n)
    assert not torch.equal(sets[0], sets[1])
    good = measure(posed.posterior.sample(n, seed=5), posed, pictures, sets)
    floor = sum(measure(sets[0], posed, pictures, sets[1:])[name] for name in ("sw1", "sw2"))
    assert good["sw1"] + good["sw2"] == pytest.approx(floor, rel=0.5)
    assert good["classes"] < 0.1 and good["mean"] < 4 / n**0.5 and abs(good["held"] - 0.95) < 0.02
    free = measure(posed.prior.sample(n, seed=5), posed, pictures, sets)
    assert free["sw1"] > 2 * good["sw1"] and free["sw2"] > 2 * good["sw2"] and free["mean"] > 2 * good["mean"]
    narrow = posed.posterior.mean + 0.3 * (posed.posterior.sample(n, seed=5) - posed.posterior.mean)
    assert measure(narrow, posed, pictures, sets)["held"] < 0.8
    wanted = int(posed.classes.argmin())
    others = pictures.images[pictures.labels == wanted][:40].repeat(10, 1, 1, 1)  # all of one class
    assert measure(others, posed, pictures, sets)["classes"] == pytest.approx(1 - float(posed.classes[wanted]))


def test_finished_work_is_reused(pictures, tmp_path, monkeypatch):
    given = pictures, [TASKS[0], TASKS[5]], ["mmps", "pivot"], 1, 8, tmp_path
    first = run(*given)
    methods = [(r["task"], r["method"]) for r in first]
    assert ("masking", "mmps") in methods and ("saturation", "auto") in methods
    assert ("saturation", "mmps") not in methods  # it is not linear
    # "auto" is "mmps" on the mask: one record
    assert len(Records(tmp_path / "empirical.jsonl").found) == len(first) - 1
    for kind in (oracle_entries.Exact, oracle_entries.PriorDraws, oracle_entries.Ours):
        monkeypatch.setattr(kind, "draw", lambda *_: pytest.fail("drawn again"))
    assert run(*given) == first
    rows = {(row["problem"].split(":")[0], row["method"].split(" (")[0]): row for row in table(first)}
    assert rows["masking", EXACT]["sliced W1"] == "1.00" and float(rows["masking", PRIOR]["sliced W1"]) > 1
    assert ("masking", "pivot") not in rows  # which refuses 256 numbers
    assert rows["masking", "auto"]["failed"] == "-" and float(rows["masking", "auto"]["NFE"]) > 0


def test_the_command(data, tmp_path):
    write(tmp_path / "set.h5", data)
    arguments = ["run", "empirical", "--data", str(tmp_path / "set.h5"), "--pictures", "100", "--side", "8"]
    arguments += ["--problem", "poisson", "--method", "dps", "--instances", "1", "--samples", "8"]
    arguments += ["--work", str(tmp_path / "work"), "--out", str(tmp_path)]
    found = CliRunner().invoke(cli.app, arguments)
    assert found.exit_code == 0, found.output
    held = json.loads((tmp_path / "empirical.json").read_text())
    assert held["facts"]["samples"] == 8 and {row["method"] for row in held["rows"]} > {EXACT, PRIOR, "dps"}
    assert CliRunner().invoke(cli.app, [*arguments, "--problem", "mri"]).exit_code != 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda data: Pictures.of(ImageSet(data.images), 10, 8), "no labels"),
        (lambda data: Pictures.of(data, N + 1, 8), "expected at least 201"),
        (lambda data: Pictures.of(data, 10, 7), "multiples of 7"),
        (lambda data: run(Pictures.of(data, 10, 8), TASKS, None, 0, 8, None), "0 instances of 8 samples"),
    ],
)
def test_what_is_refused(make, message, data):
    with pytest.raises(ValueError, match=message):
        make(data)
