"""Convolution of pictures, by Fourier transforms or directly, and its borders."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .transforms import mirrored


def smooth_size(n: int) -> int:
    """The least number from n on that has no prime factor above 5."""
    rest = n
    for factor in (2, 3, 5):
        while rest % factor == 0:
            rest //= factor
    return n if rest == 1 else smooth_size(n + 1)


def smooth_shape(size: Sequence[int]) -> tuple[int, int]:
    """The least (h, w) from ``size`` on of which neither has a prime factor above 5."""
    return smooth_size(size[0]), smooth_size(size[1])


def wrapped(kernel: Tensor, size: tuple[int, int]) -> Tensor:
    """A kernel (..., kH, kW) on a torus of this size, which may be smaller than the kernel."""
    for axis, n in zip((-2, -1), size, strict=True):
        place = torch.arange(kernel.shape[axis], device=kernel.device) % n
        shape = [*kernel.shape]
        shape[axis] = n
        kernel = kernel.new_zeros(shape).index_add(axis, place, kernel)
    return kernel


def centred_spectrum(kernel: Tensor, height: int, width: int) -> Tensor:
    """rfft2 of a kernel (..., kH, kW) whose middle is at the origin of a plane of that size."""
    h, w = kernel.shape[-2:]
    rows = torch.fft.rfft(kernel, n=width) * _shifted(w // 2, width, kernel)[: width // 2 + 1]
    return torch.fft.fft(rows, n=height, dim=-2).mul_(_shifted(h // 2, height, kernel)[:, None])


def polar_spectrum(kernel: Tensor, height: int, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """|khat| on the whole plane and khat / |khat| on rfft2's half plane, of a kernel (..., kH, kW); rounding in the
    dtype counts as 0."""
    s = (khat := centred_spectrum(kernel.double(), height, width)).abs()  # from here in place: may be large
    for edge in {0, width // 2} if width % 2 == 0 else {0}:  # exactly even, so that U is real
        s[..., edge] = torch.maximum(s[..., edge], s[..., edge].flip(-1).roll(1, -1))
    none = s <= torch.finfo(dtype).eps * s.amax((-2, -1), keepdim=True)  # rounding in this dtype counts as 0
    phase = khat.div_(s.clamp(min=torch.finfo(torch.float64).tiny)).masked_fill_(none, 1).to(dtype.to_complex())
    half = s.masked_fill_(none, 0).to(dtype)
    return torch.cat([half, mirrored(half[..., 1 : (width + 1) // 2])], -1), phase


def _shifted(by: int, size: int, like: Tensor) -> Tensor:
    """The factors of the Fourier coefficients of ``size`` numbers that move these back by ``by`` places, complex128."""
    turn = 2 * torch.pi * by / size * torch.arange(size, dtype=torch.float64, device=like.device)
    return torch.polar(torch.ones_like(turn), turn)


def filtered(response: Tensor, x: Tensor) -> Tensor:
    # contiguous: torch 2.6 fails for some expanded rows
    spectrum = torch.fft.rfft2(x.contiguous())
    fits = torch.broadcast_shapes(response.shape, spectrum.shape) == spectrum.shape
    if fits and response.dtype in (spectrum.dtype, x.dtype) and not (spectrum.requires_grad or response.requires_grad):
        spectrum.mul_(response)  # in place: pictures may be large
    else:
        spectrum = response * spectrum
    return torch.fft.irfft2(spectrum, s=x.shape[-2:])


def per_channel(convolve: Callable[..., Tensor], x: Tensor, kernel: Tensor, batched: bool) -> Tensor:
    """`conv2d` or its adjoint `conv_transpose2d` of rows (N, C, H, W), every channel by itself.

    Arguments: kernel (1, C or 1, kH, kW), or where ``batched`` (N, C or 1, kH, kW), of a convolution: it is flipped.
    """
    (n, c, *_), (h, w) = x.shape, kernel.shape[-2:]
    kernel = kernel.to(x.dtype).flip(-2, -1)  # conv2d correlates
    rows = (1, n * c) if batched else (n, c)  # rows with kernels of their own become channels
    kernel = kernel.expand(*kernel.shape[:-3], c, h, w).reshape(rows[1], 1, h, w)
    y = convolve(x.reshape(*rows, *x.shape[2:]), kernel, groups=rows[1])
    return y.reshape(n, c, *y.shape[2:])


def unreflected(x: Tensor, k: int, axis: int) -> Tensor:
    """The adjoint of padding an axis by reflection for a kernel of k pixels: its margins are added where they came
    from."""
    before, after = k - 1 - k // 2, k // 2
    n = x.shape[axis] - before - after
    inner = x.narrow(axis, before, n).clone()
    if before:
        inner.narrow(axis, 1, before).add_(x.narrow(axis, 0, before).flip(axis))
    if after:
        inner.narrow(axis, n - 1 - after, after).add_(x.narrow(axis, before + n, after).flip(axis))
    return inner
