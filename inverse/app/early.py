"""Checks of a command line before its implementation, and torch, are imported."""

from pathlib import Path


def present(path: Path, what: str) -> None:
    """Refuse a path at which there is nothing, as `priors.files.regular` does.

    Arguments: path; what: the expected content, for the message.
    Raises: FileNotFoundError.
    """
    try:
        there = path.exists()
    except (OSError, ValueError):  # the reader tells what is wrong with it
        return
    if not there:
        raise FileNotFoundError(f"no {what} at {path}")
