"""A record is what it was when it was written, or is refused with a reason."""

import dataclasses

import h5py
import numpy as np
import pytest

from benchmarks.suite.records import Record, Scale, load, read, write


def made(**changes):
    rng = np.random.default_rng(0)
    full = Record(
        "0123456789abcdef", "mask", "random mask", "fashion-mnist", "mmps", True, 3, (4, 5), 8,
        {"steps": 32, "guidance": "MMPS(steps=3)"},
        {"psnr_mean": np.array([23.5, np.nan]), "crps": rng.random(2)},
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
    write(record, tmp_path / "a.h5")
    same(read(tmp_path / "a.h5"), record)
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_pictures_are_chunked_by_image_and_compressed(tmp_path):
    write(made(), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        held = file["pictures/samples"]
        assert held.chunks == (1, 4, 1, 9, 9) and held.compression == "gzip"


def test_load_sorts_and_passes_over_what_is_being_written(tmp_path):
    for seed, images, method in ((1, (0, 1), "mmps"), (0, (2, 3), "mmps"), (0, (0, 1), "mmps"), (0, (0, 1), "dps")):
        write(made(seed=seed, images=images, method=method), tmp_path / f"{9 - seed}-{images[0]}-{method}.h5")
    (tmp_path / ".half.h5.77.tmp").write_bytes(b"half")
    (tmp_path / ".hidden.h5").write_bytes(b"half")
    order = [(r.method, r.seed, r.images) for r in load(tmp_path)]
    assert order == [("dps", 0, (0, 1)), ("mmps", 0, (0, 1)), ("mmps", 0, (2, 3)), ("mmps", 1, (0, 1))]


def test_a_missing_folder_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="inverse-bench run suite"):
        load(tmp_path / "none")


def test_rows_must_be_those_of_the_images(tmp_path):
    with pytest.raises(ValueError, match="one row per image"):
        write(made(images=(0, 1, 2)), tmp_path / "a.h5")
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "a.h5"
    write(made(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"a\.h5.* not a readable .* run the benchmark again"):
        load(tmp_path)
    path.write_bytes(b"no HDF5 at all")
    with pytest.raises(ValueError, match=r"a\.h5 is not a readable"):
        read(path)
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        file["metrics/crps"][0] += 1e-9
    with pytest.raises(ValueError, match=r"a\.h5.*does not match its checksum"):
        read(path)
    with h5py.File(path, "w") as file:
        file["samples"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"a\.h5.*its format is 'no format'"):
        read(path)
