"""Read what a command line names: pictures, masks, kernels and measurements."""

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

GREY = 0.1  # largest difference between the channels of a mask
BETWEEN = 0.1  # largest share of a mask's pixels that are neither black nor white


def read_image(path: Path, event_shape: tuple[int | None, ...], resize: bool = False) -> Tensor:
    """An image file in image units, (1, C, H, W) float32, decoded by `priors.decoding`.

    Arguments: path; event_shape, resize: as for `as_event`.
    Raises: FileNotFoundError; ValueError for a file that is not an image, is transparent, or has another range or size.
    """
    return as_event(decode(path).opaque().ranged(), event_shape, resize)


def as_event(picture: Decoded, event_shape: tuple[int | None, ...], resize: bool = False) -> Tensor:
    """A picture as an event, (1, C, H, W) float32 in image units.

    Colour is converted to grey by averaging the channels, grey to colour by repeating the channel.
    Arguments: picture; event_shape (C, H, W), None entries keep the picture's own; resize: to H x W, antialiased.
    Raises: ValueError if the size differs and ``resize`` is false, or if events do not have one or three channels.
    """
    from skimage.transform import resize as to_size

    if len(event_shape) != 3 or event_shape[0] not in (None, 1, 3):
        raise ValueError(f"{picture.name} is a picture, but the prior expects {event_shape}: give an .npy file")
    pixels: Any = np.atleast_3d(picture.floats)
    c, h, w = (asked or own for asked, own in zip(event_shape, (pixels.shape[2], *pixels.shape[:2]), strict=True))
    if c == 1:
        pixels = pixels.mean(2, keepdims=True)
    elif pixels.shape[2] == 1:
        pixels = pixels.repeat(c, 2)
    if pixels.shape[:2] != (h, w):
        if not resize:
            raise ValueError(
                f"{picture.name} has {pixels.shape[:2]} pixels, the prior {h, w}: pass --resize, or crop the picture"
            )
        pixels = to_size(pixels, (h, w), anti_aliasing=True)
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float()[None]


def read_mask(path: Path) -> Tensor:
    """A mask as (H, W) bool, True where measured: white pixels of a picture, or an .npy file of 0 and 1.

    Raises: FileNotFoundError; ValueError for a file that is not a picture, or not black and white: transparent,
    coloured, grey in more than a tenth of its pixels, all black, or a TIFF that stores white as 0.
    """
    if path.suffix.lower() == ".npy":
        return torch.from_numpy(read_npy(path, "mask"))
    picture = decode(path)
    advice = "save it as black and white, white (255) where a pixel is measured"
    if picture.alpha is not None:
        raise ValueError(f"{path} is transparent, which does not define what is measured: {advice}, opaque")
    if picture.white_is_zero:  # tifffile writes bool arrays like this; other programs show True as black
        raise ValueError(f"{path} is a TIFF that stores white as 0, so what is measured is ambiguous: {advice}")
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
        raise ValueError(f"{path} has no white pixel, its largest value is {high:g} of {picture.white:g}: {advice}")
    return torch.from_numpy(grey > 0.5)


def read_psf(path: Path) -> Tensor:
    """A blur kernel (kH, kW) float32, scaled to sum 1, from a picture (white is large) or an .npy file.

    Raises: FileNotFoundError; ValueError for a file that is not a picture, is transparent or has no positive sum; for
    an .npy file, as `operators.kernels.read_kernel`.
    """
    if path.suffix.lower() == ".npy":
        return read_kernel(path)
    values = np.atleast_3d(decode(path).opaque().floats).mean(2)
    if not values.sum() > 0:
        raise ValueError(f"{path} sums to {values.sum():.4g}: expected a kernel with a positive sum, white on black")
    return torch.from_numpy(values / values.sum()).float()


def read_images(
    paths: list[Path], event_shape: tuple[int, ...], split: str | None, resize: bool, limit: int | None
) -> tuple[list[str], Tensor]:
    """Image files and image sets as one batch, rounded to 8 bits.

    Arguments: paths; event_shape (E); split: see `priors.data.read`; resize: as for `read_image`, image files only;
    limit: take at most this many (int >= 1), or None.
    Returns: names, and images (N, C, H, W) in image units.
    Raises: FileNotFoundError; ValueError as `read_image` and `priors.data.read`, for an image set of another shape, and
    if there are no images.
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
                raise ValueError(
                    f"{path} has images {held.event_shape}, the prior expects {tuple(event_shape)}: use another --prior"
                )
            parts.append(held[: limit or len(held)].floats())
            names += [f"{path.name}[{i}]" for i in range(len(parts[-1]))]
        else:
            parts.append((read_image(path, event_shape, resize) * 255).round() / 255)
            names.append(path.name)
    if not names:
        raise ValueError(f"{', '.join(map(str, paths))}: no images found; give an image file or a non-empty image set")
    return names[:limit], torch.cat(parts)[:limit]


def measured_picture(picture: Decoded) -> Tensor:
    """A picture that is a measurement, (1, C, H, W) in image units; floating-point values keep their range."""
    return as_event(picture if picture.values.dtype.kind == "f" else picture.ranged(), (None, None, None))


def read_measurement(path: Path) -> Tensor:
    """A measurement from an .npy file (B, *M), or from a picture, (1, C, H, W) in image units.

    Floating-point values of a picture keep their range.
    Raises: FileNotFoundError; ValueError for other files and for complex values.
    """
    if path.suffix.lower() != ".npy":
        return measured_picture(decode(path).opaque())
    found = read_npy(path, "measurement")
    if found.dtype.kind == "c":
        raise ValueError(
            f"{path} is complex: expected real values; for the k-space of `Fourier`, save "
            "numpy.stack([y.real, y.imag], -3)"
        )
    if found.dtype.kind == "f" and found.dtype.itemsize > 8:
        found = found.astype(np.float64)
    return torch.from_numpy(found)
