"""Units are done once, by whoever comes first, and a kill loses none that was done."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmarks.suite import execute, problems, records, runner, units
from benchmarks.suite.clock import Clock, span
from benchmarks.suite.methods import ROWS, Answer, Row, method
from operators import CompressedSensing, Fourier, Masking, PhaseRetrieval
from operators.coils import smooth_sensitivities
from priors.claims import LOCKS, claimed

from .test_records import same

ROOT = Path(__file__).parents[3]
OF_THE_RUN = ("seconds", "peak_memory", "provenance")  # all else must not depend on how a run went


def start(command: list[str], bench: Path, folder: Path) -> subprocess.Popen:
    """The command line on the benchmark, with two threads, of which the runner must make one."""
    words = [*command, "-m", "benchmarks.cli", "run", "suite", str(bench / "bench.toml"), "--records", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.fixture(scope="module")
def unbroken(bench, tmp_path_factory):
    """The records of a run in this process that nothing disturbed."""
    folder = tmp_path_factory.mktemp("unbroken")
    chosen, _ = units.plan(problems.read(bench / "bench.toml"))
    outcome = runner.run(chosen, folder)
    assert outcome == runner.Outcome(len(chosen), 0, 0, 0)
    return records.load(folder)


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]


def killed(process: subprocess.Popen, folder: Path) -> list[bytes]:
    """SIGKILL in the middle: the lines that are left."""
    file = folder / records.FILE
    while not (file.exists() and file.read_bytes().count(b"\n") >= 3) and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return file.read_bytes().splitlines(keepends=True)


def test_a_run_that_was_killed_resumes_in_two_processes_to_the_same_records(bench, unbroken, tmp_path):
    left = killed(start([sys.executable], bench, tmp_path), tmp_path)
    assert 3 <= len(left) < len(unbroken), "the run was to be killed in the middle"
    assert len(records.load(tmp_path)) == len(left), "a record that a kill leaves must be whole"
    process = start(TORCHRUN, bench, tmp_path)
    output = process.communicate(timeout=400)[0]
    assert process.returncode == 0, output
    (found,) = re.findall(rf"(\d+) of {len(unbroken)} units found", output)  # of one process, the other may be ahead
    assert int(found) >= len(left)
    lines = (tmp_path / records.FILE).read_bytes().splitlines(keepends=True)
    assert lines[: len(left)] == left and len(lines) == len(unbroken), "finished units were done again"
    for ours, theirs in zip(records.load(tmp_path), unbroken, strict=True):
        same(ours, theirs, OF_THE_RUN)


@pytest.mark.slow
@pytest.mark.parametrize("command", [[sys.executable], TORCHRUN], ids=["one process", "two processes"])
def test_a_run_that_is_killed_again_and_again_ends_in_the_same_records(bench, unbroken, tmp_path, command):
    for _ in range(3):
        process = start(command, bench, tmp_path)
        time.sleep(6)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = start(command, bench, tmp_path)
    output = process.communicate(timeout=400)[0]
    assert process.returncode == 0, output
    for ours, theirs in zip(records.load(tmp_path), unbroken, strict=True):
        same(ours, theirs, OF_THE_RUN)


def test_records_say_what_was_done(unbroken):
    by = {(r.problem, r.method, r.images): r for r in unbroken}
    assert {r.problem for r in unbroken} == {"mask", "motion"} and {r.prior for r in unbroken} == {"prior"}
    assert {images for p, _, images in by if p == "mask"} == {(0, 1), (2, 3), (4,)}  # 5 images in blocks of 2
    auto, own = by["mask", "auto", (0, 1)], by["mask", "mmps", (0, 1)]
    assert auto.key == own.key and auto.settings["method"] == "mmps", "one computation under two names"
    np.testing.assert_array_equal(auto.pictures["samples"], own.pictures["samples"])
    tv = by["mask", "tv", (4,)]
    assert not tv.posterior and tv.n_samples == 0 and tv.ranks is None and "coverage95" not in tv.metrics
    dps = by["mask", "dps", (0, 1)]
    assert dps.posterior and dps.n_samples == 4 and (dps.nfe, dps.nvjp) == (4, 4)
    assert dps.ranks.sum(1) == pytest.approx([64, 64]) and dps.pictures["samples"].shape == (2, 4, 1, 8, 8)
    assert dps.settings["steps"] == 3 and dps.peak_memory > 10**7 and not dps.error
    assert {"command", "torch", "machine", "date"} <= set(dps.provenance)
    assert "alexnet" in dps.missing.get("lpips_sample", "alexnet")


def test_the_truths_features_lie_beside_those_of_samples(tmp_path):
    config = problems.read(problems.CONFIGS / "smoke.toml")
    chosen, _ = units.plan(config, ["smoke-random"], ["ddrm", "tv"])
    runner.run(chosen, tmp_path)
    held = {r.method: r for r in records.load(tmp_path)}
    truth, space = held["truth"], chosen[0].problem.features
    assert space is not None and not truth.metrics and not truth.posterior and truth.images == (0, 1)
    np.testing.assert_allclose(truth.features, space.of(chosen[0].problem.truth).numpy())
    samples = torch.from_numpy(held["ddrm"].pictures["samples"][:, 0])
    np.testing.assert_allclose(held["ddrm"].features, space.of(samples).numpy())
    assert {r.provenance["features"] for r in held.values()} == {"the classifier fashion-mnist-judge"}


def test_blocks_and_seeds_do_not_share_noise(config, tmp_path):
    one = replace(config, block=1)
    chosen, _ = units.plan(one, ["mask"], ["ddrm"], [0, 1])
    assert len({unit.stream for unit in chosen}) == len(chosen) == 10
    assert [u.seed for u in chosen] == [0] * 5 + [1] * 5


def test_the_key_knows_all_that_a_unit_depends_on(config, bench, monkeypatch):
    def key(**changes):
        changed = replace(config, **{k: v for k, v in changes.items() if k != "problem"})
        if "problem" in changes:
            changed.problems["mask"] = replace(config.problems["mask"], **changes["problem"])
        found = units.plan(changed, ["mask"], ["dps"])[0][0].key
        changed.problems["mask"] = original
        return found

    original = config.problems["mask"]
    keys = [
        key(),
        key(samples=5),
        key(seeds=(1,)),
        key(block=3),
        key(methods={"dps": {"steps": 4}}),
        key(methods={"dps": {"steps": 3, "guidance": {"zeta": 0.5}}}),
        key(problem={"seed": 1}),
        key(problem={"noise": {"gaussian": 0.2}}),
        key(problem={"operator": {**original.operator, "seed": 4}}),
    ]
    assert len(set(keys)) == len(keys)
    assert key() == key(problem={"task": "another title"}) == keys[0]
    monkeypatch.setattr(units, "fingerprint", lambda network: "other weights")
    assert key() != keys[0]


def test_failures_are_kept_and_tried_again_on_demand(config, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.suite.methods.ROWS", ROWS | {})
    broken = [True]

    @method("brittle")
    class Brittle(Row):
        def serves(self, operator, prior):
            return True

        def run(self, prior, operator, y, n_samples, seed):
            if broken[0]:
                raise RuntimeError("out of luck")
            return Answer(y, y[:, None].expand(-1, n_samples, *y.shape[1:]))

    chosen, _ = units.plan(config, ["mask"], ["brittle", "ddrm"])
    assert runner.run(chosen, tmp_path) == runner.Outcome(6, 0, 3, 0)
    failed = [r for r in records.load(tmp_path) if r.error]
    assert {r.error for r in failed} == {"RuntimeError: out of luck"} and {r.method for r in failed} == {"brittle"}
    assert all(not r.metrics and r.seconds >= 0 for r in failed)
    broken[0] = False
    assert runner.run(chosen, tmp_path) == runner.Outcome(0, 6, 3, 0)
    assert runner.run(chosen, tmp_path, retry=True) == runner.Outcome(3, 3, 0, 0)


def test_an_answer_of_another_shape_or_with_nan_is_a_failure(config, tmp_path):
    class Wrong(Row):
        def serves(self, operator, prior):
            return True

        def run(self, prior, operator, y, n_samples, seed):
            return Answer(y[:, :, 1:] if self.name == "small" else y * torch.nan)

    unit = units.plan(config, ["mask"], ["ddrm"])[0][0]
    chosen = [replace(unit, row=Wrong(name)) for name in ("small", "nan")]
    for u in chosen:  # the name is no part of a key
        u.__dict__["key"] = u.row.name
    runner.run(chosen, tmp_path)
    assert {r.method: r.error for r in records.load(tmp_path)} == {
        "small": "ValueError: its mean has shape (2, 1, 7, 8): expected (2, 1, 8, 8)",
        "nan": "ArithmeticError: its answer has entries that are nan or infinite",
    }


MASK = torch.ones(6, 5)
COILS = smooth_sensitivities(3, (6, 5))
SEEN = (
    (Masking.box((3, 6, 5), 2), 3, True),
    (Fourier(MASK), 1, False),
    (Fourier(MASK, COILS), 1, False),
    (CompressedSensing(0.5, event_shape=(1, 6, 5)), 1, False),
    (PhaseRetrieval.coded((1, 6, 5)), 1, True),
)


@pytest.mark.parametrize("operator, channels, itself", SEEN)
def test_what_is_measured_is_shown_as_a_picture(operator, channels, itself):
    """Of whatever shape: itself, or by the adjoint."""
    x = torch.rand(2, channels, 6, 5, generator=torch.Generator().manual_seed(0))
    y = operator.measure(x, seed=0)
    shown = execute.seen(operator, y)
    assert shown is not None and shown.ndim == 4 and shown.shape[2:] == x.shape[2:]
    assert torch.equal(shown, y if itself else operator.adjoint(y))


def test_damaged_records_are_done_again_and_older_ones_withdrawn(config, tmp_path):
    chosen, _ = units.plan(config, ["motion"], ["ddrm"])
    runner.run(chosen, tmp_path)
    damaged, whole = (tmp_path / "records" / f"{unit.name}.h5" for unit in chosen)
    damaged.write_bytes(whole.read_bytes()[:1000])
    console = Console(record=True, width=300, force_terminal=False, file=open(os.devnull, "w"))  # noqa: SIM115
    assert runner.run(chosen, tmp_path, console=console).done == 1
    assert f"done again: {damaged}" in console.export_text()
    changed, _ = units.plan(replace(config, methods={"ddrm": {"steps": 4}}), ["motion"])
    runner.run(changed, tmp_path)
    assert {r.settings["steps"] for r in records.load(tmp_path)} == {4}
    assert damaged.exists() and whole.exists(), "what is withdrawn is not deleted"


def test_what_another_process_holds_is_left_to_it(config, tmp_path):
    chosen, _ = units.plan(config, ["motion"], ["ddrm"])
    with claimed(tmp_path, chosen[0].key) as mine:
        assert mine
        assert runner.run(chosen, tmp_path) == runner.Outcome(1, 0, 0, 1)
    assert runner.run(chosen, tmp_path) == runner.Outcome(1, 1, 0, 0)


def test_time_left_is_told_from_what_was_measured(config, unbroken):
    chosen, _ = units.plan(config, rows=["dps", "ddrm", "tv"])
    clock, dps = Clock(), next(r for r in unbroken if r.method == "dps" and r.problem == "mask")
    assert clock.left(chosen) == f"{len(chosen)} units of rows that have not been timed yet"
    clock.add(replace(dps, seconds=8.0, images=(0, 1), n_samples=4))  # a second per sample
    mine = [u for u in chosen if u.row.name == "dps"]
    # 5 images on one problem, as measured; 4 on the other, as on the first; 4 samples each
    assert clock.left(mine) == "about 36 s" and clock.left(mine, processes=2) == "about 18 s"
    assert clock.left(chosen).startswith("about 36 s and 10 units")
    assert clock.left([]) == "nothing left" and (span(190), span(3900)) == ("3 min 10 s", "1 h 5 min")


def test_a_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert runner.device_of() == torch.device("cuda", 1) and runner.device_of("cpu") == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match="at most one process per GPU"):
        runner.device_of()
    with pytest.raises(ValueError, match="expected auto, cpu or cuda"):
        runner.device_of("tpu")


def test_a_lock_that_is_a_link_is_not_followed(config, tmp_path):
    (tmp_path / "victim").write_text("precious")
    chosen, _ = units.plan(config, ["motion"], ["ddrm"])
    (tmp_path / LOCKS).mkdir()
    (tmp_path / LOCKS / chosen[0].key).symlink_to(tmp_path / "victim")
    with pytest.raises(ValueError, match=r"is not a lock of this program .*remove it"):
        runner.run(chosen, tmp_path)
    assert (tmp_path / "victim").read_text() == "precious"
