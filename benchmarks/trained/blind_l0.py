"""Blind deconvolution by an l0 prior on gradients, written from the papers: what an unknown kernel is compared with."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from inverse.solve.unknown.kernels import centred

ROUNDS = 5  # alternations at each scale
SPARSE, LEAST = 4e-3, 1e-4  # weight of the gradients' number, which falls by 1.1 in each round
RIDGE = 8.0  # weight of |k|^2
NEGLIGIBLE = 0.05  # of the largest entry: smaller ones are set to 0


def l0_kernel(y: Tensor, size: int) -> Tensor:
    """A kernel (size, size) that explains a blurred grey picture (h, w).

    Formula: min |k * x - y|^2 + l |grad x|_0 over x, by half-quadratic splitting, then min |k * grad x - grad y|^2 + g
    |k|^2 over k, in turn, from small pictures to large ones; borders are made periodic.
    Source: Xu, Zheng & Jia 2013; the numbers as in Pan, Hu, Su & Yang 2014. Ours, not the authors' program.
    """
    y = y.double()
    levels = max(1, math.floor(2 * math.log2(size / 5)) + 1)
    kernel = None
    for level in range(levels, -1, -1):
        factor = 0.5 ** (level / 2)
        side = size if level == 0 else max(3, int(size * factor) | 1)
        small = y if level == 0 else _resized(y, [round(n * factor) for n in y.shape])
        small = _periodic(small, side)
        if kernel is None:
            kernel = torch.zeros(side, side, dtype=y.dtype)
            kernel[side // 2, side // 2 - 1 : side // 2 + 1] = 0.5
        else:
            kernel = _resized(kernel, [side, side]).clamp_min(0)
            kernel = kernel / kernel.sum()
        weight = SPARSE
        for _ in range(ROUNDS):
            kernel = centred(_kernel(_picture(small, kernel, weight), small, side))
            weight = max(weight / 1.1, LEAST)
    assert kernel is not None
    return kernel


def _resized(x: Tensor, size: list[int]) -> Tensor:
    return F.interpolate(x[None, None], size=size, mode="bicubic", antialias=True, align_corners=False)[0, 0]


def _periodic(y: Tensor, pad: int) -> Tensor:
    """y with margins that lead smoothly from each border to the opposite one."""
    for _ in range(2):
        share = torch.linspace(0, 1, 2 * pad + 2, dtype=y.dtype)[1:-1, None]
        between = y[-1:] * (1 - share) + y[:1] * share
        y = torch.cat([between[pad:], y, between[:pad]]).T.contiguous()
    return y


def _slopes(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.roll(-1, 0) - x, x.roll(-1, 1) - x


def _picture(y: Tensor, kernel: Tensor, weight: float) -> Tensor:
    size = (y.shape[0], y.shape[1])
    point = torch.zeros(size, dtype=y.dtype)
    point[0, 0] = 1
    plane = torch.zeros(size, dtype=y.dtype)
    plane[: kernel.shape[0], : kernel.shape[1]] = kernel
    blur = torch.fft.rfft2(plane.roll([-(n // 2) for n in kernel.shape], (0, 1)))
    across = [torch.fft.rfft2(d) for d in _slopes(point)]
    power = sum(d.abs().square() for d in across)
    x, penalty, target = y, 2 * weight, blur.conj() * torch.fft.rfft2(y)
    while penalty < 1e5:
        slopes = _slopes(x)
        flat = slopes[0].square() + slopes[1].square() < weight / penalty
        wanted = sum(d.conj() * torch.fft.rfft2(v.masked_fill(flat, 0)) for d, v in zip(across, slopes, strict=True))
        x = torch.fft.irfft2((target + penalty * wanted) / (blur.abs().square() + penalty * power), s=size)
        penalty *= 2
    return x


def _kernel(x: Tensor, y: Tensor, side: int) -> Tensor:
    spectra = [(torch.fft.rfft2(a), torch.fft.rfft2(b)) for a, b in zip(_slopes(x), _slopes(y), strict=True)]
    cross, own = sum(a.conj() * b for a, b in spectra), sum(a.abs().square() for a, _ in spectra)
    kernel = torch.fft.irfft2(cross / (own + RIDGE), s=(y.shape[0], y.shape[1]))
    kernel = kernel.roll((side // 2, side // 2), (0, 1))[:side, :side].clamp_min(0)
    kernel = kernel * (kernel >= NEGLIGIBLE * kernel.max())
    return kernel / kernel.sum()
