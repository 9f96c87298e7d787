"""Many measurements: equal to single solves, in any number of processes, after any kill; failures, refusals."""

import copy
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter

import h5py
import numpy as np
import pytest
import torch

from inverse import METHODS, BatchResults, solve, solve_batch
from inverse.app.batch import identity
from inverse.app.batch.job import Job, Settings, Unit, operator_of
from inverse.app.batch.parts import Parts
from inverse.app.batch.sources import source_of
from inverse.app.batch.work import launched, work
from inverse.methods import composition
from operators import GaussianNoise, Masking
from priors import VESDE, VPSDE, Gaussian
from priors.claims import claimed
from tests.cases import Untouchable, picture, score_prior, two_modes
from tests.inverse.app.batch_jobs import HOW, N, problem, run
from tests.operators.cases import ALL

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def events(results: BatchResults) -> Counter:
    """How often each unit was started and finished, by any process."""
    return Counter((entry["event"], entry["unit"]) for entry in Parts(results.path).logged())


def same(a: BatchResults, b: BatchResults) -> bool:
    return all(torch.equal(getattr(a, n)[:], getattr(b, n)[:]) for n in ("mean", "std", "quantiles", "samples"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run(tmp_path_factory.mktemp("batch") / "results.h5")


def test_every_row_is_that_of_a_solve_alone(undisturbed):
    prior, operator, y = problem()
    for b in (0, 7, N - 1):
        row = operator.rows(torch.tensor([b]))
        alone = solve(prior, row, y[b : b + 1], 3, "mmps", 4, progress=False, numbers=[b])
        found = undisturbed.solution(b)
        torch.testing.assert_close(found.samples, alone.samples, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(undisturbed.mean[b], found.mean[0], rtol=0, atol=0)
        torch.testing.assert_close(undisturbed.std[b], found.std[0], rtol=0, atol=0)
        torch.testing.assert_close(undisturbed.quantiles[b], found.quantiles([0.05, 0.5, 0.95])[:, 0], rtol=0, atol=0)
        assert (found.method, found.nfe, found.seed, found.numbers.tolist()) == ("mmps", alone.nfe, 0, [b])
    assert undisturbed.status.tolist() == [1] * N and not undisturbed.failures
    assert undisturbed.mean[[3, 1]].shape == (2, 1, 8, 8) and torch.equal(undisturbed.mean[-1], undisturbed.mean[N - 1])


def test_other_programs_read_one_file(undisturbed, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # the views are relative to the file
    with h5py.File(undisturbed.path) as file:
        assert np.array_equal(file["mean"][:], undisturbed.mean[:].numpy())
        assert file["samples"].shape == (N, 3, 1, 8, 8) and file["numbers"][:].tolist() == list(range(N))
        assert file["status"][:].tolist() == [1] * N and file.attrs["method"] == "mmps"


def test_a_second_run_computes_nothing(undisturbed):
    before = events(undisturbed)
    assert same(run(undisturbed.path), undisturbed) and events(undisturbed) == before
    assert set(before.values()) == {1} and len(before) == 2 * N // 2


def test_only_what_is_missing_or_damaged_is_computed_again(undisturbed, tmp_path):
    results = run(tmp_path / "r.h5")
    parts, units = Parts(results.path), [Unit(k, k + 2) for k in range(0, N, 2)]
    parts.path(units[3]).unlink()
    os.truncate(parts.path(units[5]), 700)
    assert same(run(results.path), undisturbed)
    again = {name for (event, name), n in events(results).items() if event == "done" and n == 2}
    assert again == {units[3].name, units[5].name}


def test_more_measurements_than_before(undisturbed, tmp_path):
    prior, operator, y = problem()
    head = operator.rows(torch.arange(7))
    arguments = {name: value for name, value in HOW.items() if name != "block"} | {"block": 2}
    one = Masking(operator.mask[0], noise=GaussianNoise(0.1))
    solve_batch(prior, one, y[:7], tmp_path / "r.h5", **arguments)
    more = solve_batch(prior, one, y, tmp_path / "r.h5", **arguments)
    done = [name for (event, name), n in events(more).items() if event == "done"]
    assert len(more) == N and len(done) == 12 + 1 and len(head.mask) == 7  # the unit of one measurement is of two now


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("seed", 1, "the seed"), ("n_samples", 2, "the number of samples"), ("n_steps", 5, "the number of steps"),
        ("method", "diffpir", "the method"), ("quantiles", (0.5,), "the quantiles"), ("block", 3, "the block size"),
        ("keep_samples", False, "whether samples are kept"),
    ],
)  # fmt: skip
def test_results_of_other_settings_are_refused(undisturbed, name, value, told):
    with pytest.raises(ValueError, match=f"another problem \\({told}.*choose another --out"):
        run(undisturbed.path, **{name: value})


def test_results_of_another_prior_operator_or_measurement_are_refused(undisturbed, tmp_path):
    prior, operator, y = problem()
    other = Gaussian(prior.mean.flatten() + 1e-3, prior.covariance, VPSDE(), event_shape=(1, 8, 8))
    louder = Masking(operator.mask, noise=GaussianNoise(0.11))
    for given, told in (((other, operator, y), "the prior"), ((prior, louder, y), "the operator")):
        with pytest.raises(ValueError, match=f"another problem \\({told}"):
            solve_batch(*given, undisturbed.path, **HOW)
    changed = y.clone()
    changed[5] += 1e-3 * operator.mask[5]
    with pytest.raises(ValueError, match="results of other measurements, at 4 to 5"):
        solve_batch(prior, operator, changed, undisturbed.path, **HOW)
    (tmp_path / "mine.h5").write_bytes(b"something else")
    with pytest.raises(ValueError, match="is no batch of measurements"):
        run(tmp_path / "mine.h5", overwrite=False)


def test_overwrite(tmp_path):
    few = {"method": "diffpir", "n_steps": 2, "block": 12}
    run(tmp_path / "r.h5", **few)
    found = run(tmp_path / "r.h5", seed=1, overwrite=True, **few)
    assert found.seed == 1 and found.status.tolist() == [1] * N


def test_a_failed_unit_does_not_stop_the_others_and_is_tried_again_when_asked(undisturbed, tmp_path):
    prior, operator, y = problem()
    broken = y.clone()
    broken[9] = torch.nan
    broken[8:10] = torch.where(operator.mask[8:10], broken[8:10], 0)
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["y"] = broken.numpy()
    given = (prior, operator, tmp_path / "y.h5", tmp_path / "r.h5")
    found = solve_batch(*given, **HOW)
    assert found.status.tolist() == [1] * 8 + [2, 2] + [1] * (N - 10)
    assert list(found.failures) == [range(8, 10)] and "y" in found.failures[range(8, 10)]
    with pytest.raises(ValueError, match="measurements 8 to 9: ValueError"):
        found.mean[9]
    with h5py.File(found.path) as file:
        assert np.isnan(file["mean"][8:10]).all() and not np.isnan(file["mean"][10:]).any()
        assert list(json.loads(file.attrs["errors"])) == [Unit(8, 10).name]
    with h5py.File(tmp_path / "y.h5", "a") as file:
        file["y"][9] = y[9].numpy()
    assert solve_batch(*given, **HOW).status[9] == 2  # it is remembered
    mended = solve_batch(*given, **HOW, retry_failed=True)
    assert same(mended, undisturbed) and not mended.failures


def test_results_are_those_of_any_order_and_share(undisturbed, tmp_path):
    """Rank 1 of 3 alone: its own share first, then what nobody works at."""
    parts = Parts(tmp_path / "r.h5")
    settings = Settings(METHODS["mmps"], 4, "", 3, 0, False, "float32", None, 2, (0.05, 0.5, 0.95), True)
    prior, operator, y = problem()
    job = Job(prior, operator, source_of(y), settings)
    parts.open(job)
    with claimed(parts.folder, job.units[0].name) as mine:  # as if another process worked at it
        assert mine
        work(job, parts, 1, 3, wait=False)
    order = [entry["unit"] for entry in parts.logged() if entry["event"] == "start"]
    expected = [u.name for k in (1, 2, 0) for u in job.units[k::3]]
    assert order == [name for name in expected if name != job.units[0].name]
    work(job, parts, 0, 3)
    assert all(map(parts.ended, job.units))
    assert same(run(parts.out), undisturbed)


def started(out, processes: int, pause: int | None = None) -> subprocess.Popen:
    """A batch in processes of its own, which pauses when so many units are finished, until the file is removed."""
    if pause is not None:
        out.with_name("pause").write_text(str(pause))
    command = [sys.executable, "-m", "tests.inverse.app.batch_jobs", str(out), str(processes)]
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)


def workers(out) -> list[int]:
    """The processes that have started a unit, in no order."""
    return [int(path.stem.rpartition("-")[2]) for path in Parts(out).folder.glob("log-*.jsonl")]


def wait_for(job: subprocess.Popen, units: int, out) -> None:
    while job.poll() is None and finished(out) < units:
        time.sleep(0.01)


def finished(out) -> int:
    return Parts(out).counted()[0] if Parts(out).folder.exists() else 0


def check_nothing_lost(results: BatchResults, kills: int) -> None:
    """Every unit was finished once, and those that were started twice were in flight at a kill."""
    counts = events(results)
    assert all(n == 1 for (event, _), n in counts.items() if event == "done"), counts
    lost = sum(n - 1 for (event, _), n in counts.items() if event == "start")
    assert lost <= kills, counts


def test_one_process_is_killed_then_all_and_nothing_finished_is_lost(undisturbed, tmp_path):
    out = tmp_path / "r.h5"
    job = started(out, 2, pause=6)
    try:
        wait_for(job, 2, out)
        os.kill(workers(out)[0], signal.SIGKILL)
        wait_for(job, 6, out)  # the other goes on
        assert job.poll() is None and 6 <= finished(out) < N // 2
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    found = run(out)
    assert same(found, undisturbed)
    check_nothing_lost(found, 2)


@pytest.mark.slow
def test_one_process_is_killed_and_the_other_finishes(undisturbed, tmp_path):
    out = tmp_path / "r.h5"
    job = started(out, 2, pause=2)
    wait_for(job, 2, out)
    os.kill(workers(out)[0], signal.SIGKILL)
    out.with_name("pause").unlink()
    assert job.wait(300) == 0
    assert same(BatchResults(out), undisturbed)
    check_nothing_lost(BatchResults(out), 1)


@pytest.mark.slow
def test_under_torchrun(undisturbed, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29517"]
    command += ["-m", "tests.inverse.app.batch_jobs", str(tmp_path / "r.h5"), "1"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    assert same(BatchResults(tmp_path / "r.h5"), undisturbed)
    starts = [e for e in Parts(tmp_path / "r.h5").logged() if e["event"] == "start"]
    assert len(starts) == N // 2 and len(list(Parts(tmp_path / "r.h5").folder.glob("log-*"))) == 2


@pytest.mark.slow
def test_under_ray_with_a_worker_killed(undisturbed, tmp_path):
    pytest.importorskip("ray")
    out = tmp_path / "r.h5"
    code = f"from tests.inverse.app.batch_jobs import run; run({str(out)!r}, 2, backend='ray')"
    job = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True)
    wait_for(job, 2, out)
    os.kill(workers(out)[0], signal.SIGKILL)
    assert job.wait(300) == 0
    assert same(BatchResults(out), undisturbed)
    check_nothing_lost(BatchResults(out), 1)


def test_torchrun_is_seen_by_its_variables(monkeypatch, tmp_path):
    assert launched() is None
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert launched() == (3, 8, 1)
    with pytest.raises(ValueError, match="under torchrun every process takes its share"):
        run(tmp_path / "r.h5", 2)


def test_what_cannot_be_sent_to_another_process(tmp_path):
    prior, operator, y = problem()
    prior.hook = lambda x: x
    with pytest.raises(TypeError, match="cannot be sent to another process"):
        solve_batch(prior, operator, y, tmp_path / "r.h5", **(HOW | {"processes": 2}))


class TestSources:
    def test_only_a_block_is_read(self, tmp_path):
        """26 TB that were never written: reading all of it would fail."""
        with h5py.File(tmp_path / "y.h5", "w") as file:
            file.create_dataset("y", (10**8, 1, 256, 256), "f4", chunks=(1, 1, 256, 256), fillvalue=0.5)
            file.create_dataset("mask", (10**8, 1, 256, 256), "u1", chunks=(1, 1, 256, 256), fillvalue=1)
            file["name"] = "all of them"
        source = source_of(tmp_path / "y.h5")
        assert len(source) == 10**8 and source.names == ("y", "mask")
        found = source.read(10**7, 10**7 + 3)
        assert found["y"].shape == (3, 1, 256, 256) and found["mask"].dtype == torch.uint8
        assert found["y"].unique().tolist() == [0.5]

    def test_npy(self, tmp_path):
        np.save(tmp_path / "y.npy", np.arange(24, dtype=">f8").reshape(6, 4))
        found = source_of(tmp_path / "y.npy").read(2, 4)["y"]
        assert found.dtype == torch.float64 and found[0].tolist() == [8.0, 9.0, 10.0, 11.0]

    def test_refusals(self, tmp_path):
        with h5py.File(tmp_path / "y.h5", "w") as file:
            file["y"], file["mask"], file["z"] = np.zeros((4, 3)), np.ones((2, 3)), np.zeros((4, 3), "c8")
        with pytest.raises(
            ValueError, match=r"'mask' is float64 \(2, 3\): expected numbers with one entry for each of"
        ):
            source_of(tmp_path / "y.h5", ["mask"])
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["x"] = np.zeros((4, 3))
        assert len(source_of(tmp_path / "x.h5")) == 4  # the only one
        with h5py.File(tmp_path / "x.h5", "a") as file:
            file["z"] = np.zeros((4, 3))
        for wrong, told in [
            (tmp_path / "x.h5", "'x' .*'z'"), (tmp_path / "none.h5", "no measurement file"),
            (torch.zeros(0, 3), "at least one"), (3, "expected a tensor"), (tmp_path, "is a folder"),
        ]:  # fmt: skip
            with pytest.raises((ValueError, TypeError, FileNotFoundError), match=told):
                source_of(wrong)


def make_from_masks(arrays):
    return Masking(arrays["mask"].bool(), noise=GaussianNoise(0.1))


def test_parameters_from_the_file(undisturbed, tmp_path):
    prior, operator, y = problem()
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["y"], file["mask"] = y.numpy(), operator.mask.numpy()
    found = solve_batch(prior, make_from_masks, tmp_path / "y.h5", tmp_path / "r.h5", **HOW)
    assert same(found, undisturbed)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"operator": 3}, "operator of type int"), ({"operator": lambda arrays: 3}, "returned a int"),
        ({"processes": 0}, "processes"), ({"quantiles": (1.5,)}, "quantiles"), ({"backend": "dask"}, "backend"),
        ({"out": "r.npz"}, "written as HDF5"), ({"n_samples": 0}, "n_samples"), ({"block": 0}, "block"),
        ({"precision": "float8"}, "precision"), ({"method": "nothing"}, "method 'nothing'"),
        ({"operator": Masking(torch.ones(3, 1, 4, 4), noise=GaussianNoise(0.1))}, "are for 3 measurements"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused_before_anything_is_computed(change, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"operator": Masking(torch.ones(1, 4, 4), noise=GaussianNoise(0.1)), "out": "r.h5"} | change
    with pytest.raises((ValueError, TypeError), match=told):
        solve_batch(Untouchable(), y=torch.full((2, 1, 4, 4), 0.5), **given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("label", [label for label, _ in ALL])
def test_the_identity_of_operators_is_that_of_a_copy(label):
    make = dict(ALL)[label].make
    operator = make()
    before = identity.digest(identity.of(operator))
    assert identity.digest(identity.of(make() if "function" in label else copy.deepcopy(operator))) == before
    x = torch.rand(operator.batch or 1, *dict(ALL)[label].event_shape)
    operator(x)  # what it caches is no part of it
    assert identity.digest(identity.of(operator)) == before


def test_identities_differ_where_things_do():
    small = torch.rand(3, 5)
    things = [
        picture(VPSDE()), picture(VESDE()), picture(VPSDE(beta_max=19.0)), two_modes(VPSDE()), score_prior(),
        *(Masking(torch.ones(4, 4), noise=GaussianNoise(s)) for s in (0.1, 0.2)),
        *METHODS.values(), small, small.double(), small.T, [1, 2], [2, 1], 1, 1.0, "1", None, True,
    ]  # fmt: skip
    digests = [identity.digest(identity.of(thing)) for thing in things]
    assert len(set(digests)) == len(things)
    assert [identity.digest(identity.of(pickle.loads(pickle.dumps(t)))) for t in things] == digests
    changed = score_prior()
    with torch.no_grad():
        next(iter(changed.parameters())).view(-1)[0] += 1e-6
    assert identity.digest(identity.of(changed)) not in digests


def test_identities_are_those_of_another_process():
    code = (
        "from tests.inverse.app.batch_jobs import problem; from inverse.app.batch import identity; "
        "p, o, y = problem(); print(identity.digest(identity.of([p, o, y])))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert told.stdout.split() == [identity.digest(identity.of(list(problem())))]


def test_a_block_s_operator():
    _, operator, _ = problem()
    assert torch.equal(operator_of(operator, {}, 4, 6).mask, operator.mask[4:6])
    shared = Masking(operator.mask[0])
    assert operator_of(shared, {}, 4, 6) is shared
    assert composition(METHODS["mmps"]) != composition(METHODS["dps"])


@pytest.mark.parametrize("ending", ["h5", "zarr"])
def test_the_measurements_are_never_overwritten(tmp_path, ending):
    prior, operator, y = problem(4)
    one, path = Masking(operator.mask[0], noise=GaussianNoise(0.1)), tmp_path / f"y.{ending}"
    if ending == "h5":
        with h5py.File(path, "w") as file:
            file["y"] = y.numpy()
    else:
        zarr = pytest.importorskip("zarr", reason="zarr (extra zarr)")
        zarr.open_group(path, mode="w").create_array("y", data=y.numpy())
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="this is the file of the measurements"):
            solve_batch(prior, one, path, path, overwrite=overwrite, **HOW)
    assert torch.equal(source_of(path).read(0, 4)["y"], y)
