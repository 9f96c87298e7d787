"""Where the files of a Zarr folder are: names of its metadata, and a store of zarr that follows no link."""

import importlib.util
import os
import stat
from functools import cache
from pathlib import Path
from typing import Any

from priors.files import REMEDY, FileError

SUFFIX = ".zarr"
V3, ARRAY, GROUP, ATTRIBUTES = "zarr.json", ".zarray", ".zgroup", ".zattrs"
GROWTH = 16  # a filter may widen values, at most so much


def need(path: str | Path) -> None:
    """Refuse a Zarr folder where the package zarr is not installed. Raises: ValueError, with the command."""
    if importlib.util.find_spec("zarr") is None:
        raise ValueError(f'{path} is a Zarr folder and needs zarr: pip install "score-inverse[zarr]"')


def is_zarr(path: str | Path) -> bool:
    """Whether a path is named as a Zarr folder, or is a folder with the metadata of one."""
    path = Path(path)
    if path.suffix.lower() == SUFFIX:
        return True
    return path.is_dir() and any((path / name).is_file() for name in (V3, ARRAY, GROUP))


def regular_within(root: Path, path: Path) -> bool:
    """Whether there is a regular file at a path under a resolved root.

    Raises: FileError for a link, on it or on the way to it, and for a pipe or device.
    """
    if os.path.realpath(path) != str(path):
        raise FileError(
            f"{path} is a link, or is reached by one, which is not followed: copy the file that it points to in its "
            "place"
        )
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise FileError(f"{path} is not a regular file: expected a part of a Zarr folder; {REMEDY}")
    return stat.S_ISREG(mode)


@cache
def guarded() -> Any:
    """A class of zarr's stores that reads regular files under its root only, of at most so many bytes."""
    from zarr.storage import LocalStore

    class Guarded(LocalStore):
        def __init__(self, root: Path | str, most: int = 0, *, read_only: bool = True):
            super().__init__(root, read_only=read_only)
            self.most = most

        def with_read_only(self, read_only: bool = False):
            return type(self)(self.root, self.most, read_only=read_only)

        def _allowed(self, key: str) -> bool:
            path = self.root / key
            if not regular_within(self.root, path):
                return False
            if path.name not in (V3, ARRAY, ATTRIBUTES) and path.stat().st_size > GROWTH * self.most + 2**20:
                raise FileError(f"{path} is larger than a chunk can be: {REMEDY}")
            return True

        async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
            return await super().get(key, prototype, byte_range) if self._allowed(key) else None

        def get_sync(self, key: str, *, prototype: Any = None, byte_range: Any = None) -> Any:
            return super().get_sync(key, prototype=prototype, byte_range=byte_range) if self._allowed(key) else None

        async def get_partial_values(self, prototype: Any, key_ranges: Any) -> Any:
            return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    return Guarded
