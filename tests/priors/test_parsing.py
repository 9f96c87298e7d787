"""Files by their kind: what is written is read, what is not plain or too large is refused."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from priors import data
from priors.files import FileError
from priors.parsing import opened_npz, read_json, read_tensors, read_tensors_and_metadata, read_toml, sealed


def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path):
    """3 MB of zeros that are 3 GB; a header alone, in a zip, says so too."""
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("images.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (300, 10**6)})
        for _ in range(300):
            file.write(bytes(10**6))
    assert path.stat().st_size < 10**6
    with pytest.raises(FileError, match=r"bomb\.npz has .* bytes and decompresses to 300,000,128"):
        data.read(path)


def test_pickled_objects_are_not_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(FileError, match="allow_pickle=False"):
        data.read(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(FileError, match="not a readable archive"), opened_npz(tmp_path / "b.npz", "archive"):
        pass


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.writestr("images.npy", b"x")
    with pytest.raises(FileError, match=r"'images\.npy' has a compression"), opened_npz(tmp_path / "a.npz", "archive"):
        pass


def test_tensors_that_do_not_fit_their_seal(tmp_path):
    tensors, facts = {"a": torch.rand(3, 2).half(), "b": torch.tensor(1.5)}, {"step": "3"}
    save_file(tensors, tmp_path / "a", metadata=sealed(tensors, facts))
    found, metadata = read_tensors_and_metadata(tmp_path / "a", "state")
    assert all(torch.equal(found[name], value) for name, value in tensors.items()) and metadata["step"] == "3"
    for changed, other in (({"b": torch.tensor(1.25)}, {}), ({"a": torch.zeros(2, 3).half()}, {}), ({}, {"step": "4"})):
        save_file(tensors | changed, tmp_path / "a", metadata=sealed(tensors, facts) | other)
        with pytest.raises(FileError, match="does not match its checksum"):
            read_tensors(tmp_path / "a", "state")
    save_file(tensors, tmp_path / "a")  # older files have no seal
    assert set(read_tensors(tmp_path / "a", "state")) == {"a", "b"}


def test_texts(tmp_path):
    path = tmp_path / "a"
    for content in (b"{", b"\xff\xfe{}", b"[" * 10**5, b""):
        path.write_bytes(content)
        with pytest.raises(FileError, match="not a readable card"):
            read_json(path, "card")
    for content in (b"a = ", b"\xff = 1", b"a = " + b"[" * 10**5):
        path.write_bytes(content)
        with pytest.raises(FileError, match=r"not a readable recipe.*correct it"):
            read_toml(path, "recipe")
    path.write_text('a = "é"', encoding="utf-8")
    assert read_toml(path, "recipe") == {"a": "é"}
