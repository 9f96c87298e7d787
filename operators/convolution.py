"""Convolution by Fourier transforms."""

from __future__ import annotations

import torch
from torch import Tensor


def smooth_size(n: int) -> int:
    """The least number from n on that has no prime factor above 5."""
    rest = n
    for factor in (2, 3, 5):
        while rest % factor == 0:
            rest //= factor
    return n if rest == 1 else smooth_size(n + 1)


def wrapped(kernel: Tensor, size: tuple[int, int]) -> Tensor:
    """A kernel (..., kH, kW) on a torus of this size, which may be smaller than the kernel."""
    for axis, n in zip((-2, -1), size, strict=True):
        place = torch.arange(kernel.shape[axis], device=kernel.device) % n
        shape = [*kernel.shape]
        shape[axis] = n
        kernel = kernel.new_zeros(shape).index_add(axis, place, kernel)
    return kernel


def filtered(response: Tensor, x: Tensor) -> Tensor:
    return torch.fft.irfft2(response * torch.fft.rfft2(x), s=x.shape[-2:])
