"""Filtered back-projection for parallel-beam CT: the ramp filter, the angular weights and the back-projection."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .arguments import choice

# Factors of the ramp at frequency f, cycles per detector, in [0, 1/2].
WINDOWS: dict[str, Callable[[Tensor], Tensor]] = {
    "ramp": torch.ones_like,
    "shepp-logan": torch.sinc,
    "cosine": lambda f: torch.cos(math.pi * f),
    "hamming": lambda f: 0.54 + 0.46 * torch.cos(2 * math.pi * f),
    "hann": lambda f: 0.5 + 0.5 * torch.cos(2 * math.pi * f),
}


def ramp(length: int, window: str) -> Tensor:
    """The ramp filter's response on rfft's frequencies, (length // 2 + 1,), length even.

    It is the transform of 1/4 at 0, -1 / (pi n)^2 at odd n and 0 at even n: |f| cut at 1/2. Sampling |f| itself would
    make the response 0 at f = 0 and every reconstruction too dark.

    Raises:
        ValueError: an unknown window.
    """
    choice("fbp: filter", window, WINDOWS)
    n = torch.arange(length, dtype=torch.float64)
    n = torch.minimum(n, length - n)
    kernel = torch.where(n % 2 == 1, -1 / (math.pi * n.clamp(min=1)) ** 2, 0.0)
    kernel[0] = 0.25
    return torch.fft.rfft(kernel).real * WINDOWS[window](torch.fft.rfftfreq(length, dtype=torch.float64))


def shares(angles: Tensor) -> Tensor:
    """The angular weight of every view, radians: half the gap to each of its neighbours.

    A gap above three times the next largest is a missing wedge and is counted as the next largest gap.

    Arguments:
        angles: degrees, (views,); those 180 apart are the same view.
    """
    theta, order = (angles.double() % 180).sort()
    gaps = torch.cat([theta[1:], theta[:1] + 180]) - theta
    widest = gaps.topk(min(2, len(gaps))).values
    if widest[0] > 3 * widest[-1]:
        gaps = gaps.clamp(max=float(widest[-1]))
    return torch.empty_like(gaps).scatter_(0, order, (gaps + gaps.roll(1)) / 2).deg2rad()


def back_project(y: Tensor, angles: Tensor, size: int, centre: float, origin: tuple[float, float]) -> Tensor:
    """Back-projection: the sum over views of the value at each pixel's detector position, linearly interpolated; 0
    beyond the detectors.

    Arguments:
        y: (N, C, views, detectors).
        angles: degrees, (views,).
        size: n, of the images (N, C, n, n).
        centre: detector that sees the axis of rotation, origin: that axis in the image (row, column); pixels.
    """
    pixels, detectors = torch.arange(size, dtype=torch.float64), y.shape[-1]
    down, across = pixels[:, None] - origin[0], pixels - origin[1]
    x = y.new_zeros(*y.shape[:2], size * size)
    for view, angle in zip(F.pad(y, (1, 1)).unbind(2), angles.double().deg2rad().tolist(), strict=True):
        s = across * math.cos(angle) - down * math.sin(angle)
        place = (s.flatten() + centre + 1).clamp(0, detectors + 1)  # index 0 is padding
        low = place.floor().clamp(max=detectors)
        x += torch.lerp(view[..., low.long()], view[..., low.long() + 1], (place - low).to(y))
    return x.view(*y.shape[:2], size, size)
