import h5py
import numpy as np
import pytest
import torch

from priors.data import ImageSet, read, rounded, write
from tests.priors.cases import stripes

IMAGES = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)


@pytest.mark.parametrize("labelled", [True, False])
def test_hdf5_round_trip(tmp_path, labelled):
    data = stripes(7) if labelled else ImageSet(stripes(7).images, None, "without labels")
    write(tmp_path / "set.h5", data)
    again = read(tmp_path / "set.h5")
    assert torch.equal(again.images, data.images) and again.source == data.source
    assert (None if again.labels is None else again.labels.tolist()) == (
        [n % 3 for n in range(7)] if labelled else None
    )
    assert again.images.dtype == torch.uint8 and again.event_shape == (1, 8, 8) and len(again) == 7


@pytest.mark.parametrize(
    ("stored", "shape"),
    [
        (IMAGES, (3, 4, 5)),
        (IMAGES.transpose(0, 2, 3, 1), (3, 4, 5)),
        (IMAGES[:, 0], (1, 4, 5)),
        (IMAGES[..., :1], (3, 4, 1)),
    ],
    ids=["channels first", "channels last", "grey", "channels first, one column"],
)
def test_npz_of_any_layout(tmp_path, stored, shape):
    np.savez(tmp_path / "set.npz", train_images=stored, train_labels=np.array([3, 1], np.uint8), test_images=stored[:1])
    data = read(tmp_path / "set.npz", "train")
    assert data.labels is not None
    assert data.event_shape == shape and data.labels.tolist() == [3, 1] and data.labels.dtype == torch.int64
    assert torch.equal(data.images.flatten().sort()[0], torch.from_numpy(np.sort(stored.ravel())))
    assert len(read(tmp_path / "set.npz", "test")) == 1 and read(tmp_path / "set.npz", "test").labels is None


def test_images_of_16_bits(tmp_path):
    deep = np.array([0, 1, 256, 65535], np.uint16).reshape(1, 2, 2)
    np.savez(tmp_path / "set.npz", images=deep)
    data = read(tmp_path / "set.npz")
    write(tmp_path / "set.h5", data)
    again = read(tmp_path / "set.h5")
    assert again.images.dtype == torch.uint16 and torch.equal(again.images, data.images)
    assert again.floats().flatten().tolist() == pytest.approx([0, 1 / 65535, 256 / 65535, 1])
    assert torch.equal(rounded(again.floats(), torch.uint16), data.images)
    assert rounded(torch.tensor([-1.0, 0.5, 2.0]), torch.uint8).tolist() == [0, 128, 255]


def test_channels_last_is_moved_not_reshaped(tmp_path):
    np.savez(tmp_path / "set.npz", images=IMAGES.transpose(0, 2, 3, 1))
    assert torch.equal(read(tmp_path / "set.npz").images, torch.from_numpy(IMAGES))


def test_indexing_and_units():
    data = stripes(6)
    assert torch.equal(data[2:4].images, data.images[2:4])
    part = data[2:4].labels
    assert part is not None and part.tolist() == [2, 0]
    floats = data.floats(torch.tensor([5, 1]))
    assert floats.dtype == torch.float32 and torch.equal(floats * 255, data.images[[5, 1]].float())


def bad_text(path):
    path.write_text("no image set")


def bad_zip(path):
    np.savez(path, images=IMAGES)
    path.write_bytes(path.read_bytes()[:-40])


def bad_h5(path):
    write(path, stripes(3))
    path.write_bytes(path.read_bytes()[:200])


def bad_name(path):
    with h5py.File(path, "w") as file:
        file["pictures"] = IMAGES


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("set.h5", bad_text, "not a readable image set"),
        ("set.npz", bad_text, "not a readable image set"),
        ("set.npz", bad_zip, "not a readable image set"),
        ("set.h5", bad_h5, "not a readable image set"),
        ("set.h5", bad_name, r"has \['pictures'\]: expected 'images'"),
        ("set.npz", lambda path: np.savez(path, images=IMAGES / 255), "dtype float64: expected uint8"),
        ("set.npz", lambda path: np.savez(path, images=IMAGES[0, 0]), r"shape \(4, 5\): expected \(n, H, W\)"),
        (
            "set.npz",
            lambda path: np.savez(path, images=IMAGES, labels=np.arange(3)),
            r"shape \(3,\): expected integers \(2,\)",
        ),
    ],
)
def test_bad_files_are_named(tmp_path, name, make, message):
    make(tmp_path / name)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


def test_a_missing_file_and_a_missing_split(tmp_path):
    with pytest.raises(FileNotFoundError, match="no image set at"):
        read(tmp_path / "none.h5")
    write(tmp_path / "set.h5", stripes(3))
    with pytest.raises(ValueError, match=r"has \['images', 'labels'\]: expected 'train_images'"):
        read(tmp_path / "set.h5", "train")


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_rows_marked_as_of_a_split_are_that_split(tmp_path, suffix):
    images, labels = np.arange(5 * 4, dtype=np.uint8).reshape(5, 2, 2), np.arange(5)
    arrays = {"images": images, "labels": labels, "split": np.array([0, 1, 0, 0, 1])}
    path = tmp_path / f"set{suffix}"
    if suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    assert read(path, "test").labels.tolist() == [1, 4]
    assert torch.equal(read(path, "train").images[:, 0], torch.from_numpy(images[[0, 2, 3]]))
    assert len(read(path)) == 5
