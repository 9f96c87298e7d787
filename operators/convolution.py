"""Convolution of pictures, by Fourier transforms or directly, and its borders."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from .transforms import mirrored

LARGE = ContextVar("LARGE", default=2**22)  # pixels from which pictures are transformed in parts
PARTS = 16  # of a large picture or its spectrum


@contextmanager
def in_parts(really: bool = True) -> Generator[None]:
    """Inside, pictures of any size are transformed in parts, as large ones are: for trials on small pictures."""
    token = LARGE.set(0 if really else LARGE.get())
    try:
        yield
    finally:
        LARGE.reset(token)


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


def response(kernel: Tensor, height: int, width: int, dtype: torch.dtype) -> Tensor:
    """khat on rfft2's half plane of a kernel (..., kH, kW), complex of the dtype; rounding in the dtype counts as 0.

    It is computed in float64, a part of the plane at a time: pictures may be large.
    """
    kernel = kernel.double()
    h, w = kernel.shape[-2:]
    rows = torch.fft.rfft(kernel, n=width) * _shifted(w // 2, width, kernel)[: width // 2 + 1]
    turn = _shifted(h // 2, height, kernel)[:, None]
    khat = torch.empty((*rows.shape[:-2], height, rows.shape[-1]), dtype=dtype.to_complex(), device=kernel.device)
    for part, out in zip(_parts(rows, -1), _parts(khat, -1), strict=True):
        out.copy_(torch.fft.fft(part, n=height, dim=-2).mul_(turn))
    for edge in {0, width // 2} if width % 2 == 0 else {0}:  # exactly Hermitian, so that the singular vectors are real
        column = khat[..., edge]
        column.add_(column.conj().flip(-1).roll(1, -1)).div_(2)
    s = khat.abs()
    return khat.masked_fill_(s <= torch.finfo(dtype).eps * s.amax((-2, -1), keepdim=True), 0)


def polar(khat: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """|khat| on the whole plane of this width, and khat / |khat| (1 where khat is 0), from the half plane."""
    s = khat.abs()
    phase = torch.where(s > 0, khat / s.clamp(min=torch.finfo(s.dtype).tiny), 1)
    return torch.cat([s, mirrored(s[..., 1 : (width + 1) // 2])], -1), phase


def _shifted(by: int, size: int, like: Tensor) -> Tensor:
    """The factors of the Fourier coefficients of ``size`` numbers that move these back by ``by`` places, complex128."""
    turn = 2 * torch.pi * by / size * torch.arange(size, dtype=torch.float64, device=like.device)
    return torch.polar(torch.ones_like(turn), turn)


def filtered(response: Tensor, x: Tensor, of: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """The circular convolution of x (N, C, H, W) whose transfer function on rfft2's half plane is of(response).

    Arguments: response: (..., H, W // 2 + 1), real or complex; x; of: a function of its entries, default the identity.
    """
    if x.shape[-2] * x.shape[-1] >= LARGE.get() and not (x.requires_grad or response.requires_grad):
        return _filtered_in_parts(response, x, of)
    # contiguous: torch 2.6 fails for some expanded rows
    spectrum, response = torch.fft.rfft2(x.contiguous()), response if of is None else of(response)
    if (
        _fits(response.shape, spectrum.shape)
        and response.dtype in (spectrum.dtype, x.dtype)
        and not (spectrum.requires_grad or response.requires_grad)
    ):
        spectrum.mul_(response)
    else:
        spectrum = response * spectrum
    return torch.fft.irfft2(spectrum, s=x.shape[-2:])


def _fits(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether a tensor of this shape broadcasts to ``whole``; torch.broadcast_shapes takes as long as a transform."""
    return len(shape) <= len(whole) and all(n in (1, m) for n, m in zip(shape[::-1], whole[::-1], strict=False))


def _filtered_in_parts(response: Tensor, x: Tensor, of: Callable[[Tensor], Tensor] | None) -> Tensor:
    """`filtered` with no more memory than its spectrum, which the result takes the place of: torch's transforms copy
    what they are given."""
    (*rows, h, w), n = torch.broadcast_shapes(x.shape, (*response.shape[:-2], *x.shape[-2:])), response.shape[-1]
    x = x.expand(*rows, h, w)
    spectrum = x.new_empty((*rows, h, n), dtype=x.dtype.to_complex())
    for given, made in zip(_parts(x, -2), _parts(spectrum, -2), strict=True):
        made.copy_(torch.fft.rfft(given))
    for factors, made in zip(_parts(response, -1), _parts(spectrum, -1), strict=True):
        columns = torch.fft.fft(made, dim=-2).mul_(factors if of is None else of(factors))
        made.copy_(torch.fft.ifft(columns, dim=-2))
    out = torch.view_as_real(spectrum).flatten()[: math.prod(rows) * h * w]
    start = 0  # each row is shorter than the part of the spectrum that it is made of
    for given in spectrum.view(-1, n).split(-(-h // PARTS)):
        lines = torch.fft.irfft(given, n=w).flatten()
        out[start : start + len(lines)] = lines
        start += len(lines)
    return out.view(*rows, h, w)


def _parts(x: Tensor, axis: int) -> tuple[Tensor, ...]:
    return x.split(-(-x.shape[axis] // PARTS), axis)


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


def power(kernel: Tensor, size: tuple[int, int], cosine: bool, dtype: torch.dtype) -> Tensor:
    """|khat|^2 of a kernel on rfft2's frequencies of images of this size, or on those of the cosine transform, where it
    is averaged over the two signs of a frequency."""
    kernel, (h, w) = kernel.double(), size
    if not cosine:
        return torch.fft.rfft2(wrapped(kernel, size)).abs().square().to(dtype)
    found = torch.fft.fft2(wrapped(kernel, (2 * h, 2 * w))).abs().square()
    mirrored = found.roll(-1, -1).flip(-1)  # at (a, -b)
    return ((found + mirrored) / 2)[..., :h, :w].to(dtype)
