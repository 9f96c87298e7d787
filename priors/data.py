"""Image sets: our HDF5 format, and npz files."""

from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from priors.files import FileError, atomic, hdf5_path
from priors.hdf5 import Hdf5, opened
from priors.parsing import opened_npz
from priors.wording import Concise

PARTS = ("train", "test")  # the names of 0 and 1 in a file's ``split``


DTYPES = {torch.uint8: "uint8", torch.uint16: "uint16"}  # of pixels; the largest value is 1 in image units


def floats(pixels: Tensor) -> Tensor:
    """Pixels of one of `DTYPES`, of any shape, in image units: float32 in [0, 1]."""
    return pixels.float() / torch.iinfo(pixels.dtype).max


def rounded(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Image units, clamped to [0, 1], as pixels of one of `DTYPES`."""
    return (x.clamp(0, 1) * torch.iinfo(dtype).max).round().to(dtype)


def scale_of(dtype: torch.dtype) -> str:
    """A file's description of its pixels."""
    return f"{DTYPES[dtype]}, {torch.iinfo(dtype).max} is 1 in image units"


@dataclass(frozen=True, repr=False)
class ImageSet(Concise):
    """Images uint8 or uint16 (n, C, H, W), labels int64 (n,) or None, and their source."""

    images: Tensor
    labels: Tensor | None = None
    source: str = ""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index) -> "ImageSet":
        return ImageSet(self.images[index], None if self.labels is None else self.labels[index], self.source)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self.images.shape[1:])

    def floats(self, index: slice | Tensor = slice(None)) -> Tensor:
        """Images in image units: float32 (n, C, H, W) in [0, 1]."""
        return floats(self.images[index])

    def drawn(self, rows: Tensor, places: Tensor) -> Tensor:
        """The data of a training step for rows (n,): whole images; the crop positions (n, k) are not used."""
        return self.floats(rows)

    def measured(self) -> "ImageSet":
        """The data that a loss is evaluated on: the images."""
        return self


def read(path: str | Path, split: str | None = None) -> ImageSet:
    """Read an image set.

    Arguments: path: HDF5 with ``images`` (n, C, H, W) or (n, H, W[, C]) uint8 or uint16 and optional ``labels`` (n,);
    or npz with the same names; split: with it the names are ``{split}_images`` and ``{split}_labels``, or, in a file
    with ``split`` (n,) integers, the rows of that part: 0 is train and 1 is test.
    Raises: FileNotFoundError; ValueError for an unknown format, a missing name or an unsupported dtype.
    """
    path, source = Path(path), ""
    prefix, missing = f"{split}_" if split else "", "expected an HDF5 (.h5) or .npz file"
    if path.suffix == ".npz":
        with opened_npz(path, "image set", missing=missing) as archive:
            held, arrays = sorted(archive.files), _part(archive, archive.__getitem__, split)
    else:
        with opened(path, "image set", missing=missing) as file:
            held, source = file.names(), str(file.attrs.get("source", ""))
            arrays = _part(file, file.array, split)
    if "images" not in arrays:
        raise FileError(f"{path} has {held[:8]}: expected '{prefix}images' (n, C, H, W) or (n, H, W), uint8 or uint16")
    images = torch.from_numpy(np.ascontiguousarray(_channels_first(arrays["images"], path)))
    labels = _labels(arrays["labels"], len(images), path) if "labels" in arrays else None
    return ImageSet(images, labels, source)


def write(path: str | Path, data: ImageSet) -> None:
    """Write an image set as compressed HDF5, atomically.

    Raises: ValueError for a path with the suffix of another format.
    """
    path = hdf5_path(path, "image set")
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("images", data=data.images.numpy(), compression="gzip", chunks=(1, *data.event_shape))
        if data.labels is not None:
            file["labels"] = data.labels.numpy()
        file.attrs["source"] = data.source
        file.attrs["units"] = scale_of(data.images.dtype)


def _labels(labels: np.ndarray, n: int, path: Path) -> Tensor:
    if labels.dtype.kind not in "iu" or labels.shape != (n,):
        raise FileError(
            f"{path}: labels of dtype {labels.dtype}, shape {labels.shape}: expected integers ({n},), one per image"
        )
    return torch.from_numpy(labels.astype(np.int64))


def _part(file: Container | Hdf5, array: Callable[[str], np.ndarray], split: str | None) -> dict[str, np.ndarray]:
    """Images and labels of a split, by the prefix of their names or by the file's ``split``."""
    names, prefix = ("images", "labels"), f"{split}_" if split else ""
    if split in PARTS and "split" in file and f"{prefix}images" not in file:
        rows = array("split") == PARTS.index(split)
        return {name: array(name)[rows] for name in names if name in file}
    return {name: array(prefix + name) for name in names if prefix + name in file}


def _channels_first(images: np.ndarray, path: Path) -> np.ndarray:
    if images.dtype.name not in DTYPES.values():
        raise FileError(f"{path}: images of dtype {images.dtype}: expected uint8 in 0..255 or uint16 in 0..65535")
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4:
        return images.transpose(0, 3, 1, 2) if images.shape[3] in (1, 3) and images.shape[1] not in (1, 3) else images
    raise FileError(f"{path}: images of shape {images.shape}: expected (n, H, W), (n, C, H, W) or (n, H, W, C)")
