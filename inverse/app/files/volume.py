"""What a file of another field holds: slices in its own units, and how to write others like it."""

import importlib.util
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from priors.files import FileError

MOST_VALUES = 2**31


@dataclass(frozen=True)
class Volume:
    """A stack of slices.

    Attributes: path; kind: name of the format; slices (S, H, W) float64, in the file's units; names: of the slices;
    write: writes slices (S, h, w) as name (without its ending) into a folder, and returns the path; spread says that
    they are standard deviations; h, w may differ from H, W, and then show the same field of view; units: a text, may be
    empty; bounds: black and white, if the type of the values determines them; window: what the file says to show;
    deepen: as write, for any number of slices, where the format can say where they are: with two numbers more, the
    place of the file's first slice among those that are written, and the distance of its slices there.
    """

    path: Path
    kind: str
    slices: np.ndarray
    names: tuple[str, ...]
    write: Callable[[Path, str, np.ndarray, bool], Path]
    units: str = ""
    bounds: tuple[float, float] | None = None
    window: tuple[float, float] | None = None
    deepen: Callable[[Path, str, np.ndarray, bool, float, float], Path] | None = None

    def __post_init__(self) -> None:
        if not self.slices.size:
            raise FileError(f"{self.path} has no pixels: expected a {self.kind} file with slices")
        if not np.isfinite(self.slices).all():
            raise FileError(
                f"{self.path} has {np.sum(~np.isfinite(self.slices))} values that are not finite: replace them, for "
                "example by an interpolation or by the background, and save the file again"
            )


def need(package: str, path: Path, kind: str) -> None:
    """Refuse a file whose library is not installed.

    Raises: ValueError, with the command that installs it.
    """
    if importlib.util.find_spec(package) is None:
        raise ValueError(f'{path} is a {kind} file and needs {package}: pip install "score-inverse[files]"')


@contextmanager
def readable(path: Path, kind: str) -> Generator[None]:
    """A block that reads a file by a library: whatever it raises becomes a FileError."""
    try:
        yield
    except FileError:
        raise
    except Exception as error:  # libraries raise many types for damaged and foreign files
        reason = (str(error).strip().splitlines() or [""])[0][:200] or type(error).__name__
        raise FileError(
            f"{path} is not a readable {kind} file, or is truncated ({reason}): export it again, or convert it to one"
        ) from error


def check_values(path: Path, kind: str, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """Refuse values that are not real numbers, and more of them than memory is meant for."""
    if dtype.kind not in "biuf":
        raise FileError(
            f"{path} has values of {dtype}: expected real numbers; save magnitude, or each channel, as its own file"
        )
    if int(np.prod(shape, dtype=float)) > MOST_VALUES:
        raise FileError(f"{path} has {shape} values, at most {MOST_VALUES} are supported: split the {kind} file")
