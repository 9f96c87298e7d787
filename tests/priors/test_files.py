"""Files are whole when written, and looked at before they are read."""

import os
import secrets
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.common.records import FORMAT, Records
from benchmarks.suite import problems
from inverse import Solution
from inverse.app.fastmri import read_scan
from inverse.app.reconstruction import read_reconstruction, write_reconstruction
from operators.kernels import read_kernel
from priors import data, load, pictures, sealed
from priors.checkpoints import read_card
from priors.files import DAMAGED, FREE, TEMPORARY, FileError, atomic, check_size, reading
from priors.importers import score_sde
from priors.recipes import read_recipe
from tests.mutations import limited

ROOT = Path(__file__).parents[2]


def test_a_file_is_replaced_when_all_is_written(tmp_path):
    path = tmp_path / "deep" / "er" / "card.json"
    for text in ("first", "second"):
        with atomic(path) as temporary:
            temporary.write_text(text)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "weights"
    path.write_text("old")
    with pytest.raises(error), atomic(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def left_by(folder, code):
    """What a process that kills itself, within the block of `atomic`, leaves."""
    words = f"import os, signal\nfrom pathlib import Path\nfrom priors.files import atomic\n{code}"
    subprocess.run([sys.executable, "-c", words], cwd=ROOT, check=False, timeout=120)
    return [path.name for path in folder.iterdir()]


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
@pytest.mark.parametrize("mask", [0o022, 0o007])
def test_files_have_the_mode_of_any_new_file(tmp_path, mask):
    """safetensors makes files that nobody but their owner can read."""
    before = os.umask(mask)
    try:
        with atomic(tmp_path / "weights.safetensors") as temporary:
            save_file({"a": torch.zeros(1)}, temporary)
        (tmp_path / "any").write_text("")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("weights.safetensors", "any")]
    assert modes == [0o666 & ~mask] * 2


@pytest.mark.parametrize("name", ["a.npz", "a.pt", "a.png", "A.NPY"])
def test_names_of_another_format_are_refused(tmp_path, name):
    """Each writer of HDF5: nothing is left behind, and no other program opens HDF5 as what its name says."""
    one, path = torch.zeros(1, 1, 1, 2, 2), tmp_path / name
    solution = Solution(one, torch.zeros(1, 1), "mmps", 1, 0, 0.1, 0)
    images = data.ImageSet(torch.zeros(1, 1, 2, 2, dtype=torch.uint8))
    writers = (
        lambda: solution.save(path),
        lambda: data.write(path, images),
        lambda: pictures.write(path, pictures.Pictures(tuple(images.images))),
        lambda: write_reconstruction(path, {}, {}),
    )
    for write in writers:
        with pytest.raises(ValueError, match=r"HDF5, and \.\w+ is another format; name it \w\.h5"):
            write()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.h5", "a.HDF5", "a", "a.samples"])
def test_other_names_are_for_the_user_to_choose(tmp_path, name):
    Solution(torch.zeros(1, 1, 1, 2, 2), torch.zeros(1, 1), "mmps", 1, 0, 0.1, 0).save(tmp_path / name)
    assert Solution.load(tmp_path / name).method == "mmps"


def test_temporaries_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path):
    code = f"with atomic(Path({str(tmp_path)!r}) / 'a'): os.kill(os.getpid(), signal.SIGKILL)"
    (left,) = left_by(tmp_path, code)
    assert left.endswith(".tmp")
    elsewhere = tmp_path / f".a.00000000.{TEMPORARY.fullmatch(left)['pid']}.0123abcd.tmp"  # of another machine
    elsewhere.write_text("")
    with atomic(tmp_path / "b") as ours:
        ours.write_text("b")
        with atomic(tmp_path / "c") as other:
            other.write_text("c")
            assert ours.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"b", "c", elsewhere.name}


def test_a_temporary_is_no_link_to_elsewhere(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    names = []
    with atomic(tmp_path / "a") as temporary:
        names.append(temporary.name)
        temporary.write_text("a")
    monkeypatch.setattr(secrets, "token_hex", lambda n: names[0].split(".")[-2])  # even if the name were foreseen
    (tmp_path / names[0]).symlink_to(victim)
    with pytest.raises(FileExistsError), atomic(tmp_path / "a") as temporary:
        temporary.write_text("overwritten")
    assert victim.read_text() == "precious"


def test_a_link_at_the_place_itself_is_replaced_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "a").symlink_to(victim)
    with atomic(tmp_path / "a") as temporary:
        temporary.write_text("new")
    assert victim.read_text() == "precious" and (tmp_path / "a").read_text() == "new"


READERS = {
    "solution": Solution.load, "scan": read_scan, "reconstruction": read_reconstruction, "image set": data.read,
    "npz": lambda path: data.read(path), "pictures": pictures.read, "card": lambda path: read_card(path.parent),
    "checkpoint": lambda path: load(path.parent), "recipe": lambda path: read_recipe(str(path)),
    "benchmark": problems.read, "records": Records, "kernel": read_kernel,
    "arrays": lambda path: sealed.read(path, FORMAT, "file of arrays", ""),
    "official": lambda path: score_sde.read(path, True),
}  # fmt: skip
NAMES = {"npz": "a.npz", "card": "card.json", "checkpoint": "card.json", "recipe": "a.toml", "kernel": "a.npy"}


@pytest.mark.parametrize("what", ["pipe", "device", "folder", "link to itself", "null byte"])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, reader, what):
    """Opening a pipe would wait for somebody who writes to it."""
    path = tmp_path / NAMES.get(reader, "a.h5")
    if what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "folder":
        path.mkdir()
    elif what == "link to itself":
        path.symlink_to(path)
    else:
        path = tmp_path / f"\0{path.name}"
    with limited(10), pytest.raises((ValueError, FileNotFoundError)):
        READERS[reader](path)


def test_errors_of_readers_are_told_with_path_and_remedy_and_others_pass(tmp_path):
    path = tmp_path / "a"
    path.write_text("x")
    message = r"a is not a readable card, or is truncated \(.*\): write it anew"
    for error in DAMAGED:
        with pytest.raises(FileError, match=message) as caught, reading(path, "card", "write it anew"):
            raise error("why")
        assert isinstance(caught.value.__cause__, error)
    for error in (AssertionError, AttributeError, NameError, KeyboardInterrupt):  # mistakes of ours, and the user
        with pytest.raises(error), reading(path, "card"):
            raise error
    missing = reading(tmp_path / "b", "card", missing="train one")
    with pytest.raises(FileNotFoundError, match=r"no card at .*: train one"), missing:
        pass


def test_a_file_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(10**6))
    check_size(path, FREE)
    with pytest.raises(FileError, match=r"1,000,000 bytes and decompresses to 3,000,000,000.*save it without"):
        check_size(path, 3 * 10**9)
    with path.open("ab") as file:
        file.truncate(2**42)  # a hole
    with pytest.raises(FileError, match="this machine has"):
        check_size(path, 2**48)
