"""The pictures or measurements that a path stands for: the files of a folder, or those of one file with several."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from inverse.app.batch.sources import InFile, source_of
from inverse.app.files import ome_zarr
from priors.arrays import read_npy
from priors.decoded import Decoded
from priors.decoding import decode
from priors.files import HDF5, FileError, regular
from priors.hdf5 import Hdf5, opened
from priors.zarr_store import is_zarr

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".jp2", ".avif")
TIFF = (".tif", ".tiff")
COLOURS = ("YXS", "SYX")  # axes of a page
IMAGES = "images"  # the dataset of an image set
FORMS = "grey (N, H, W) or (N, 1, H, W), colour (N, H, W, 3) or (N, 3, H, W), one colour picture (H, W, 3)"
Arranged = Callable[[tuple[int, ...]], tuple[int, ...]]


@dataclass(frozen=True)
class Stack:
    """Several pictures or measurements in one file.

    Attributes: path; count (int >= 1); what: "picture" or "measurement"; read: returns one of them by its number, a
    picture as `Decoded` and a measurement as a tensor (1, *M); raises ValueError for one that cannot be used.
    """

    path: Path
    count: int
    what: str
    read: Callable[[int], Decoded | Tensor]

    def name(self, number: int) -> str:
        """Of one of them, for messages."""
        return f"{self.path.name}, {self.what} {number}"


def pictures_in(folder: Path, measured: bool = False) -> list[Path]:
    """The picture files of a folder by name, with ``measured`` also its .npy files; subfolders are ignored.

    Raises: ValueError if there are none.
    """
    wanted = SUFFIXES + ((".npy",) if measured else ())
    found = sorted(
        p for p in folder.iterdir() if p.suffix.lower() in wanted and not p.name.startswith(".") and p.is_file()
    )
    if not found:
        raise ValueError(f"{folder} has no pictures: expected a file, or a folder with {', '.join(wanted)} files")
    return found


def opened_stack(path: Path, measured: bool, arranged: Arranged = lambda shape: shape) -> Stack | None:
    """The pictures in an .npy or HDF5 file, or in a TIFF of several pages; None for files of one picture.

    Arguments: path; measured: they are measurements, of an .npy file (N, *M) or the dataset "y" (N, *M) of HDF5 or
    Zarr; arranged: returns (N, *M) for the shape of an .npy file that may lack axes. Otherwise arrays of N > 1 pictures
    are grey (N, H, W) or (N, 1, H, W), or colour (N, H, W, 3) or (N, 3, H, W), in [0, 1] or integers of 8 or 16 bits;
    in HDF5 the dataset "images", or the only one with so many axes.
    Raises: FileNotFoundError; ValueError for other files.
    """
    name = path.suffix.lower()
    if name in TIFF:
        return _of_tiff(path)
    if measured and is_zarr(path) and not ome_zarr.is_image(path):
        return _of_measurements(path, arranged)
    if name != ".npy" and name not in HDF5:
        return None
    if measured:
        return _of_measurements(path, arranged)
    if name == ".npy":
        stack = _of_array(path, read_npy(path, "pictures"))
        if stack.count == 1:  # the form of a measurement (1, *M), which would be taken for a picture
            raise ValueError(
                f"{path} is an array, not a picture or a stack of several: pass --measured if it is the measurement y, "
                "or save the picture as PNG or TIFF"
            )
        return stack
    with opened(path, "stack of pictures", f"expected a dataset {IMAGES!r}, {FORMS}") as file:
        return _of_array(path, file.array(_dataset(file)))


def _of_tiff(path: Path) -> Stack | None:
    import tifffile

    try:
        with tifffile.TiffFile(regular(path, "image")) as file:
            pages: list[Any] = [k for k, page in enumerate(file.pages) if not getattr(page, "is_reduced", False)]
            first: Any = file.pages[pages[0]]
            if len(pages) < 2 or first.axes not in COLOURS:
                return None  # grey slices are a volume, whose results are written as such
    except (tifffile.TiffFileError, IndexError, KeyError, ValueError):  # the reader of pictures tells what is wrong
        return None

    def read(number: int) -> Decoded:
        with tifffile.TiffFile(path) as file:
            page: Any = file.pages[pages[number]]
            content = _alone(page)
        return decode(content, f"{path.name}, picture {number}").opaque().ranged()

    return Stack(path, len(pages), "picture", read)


def _alone(page: Any) -> bytes:
    """A page as a TIFF of its own, so that it is read by the rules of one picture."""
    import tifffile

    buffer = io.BytesIO()
    planar = "separate" if page.axes == "SYX" else None
    tifffile.imwrite(buffer, page.asarray(), photometric=page.photometric, planarconfig=planar)
    return buffer.getvalue()


def _of_measurements(path: Path, arranged: Arranged) -> Stack | None:
    source = source_of(path)
    if isinstance(source, InFile) and len(source.names) > 1:
        raise ValueError(
            f"{path} has {', '.join(source.names[1:])} for each measurement: use `inverse batch`, which reads them"
        )
    given = (len(source), *source.read(0, 1)["y"].shape[1:])
    count, *one = arranged(given)
    if count == 1 and isinstance(source, InFile):
        return Stack(path, 1, "measurement", lambda number: source.read(0, len(source))["y"].reshape(1, *one))
    if count == 1:
        return None
    return Stack(path, count, "measurement", lambda number: source.read(number, number + 1)["y"].reshape(1, *one))


def _dataset(file: Hdf5) -> str:
    if IMAGES in file.datasets():
        return IMAGES
    found = [name for name in file.datasets() if file.dataset(name).ndim >= 3]
    if len(found) != 1:
        raise FileError(
            f"{file.path} has the datasets {file.names()[:8]}: expected {IMAGES!r}, or only one of pictures; if they "
            "are measurements, name them 'y' and pass --measured"
        )
    return found[0]


def _of_array(path: Path, values: np.ndarray) -> Stack:
    values = _channels_last(path, values)
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind not in "buf" or (kind == "u" and size > 2):
        raise ValueError(
            f"{path} has values of {values.dtype}, of which white is not known: save unsigned integers of 8 or 16 "
            "bits, or (x - black) / (white - black) in floating point; if it is the measurement y, pass --measured"
        )
    white = float(np.iinfo(values.dtype).max) if kind == "u" else 1.0

    def read(number: int) -> Decoded:
        one = values[number]
        name = f"{path.name}, picture {number}"
        if kind == "f" and not np.isfinite(one).all():
            raise ValueError(f"{name} has values that are not finite: replace them before saving")
        return Decoded(name, one[..., 0] if one.shape[2] == 1 else one, white).ranged()

    return Stack(path, len(values), "picture", read)


def _channels_last(path: Path, values: np.ndarray) -> np.ndarray:
    """Pictures (N, H, W, C) with C 1 or 3.

    Raises: ValueError for other shapes, and those that can be read in two ways.
    """
    shape = values.shape
    stated = f"{path} has an array of shape {shape}"
    if values.size == 0:
        raise ValueError(f"{stated}: expected at least one picture")
    if len(shape) == 2:
        return values[None, ..., None]
    if len(shape) == 3:
        if shape[0] == 3 and shape[2] != 3:
            raise ValueError(
                f"{stated}: it may be three grey pictures or the channels of one: save {(3, 1, *shape[1:])} or "
                f"{(1, *shape)}"
            )
        return values[None] if shape[2] == 3 else values[..., None]
    if len(shape) == 4:
        last, first = shape[3] in (1, 3), shape[1] in (1, 3)
        if last and first:
            raise ValueError(f"{stated}: both its second and its last axis may be channels; save pictures (N, H, W)")
        if last or first:
            return values if last else np.moveaxis(values, 1, 3)
    raise ValueError(f"{stated}: expected {FORMS}; if it is the measurement y, pass --measured")
