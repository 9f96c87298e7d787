"""FITS: pictures and cubes of astronomy, with their world coordinates."""

from pathlib import Path
from typing import Any

import numpy as np

from inverse.app.files.volume import Volume, check_values, need, readable
from priors.files import FileError, atomic

SUFFIXES = (".fits", ".fit", ".fts", ".fits.gz", ".fits.fz")
KIND = "FITS"
OF_VALUES = ("BSCALE", "BZERO", "BLANK", "DATAMIN", "DATAMAX", "CHECKSUM", "DATASUM")  # true of the old values only


def read(path: Path) -> Volume:
    """The first extension with an image of two or more axes; slices are along all but the last two.

    Raises: ValueError without astropy; FileError for files that are not FITS or have no image.
    """
    need("astropy", path, KIND)
    from astropy.io import fits

    with readable(path, KIND), fits.open(path, memmap=False) as opened:
        hdus: list[Any] = [hdu.copy() for hdu in opened]
        found = [i for i, hdu in enumerate(hdus) if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2]
        if not found:
            raise FileError(f"{path} has no image: its {len(hdus)} parts are tables, spectra or empty")
        index = found[0]
        data = hdus[index].data
        check_values(path, KIND, data.dtype, data.shape)
        values = np.asarray(data, np.float64)
    lead = values.shape[:-2]
    names = tuple(f"slice {','.join(map(str, i)) or '0'}" for i in np.ndindex(lead))

    def write(folder: Path, name: str, slices: np.ndarray, spread: bool) -> Path:
        header = hdus[index].header.copy()
        for keyword in OF_VALUES:
            header.remove(keyword, ignore_missing=True)
        for axis, before, after in ((1, values.shape[-1], slices.shape[-1]), (2, values.shape[-2], slices.shape[-2])):
            if before != after:
                _zoom(header, axis, before / after)
        array = np.ascontiguousarray(slices, np.float32).reshape(*lead, *slices.shape[1:])
        kind = fits.PrimaryHDU if index == 0 else fits.ImageHDU
        others = [hdu.copy() for hdu in hdus]
        others[index] = kind(array, header)
        target = folder / f"{name}.fits"
        with atomic(target) as temporary, temporary.open("wb") as file:
            fits.HDUList(others).writeto(file, output_verify="silentfix")
        return target

    units = str(hdus[index].header.get("BUNIT", ""))
    return Volume(path, KIND, values.reshape(-1, *values.shape[-2:]), names, write, units)


def _zoom(header: Any, axis: int, factor: float) -> None:
    """World coordinates for pixels that are ``factor`` times as large along an axis."""
    if f"CRPIX{axis}" in header:
        header[f"CRPIX{axis}"] = (header[f"CRPIX{axis}"] - 0.5) / factor + 0.5
    if f"CDELT{axis}" in header:
        header[f"CDELT{axis}"] *= factor
    for row in range(1, 10):
        if f"CD{row}_{axis}" in header:
            header[f"CD{row}_{axis}"] *= factor
