"""Fourier transforms of images at arbitrary points of k-space, by finufft, differentiable; and density compensation."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

# Relative error and oversampling of the internal grid. Rows in single precision are transformed in double: with the
# small grid that is faster than finufft's single precision at its default of 2, and ten times as accurate.
ACCURACY = {torch.float32: (1e-6, 1.25), torch.float64: (1e-12, 2.0)}
PIPE_STEPS = 30
MISSING = 'NonCartesian needs finufft: pip install "score-inverse[mri]" (in the repository: uv sync)'


def require() -> None:
    """Refuse to go on without finufft.

    Raises: ValueError, with the command that installs it.
    """
    if importlib.util.find_spec("finufft") is None:
        raise ValueError(MISSING)


def nufft(z: Tensor, points: Tensor) -> Tensor:
    """The centred Fourier transform at points of k-space, with the scale of `operators.kspace.fftc`.

    Formula: sum_r z(r) exp(-2 pi i k . (r - c)) / sqrt(H W), c = (H // 2, W // 2).
    Arguments: z (..., H, W), complex; points (M, 2): rows and columns of k, cycles per pixel, float64, on the CPU.
    Returns: (..., M), complex.
    """
    return _Forward.apply(z, points)


def adjoint_nufft(v: Tensor, points: Tensor, size: tuple[int, int]) -> Tensor:
    """The adjoint of `nufft`: (..., M) -> (..., H, W), complex."""
    return _Adjoint.apply(v, points, size)


class _Forward(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, points: Tensor) -> Tensor:
        ctx.points, ctx.size = points, (z.shape[-2], z.shape[-1])
        return _finufft("nufft2d2", z, points, ctx.size)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Adjoint.apply(gradients[0], ctx.points, ctx.size), None


class _Adjoint(Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, points: Tensor, size: tuple[int, int]) -> Tensor:
        ctx.points = points
        return _finufft("nufft2d1", v, points, size)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Forward.apply(gradients[0], ctx.points), None, None


def _finufft(name: str, values: Tensor, points: Tensor, size: tuple[int, int]) -> Tensor:
    """A transform of rows, computed on the CPU in double precision, orthonormal."""
    import finufft

    inner = 2 if name == "nufft2d2" else 1
    batch, like = values.shape[:-inner], values
    if like.is_meta:  # shapes alone
        return like.new_empty(*batch, *(size if inner == 1 else (len(points),)))
    eps, oversampling = ACCURACY[values.real.dtype]
    rows = values.detach().cpu().to(torch.complex128).reshape(-1, *values.shape[-inner:]).contiguous().numpy()
    y, x = (np.ascontiguousarray(part) for part in (2 * np.pi * points.numpy()).T)
    settings = {"eps": eps, "upsampfac": oversampling, "nthreads": torch.get_num_threads()}
    if inner == 2:
        found = finufft.nufft2d2(y, x, rows, isign=-1, **settings)
    else:
        found = finufft.nufft2d1(y, x, rows, n_modes=size, isign=1, **settings)
    found = torch.from_numpy(found) / math.sqrt(size[0] * size[1])
    return found.reshape(*batch, *found.shape[1:]).to(like)


def toeplitz(points: Tensor, size: tuple[int, int]) -> Tensor:
    """The spectrum (2 H, 2 W) by which `normal` multiplies, real, float64.

    A'A is a convolution: its kernel sum_m exp(2 pi i k_m . d) / (H W) is needed at offsets |d| below H and W, which a
    torus of twice the size holds. The kernel is Hermitian, so its spectrum is real.
    Source: Wajer & Pruessmann 2001; Fessler, Lee, Olafsson, Shi & Noll 2005.
    """
    height, width = size
    kernel = adjoint_nufft(torch.ones(len(points), dtype=torch.complex128), points, (2 * height, 2 * width))
    kernel = kernel * (2 / math.sqrt(height * width))  # 1 / sqrt(4 H W) -> 1 / (H W)
    kernel[0], kernel[:, 0] = 0, 0  # offsets of exactly -H and -W have no mirror image, and are not needed
    return torch.fft.fft2(torch.fft.ifftshift(kernel)).real


def normal(z: Tensor, spectrum: Tensor) -> Tensor:
    """The adjoint of `nufft` after it, (..., H, W) -> (..., H, W), by transforms of twice the size."""
    height, width = z.shape[-2:]
    wide = torch.fft.fft(torch.fft.fft(z, n=2 * width), n=2 * height, dim=-2)  # rows of zeros are not transformed
    wide = torch.fft.ifft(wide * spectrum, dim=-2)[..., :height, :]
    return torch.fft.ifft(wide)[..., :width]


def circulant(spectrum: Tensor, maps: Tensor, size: tuple[int, int]) -> Tensor:
    """The diagonal of F (sum_c S_c' T S_c) F', (..., H, W), real: the nearest circulant map to A'A with coils.

    T is `normal`. Its kernel at offset d, times the coils' autocorrelation at d over H W, is folded to H x W.
    Source: Chan 1988; in MRI Koolstra, van Gemert, Boernert, Webb & Remis 2019.
    Arguments: spectrum (2 H, 2 W) by `toeplitz`; maps (..., coils, H, W), complex, or with axes of one pixel; size.
    """
    height, width = size
    wide = (2 * height, 2 * width)
    maps = maps.to(torch.complex128).expand(*maps.shape[:-2], *size)
    overlap = torch.fft.ifft2(torch.fft.fft2(maps, s=wide).abs().square().sum(-3)) / (height * width)
    kernel = torch.fft.ifft2(spectrum.double()) * overlap.conj()
    folded = kernel.unflatten(-1, (2, width)).unflatten(-3, (2, height)).sum((-2, -4))
    return torch.fft.fft2(folded).real.clamp_min(0)


def density_weights(points: Tensor, size: tuple[int, int]) -> Tensor:
    """Density compensation (M,), float64: w with A' diag(w) A near the identity, 1 for points on a full grid.

    Formula: w <- w / (K w) with K(k - l) = sinc^2 (H (k_y - l_y)) sinc^2 (W (k_x - l_x)), the spectrum of the field of
    view's autocorrelation. A sample without neighbours within 1 / H has weight 1: area that was not measured is not
    made up for, as in a zero-filled picture.
    Source: Pipe & Menon 1999.
    """
    height, width = size
    down, across = (1 - (torch.arange(2 * n, dtype=torch.float64) - n).abs() / n for n in size)
    window = down[:, None] * across * (4 * height * width / (height * width))  # K(0) = 1
    w = torch.ones(len(points), dtype=torch.complex128)
    for _ in range(PIPE_STEPS):
        near = nufft(window * adjoint_nufft(w, points, (2 * height, 2 * width)), points).real
        w = w / near.clamp_min(1e-12)
    return w.real
