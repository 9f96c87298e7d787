"""Claims of work by processes that share a folder. Not on Windows, which has no fcntl."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCKS = ".locks"


@contextmanager
def claimed(folder: Path, key: str) -> Iterator[bool]:
    """Whether this process may do the work of a key: by a lock on a file, which ends with its process.

    Arguments: folder that the processes share; key (a file name).
    Raises: ValueError for a lock that is a link, or no file.
    """
    place = folder / LOCKS / key
    place.parent.mkdir(parents=True, exist_ok=True)
    try:  # a lock that is a link would be one on another file
        number = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError as error:
        raise ValueError(f"{place} is not a lock of this program ({error.strerror}): remove it") from None
    with os.fdopen(number, "r+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
