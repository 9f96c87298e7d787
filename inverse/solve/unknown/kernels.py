"""A whole blur kernel as an unknown: its prior, and its likelihood given pictures."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from operators import Blur, GaussianNoise, Noise
from priors.arguments import count, number

LARGEST = 31 * 31  # entries: the matrices of a step have this many rows
AT_ONCE = 2**22  # entries of the patches that are multiplied at a time


@dataclass(frozen=True)
class KernelPrior:
    """A prior of blur kernels: not negative, of sum 1, the same for each channel.

    Formula: the Dirichlet distribution, p(k) ~ prod_i k_i^(a - 1) on k >= 0, sum_i k_i = 1.
    Arguments: size: of the kernel's side in pixels, odd, or (height, width), of which one can be 1; concentration a in
    (0, 10]: 1 is uniform on the simplex, smaller values prefer kernels with few large entries, as those of a motion.
    Raises: TypeError or ValueError for a size that is even, of one pixel or of more than 961 pixels in all, and for
    another concentration.
    """

    size: int | tuple[int, int] = 15
    concentration: float = 1.0

    def __post_init__(self) -> None:
        h, w = self.shape
        if h * w == 1 or h * w > LARGEST:
            raise ValueError(
                f"KernelPrior: size = {self.size}: expected 2 to {LARGEST} pixels in all, such as 15; a larger blur is "
                "one of few parameters, or make the picture smaller"
            )
        hint = "1 is uniform, less is sparse"
        number("KernelPrior: concentration", self.concentration, "(0, 10]", hint)

    @property
    def shape(self) -> tuple[int, int]:
        """(kH, kW)."""
        sides = self.size if isinstance(self.size, tuple | list) else (self.size, self.size)
        if len(sides) != 2:
            raise ValueError(f"KernelPrior: size = {self.size}: expected one number or (height, width)")
        hint = "an odd number, the side in pixels"
        h, w = (count("KernelPrior: size", side, 1, LARGEST, hint) for side in sides)
        if h % 2 == 0 or w % 2 == 0:
            raise ValueError(f"KernelPrior: size = {self.size}: expected odd numbers, so that a kernel has a centre")
        return h, w

    def start(self) -> Tensor:
        """A wide Gaussian in the middle of the kernel, (kH, kW), double precision."""
        along = [torch.arange(n, dtype=torch.float64) - n // 2 for n in self.shape]
        rows, columns = (torch.exp(-0.5 * (a / max(len(a) / 6, 0.5)) ** 2) for a in along)
        kernel = rows[:, None] * columns
        return kernel / kernel.sum()


@dataclass(frozen=True)
class Quadratic:
    """sum (y - k * x)^2 as a function of the kernel: squares - 2 b'k + k'Hk, for N pictures.

    Attributes: H (N, n, n), b (N, n), squares (N,), of double precision; values: how many measured ones it sums. The
    mean of y is subtracted from x and y, which changes nothing for a kernel of sum 1 and makes H well conditioned.
    """

    matrix: Tensor
    linear: Tensor
    squares: Tensor
    values: int

    def residual(self, k: Tensor) -> Tensor:
        """Sums of squared residuals, (N,), of kernels (N, n)."""
        quadratic = (torch.einsum("nij,nj->ni", self.matrix, k) * k).sum(1)
        return (self.squares - 2 * (self.linear * k).sum(1) + quadratic).clamp_min(0)


def quadratic(x: Tensor, y: Tensor, shape: tuple[int, int], boundary: str) -> Quadratic:
    """The squared residual of y (1, C, h, w) by pictures x (N, C, H, W) for kernels of a shape (kH, kW)."""
    h, w = shape
    middle, margins = float(y.mean()), (w // 2, w // 2, h // 2, h // 2)
    x, y = x.cpu() - middle, y.cpu() - middle
    if boundary != "valid":
        x = F.pad(x, margins, mode="circular" if boundary == "circular" else "reflect")
    n, band = h * w, max(1, AT_ONCE // (h * w * y.shape[1] * y.shape[-1]))
    matrix, linear = torch.zeros(len(x), n, n, dtype=torch.float64), torch.zeros(len(x), n, dtype=torch.float64)
    for row, picture in enumerate(x):
        for top in range(0, y.shape[2], band):
            part = y[0, :, top : top + band]
            windows = F.unfold(picture[:, None, top : top + part.shape[1] + h - 1], shape).flip(1)
            windows = windows.transpose(0, 1).reshape(n, -1)
            matrix[row] += (windows @ windows.mT).double()
            linear[row] += (windows @ part.reshape(-1)).double()
    squares = y.double().square().sum().expand(len(x))
    return Quadratic(matrix, linear, squares, y.numel())


def centred(kernel: Tensor) -> Tensor:
    """A kernel (kH, kW) moved by whole pixels so that its centre of mass is in the middle; what leaves it is lost.

    A shift of the kernel and the opposite one of the picture give the same measurement.
    """
    for axis in (0, 1):
        n = kernel.shape[axis]
        mass = kernel.sum(1 - axis)
        by = round(float((mass * (torch.arange(n, dtype=kernel.dtype) - n // 2)).sum() / mass.sum()))
        kept = kernel.narrow(axis, max(by, 0), n - abs(by))
        pads = [kernel.new_zeros([abs(by) if a == axis else size for a, size in enumerate(kernel.shape)])]
        kernel = torch.cat([kept, *pads] if by > 0 else [*pads, kept], axis) if by else kernel
    return kernel / kernel.sum()


def replaced(operator: Blur, kernels: Tensor, sigma: Tensor) -> Blur:
    """A blur with other kernels (N, kH, kW), one for each of N measurements, and noise (N,)."""
    kernels, sigma = (v.float().to(operator.kernel.device) for v in (kernels, sigma))
    if len(kernels) == 1:
        return _blur(operator, kernels[0], GaussianNoise(sigma[0]))
    return _blur(operator, kernels[:, None], GaussianNoise(sigma))


def _blur(operator: Blur, kernel: Tensor, noise: Noise) -> Blur:
    return Blur(kernel, operator.boundary, noise)


def checked_blur(operator: Any, prior: KernelPrior, event_shape: tuple[int, ...], y: Tensor) -> Blur:
    """The operator of a solve with an unknown kernel.

    Raises: TypeError for another operator than a `Blur`; ValueError for one with a kernel per channel, for another
    noise than Gaussian of one sigma, and for a kernel that does not fit the picture.
    """
    if not isinstance(operator, Blur):
        raise TypeError(
            f"operator of type {type(operator).__name__}: expected an operators.Blur with unknown 'kernel', whose own "
            'kernel is not used, such as Blur(torch.ones(15, 15) / 225, boundary="valid", noise=...)'
        )
    isotropic = {"gaussian", "isotropic"} <= operator.noise.capabilities
    if not isotropic or operator.noise.batch is not None:
        raise ValueError(f"noise {operator.noise}: expected Gaussian noise of one sigma with an unknown kernel")
    h, w = prior.shape
    if len(event_shape) != 3 or 2 * h > event_shape[1] or 2 * w > event_shape[2]:
        raise ValueError(
            f"KernelPrior of {h} x {w} pixels and pictures {event_shape}: expected pictures (C, H, W) of at least "
            "twice the kernel's size, as smaller ones do not determine it: take a smaller kernel or a larger picture"
        )
    fits = _blur(operator, torch.full((h, w), 1 / (h * w), device=operator.kernel.device), operator.noise)
    expected = tuple(fits.measurement_shape(event_shape))
    if tuple(y.shape[1:]) != expected:
        sides = fits.event_shape_of(tuple(y.shape[1:])) if y.ndim == 4 else event_shape
        raise ValueError(
            f"y of shape {tuple(y.shape)}: expected (B, {', '.join(map(str, expected))}) for a kernel of {h} x {w} "
            f"pixels, boundary {operator.boundary!r} and pictures {event_shape}: take prior.resized({tuple(sides)})"
        )
    return fits
