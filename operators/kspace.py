"""k-space: the centred Fourier transform of complex images, and complex numbers as two channels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

AXES = (-2, -1)
MAD = 0.6745  # median |v| of a standard normal v


def fftc(x: Tensor, axes: tuple[int, ...] = AXES) -> Tensor:
    """Orthonormal Fourier transform with the origin of image and k-space at pixel n // 2 of every axis.

    Arguments: x (..., H, W), real or complex, of even or odd sizes; axes: which. Returns: (..., H, W), complex.
    """
    return torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(x, axes), dim=axes, norm="ortho"), axes)


def ifftc(z: Tensor, axes: tuple[int, ...] = AXES) -> Tensor:
    """The inverse of `fftc`, and its adjoint: (..., H, W) -> (..., H, W), complex."""
    return torch.fft.fftshift(torch.fft.ifftn(torch.fft.ifftshift(z, axes), dim=axes, norm="ortho"), axes)


def to_channels(z: Tensor) -> Tensor:
    """Complex (..., H, W) -> real (..., 2, H, W): real and imaginary part."""
    return torch.stack((z.real, z.imag), -3)


def to_complex(y: Tensor) -> Tensor:
    """Real (..., 2, H, W) -> complex (..., H, W), the inverse of `to_channels`."""
    return torch.complex(y[..., 0, :, :], y[..., 1, :, :])


def paired(y: Any, axis: int | None) -> Any:
    """Complex tensors with their real and imaginary part stacked at an axis (`Operator.complex_axis`); all else, and
    everything where the axis is None, as it is."""
    if axis is None or not isinstance(y, Tensor) or not y.is_complex():
        return y
    return torch.stack((y.real, y.imag), axis)


def mirrored(z: Tensor) -> Tensor:
    """z(-k) at the position of z(k), (..., H, W); for a real image it is conj z(k)."""
    height, width = z.shape[-2:]
    return z.flip(AXES).roll((1 - height % 2, 1 - width % 2), AXES)


def radius(shape: tuple[int, int]) -> Tensor:
    """The distance of every sample from k = 0 at (H // 2, W // 2), in half sides: (H, W), 1 at the middle of a side."""
    y, x = ((torch.arange(n) - n // 2) / (n / 2) for n in shape)
    return torch.hypot(y[:, None], x)


def outermost(mask: Tensor, share: float = 0.1) -> Tensor:
    """The share of the measured samples that is farthest from k = 0, dominated by noise: (H, W) bool.

    Arguments: mask (H, W) bool; share in (0, 1).
    """
    distance = radius((mask.shape[0], mask.shape[1])).to(mask.device)
    return mask & (distance >= distance[mask].quantile(1 - share)) if bool(mask.any()) else mask


def deviation(values: Tensor) -> float:
    """Standard deviation of normal values of mean 0: the median of |v| over .6745, which few large values among them
    hardly change."""
    return float(values.abs().median()) / MAD
