"""Filtered back-projection for CT: the ramp filter, the weights of views and rays, and the back-projection."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

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


def filtered(y: Tensor, response: Tensor) -> Tensor:
    """y (..., detectors) filtered along the detectors, padded by zeros so that the convolution does not wrap around.

    Arguments: response: of the filter, (detectors + 1,), as of `ramp(2 * detectors, window)`.
    """
    n = y.shape[-1]
    return torch.fft.irfft(torch.fft.rfft(y, n=2 * n) * response.to(y), n=2 * n)[..., :n]


def shares(angles: Tensor, turn: float = 180.0) -> Tensor:
    """The angular weight of every view, radians: half the gap to each of its neighbours.

    A gap above three times the next largest is a missing wedge and is counted as the next largest gap.

    Arguments:
        angles: degrees, (views,); turn: those so many degrees apart are the same view.
    """
    theta, order = (angles.double() % turn).sort()
    gaps = torch.cat([theta[1:], theta[:1] + turn]) - theta
    widest = gaps.topk(min(2, len(gaps))).values
    if widest[0] > 3 * widest[-1]:
        gaps = gaps.clamp(max=float(widest[-1]))
    return torch.empty_like(gaps).scatter_(0, order, (gaps + gaps.roll(1)) / 2).deg2rad()


def redundancy(angles: Tensor, gamma: Tensor) -> Tensor:
    """Weights (views, detectors) that count every line of a divergent beam once, of the rays that run along it.

    Formula: w(a, g) = c(a) / (c(a) + c(a + pi - 2 g)): the ray of view a at the angle g meets its opposite there. c is
    1 over a whole turn; where views are missing it falls to 0 at the first and the last as cos^2.
    Source: Noo, Defrise, Clackdoyle & Kudo 2002; Parker 1982.

    Arguments: angles: degrees, (views,); gamma: of the rays to that from the source to the axis of rotation, radians.
    """
    theta = angles.double() % 360
    ordered = theta.sort().values
    gaps = torch.cat([ordered[1:], ordered[:1] + 360]) - ordered
    widest = gaps.topk(min(2, len(gaps)))
    wide, usual = float(widest.values[0]), float(widest.values[-1])
    if len(gaps) < 2 or wide <= 3 * usual:
        return theta.new_full((len(angles), len(gamma)), 0.5)
    start = float((ordered.roll(-1))[widest.indices[0]]) - usual / 2
    span = 360 - wide + usual
    taper = max(abs(span - 180) / 2, usual)

    def c(degrees: Tensor) -> Tensor:
        inside = (degrees - start) % 360
        edge = torch.minimum(inside, span - inside).clamp(0, taper) / taper
        return torch.sin(edge * (math.pi / 2)) ** 2

    seen, opposite = c(theta)[:, None], c(theta[:, None] + 180 - 2 * gamma.rad2deg())
    return seen / (seen + opposite).clamp_min(1e-12)


def nodes(place: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """For linear interpolation between n values with a zero on either side: the lower of the two indices at each place,
    counted with the zeros, and the share of the upper one.

    Arguments: place: positions, in steps from the first of the n values.
    """
    place = (place + 1).clamp(0, n + 1)
    low = place.floor().clamp(max=n)
    return low.long(), place - low


def back_project(y: Tensor, places: Iterable[tuple[Tensor, Tensor | float]], size: tuple[int, int]) -> Tensor:
    """Back-projection: the weighted sum over views of the value at each pixel's detector position, linearly
    interpolated; 0 beyond the detectors.

    Arguments:
        y: (N, C, views, detectors).
        places: of every view, the position on the detectors of every pixel, in detectors from the first, (H, W); and
            its weight there.
        size: (H, W) of the images.
    """
    x = y.new_zeros(*y.shape[:2], size[0] * size[1])
    for view, (place, weight) in zip(F.pad(y, (1, 1)).unbind(2), places, strict=True):
        low, share = nodes(place.flatten(), y.shape[-1])
        found = torch.lerp(view[..., low], view[..., low + 1], share.to(y))
        x += found if isinstance(weight, float) and weight == 1 else torch.as_tensor(weight).flatten().to(y) * found
    return x.view(*y.shape[:2], *size)
