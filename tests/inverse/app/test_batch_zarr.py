"""Many measurements in Zarr: read by chunks, results bit for bit those in HDF5, after any kill; refusals."""

import json
import os
import signal

import h5py
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from inverse import BatchResults, solve_batch
from inverse.app.batch.job import Unit
from inverse.app.batch.parts import Parts
from inverse.app.batch.sources import source_of
from inverse.app.batch.zarr_storage import chunks_of
from inverse.app.cli import app
from operators import GaussianNoise, Masking
from tests.inverse.app.batch_jobs import HOW, N, problem, run
from tests.inverse.app.test_batch import (
    check_nothing_lost,
    events,
    finished,
    make_from_masks,
    same,
    started,
    wait_for,
    workers,
)

zarr = pytest.importorskip("zarr", reason="zarr (extra zarr)")


@pytest.fixture(scope="module")
def in_hdf5(tmp_path_factory):
    return run(tmp_path_factory.mktemp("batch") / "results.h5")


@pytest.fixture(scope="module")
def in_zarr(tmp_path_factory):
    return run(tmp_path_factory.mktemp("batch") / "results.zarr")


def measured(folder, form: int, **arrays):
    """A Zarr folder of measurements, in chunks of 5."""
    group = zarr.open_group(folder, mode="w", zarr_format=form)
    for name, values in arrays.items():
        group.create_array(name, data=values, chunks=(5, *values.shape[1:]))
    return folder


def test_results_are_those_in_hdf5(in_hdf5, in_zarr):
    assert same(in_zarr, in_hdf5) and in_zarr.status.tolist() == [1] * N and not in_zarr.failures
    assert torch.equal(in_zarr.ess[:], in_hdf5.ess[:]) and in_zarr.cautions == in_hdf5.cautions
    ours, theirs = in_zarr.solution(7), in_hdf5.solution(7)
    assert torch.equal(ours.samples, theirs.samples) and torch.equal(ours.log_weights, theirs.log_weights)
    assert (ours.method, ours.nfe, ours.seed, ours.citation) == (theirs.method, theirs.nfe, 0, theirs.citation)
    assert ours.numbers.tolist() == [7]


def test_other_programs_read_one_folder_and_every_unit_has_chunks_of_its_own(in_zarr):
    group = zarr.open_group(in_zarr.path, mode="r")
    assert np.array_equal(group["mean"][:], in_zarr.mean[:].numpy())
    assert group["samples"].shape == (N, 3, 1, 8, 8) and group["numbers"][:].tolist() == list(range(N))
    assert group["status"][:].tolist() == [1] * N and group.attrs["method"] == "mmps"
    assert group["mean"].chunks[0] == group["samples"].chunks[0] == HOW["block"]


def test_a_second_run_computes_nothing(in_zarr):
    before = events(in_zarr)
    assert same(run(in_zarr.path), in_zarr) and events(in_zarr) == before
    assert set(before.values()) == {1} and len(before) == 2 * N // 2


def test_only_what_is_missing_or_damaged_is_computed_again(in_zarr, tmp_path):
    results = run(tmp_path / "r.zarr")
    parts, units = Parts(results.path), [Unit(k, k + 2) for k in range(0, N, 2)]
    parts.path(units[3]).unlink()  # as if killed before its note
    os.truncate(results.path / "mean" / "c" / "3" / "0" / "0" / "0", 20)
    os.truncate(results.path / "std" / "c" / "5" / "0" / "0" / "0", 20)
    (results.path / "samples" / "c" / "6" / "0" / "0" / "0" / "0").unlink()
    parts.path(units[8]).write_text("{")
    (results.path / "mean" / "c" / "3" / "0" / "0" / "0.abc.partial").write_bytes(b"cut")
    assert same(run(results.path), in_zarr)
    again = {name for (event, name), n in events(results).items() if event == "done" and n == 2}
    assert again == {units[k].name for k in (3, 5, 6, 8)}
    assert not list(results.path.rglob("*.partial"))


def test_more_and_fewer_measurements_than_before(in_zarr, tmp_path):
    prior, operator, y = problem()
    one = Masking(operator.mask[0], noise=GaussianNoise(0.1))
    whole = solve_batch(prior, one, y, tmp_path / "whole.zarr", **HOW)
    for n in (7, N, 5, N):
        found = solve_batch(prior, one, y[:n], tmp_path / "r.zarr", **HOW)
        assert len(found) == n and torch.equal(found.mean[:4], whole.mean[:4]) and found.status.tolist() == [1] * n
    assert same(found, whole)
    assert zarr.open_group(found.path, mode="r")["mean"].shape[0] == N


def test_a_single_sample_and_fill_values_are_stored(tmp_path):
    """Chunks of nan alone, which zarr leaves out by itself, would look lost."""
    found = run(tmp_path / "r.zarr", n_samples=1, block=12)
    before = events(found)
    assert found.std[3].isnan().all() and events(run(found.path, n_samples=1, block=12)) == before


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("seed", 1, "the seed"), ("n_steps", 5, "the number of steps"), ("keep_samples", False, "whether samples")],
)
def test_results_of_other_settings_are_refused(in_zarr, name, value, told):
    with pytest.raises(ValueError, match=f"another problem \\({told}.*choose another --out"):
        run(in_zarr.path, **{name: value})


def test_a_folder_that_is_no_batch_is_not_touched(tmp_path):
    measured(tmp_path / "mine.zarr", 3, y=np.ones((4, 2)))
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="is no batch of measurements"):
            run(tmp_path / "mine.zarr", overwrite=overwrite)
    assert zarr.open_group(tmp_path / "mine.zarr", mode="r")["y"][:].sum() == 8


def test_overwrite(tmp_path):
    few = {"method": "diffpir", "n_steps": 2, "block": 12}
    run(tmp_path / "r.zarr", **few)
    found = run(tmp_path / "r.zarr", seed=1, overwrite=True, keep_samples=False, **few)
    assert found.seed == 1 and found.status.tolist() == [1] * N
    assert "samples" not in zarr.open_group(found.path, mode="r")


def test_a_failed_unit_is_nan_and_is_tried_again_when_asked(in_zarr, tmp_path):
    prior, operator, y = problem()
    broken = y.clone()
    broken[9] = torch.nan
    path = measured(tmp_path / "y.zarr", 3, y=torch.where(operator.mask, broken, 0).numpy())
    given = (prior, operator, path, tmp_path / "r.zarr")
    found = solve_batch(*given, **HOW)
    assert found.status.tolist() == [1] * 8 + [2, 2] + [1] * (N - 10) and list(found.failures) == [range(8, 10)]
    with pytest.raises(ValueError, match="measurements 8 to 9: ValueError"):
        found.mean[9]
    group = zarr.open_group(found.path, mode="r")
    assert np.isnan(group["mean"][8:10]).all() and not np.isnan(group["mean"][10:]).any()
    assert group["status"][:].tolist() == found.status.tolist() and "000000008" in group.attrs["errors"]
    zarr.open_group(path, mode="r+")["y"][9] = y[9].numpy()
    assert same(solve_batch(*given, **HOW, retry_failed=True), in_zarr)


def test_killed_twice_and_restarted(in_zarr, tmp_path):
    out = tmp_path / "r.zarr"
    for _ in range(2):  # two processes, one killed and then all
        before, others = finished(out), set(workers(out))
        job = started(out, 2, pause=before + 3)
        try:
            wait_for(job, before + 1, out)
            os.kill((set(workers(out)) - others).pop(), signal.SIGKILL)
            wait_for(job, before + 3, out)
        finally:
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()
    assert 6 <= finished(out) < N // 2
    found = run(out)
    assert same(found, in_zarr)
    check_nothing_lost(found, 4)


@pytest.mark.slow
def test_two_processes_equal_one(in_zarr, tmp_path):
    job = started(tmp_path / "r.zarr", 2)
    assert job.wait(300) == 0 and len(workers(tmp_path / "r.zarr")) == 2
    found = BatchResults(tmp_path / "r.zarr")
    assert same(found, in_zarr)
    check_nothing_lost(found, 0)
    ours, theirs = (zarr.open_group(r.path, mode="r") for r in (found, in_zarr))
    for name in theirs.array_keys():
        assert np.array_equal(ours[name][:], theirs[name][:], equal_nan=True), name


@pytest.mark.parametrize("form", [2, 3])
def test_measurements_in_zarr_give_results_in_zarr(in_zarr, form, tmp_path):
    prior, operator, y = problem()
    path = measured(tmp_path / "y.zarr", form, y=y.numpy(), mask=operator.mask.numpy(), name=np.zeros(3))
    source = source_of(path)
    assert len(source) == N and source.names == ("y", "mask")
    assert torch.equal(source.read(7, 11)["y"], y[7:11]) and torch.equal(
        source.read(7, 11)["mask"], operator.mask[7:11]
    )
    found = solve_batch(prior, make_from_masks, path, tmp_path / "out", **HOW)  # no ending: that of the measurements
    assert found.path == tmp_path / "out.zarr" and same(found, in_zarr)
    assert solve_batch(prior, make_from_masks, path, tmp_path / "o.h5", **(HOW | {"block": 12})).path.is_file()


def test_the_command_line(tmp_path):
    masks = torch.stack([Masking.random((1, 28, 28), 0.5, seed=k).mask for k in range(4)])
    y = Masking(masks, noise=GaussianNoise(0.05)).measure(torch.full((4, 1, 28, 28), 0.5), seed=0)
    arrays = {"y": y.numpy(), "mask": masks.numpy(), "sigma": np.full(4, 0.05)}
    path = measured(tmp_path / "y.zarr", 3, **arrays)
    with h5py.File(tmp_path / "y.h5", "w") as file:
        for name, values in arrays.items():
            file[name] = values
    line = [
        "--operator",
        "masking",
        "--prior",
        "fashion-mnist",
        "--method",
        "diffpir",
        "--steps",
        "2",
        "--samples",
        "2",
    ]
    found = []
    for given, out in ((path, "a"), (tmp_path / "y.h5", "b.h5")):
        told = CliRunner().invoke(app, ["batch", str(given), *line, "--out", str(tmp_path / out)])
        assert told.exit_code == 0, told.output
        found.append(BatchResults(tmp_path / ("a.zarr" if out == "a" else out)))
    assert torch.equal(found[0].mean[:], found[1].mean[:]) and torch.equal(found[0].std[:], found[1].std[:])


def test_only_chunks_of_a_block_are_read(tmp_path):
    """26 TB that were never written: reading all of it would fail."""
    group = zarr.open_group(tmp_path / "y.zarr", mode="w")
    group.create_array("y", shape=(10**8, 1, 256, 256), dtype="f4", chunks=(1, 1, 256, 256), fill_value=0.5)
    source = source_of(tmp_path / "y.zarr")
    found = source.read(10**7, 10**7 + 3)["y"]
    assert len(source) == 10**8 and found.shape == (3, 1, 256, 256) and found.unique().tolist() == [0.5]
    with pytest.raises(ValueError, match="decompresses to"):
        source.read(0, 10**6)


def test_an_array_alone_is_y(tmp_path):
    zarr.save_array(tmp_path / "y.zarr", np.arange(24.0).reshape(6, 4))
    for wanted in (None, ["mask"]):
        assert source_of(tmp_path / "y.zarr", wanted).read(2, 4)["y"].tolist() == [[8, 9, 10, 11], [12, 13, 14, 15]]


@pytest.mark.parametrize(
    ("block", "shape", "itemsize"), [(2, (1, 8, 8), 4), (6, (3, 2000, 2000), 4), (1, (8, 1, 9000, 9000), 8)]
)
def test_chunks_do_not_cross_units(block, shape, itemsize):
    sides = chunks_of(block, shape, itemsize)
    assert block % sides[0] == 0 and np.prod(sides, dtype=float) * itemsize <= 2**26 and len(sides) == 1 + len(shape)
    assert all(0 < s <= n for s, n in zip(sides[1:], shape, strict=True))


def test_without_zarr(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for what in (
        lambda: source_of(measured(tmp_path / "y.zarr", 3, y=np.ones((2, 3)))),
        lambda: Parts(tmp_path / "r.zarr"),
    ):
        with pytest.raises(ValueError, match=r'needs zarr: pip install "score-inverse\[zarr\]"'):
            what()


def test_json_of_the_results_is_strict(in_zarr):
    def refused(text):
        raise AssertionError(text)

    for path in in_zarr.path.rglob("zarr.json"):
        json.loads(path.read_text(), parse_constant=refused)
