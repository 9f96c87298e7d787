"""Training data: images of one size or pictures of several, from either kind of file."""

from pathlib import Path

from priors import data, pictures
from priors.data import ImageSet
from priors.files import FileError
from priors.hdf5 import opened
from priors.parsing import opened_npz
from priors.pictures import GROUP, Pictures

MISSING = "expected an HDF5 (.h5) or .npz file; inverse-pack makes one of a folder of pictures"


def names(path: str | Path) -> list[str]:
    """Read a file of images or pictures.

    Raises: FileNotFoundError; ValueError for a file of another format.
    """
    if Path(path).suffix == ".npz":
        with opened_npz(path, "image set", missing=MISSING) as archive:
            return sorted(archive.files)
    with opened(path, "image set", missing=MISSING) as file:
        return file.names()


def training_split(path: str | Path) -> str | None:
    """The default split for training: "train" if the file has one, else None (all of it)."""
    held = names(path)
    return "train" if "split" in held or any(name.startswith("train_") for name in held) else None


def read_images(path: str | Path, split: str | None = None) -> ImageSet:
    """The images of a file, or its pictures where they have one size.

    Arguments: path; split: prefix of the names in the file, or None.
    Raises: FileNotFoundError; ValueError for a file without the split, and for pictures of several sizes.
    """
    if _group(split) in names(path):
        return pictures.read(path, split).stacked()
    try:
        return data.read(path, split)
    except FileError as error:
        raise FileError(f"{error}; or '{_group(split)}', as written by inverse-pack; --split selects a part") from None


def read_pictures(path: str | Path, split: str | None = None) -> Pictures:
    """The pictures of a file, or its images; arguments and errors as `read_images`, but for sizes."""
    if _group(split) in names(path):
        return pictures.read(path, split)
    images = read_images(path, split)
    return Pictures(tuple(images.images), source=images.source)


def _group(split: str | None) -> str:
    return f"{split}_{GROUP}" if split else GROUP
