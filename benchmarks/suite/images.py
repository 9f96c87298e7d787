"""The true images of a problem: shipped beside a prior, an image set, or a folder of pictures."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import priors
from benchmarks.suite.problems import SHIPPED, Spec
from priors import pictures
from priors.data import ImageSet, floats, read, rounded
from priors.decoding import decode

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def images_of(spec: Spec, event_shape: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
    """The first images of a problem's data, in image units, and their labels.

    Arguments: spec; event_shape (E) of its prior. Images of another size are resized or cropped as the problem
    specifies; colour becomes grey by the mean of channels, and grey colour by repetition, in folders only.
    Returns: truth (B, *E) float32 in [0, 1], labels (B,) int64 or None.
    Raises: FileNotFoundError; ValueError for images of another shape than E and for fewer images than specified.
    """
    path = Path(spec.data)
    if spec.data == SHIPPED:
        found = priors.samples(spec.prior)
    elif path.is_dir():
        found = _folder(path, spec, event_shape)
    elif pictures.holds(path, spec.split):
        found = _pictures(path, spec, event_shape)
    elif path.suffix in (".h5", ".hdf5", ".npz") and path.exists():
        found = read(path, spec.split)
    else:
        raise FileNotFoundError(
            f"problem {spec.name}: no data {spec.data!r}: expected 'shipped', an image set (.h5, .npz) or a "
            "folder of images, relative to the TOML file; --data names another place"
        )
    if len(found) < spec.images:
        raise ValueError(
            f"problem {spec.name}: images = {spec.images}, but {spec.data!r} has {len(found)}: ask for fewer"
        )
    found = found[: spec.images]
    truth = found.floats()
    if truth.shape[2:] != tuple(event_shape[1:]) and spec.fit is not None:
        truth = fitted(truth, event_shape, spec.fit)
    if tuple(truth.shape[1:]) != tuple(event_shape):
        raise ValueError(
            f"problem {spec.name}: images {tuple(truth.shape[1:])} of {spec.data!r}, and the prior "
            f"{spec.prior!r} has {tuple(event_shape)}: expected the same; in the TOML, size = [height, width] sets "
            "that of a prior of any size, and fit = 'resize' or 'crop' changes that of the images, not their channels"
        )
    return truth, found.labels


def fitted(x: Tensor, event_shape: tuple[int, ...], fit: str) -> Tensor:
    """Images of another size, (B, C, H, W) -> (B, C, h, w): resized (bilinear, antialiased), or the middle cropped.

    Raises: ValueError for an image that is smaller than the crop.
    """
    h, w = event_shape[-2:]
    if fit == "resize":
        return torch.nn.functional.interpolate(x, (h, w), mode="bilinear", antialias=True).clamp(0, 1)
    top, left = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
    if min(top, left) < 0:
        raise ValueError(f"images of {tuple(x.shape[-2:])} pixels: expected at least {(h, w)} to crop; resize them")
    return x[..., top : top + h, left : left + w]


def _pictures(path: Path, spec: Spec, event_shape: tuple[int, ...]) -> ImageSet:
    """Pictures of different sizes, each brought to the prior's."""
    found = pictures.read(path, spec.split).pictures[: spec.images]
    if spec.fit is None:
        raise ValueError(f"problem {spec.name}: pictures of several sizes in {path}: set fit = 'crop' or 'resize'")
    parts = [fitted(floats(p)[None], event_shape, spec.fit) for p in found]
    return ImageSet(rounded(torch.cat(parts), found[0].dtype), source=str(path))


def _folder(path: Path, spec: Spec, event_shape: tuple[int, ...]) -> ImageSet:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)[: spec.images]
    parts = []
    for file in files:
        pixels = np.atleast_3d(decode(file).opaque().ranged().floats)
        if event_shape[0] == 1:
            pixels = pixels.mean(2, keepdims=True)
        elif pixels.shape[2] == 1:
            pixels = pixels.repeat(event_shape[0], 2)
        x = torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float()[None]
        x = fitted(x, event_shape, spec.fit) if spec.fit and x.shape[2:] != tuple(event_shape[1:]) else x
        if parts and parts[0].shape != x.shape:
            raise ValueError(f"{file}: {tuple(x.shape[2:])} pixels, others have {tuple(parts[0].shape[2:])}: set fit")
        parts.append(x)
    if not parts:
        raise ValueError(f"{path} has no images: expected files of {list(SUFFIXES)}")
    return ImageSet(rounded(torch.cat(parts), torch.uint8), source=str(path))
