"""`inverse solve` on files of other fields: their scale, their slices as pictures, and the results in their format."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inverse.app.files import dicom, fits, nifti, ome_zarr, tiff
from inverse.app.files.volume import Volume
from inverse.solution import Solution
from operators import Operator
from priors import Units
from priors.decoded import Decoded
from priors.files import regular
from priors.zarr_store import is_zarr

SHARES = (0.5, 99.5)  # percentiles that are black and white
WINDOWS = ("file", "prior", "percentiles")
UNSTATED = ("", "US")  # units of a file: DICOM's US is unspecified
SLACK = 1e-6


def is_series(folder: Path) -> bool:
    """Whether a folder has a DICOM series, or is a Zarr folder."""
    return is_zarr(folder) or dicom.is_series(folder)


def opened(path: Path, scaled: bool) -> Volume | None:
    """The slices of a file, of a folder with a DICOM series or of an OME-Zarr image; None for pictures and measurements
    of other formats.

    Arguments: path; scaled: a range was given, so that a TIFF of one page need not be in image units.
    Raises: FileNotFoundError; ValueError as the reader of the format raises.
    """
    if is_zarr(path):
        return ome_zarr.read(path)
    if path.is_dir():
        return dicom.read(path) if dicom.is_series(path) else None
    name = path.name.lower()
    for kind in (nifti, fits, dicom):
        if name.endswith(kind.SUFFIXES):
            return kind.read(regular(path, f"{kind.KIND} file"))
    if name.endswith(tiff.SUFFIXES) and path.exists() and (scaled or tiff.is_stack(path)):
        return tiff.read(regular(path, "TIFF file"))
    return None


def scale(
    volume: Volume, given: tuple[float, float] | None, window: str | None, known: Units | None = None
) -> tuple[float, float, str]:
    """Which values are black and white, and how that was decided.

    Arguments: volume; given: --range; window: --window, one of `WINDOWS`; known: the units of the prior.
    Raises: ValueError if neither is given and the values do not determine it, or if both are; an empty range.
    """
    values = volume.slices
    low, high = float(values.min()), float(values.max())
    units = f" {volume.units}" if volume.units else ""
    percentiles = tuple(float(v) for v in np.percentile(values, SHARES))
    if given is not None and window is not None:
        raise ValueError("--range and --window were both given: each sets black and white; omit one")
    if window is not None and window not in WINDOWS:
        raise ValueError(f"--window {window!r}: expected one of {', '.join(WINDOWS)}")
    if window == "file" and volume.window is None:
        raise ValueError(f"--window file: {volume.path} states none; use --range LOW HIGH, or --window percentiles")
    if window == "prior" and known is None:
        raise ValueError("--window prior: give a --prior that has units, such as ct; this one states none")
    if window == "prior" and known is not None and volume.units not in (*UNSTATED, known.name):
        raise ValueError(f"{volume.path} is in {volume.units}, the prior in {known.name}: give --range LOW HIGH")
    if given is not None:
        (black, white), how = given, "--range"
    elif window == "file" and volume.window is not None:
        (black, white), how = volume.window, "the file's window"
    elif window == "prior" and known is not None:
        (black, white), how = (known.zero, known.one), f"the units of the prior, {known.name}"
    elif window == "percentiles":
        (black, white), how = percentiles, f"percentiles {SHARES[0]:g} and {SHARES[1]:g} of all values"
    elif volume.bounds is not None:
        (black, white), how = volume.bounds, "the limits of its integers"
    elif low >= -SLACK and high <= 1 + SLACK and high > 1 / 255:
        (black, white), how = (0.0, 1.0), "its values are in [0, 1]"
    else:
        stated = "" if volume.window is None else ", --window file ({:.6g} to {:.6g})".format(*volume.window)
        raise ValueError(
            f"{volume.path} has values from {low:.6g} to {high:.6g}{units}, and which of them are black and white is "
            f"not known: give --range LOW HIGH{stated}, --window prior for a prior with units, or --window percentiles "
            f"({percentiles[0]:.6g} to {percentiles[1]:.6g})"
        )
    if not (np.isfinite([black, white]).all() and white > black):
        raise ValueError(f"{how}: black is {black:g} and white {white:g}: expected LOW < HIGH")
    outside = float(np.mean((values < black) | (values > white)))
    return black, white, f"black is {black:.6g}, white {white:.6g}{units} ({how}; {outside:.2%} of values are outside)"


def pictures(volume: Volume, black: float, white: float, how: str) -> list[Decoded]:
    """The slices in image units; values beyond black and white are kept."""
    name = volume.path.name
    return [
        Decoded(f"{name}, {which}", ((one - black) / (white - black)).astype(np.float32), 1.0, notes=(how,))
        for one, which in zip(volume.slices, volume.names, strict=True)
    ]


def check_field(operator: Operator, path: Path) -> None:
    """Refuse an operator whose pictures extend beyond the file's: their place in it would be lost."""
    if getattr(operator, "boundary", None) == "valid":
        raise ValueError(
            f"{path}: with boundary=valid the picture extends beyond the slice, and its metadata would not fit: use "
            "boundary=reflect"
        )


def write(volume: Volume, out: Path, solutions: Sequence[Solution], black: float, white: float) -> list[Path]:
    """Mean, standard deviation and samples of all slices, each a file of the format that came in, in its units.

    Arguments: volume; out (folder); solutions, one per slice; black, white: as `scale`.
    Returns: the paths.
    """

    def grey(parts: list[np.ndarray]) -> np.ndarray:
        return np.stack(parts).astype(np.float64).mean(1)  # a prior of colours: the mean of its channels

    def placed(values: np.ndarray) -> np.ndarray:
        return black + (white - black) * values

    drawn = [s.samples[0] if not s.log_weights.any() else s.resample()[0] for s in solutions]
    n = min(len(x) for x in drawn)  # an earlier run may have drawn more for some slices
    paths = [volume.write(out, "mean", placed(grey([s.mean[0].numpy() for s in solutions])), False)]
    if n > 1:
        paths.append(volume.write(out, "std", (white - black) * grey([s.std[0].numpy() for s in solutions]), True))
    for k in range(n):
        paths.append(volume.write(out, f"sample-{k + 1}", placed(grey([x[k].numpy() for x in drawn])), False))
    return paths
