"""Files: atomic writes, and checked reads with clear errors."""

import hashlib
import json
import math
import os
import pickle
import re
import secrets
import shutil
import socket
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from priors.arguments import place

REMEDY = "download it again, or write it again"
DAMAGED = (  # errors that readers of HDF5, npy, npz, safetensors, JSON, TOML and pickles raise for damaged files
    OSError, EOFError, KeyError, IndexError, TypeError, ValueError, ArithmeticError, RuntimeError, MemoryError,
    SyntaxError, tokenize.TokenError, struct.error, zlib.error, zipfile.BadZipFile, pickle.UnpicklingError,
    SafetensorError,
)  # fmt: skip
FREE, RATIO = 2**28, 100  # bytes to which any file may decompress; beyond, at most this multiple of the file's size
KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}  # fmt: skip
HDF5 = (".h5", ".hdf5", ".he5", ".hdf")
OTHERS = {  # suffixes of other formats
    ".npz", ".npy", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".safetensors", ".zip", ".gz", ".tar", ".json", ".csv",
    ".txt", ".toml", ".mat", ".nii", ".dcm", ".fits", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif",
    ".html", ".pdf",
}  # fmt: skip
TEMPORARY = re.compile(r"\..+\.(?P<machine>[0-9a-f]{8})\.(?P<pid>\d+)\.[0-9a-f]{8}\.tmp")


class FileError(ValueError):
    """A file without the expected content; the message names the path, what was found and the remedy."""


def regular(path: str | Path, what: str, remedy: str = "") -> Path:
    """The path of a readable regular file: not a folder, and not a pipe or device, on which reading would block.

    Arguments: path; what is expected there ("image set"), for the message; remedy: for a missing file.
    Raises: FileNotFoundError; FileError if it is not a regular file.
    """
    path = Path(place("path", path))
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"no {what} at {path}" + (f": {remedy}" if remedy else "")) from None
    except (OSError, ValueError) as error:  # no permission, a cycle of links, a name with a null byte
        raise FileError(f"{path} cannot be read ({error}): expected a {what}; give another path") from error
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "not a regular file")
        raise FileError(f"{path} is {kind}: expected a regular file with the {what}; copy the content to one")
    return path


@contextmanager
def reading(path: str | Path, what: str, remedy: str = REMEDY, missing: str = "") -> Iterator[Path]:
    """A context that reads a file: errors of readers on damaged files (`DAMAGED`) become a `FileError`.

    The block should only read; the original error is kept as ``__cause__``.
    Arguments: path; what is expected there; remedy: for a damaged file; missing: for one that is not there.
    Raises: as `regular`; FileError, with path, what, reason and remedy.
    """
    path = regular(path, what, missing)
    try:
        yield path
    except FileError:
        raise
    except DAMAGED as error:
        reason = (str(error).strip().splitlines() or [""])[0][:200] or type(error).__name__
        raise FileError(f"{path} is not a readable {what}, or is truncated ({reason}): {remedy}") from error


def check_size(path: Path, declared: int, size: int | None = None) -> None:
    """Refuse a file whose declared unpacked size is implausible for its size, before it is unpacked.

    Arguments: path; declared (bytes, unpacked): at most `FREE` or `RATIO` times the file, and no more than the memory;
    size: bytes of all files, of a folder.
    Raises: FileError.
    """
    size, memory = path.stat().st_size if size is None else size, _memory()
    if declared > max(FREE, RATIO * size):
        raise FileError(
            f"{path} has {size:,} bytes and decompresses to {declared:,}: at most {FREE:,}, or {RATIO} times the "
            "file; if you trust it, save it without compression"
        )
    if declared > memory:
        raise FileError(
            f"{path} decompresses to {declared:,} bytes, but this machine has {memory:,}: split it into smaller files"
        )


def hdf5_path(path: str | Path, what: str) -> Path:
    """The path of an HDF5 file to write; suffixes of other formats are refused.

    Arguments: path, of which other endings than `HDF5`'s are refused where they promise a format (`OTHERS`); what is
    written ("solution"), for the message.
    Raises: ValueError.
    """
    path = Path(place("path", path))
    if path.suffix.lower() in OTHERS:
        raise ValueError(
            f"{path}: a {what} is written as HDF5, and {path.suffix} is another format; name it "
            f"{path.with_suffix(HDF5[0]).name}"
        )
    return path


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it if the block succeeds and is removed otherwise.

    The temporary file is created here under an unpredictable name, so it is never a link to elsewhere; temporaries of
    killed processes of this machine are removed. The file gets the mode of a new file (umask), whatever the writer set:
    safetensors files are readable by their owner only.
    """
    path = Path(place("path", path))
    path.parent.mkdir(parents=True, exist_ok=True)
    clear(path.parent)
    temporary = path.with_name(f".{path.name}.{_machine()}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666))
    mode = stat.S_IMODE(temporary.stat().st_mode)
    try:
        yield temporary
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that replaces it, as `atomic` does with files.

    A kill between two renames may leave no folder at ``path``, but never a part of one. Raises: ValueError for a path
    with something else than a folder.
    """
    path = Path(place("path", path))
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise ValueError(
            f"{path} is a link or a file: expected a folder, or nothing; remove it, or choose another path"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    clear(path.parent)
    made, old = (
        path.with_name(f".{path.name}.{_machine()}.{os.getpid()}.{secrets.token_hex(4)}.tmp") for _ in range(2)
    )
    made.mkdir()
    try:
        yield made
        if path.exists():
            os.replace(path, old)
        os.replace(made, path)
    finally:
        for each in (made, old):
            shutil.rmtree(each, ignore_errors=True)


def clear(folder: Path) -> None:
    """Remove temporaries of `atomic` and `atomic_folder` in a folder, those of dead processes of this machine."""
    for entry in os.scandir(folder):
        found = TEMPORARY.fullmatch(entry.name)
        if found and found["machine"] == _machine() and not _alive(int(found["pid"])):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
                continue
            with suppress(OSError):  # removed by another process, or no permission
                os.unlink(entry.path)


def _memory() -> float:
    """Bytes of this machine's memory, where the system reports it."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else math.inf


def _alive(pid: int) -> bool:
    if os.name == "nt":  # there os.kill terminates the process
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # a process of another user
        return True
    return True


@cache
def _machine() -> str:
    """An identifier of the process namespace: the machine and, in containers, its PID namespace."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]


def digest(plain: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of plain data, as JSON with sorted names.

    Raises: TypeError or ValueError for what is not plain data, such as nan.
    """
    return hashlib.sha256(json.dumps(plain, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]
