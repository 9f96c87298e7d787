"""Sets of images of different sizes (pictures), and random crops of them to train networks of any size on."""

import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import h5py
import torch
import torch.nn.functional as F
from torch import Tensor

from priors.arguments import flag, number, settings
from priors.data import DTYPES, ImageSet, floats, rounded, scale_of
from priors.files import FileError, atomic, hdf5_path
from priors.hdf5 import opened
from priors.wording import Concise

GROUP, WHAT = "pictures", "HDF5 file of pictures"
NUMBERS = 4  # uniform random numbers per crop: scale, row, column, symmetry
MEASURED = 8  # crops per picture for measuring a loss


@dataclass(frozen=True, repr=False)
class Pictures(Concise):
    """Images uint8 or uint16 (C, H, W), each of any H and W, their names and their source.

    Raises: ValueError for none, for other shapes or dtypes, and for another number of names.
    """

    pictures: tuple[Tensor, ...]
    names: tuple[str, ...] = ()
    source: str = ""

    def __post_init__(self):
        object.__setattr__(self, "pictures", tuple(self.pictures))
        object.__setattr__(self, "names", tuple(self.names) or tuple(f"{i:05d}" for i in range(len(self.pictures))))
        found = {(p.ndim, p.shape[0], p.dtype) for p in self.pictures}
        if len(found) != 1 or any(n != 3 or dtype not in DTYPES for n, _, dtype in found):
            raise ValueError(
                f"pictures of (axes, channels, dtype) {sorted(map(str, found))}: expected (C, H, W) with one C and all "
                "uint8 or all uint16, at least one picture; convert them first"
            )
        if len(self.names) != len(self.pictures):
            raise ValueError(f"{len(self.names)} names for {len(self.pictures)} pictures: expected one each")

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: slice) -> "Pictures":
        return Pictures(self.pictures[index], self.names[index], self.source)

    def stacked(self) -> ImageSet:
        """Pictures of one size as an image set.

        Raises: ValueError for pictures of several sizes.
        """
        sizes = sorted({tuple(p.shape[1:]) for p in self.pictures})
        if len(sizes) > 1:
            least = min(min(size) for size in sizes)
            raise ValueError(
                f"pictures of {len(sizes)} sizes, from {sizes[0]} to {sizes[-1]} pixels: a recipe without a section "
                f"[crops] trains on pictures of one size; add one, with size of at most {least}, and [network] type = "
                '"local", or pack pictures of one size'
            )
        return ImageSet(torch.stack(self.pictures), None, self.source)

    @property
    def channels(self) -> int:
        return self.pictures[0].shape[0]

    @property
    def dtype(self) -> torch.dtype:
        return self.pictures[0].dtype


def write(path: str | Path, data: Pictures, split: str | None = None, add: bool = False) -> None:
    """Write pictures as compressed HDF5, atomically: one dataset (C, H, W) each, by number, its name an attribute.

    Arguments: path; data; split: with it the group is ``{split}_pictures``; add: keep the other groups of a file that
    is there.
    Raises: FileNotFoundError if there is no file to add to; ValueError if it has that group, and for a path with the
    suffix of another format.
    """
    path = hdf5_path(path, "set of pictures")
    if add and not Path(path).exists():
        raise FileNotFoundError(f"no file at {path} to add pictures to: omit --add to write the first part")
    if add and holds(path, split):
        raise ValueError(f"{path} has '{_group(split)}' already: use another name, or write a new file")
    with atomic(path) as temporary:
        if add:
            shutil.copy(path, temporary)
        _write(temporary, data, _group(split), "a" if add else "w")


def _write(path: Path, data: Pictures, name: str, mode: str) -> None:
    with h5py.File(path, mode) as file:
        group = file.create_group(name)
        for i, (picture, name) in enumerate(zip(data.pictures, data.names, strict=True)):
            kept = group.create_dataset(f"{i:05d}", data=picture.numpy(), compression="gzip", shuffle=True)
            kept.attrs["name"] = name
        file.attrs["source"] = data.source
        file.attrs["units"] = scale_of(data.dtype)


def holds(path: str | Path, split: str | None = None) -> bool:
    """Whether a file is an HDF5 of pictures of different sizes; False for a missing one."""
    path = Path(path)
    if not path.is_file() or zipfile.is_zipfile(path) or not h5py.is_hdf5(path):
        return False
    with opened(path, WHAT) as file:
        return _group(split) in file


def read(path: str | Path, split: str | None = None) -> Pictures:
    """Pictures that `write` wrote.

    Raises: FileNotFoundError; ValueError for a file without them.
    """
    group, missing = _group(split), "expected an HDF5 file; inverse-pack makes one of a folder"
    with opened(path, WHAT, missing=missing) as file:
        if group not in file:
            raise FileError(f"{path} has no group '{group}': expected pictures written by inverse-pack")
        places = [f"{group}/{key}" for key in file.names(group)]
        names = tuple(str(file.attribute(place, "name")) for place in places)
        pictures = tuple(torch.from_numpy(file.array(place, "u")) for place in places)
        source = str(file.attrs.get("source", ""))
    try:
        return Pictures(pictures, names, source)
    except ValueError as error:
        raise FileError(f"{path}: {error}") from None


def _group(split: str | None) -> str:
    return f"{split}_{GROUP}" if split else GROUP


@dataclass(frozen=True, repr=False)
class Crops(Concise):
    """Random square crops, one per picture: a data set for `Trainer` in place of an image set.

    A crop is a function of the row and of `NUMBERS` uniform numbers, so a step's crops depend on (seed, step) only.
    Arguments: pictures; size (pixels); scales: uniformly drawn factors by which pictures are downscaled (antialiased)
    before cropping; turns: also rotate by multiples of 90 degrees; mirror images are always drawn.
    Raises: ValueError for a picture smaller than a crop, and for scales outside (0, 1].
    """

    pictures: Pictures
    size: int = 64
    scales: tuple[float, ...] = (1.0,)
    turns: bool = True

    def __post_init__(self):
        if not isinstance(self.pictures, Pictures):
            raise TypeError(
                f"pictures of type {type(self.pictures).__name__}: expected Pictures, as returned by `read`"
            )
        settings(self, size=1)
        flag("turns", self.turns)
        if not isinstance(self.scales, Sequence) or isinstance(self.scales, str) or len(self.scales) == 0:
            raise ValueError(f"scales = {self.scales!r:.60}: expected a list of numbers in (0, 1], at least one")
        object.__setattr__(self, "scales", tuple(number("scales, a scale", s, "(0, 1]") for s in self.scales))
        named = zip(self.pictures.names, self.pictures.pictures, strict=True)
        if small := [name for name, p in named if min(p.shape[1:]) < self.size]:
            raise ValueError(
                f"crops of {self.size} pixels: pictures {small[:3]} are smaller; remove them or use smaller crops"
            )

    labels = None  # image sets without labels have None

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: slice) -> "Crops":
        return replace(self, pictures=self.pictures[index])

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.pictures.channels, self.size, self.size)

    @cached_property
    def _scaled(self) -> list[list[Tensor]]:
        """Every picture at every scale; where that is smaller than a crop, at the least scale that is not."""
        return [[shrunk(p, max(s, self.size / min(p.shape[1:]))) for s in self.scales] for p in self.pictures.pictures]

    def drawn(self, rows: Tensor, places: Tensor) -> Tensor:
        """Crops in image units, float32 (n, C, size, size); rows (n,), places (n, NUMBERS) uniform on [0, 1)."""
        return floats(torch.stack([self._crop(int(r), *u) for r, u in zip(rows, places.tolist(), strict=True)]))

    def _crop(self, row: int, scale: float, top: float, left: float, symmetry: float) -> Tensor:
        picture = self._scaled[row][int(scale * len(self.scales))]
        i, j = (int(u * (n - self.size + 1)) for u, n in zip((top, left), picture.shape[1:], strict=True))
        crop = picture[:, i : i + self.size, j : j + self.size]
        kind = int(8 * symmetry)
        crop = crop.flip(-1) if kind % 2 else crop
        return crop.rot90(kind // 2, (1, 2)) if self.turns else crop

    def measured(self, pictures: Tensor | None = None) -> ImageSet:
        """The data that a loss is evaluated on: the same `MEASURED` crops of every picture; pictures (n,): of these
        only."""
        rows = (torch.arange(len(self)) if pictures is None else pictures).repeat(MEASURED)
        places = torch.rand(len(rows), NUMBERS, generator=torch.Generator().manual_seed(0))
        return ImageSet(rounded(self.drawn(rows, places), self.pictures.dtype), None, self.pictures.source)


def shrunk(picture: Tensor, scale: float) -> Tensor:
    """A picture at a scale in (0, 1], antialiased (bicubic); (C, H, W) -> (C, h, w), of its dtype."""
    if scale == 1:
        return picture
    size = [round(n * scale) for n in picture.shape[1:]]
    return rounded(F.interpolate(floats(picture)[None], size, mode="bicubic", antialias=True)[0], picture.dtype)
