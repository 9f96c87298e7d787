"""`inverse scan`: its options that are texts, and cautions on a file and its slices."""

import warnings
from contextlib import suppress
from pathlib import Path

from inverse.app.fastmri import read_scan
from inverse.app.kspace.slices import MOST, CoilsAsSlices
from priors.files import FileError
from priors.terminal import say


def slice_numbers(text: str, total: int) -> list[int]:
    """The slice numbers of "0,3,5-9"."""
    try:
        ends = [[int(end) for end in part.split("-", 1)] for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--slices {text!r}: expected numbers and ranges such as 0,3,5-9") from None
    numbers = sorted({n for part in ends for n in range(part[0], part[-1] + 1)})
    if not numbers or numbers[-1] >= total:
        raise ValueError(f"--slices {text!r}: expected slices from 0 to {total - 1}, such as 0,3,5-9")
    return numbers


def noise_level_of(text: str) -> float:
    """The noise of a text, in the units of the file."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise ValueError(
            f"--sigma {text!r}: expected a positive number in the units of the file, or auto; for a noiseless scan "
            "give its numerical error, such as 1e-3 of the largest value"
        )
    return value


def coils_as_slices(path: Path, total: int) -> str:
    """A caution if the first slices of a file without coils look like coils of one slice; "" if not."""
    with suppress(FileError), warnings.catch_warnings(record=True) as caught:  # of slices that may not be asked for
        warnings.simplefilter("always")
        read_scan(path, range(min(total, MOST)))
        return next((str(one.message) for one in caught if issubclass(one.category, CoilsAsSlices)), "")
    return ""


def of_slice(number: int, texts: list[str]) -> list[str]:
    """The texts that say something, printed as cautions on a slice."""
    found = [text for text in texts if text]
    for text in found:
        say(f"caution: slice {number}: {text}", "yellow")
    return found
