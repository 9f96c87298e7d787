"""HDF5 files that reach for other files, or for all of the memory."""

import os

import h5py
import numpy as np
import pytest

from inverse import Solution
from inverse.app.fastmri import read_scan
from priors import data, pictures
from priors.files import FileError
from priors.hdf5 import ENTRY, HEAP, opened
from tests.mutations import limited

SECRET = np.arange(64, dtype=np.uint8)


def external(file, name, path, shape, dtype):
    file.create_dataset(name, shape, dtype, external=[(str(path), 0, h5py.h5f.UNLIMITED)])


def linked(file, name, path, shape, dtype):
    with h5py.File(path, "w") as other:
        other["x"] = np.zeros(shape, dtype)
    file[name] = h5py.ExternalLink(str(path), "x")


def virtual(file, name, path, shape, dtype):
    with h5py.File(path, "w") as other:
        other["x"] = np.zeros(shape, dtype)
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource(str(path), "x", shape)
    file.create_virtual_dataset(name, layout)


def soft(file, name, path, shape, dtype):
    file["hidden"] = np.zeros(shape, dtype)
    file[name] = h5py.SoftLink("/hidden")


READERS = {
    "solution": (Solution.load, "samples", (2, 2, 4, 4), "f4"),
    "scan": (read_scan, "kspace", (1, 16, 16), "c8"),
    "image set": (data.read, "images", (4, 1, 4, 4), "u1"),
    "pictures": (pictures.read, "pictures/00000", (1, 8, 8), "u1"),
}


@pytest.mark.parametrize("way", [external, linked, virtual, soft])
@pytest.mark.parametrize("reader", READERS)
def test_nothing_of_another_file_is_read(tmp_path, reader, way):
    read, name, shape, dtype = READERS[reader]
    (tmp_path / "secret").write_bytes(SECRET.tobytes() * 64)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        way(file, name, tmp_path / "secret", shape, dtype)
    with pytest.raises(FileError, match=r"a\.h5.*(stored in external files|is a link).*copy its values"):
        read(tmp_path / "a.h5")


def test_a_link_to_a_pipe_does_not_wait(tmp_path):

    os.mkfifo(tmp_path / "pipe")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = h5py.ExternalLink(str(tmp_path / "pipe"), "x")
    with pytest.raises(FileError, match="is a link"):
        data.read(tmp_path / "a.h5")


@pytest.mark.parametrize("chunks", [None, True, (1, 2**14, 2**14)])
def test_declared_sizes_are_looked_at_before_they_are_read(tmp_path, chunks):
    """Of 2 TiB, of which the file holds nothing."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", (2**13, 2**14, 2**14), "u1", chunks=chunks)
    with pytest.raises(FileError, match=r"decompresses to [\d,]+: at most"):
        data.read(tmp_path / "a.h5")


def test_many_small_datasets_count_together(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for i in range(3):
            file.create_dataset(f"x{i}", (10**5, 10**3), "u1", compression="gzip")
    with opened(tmp_path / "a.h5", "file") as file, pytest.raises(FileError, match="decompresses to 300,000,000"):
        for name in file.names():
            file.array(name)


def test_groups_that_hold_each_other_end(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group/itself"] = file["/"]
        file["group/x"] = 1.0
    with pytest.raises(FileError, match="groups contain each other"), opened(tmp_path / "a.h5", "file") as file:
        file.datasets()


def test_values_and_texts(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group/x"] = SECRET.astype(">i4")
        file["texts"] = ["a", "é"]
        file["empty"] = h5py.Empty("f4")
    with opened(tmp_path / "a.h5", "file") as file:
        assert file.datasets() == ["empty", "group/x", "texts"] and "group/x" in file and "group/y" not in file
        found = file.array("group/x")
        assert found.dtype.isnative and found.tolist() == SECRET.tolist()
        assert file.texts("texts") == ["a", "é"]
        for name, message in (
            ("empty", "is empty"),
            ("group", "is a group"),
            ("y", "is missing"),
            ("texts", "numeric"),
        ):
            with pytest.raises(FileError, match=message):
                file.array(name)
        with pytest.raises(FileError, match="expected strings"):
            file.texts("group/x")


@pytest.mark.parametrize("size", [0, 8, 2**64 - 16, 2**40])
def test_texts_without_a_size_do_not_hang(tmp_path, size):
    """The free rest of the heap that texts lie in: the library would walk it without end."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["source"] = "here"
        file["images"] = np.zeros((2, 4, 4), np.uint8)
    content = bytearray((tmp_path / "a.h5").read_bytes())
    first = content.index(HEAP) + 16
    rest = first + ENTRY.size + 8
    assert ENTRY.unpack(content[first : first + 16]) == (1, 4) and ENTRY.unpack(content[rest : rest + 16])[0] == 0
    assert data.read(tmp_path / "a.h5").source == "here"
    content[rest : rest + 16] = ENTRY.pack(0, size)
    (tmp_path / "a.h5").write_bytes(content)
    with limited(30), pytest.raises(FileError, match=r"strings are damaged.*download it again"):
        data.read(tmp_path / "a.h5")
