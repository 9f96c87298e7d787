"""What a command line names: pictures, a mask, a kernel, a measurement."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from operators.kernels import read_kernel
from priors.arrays import read_npy
from priors.data import read
from priors.decoding import Decoded, decode
from priors.files import regular

GREY = 0.1  # how much the channels of a mask may differ
BETWEEN = 0.1  # share of a mask's pixels that may be neither black nor white


def read_image(path: Path, event_shape: tuple[int | None, ...], resize: bool = False) -> Tensor:
    """An image file in image units, (1, C, H, W) float32, by the rules of `priors.decoding`.

    Arguments: path; event_shape, resize: as `as_event`.
    Raises: FileNotFoundError; ValueError for no image, a transparent one, another range or another size.
    """
    return as_event(decode(path).opaque().ranged(), event_shape, resize)


def as_event(picture: Decoded, event_shape: tuple[int | None, ...], resize: bool = False) -> Tensor:
    """A picture as an event, (1, C, H, W) float32 in image units.

    Colour becomes grey by the mean of its channels, grey becomes colour by three alike.
    Arguments: picture; event_shape (C, H, W), each None for that of the picture; resize: to H and W, antialiased.
    Raises: ValueError for another size without ``resize``, and for other events than of one or three channels.
    """
    from skimage.transform import resize as to_size

    if len(event_shape) != 3 or event_shape[0] not in (None, 1, 3):
        raise ValueError(f"{picture.name} is a picture, and the prior's events are {event_shape}: give an .npy file")
    pixels: Any = np.atleast_3d(picture.floats)
    c, h, w = (asked or own for asked, own in zip(event_shape, (pixels.shape[2], *pixels.shape[:2]), strict=True))
    if c == 1:
        pixels = pixels.mean(2, keepdims=True)
    elif pixels.shape[2] == 1:
        pixels = pixels.repeat(c, 2)
    if pixels.shape[:2] != (h, w):
        if not resize:
            raise ValueError(
                f"{picture.name} has {pixels.shape[:2]} pixels, the prior {h, w}: pass --resize, or crop it first"
            )
        pixels = to_size(pixels, (h, w), anti_aliasing=True)
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float()[None]


def read_mask(path: Path) -> Tensor:
    """A mask from a picture, (H, W) bool: True, measured, where it is white; or from an .npy file of 0 and 1, as it is.

    Raises: FileNotFoundError; ValueError for no picture, and for one that is not black and white: transparent,
    coloured, grey over more than a tenth of it, black all over, or of a TIFF in which 0 is white.
    """
    if path.suffix.lower() == ".npy":
        return torch.from_numpy(read_npy(path, "mask"))
    picture = decode(path)
    advice = "save it as black and white, white (255) where a pixel is measured"
    if picture.alpha is not None:
        raise ValueError(f"{path} is transparent, and whether that means measured is not known: {advice}, opaque")
    if picture.white_is_zero:  # as tifffile writes arrays of bool, whose True other programs show as black
        raise ValueError(f"{path} says that 0 is white, and whether that was meant is not known: {advice}")
    values = np.atleast_3d(picture.floats)
    if float(np.ptp(values, axis=2).max()) > GREY:
        raise ValueError(f"{path} is coloured: {advice}")
    grey = values.mean(2)
    between = float(((grey > 0.25) & (grey < 0.75)).mean())
    if between > BETWEEN or grey.max() > 1 + GREY or grey.min() < -GREY:
        raise ValueError(
            f"{path} is grey in {between:.0%} of its pixels, from {grey.min():.3g} to {grey.max():.3g}: {advice}"
        )
    if not (grey > 0.5).any():
        high = picture.values.max()
        raise ValueError(f"{path} has no white pixel, its largest number is {high:g} of {picture.white:g}: {advice}")
    return torch.from_numpy(grey > 0.5)


def read_psf(path: Path) -> Tensor:
    """A blur kernel from a picture, white where light falls, or from an .npy file, scaled to sum 1: (kH, kW) float32.

    Raises: FileNotFoundError; ValueError for no picture, a transparent one, and for one without a positive sum; of an
    .npy file, as `operators.kernels.read_kernel`.
    """
    if path.suffix.lower() == ".npy":
        return read_kernel(path)
    values = np.atleast_3d(decode(path).opaque().floats).mean(2)
    if not values.sum() > 0:
        raise ValueError(f"{path} has the sum {values.sum():.4g}: expected a kernel, white where light falls")
    return torch.from_numpy(values / values.sum()).float()


def read_images(
    paths: list[Path], event_shape: tuple[int, ...], split: str | None, resize: bool, limit: int | None
) -> tuple[list[str], Tensor]:
    """Image files and image sets as one batch of whole grey levels of 8 bits.

    Arguments: paths; event_shape (E); split: see `priors.data.read`; resize: as `read_image`, not of image sets;
    limit: take the first so many (int >= 1), or None.
    Returns: names, and images (N, C, H, W) in image units.
    Raises: FileNotFoundError; ValueError as `read_image` and `priors.data.read`, for an image set of another shape, and
    for no images.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"images = {limit}: expected at least 1")
    names: list[str] = []
    parts: list[Tensor] = []
    for path in paths:
        if path.suffix in (".h5", ".hdf5", ".npz"):
            regular(path, "image set")
            held = read(path, split)
            if held.event_shape != tuple(event_shape):
                raise ValueError(f"{path} has images {held.event_shape}, the prior {tuple(event_shape)}: pick another")
            parts.append(held[: limit or len(held)].floats())
            names += [f"{path.name}[{i}]" for i in range(len(parts[-1]))]
        else:
            parts.append((read_image(path, event_shape, resize) * 255).round() / 255)
            names.append(path.name)
    if not names:
        raise ValueError(f"{', '.join(map(str, paths))}: no images in there; give an image set that has some")
    return names[:limit], torch.cat(parts)[:limit]


def measured_picture(picture: Decoded) -> Tensor:
    """A picture that is a measurement, (1, C, H, W) in image units; floating-point numbers in whatever range."""
    return as_event(picture if picture.values.dtype.kind == "f" else picture.ranged(), (None, None, None))


def read_measurement(path: Path) -> Tensor:
    """A measurement from an .npy file (B, *M), or from a picture, (1, C, H, W) in image units.

    Floating-point numbers of a picture are taken as they are, whatever their range.
    Raises: FileNotFoundError; ValueError for another file, and for complex numbers.
    """
    if path.suffix.lower() != ".npy":
        return measured_picture(decode(path).opaque())
    found = read_npy(path, "measurement")
    if found.dtype.kind == "c":
        raise ValueError(
            f"{path} is complex: expected real numbers; as k-space of `Fourier`, save numpy.stack([y.real, y.imag], -3)"
        )
    if found.dtype.kind == "f" and found.dtype.itemsize > 8:
        found = found.astype(np.float64)
    return torch.from_numpy(found)
