"""Fast, real, orthonormal image transforms."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=16)
def dct_matrix(n: int, dtype: torch.dtype = torch.float32, device: torch.device | None = None) -> Tensor:
    """The orthonormal DCT-II of n numbers as a matrix, (n, n): its transpose is its inverse.

    Formula: D[k, i] = sqrt((2 - [k = 0]) / n) cos(pi k (2 i + 1) / 2n).
    Source: Ahmed, Natarajan & Rao 1974.
    Arguments: n (int >= 1); dtype, device: of the matrix.
    """
    with (
        torch.inference_mode(False),
        torch.device("cpu"),
    ):  # cached: independent of the caller's modes
        k, i = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
        matrix = torch.cos(math.pi * k * (2 * i + 1) / (2 * n)) * (2 / n) ** 0.5
        matrix[0] /= 2**0.5
        return matrix.to(device, dtype)


def dct(x: Tensor) -> Tensor:
    """The two-dimensional DCT-II of x (N, C, H, W)."""
    rows, columns = (dct_matrix(n, x.dtype, x.device) for n in x.shape[-2:])
    return rows @ x @ columns.mT


def idct(z: Tensor) -> Tensor:
    """The inverse of `dct`, z (N, C, H, W)."""
    rows, columns = (dct_matrix(n, z.dtype, z.device) for n in z.shape[-2:])
    return rows.mT @ z @ columns


def hartley(x: Tensor) -> Tensor:
    """The Hartley transform Re F x - Im F x of x (N, C, H, W), its own inverse (Bracewell 1983)."""
    half = torch.fft.rfft2(x, norm="ortho")
    n, w = half.shape[-1], x.shape[-1]
    other = half[..., 1 : w - n + 1]  # the other half has the conjugates at (-i, -j)
    return torch.cat([half.real - half.imag, mirrored(other.real + other.imag)], -1)


def mirrored(x: Tensor) -> Tensor:
    """The values at (-i, -j) of a periodic plane from those at (i, j), x (..., H, n): columns in reverse order."""
    return x.flip(-2, -1).roll(1, -2)


def hadamard(x: Tensor) -> Tensor:
    """The Walsh-Hadamard transform of x (N, C, H, W), H and W powers of 2, in O(H W log H W); its own inverse.

    Formula: H_2n = [[H_n, H_n], [H_n, -H_n]] / sqrt(2).
    Source: Fino & Algazi 1976.
    """
    pixels = x.shape[-2] * x.shape[-1]
    z, half = x.flatten(2), 1
    while half < pixels:
        a, b = z.unflatten(2, (-1, 2, half)).unbind(3)
        z, half = torch.stack([a + b, a - b], 3).flatten(2), 2 * half
    return (z / pixels**0.5).reshape(x.shape)
