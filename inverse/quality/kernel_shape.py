"""Is a blur the disc of a lens out of focus, a Gaussian or a movement, stated as another? By the spectrum of y."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from inverse.quality.spectrum import TILE, design, fitted, periodogram
from operators import Blur, Operator
from operators.kernels import disc_kernel, gaussian_kernel, line_kernel

LEAST, NARROW = 48, 0.5  # pixels: least side of y; width of a kernel below which shapes are alike
SIZES = (1.0, 1.12, 0.88)  # of the width of a shape that is tried, relative to the stated one
ANGLES = range(0, 180, 20)  # degrees, of a movement
BETTER, NATS = 0.002, 12.0  # nats per frequency, and in all, from which another shape is reported
ALIKE = 0.1  # relative distance of a stated kernel from a shape from which it is another


class Blurred(NamedTuple):
    """The periodogram of y behind a kernel, as `fitted` needs it. Attributes: kernel (kH, kW); noise: variance; power,
    rows, columns (n,); x (n, 1, 8)."""

    kernel: Tensor
    noise: float
    power: Tensor
    rows: Tensor
    columns: Tensor
    x: Tensor

    def score(self, kernel: Tensor, factor: float = 1.0, start: Tensor | None = None) -> tuple[float, Tensor]:
        """Nats per frequency with a kernel that is stretched by a factor, and the law of pictures that fits best."""
        squared = _response(kernel.double(), self.rows, self.columns, factor)
        return fitted(self.power, squared[:, None], self.x, self.noise, start)


def blurred(operator: Operator, y: Tensor) -> Blurred | None:
    """The spectrum of y (1, C, H, W); None for other operators than a `Blur` with one kernel and noise, and for y of
    fewer than 48 pixels along a side."""
    if not isinstance(operator, Blur) or operator.kernel[..., 0, 0].numel() > 1 or operator.noise.noiseless:
        return None
    if not y.is_floating_point() or min(y.shape[-2:]) < LEAST:
        return None
    kernel, y = operator.kernel.flatten(0, -3)[0].double().cpu(), y.double().cpu()
    noise = float(operator.noise.variance(y.clamp_min(operator.noise.least)).mean())
    power, rows, columns = periodogram(y)
    return Blurred(kernel, noise, power, rows, columns, design(rows, columns)[:, None])


def reshaped(operator: Operator, y: Tensor) -> tuple[str, float]:
    """The shape of about the stated kernel's width that fits the spectrum of a picture best, and how much better.

    Formula: as `kernel_size.stretched`, for a Gaussian of the kernel's variance w^2, a disc of radius 2 w and a line of
    length 24^(1/2) w; these and the stated kernel are also taken 12 % wider and narrower, not more, as a power law of
    pictures and a small kernel can stand for any blur. Disc and line leave zeros in the spectrum, a Gaussian none.
    Arguments: operator; y (1, C, H, W).
    Returns: its description, and nats per frequency; ("", 0) where nothing is compared (`blurred`, narrow kernels).
    """
    seen = blurred(operator, y)
    if seen is None or (width := _width(seen.kernel)) < NARROW:
        return "", 0.0
    own, start = seen.score(seen.kernel)
    own = max(own, *(seen.score(seen.kernel, size, start)[0] for size in SIZES[1:]))
    found: dict[str, float] = {}
    for size in SIZES:
        w = size * width
        round_ = {
            f"a disc of radius {2 * w:.3g} pixels": disc_kernel(2 * w, _odd(2 * w)),
            f"a Gaussian of standard deviation {w:.3g} pixels": gaussian_kernel(w, _odd(4 * w)),
        }
        for name, kernel in round_.items():
            if size != 1 or not _alike(kernel, seen.kernel):
                found[name] = seen.score(kernel, 1.0, start)[0]
    length = math.sqrt(24) * width
    moved = {angle: seen.score(line_kernel(length, angle), 1.0, start)[0] for angle in ANGLES}
    angle = max(moved, key=lambda each: moved[each])
    found[f"a movement of about {length:.2g} pixels at {angle} degrees"] = moved[angle]
    best = max(found, key=lambda name: found[name])
    return best, found[best] - own


def misshapen(operator: Operator, y: Tensor, least: float = 0.0) -> str:
    """A message if a disc, Gaussian or movement fits the spectrum of y better than the stated kernel, by at least so
    many nats per frequency; else ""."""
    name, gain = reshaped(operator, y)
    count = y[0, 0].numel() / 2  # of frequencies
    if gain < max(BETTER, least) or gain * min(count, TILE**2 / 2) < NATS:
        return ""
    return (
        f"the spectrum of y fits {name} better than the stated blur kernel (by {gain:.2g} nats per frequency): "
        "a lens out of focus is a disc, movement a line. Compare the results, or infer it: --unknown radius of a disc, "
        "--unknown width of a Gaussian, --unknown length,angle of a movement"
    )


def _width(kernel: Tensor) -> float:
    """Root of the variance along an axis, the mean of both; pixels."""
    k = kernel.clamp_min(0)
    total, variance = k.sum(), 0.0
    for axis in (0, 1):
        profile, place = k.sum(1 - axis) / total, torch.arange(k.shape[axis], dtype=k.dtype)
        variance += float((profile * (place - (profile * place).sum()).square()).sum()) / 2
    return math.sqrt(variance)


def _odd(reach: float) -> int:
    return 2 * max(1, math.ceil(reach)) + 1


def _alike(a: Tensor, b: Tensor) -> bool:
    """Whether two kernels, of middles at the same place, hardly differ."""
    size = [max(m, n) for m, n in zip(a.shape, b.shape, strict=True)]
    whole = [torch.zeros(size, dtype=torch.float64) for _ in (a, b)]
    for where, kernel in zip(whole, (a, b), strict=True):
        top, left = ((n - m) // 2 for n, m in zip(size, kernel.shape, strict=True))
        where[top : top + kernel.shape[0], left : left + kernel.shape[1]] = kernel
    return float((whole[0] - whole[1]).norm()) < ALIKE * float(whole[1].norm())


def _response(kernel: Tensor, rows: Tensor, columns: Tensor, factor: float) -> Tensor:
    """|H(f v)|^2, (n,), of the kernel (kH, kW) as a function that is linear between its pixels."""
    places = [torch.arange(n, dtype=torch.float64) - n // 2 for n in kernel.shape]
    along: dict[str, Tensor] = {}
    across: dict[str, Tensor] = {}
    for waves, v, place in ((along, rows, places[0]), (across, columns, places[1])):
        each, inverse = v.unique(return_inverse=True)
        waves["at"] = torch.exp(-2j * math.pi * factor * each[:, None] * place)
        waves["row"], waves["between"] = inverse, (torch.sinc(factor * each) / torch.sinc(each)).clamp_max(1.0) ** 4
    whole = along["at"] @ kernel.to(torch.complex128) @ across["at"].mT
    found = whole[along["row"], across["row"]].abs().square()
    return found * along["between"][along["row"]] * across["between"][across["row"]]
