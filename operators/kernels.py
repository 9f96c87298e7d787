"""Blur kernels: camera shake, linear motion, defocus, or read from a file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arguments import count, number, tensor
from .arguments import seed as seeded

LARGEST = 4097  # pixels of a kernel's side
STEPS = 2000  # per path, so that each is a fraction of a pixel for paths of up to hundreds of pixels
INERTIA, PULL, JERKS = 0.7, 0.7, 5.0  # per exposure: drift, pull to the centre, and rate of jerks


def motion_kernel(size: int, seed: int = 0, length: float | None = None) -> Tensor:
    """The kernel of a random camera shake: the time spent at each pixel.

    Formula: a point moves ``length`` pixels at constant speed during the exposure. Its direction changes by white
    noise, by a pull to its start, and by rare jerks that reverse it; the kernel is the time spent per pixel, shared
    bilinearly between the four neighbours, of sum 1 and with its centre of mass at the centre of the kernel.
    Source: Boracchi & Foi 2012 (random camera motion of inertia, centripetal pull and impulsive shakes); implementation
    and constants are our own.
    Arguments: size (odd int >= 3): side of the kernel in pixels; seed (int): of the path; length: of the path in
    pixels, default ``size``; a path that leaves the kernel is shrunk until it fits.
    Returns: (size, size) float32.
    Raises: TypeError for a size that is not an integer; ValueError for one that is even or below 3, or a length <= 0.
    """
    size = count("motion_kernel: size", size, 3, LARGEST, "an odd number, the side in pixels")
    if size % 2 == 0:
        raise ValueError(f"motion_kernel: size = {size}: expected an odd integer >= 3, so that it has a centre")
    length = float(size) if length is None else number("motion_kernel: length", length, "(0, inf)", "in pixels")
    path = _path(torch.Generator().manual_seed(seeded(seed))) * length
    path = path - path.mean(0)
    reach = (size - 1) / 2
    path = path * min(1.0, reach / max(path.abs().max().item(), 1e-12)) + reach
    return drawn(path, size)


def line_kernel(length: float, angle: float, size: int | None = None) -> Tensor:
    """The kernel of linear motion at constant speed during the exposure.

    Formula: the time that a point on a line of ``length`` pixels through the centre spends on each pixel, shared
    bilinearly between the four neighbours.
    Arguments: length, in pixels; angle, in degrees, counter-clockwise from a movement along the rows; the opposite
    direction is the same kernel; size (odd int >= 3): side of the kernel in pixels, default the least that holds it.
    Returns: (size, size) float32, of sum 1.
    Raises: TypeError if an argument is not a number; ValueError for a length that is not positive or above 4094 pixels,
    and for a size that is even or too small.
    """
    length = number("line_kernel: length", length, f"(0, {LARGEST - 3}]", "in pixels")
    angle = math.radians(number("line_kernel: angle", angle, hint="in degrees"))
    along = torch.tensor([-math.sin(angle), math.cos(angle)], dtype=torch.float64) * length / 2
    least = 2 * max(1, math.ceil(along.abs().max().item() - 1e-9)) + 1
    size = least if size is None else count("line_kernel: size", size, 3, LARGEST, "an odd number, the side in pixels")
    if size % 2 == 0 or size < least:
        raise ValueError(f"line_kernel: size = {size}: expected an odd integer >= {least}, to contain the whole line")
    moments = (torch.arange(STEPS, dtype=torch.float64) + 0.5) / STEPS * 2 - 1
    return drawn(moments[:, None] * along + (size - 1) / 2, size)


def checked(name: str, kernel: Any) -> Tensor:
    """A kernel, or several, as a floating tensor.

    Arguments: name, as messages give it; kernel (..., kH, kW): anything `torch.as_tensor` takes.
    Raises: TypeError if it is not a floating tensor, such as the bytes of an image; ValueError if it is empty, not
    finite or all 0.
    """
    made = tensor(name, kernel)
    if not torch.as_tensor(kernel).is_floating_point():
        raise TypeError(
            f"{name} of integers: expected floating-point values, usually of sum 1; normalise it with kernel / "
            "kernel.sum()"
        )
    if made.ndim >= 2 and not bool(made.flatten(-2).any(-1).all()):
        raise ValueError(f"{name} is zero everywhere: expected a kernel with nonzero entries")
    return made


def drawn(path: Tensor, size: int) -> Tensor:
    """The time that a path spends on each pixel, shared bilinearly between the four neighbours.

    Arguments: path (n, 2): rows and columns from 0 to size - 1, at equal times; size (int >= 2), of the kernel's side.
    Returns: (size, size) float32, of sum 1.
    """
    corner = path.floor().clamp(0, size - 2)
    fraction = path - corner
    kernel = torch.zeros(size, size, dtype=torch.float64)
    for row in (0, 1):
        for column in (0, 1):
            near = torch.tensor([row, column])
            weight = (fraction if row else 1 - fraction)[:, 0] * (fraction if column else 1 - fraction)[:, 1]
            kernel.index_put_(tuple((corner.long() + near).unbind(1)), weight, accumulate=True)
    return (kernel / kernel.sum()).float()


def gaussian_kernel(width: float, size: int) -> Tensor:
    """A Gaussian kernel, a smooth function of its width.

    Arguments: width (> 0): standard deviation, in pixels; size (odd int >= 3), of the kernel's side.
    Returns: (size, size) float32, of sum 1.
    Raises: TypeError or ValueError for a width that is not positive and for an even size.
    """
    width = number("gaussian_kernel: width", width, "(0, inf)", "a standard deviation in pixels")
    size = count("gaussian_kernel: size", size, 3, LARGEST, "an odd number, the side in pixels")
    if size % 2 == 0:
        raise ValueError(f"gaussian_kernel: size = {size}: expected an odd integer >= 3, so that it has a centre")
    profile = torch.exp(-0.5 * ((torch.arange(size, dtype=torch.float64) - size // 2) / width) ** 2)
    kernel = profile.outer(profile)
    return (kernel / kernel.sum()).float()


def disc_kernel(radius: float, size: int) -> Tensor:
    """The defocus kernel: the fraction of every pixel that a disc covers, a continuous function of its radius.

    Arguments: radius, in pixels; 0 is a point in focus; size (odd int), of the kernel's side.
    Returns: (size, size) float32, of sum 1.
    """
    parts = 15  # of a pixel's side; odd, so that the smallest disc covers the middle one
    place = (torch.arange(size * parts, dtype=torch.float64) - (size * parts - 1) / 2) / parts
    away = (place[:, None] ** 2 + place**2).sqrt()
    covered = (0.5 + parts * (radius - away)).clamp(0, 1)  # of a part at the edge, about
    kernel = covered.reshape(size, parts, size, parts).sum((1, 3))
    return (kernel / kernel.sum()).float()


def read_kernel(path: str | Path) -> Tensor:
    """A kernel from an image file (the mean of its colours) or an .npy file, scaled to sum 1.

    The EXIF orientation of an image is applied; its range does not matter.
    Returns: (kH, kW) float32, or (C, kH, kW) from an .npy file, each channel of sum 1.
    Raises: FileNotFoundError; ValueError for a file that is neither, an image that is transparent or has several
    frames, and for numbers without a positive sum.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no kernel at {path}")
    if not path.is_file():
        raise ValueError(f"{path} is not a regular file: expected a picture or an .npy file")
    try:
        array = path.suffix.lower() == ".npy"
        kernel = np.load(path, allow_pickle=False, mmap_mode="r") if array else _picture(path)
        if kernel.dtype.kind not in "biuf":
            raise ValueError(f"its dtype is {kernel.dtype}, expected real values")
        kernel = np.asarray(kernel, dtype=np.float64)
    except Exception as error:  # readers raise many types
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path} is neither a picture nor a numeric .npy file: {reason}; use numpy.save") from None
    total = kernel.sum((-2, -1), keepdims=True) if kernel.ndim in (2, 3) else np.zeros(1)
    if not np.isfinite(total).all() or not (total > 0).all():
        raise ValueError(
            f"{path}: expected a kernel (kH, kW) or (C, kH, kW) of finite values with a positive sum, given shape "
            f"{kernel.shape}, sum {kernel.sum():.4g}; is it a picture of the kernel, white where the kernel is large?"
        )
    return torch.from_numpy(kernel / total).float()


def _picture(path: Path) -> np.ndarray:
    """An image as grey values, (H, W)."""
    from PIL import Image, ImageOps

    formats = ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "PPM")
    with Image.open(path, formats=formats) as image:
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
            raise ValueError("it contains several pictures: expected one; save it to a separate file")
        image.load()
        turned = ImageOps.exif_transpose(image)
        if turned.has_transparency_data and np.asarray(turned.convert("RGBA"))[..., 3].min() < 255:
            raise ValueError("it is transparent; save it on a black background")
        # in these modes values are intensities; others are converted to RGB and averaged
        plain = turned.mode in ("1", "L", "F", "I") or turned.mode.startswith("I;16")
        pixels = np.asarray(turned if plain else turned.convert("RGB"), dtype=np.float64)
    return pixels if pixels.ndim == 2 else pixels.mean(2)


def _path(generator: torch.Generator) -> Tensor:
    """Positions (STEPS + 1, 2) of a path of length 1."""
    draws = torch.randn(STEPS + 1, 2, generator=generator, dtype=torch.float64).tolist()
    events = torch.rand(STEPS, generator=generator, dtype=torch.float64).tolist()
    angle = math.atan2(*draws[0])
    velocity = complex(math.cos(angle), math.sin(angle))
    place, places = 0j, [0j]
    for (across, along), event in zip(draws[1:], events, strict=True):
        noise = complex(along, across) / INERTIA / math.sqrt(STEPS)
        velocity += noise - PULL * place / STEPS
        if event < JERKS / STEPS:
            velocity = -velocity + complex(along, across)
        velocity /= abs(velocity)
        place += velocity / STEPS
        places.append(place)
    return torch.tensor([[p.imag, p.real] for p in places], dtype=torch.float64)
