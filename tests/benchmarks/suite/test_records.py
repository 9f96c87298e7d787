"""A record is what it was when it was written, or is refused with a reason."""

import dataclasses

import h5py
import numpy as np
import pytest

from benchmarks.suite import runner
from benchmarks.suite.records import Record, Scale, load, opened, read, write


def made(**changes):
    rng = np.random.default_rng(0)
    full = Record(
        "0123456789abcdef", "mask", "random mask", "fashion-mnist", "mmps", True, 3, (4, 5), 8,
        {"steps": 32, "guidance": "MMPS(steps=3)"},
        {"psnr_mean": np.array([23.5, np.nan]), "chi2": np.array([np.inf, -np.inf]), "crps": rng.random(2)},
        {"psnr_mean": Scale("PSNR of the mean, dB", "higher"), "crps": Scale("CRPS", "lower", 4)},
        {"lpips_sample": "no weights"},
        {"truth": rng.random((2, 1, 9, 9), np.float32), "samples": rng.random((2, 4, 1, 9, 9), np.float32)},
        rng.random((2, 10)), rng.random((2, 96)), 33, 66, 1.5, 10**9, "", {"torch": "2", "warnings": ["one"]},
    )  # fmt: skip
    return dataclasses.replace(full, **changes)


def same(a: Record, b: Record, but: tuple[str, ...] = ()) -> None:
    """Equal to the last bit, but for some fields."""
    for field in dataclasses.fields(Record):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if field.name in but:
            continue
        if field.name in ("metrics", "pictures"):
            assert sorted(x) == sorted(y), field.name
            for name in x:
                np.testing.assert_array_equal(x[name], y[name], err_msg=f"{a.method} on {a.problem}: {name}")
        elif isinstance(x, np.ndarray):
            np.testing.assert_array_equal(x, y, err_msg=field.name)
        else:
            assert x == y, field.name


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"posterior": False, "n_samples": 0, "ranks": None, "features": None},
        {"error": "ValueError: no", "metrics": {}, "pictures": {}, "scales": {}, "ranks": None, "features": None},
    ],
    ids=["posterior", "estimate", "failed"],
)
def test_a_record_comes_back_whole(tmp_path, changes):
    record = made(**changes)
    write(record, opened(tmp_path))
    same(read(opened(tmp_path), record.name), record)
    (found,) = load(tmp_path)
    same(found, record)


def test_pictures_are_chunked_by_image_and_compressed(tmp_path):
    write(made(), opened(tmp_path))
    with h5py.File(tmp_path / "records" / f"{made().name}.h5") as file:
        samples = file["pictures/samples"]
        assert samples.chunks == (1, 4, 1, 9, 9) and samples.compression == "gzip"


def test_load_sorts(tmp_path):
    kept = opened(tmp_path)
    for seed, images, method in ((1, (0, 1), "mmps"), (0, (2, 3), "mmps"), (0, (0, 1), "mmps"), (0, (0, 1), "dps")):
        write(made(seed=seed, images=images, method=method), kept)
    order = [(r.method, r.seed, r.images) for r in load(tmp_path)]
    assert order == [("dps", 0, (0, 1)), ("mmps", 0, (0, 1)), ("mmps", 0, (2, 3)), ("mmps", 1, (0, 1))]


def test_a_missing_folder_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="inverse-bench run suite"):
        load(tmp_path / "none")


def test_a_folder_of_the_old_kind_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "mask--mmps--s0--i0000-0003--0123456789abcdef.h5").write_bytes(b"")
    with pytest.raises(ValueError, match=r"of an older version, .* another folder"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"of an older version, .* another folder"):
        runner.run([], tmp_path)


def test_rows_must_be_those_of_the_images(tmp_path):
    with pytest.raises(ValueError, match="one row per image"):
        write(made(images=(0, 1, 2)), opened(tmp_path))
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_named(tmp_path):
    kept = opened(tmp_path)
    write(made(), kept)
    path = tmp_path / "records" / f"{made().name}.h5"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"\.h5.* not a readable .* run the command again"):
        load(tmp_path)
    path.write_bytes(b"no HDF5 at all")
    with pytest.raises(ValueError, match=r"\.h5 is not a readable"):
        read(kept, made().name)
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        file["features"][0] += 1e-9
    with pytest.raises(ValueError, match=r"\.h5.*does not match its checksum"):
        read(kept, made().name)
    with h5py.File(path, "w") as file:
        file["samples"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"\.h5.*its format is 'no format'"):
        read(kept, made().name)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="run the command again"):
        load(tmp_path)
