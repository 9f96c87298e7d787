"""Files of `inverse volume`: arrays and stacks that are measured, and volumes that are written."""

from pathlib import Path

import numpy as np

from inverse.app import series
from inverse.app.files import ome_zarr
from inverse.app.files.volume import Volume
from priors import zarr_folders
from priors.arrays import read_npy
from priors.files import HDF5, FileError, atomic
from priors.hdf5 import opened
from priors.zarr_store import is_zarr

TIFF = (".tif", ".tiff")
Y = "y"  # the dataset of measurements
STACKS = "TIFF of several pages, NIfTI, DICOM, OME-Zarr, .npy, HDF5 or Zarr"


def read(path: Path) -> tuple[np.ndarray, Volume | None]:
    """The values of a file, as they are, and the stack of slices if its format is one of these.

    Arguments: path of an .npy file, of HDF5 or Zarr with the dataset "y" (or only one of three or more axes), or of a
    stack of slices as `inverse.app.series.opened` reads.
    Returns: the values (three or more axes), and the `Volume` of another format than .npy, HDF5 and Zarr.
    Raises: FileNotFoundError; ValueError for other files, pictures, and values that are complex or not finite.
    """
    name, stack = path.suffix.lower(), None
    if name == ".npy":
        values = read_npy(path, "measurement")
    elif name in HDF5 or (is_zarr(path) and not ome_zarr.is_image(path)):
        reader = opened if name in HDF5 else zarr_folders.opened
        with reader(path, "measurement of a volume", f"expected a dataset {Y!r}") as file:
            found = [each for each in file.datasets() if file.dataset(each).ndim >= 3]
            if Y not in found and len(found) != 1:
                raise FileError(f"{path} has the datasets {file.names()[:8]}: expected {Y!r}, of three or more axes")
            values = file.array(Y if Y in found else found[0])
    else:
        stack = series.opened(path, True)
        if stack is None:
            raise ValueError(f"{path} is no volume: expected {STACKS}; a picture is solved by `inverse solve`")
        values = stack.slices
    if values.dtype.kind not in "buif":
        raise ValueError(f"{path} has values of {values.dtype}: expected real numbers; stack real and imaginary parts")
    if values.ndim < 3 or sum(n > 1 for n in values.shape) < 3:
        raise ValueError(
            f"{path} has the shape {values.shape}, which is a picture, not a volume: expected projections (views, "
            "rows, columns) or slices (N, H, W); a picture, or one sinogram, is solved by `inverse solve`"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{path} has values that are not finite: replace them, for example by an interpolation")
    return values, stack


def stack_of(path: Path, values: np.ndarray, stack: Volume | None) -> Volume:
    """The slices (S, H, W) of a file whose values are pictures, for `inverse.app.series.scale`."""
    if stack is not None:
        return stack
    values = values.reshape(-1, *values.shape[-2:])
    kind, size = values.dtype.kind, values.dtype.itemsize
    bounds = (0.0, float(np.iinfo(values.dtype).max)) if kind == "u" and size <= 2 else None
    names = tuple(f"slice {n}" for n in range(len(values)))
    return Volume(path, "array", values.astype(np.float64), names, lambda *_: path, bounds=bounds)


def write(
    out: Path, name: str, values: np.ndarray, form: Path, stack: Volume | None, spread: bool = False,
    places: tuple[float, float] = (0.0, 1.0),
) -> Path:  # fmt: skip
    """Write a volume as the file that came in is written, float32.

    A stack with as many slices keeps its metadata, and OME-Zarr with any number. Otherwise it is a TIFF of several
    pages if the file is a TIFF, and else an .npy file.
    Arguments: out (folder); name, without ending; values (D, H, W); form: path of the file that came in; stack: of that
    file, or None; spread: these are standard deviations; places: of the file's first slice among those of the volume,
    and the distance of its slices there.
    Returns: the path.
    """
    values = np.ascontiguousarray(values, np.float32)
    if stack is not None and stack.slices.shape == values.shape:
        return stack.write(out, name, values, spread)
    if stack is not None and stack.deepen is not None:
        return stack.deepen(out, name, values, spread, *places)
    if form.suffix.lower() in TIFF:
        import tifffile

        target = out / f"{name}.tif"
        with atomic(target) as temporary:
            tifffile.imwrite(temporary, values, photometric="minisblack", metadata={"axes": "ZYX"})
        return target
    target = out / f"{name}.npy"
    with atomic(target) as temporary, temporary.open("wb") as file:
        np.save(file, values)
    return target
