"""Readers of JSON, TOML, npz and safetensors files under the checks of `priors.files`. No pickle."""

import hashlib
import json
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from priors.files import REMEDY, FileError, check_size, reading

SEAL = "sha256"  # in the metadata of a safetensors file
COMPRESSIONS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # the compression methods that numpy writes


def read_json(path: str | Path, what: str, remedy: str = REMEDY, missing: str = "") -> Any:
    """A JSON file.

    Raises: as `priors.files.reading`.
    """
    with reading(path, what, remedy, missing) as path:
        check_size(path, path.stat().st_size)
        return json.loads(path.read_text(encoding="utf-8"))


def read_toml(path: str | Path, what: str, remedy: str = "correct it", missing: str = "") -> dict[str, Any]:
    """A TOML file.

    Raises: as `priors.files.reading`.
    """
    with reading(path, what, remedy, missing) as path:
        check_size(path, path.stat().st_size)
        return tomllib.loads(path.read_text(encoding="utf-8"))


def read_tensors(path: str | Path, what: str, remedy: str = REMEDY, missing: str = "") -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU.

    Raises: as `priors.files.reading`.
    """
    return read_tensors_and_metadata(path, what, remedy, missing)[0]


def read_tensors_and_metadata(
    path: str | Path, what: str, remedy: str = REMEDY, missing: str = ""
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, on the CPU, and the texts of its header.

    Raises: as `priors.files.reading`.
    """
    with reading(path, what, remedy, missing) as path, safe_open(path, "pt", device="cpu") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        metadata = file.metadata() or {}
    if metadata.get(SEAL) not in (None, sealed(tensors, metadata)[SEAL]):
        raise FileError(f"{path} does not match its checksum: {remedy}")
    return tensors, metadata


def sealed(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata of a safetensors file with a SHA-256 of its content, which `read_tensors` verifies."""
    sha = hashlib.sha256(repr(sorted((key, value) for key, value in metadata.items() if key != SEAL)).encode())
    for name, value in sorted(tensors.items()):
        sha.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        sha.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return dict(metadata) | {SEAL: sha.hexdigest()}


@contextmanager
def opened_npz(path: str | Path, what: str, remedy: str = REMEDY, missing: str = "") -> Iterator[Any]:
    """An npz archive to read from, of a plausible size and without pickled objects.

    Raises: as `priors.files.reading`.
    """
    with reading(path, what, remedy, missing) as path:
        with zipfile.ZipFile(path) as archive:
            if odd := [entry.filename for entry in archive.infolist() if entry.compress_type not in COMPRESSIONS]:
                raise FileError(f"{path}: {odd[0]!r} has a compression that numpy does not write: {remedy}")
            check_size(path, sum(entry.file_size for entry in archive.infolist()))
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
