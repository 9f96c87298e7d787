"""Blur: convolution with a kernel, and its boundary conditions."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from .arguments import choice, number, picture
from .base import Shape
from .convolution import filtered, per_channel, polar, power, response, smooth_shape, unreflected
from .kept import Kept
from .kernels import LARGEST, checked, disc_kernel, gaussian_kernel, line_kernel, motion_kernel, read_kernel
from .linear_operator import LinearOperator
from .noise import Noise
from .registry import register
from .solvers import Map, column
from .svd import SVDOperator, divide
from .transforms import dct, hartley, idct

Boundary = Literal["circular", "reflect", "valid"]
DIRECT = 49  # pixels of a kernel: larger ones are applied by FFT


@register("blur")
class Blur(LinearOperator):
    """Convolution of every channel with a kernel.

    y[i] = sum_j k[j] x[i + c - j], c = size // 2 the kernel's centre. A true convolution: the kernel is flipped, as in
    scipy.ndimage.convolve, unlike in a neural network. `Blur(...)` returns a `CircularBlur`, which has an SVD, or a
    `PaddedBlur`, which has none.

    Arguments:
        kernel: (kH, kW), or (C, kH, kW) for one per channel; (B, C or 1, kH, kW) for one per measurement.
        boundary: "circular", periodic (scipy "wrap"); "reflect", mirrored about the centres of the outer pixels (scipy
            "mirror"); "valid", only pixels whose neighbourhood lies inside are measured: (H, W) -> (H - kH + 1, W - kW
            + 1).
        noise: in units of y.

    Raises:
        TypeError: a kernel that is not a tensor of real numbers.
        ValueError: an unknown boundary, a kernel of the wrong number of axes, not finite or of zeros; events that are
            not (C, H, W), of another number of channels, or too small for the kernel.
    """

    boundaries: tuple[str, ...] = ("circular", "reflect", "valid")
    kernel: Tensor

    def __new__(cls, kernel: Any = None, boundary: Boundary = "circular", noise: Any = None) -> Self:
        if cls is Blur:
            choice("Blur: boundary", boundary, cls.boundaries)
        return super().__new__(cls._fitting(CircularBlur if boundary == "circular" else PaddedBlur))

    def __init__(self, kernel: Tensor, boundary: Boundary = "circular", noise: Noise | None = None) -> None:
        super().__init__(noise)
        choice(f"{type(self).__name__}: boundary", boundary, self.boundaries)
        kernel = checked("Blur: kernel", kernel)
        if kernel.ndim not in (2, 3, 4):
            raise ValueError(
                f"Blur: expected a kernel (kH, kW), (C, kH, kW) or (B, C, kH, kW), given shape {tuple(kernel.shape)}; "
                "see also Blur.gaussian, Blur.defocus and Blur.motion"
            )
        self.boundary: Boundary = boundary
        self.batched_buffer("kernel", kernel[None] if kernel.ndim == 2 else kernel, 3)

    @classmethod
    def gaussian(
        cls, sigma_px: float, boundary: Boundary = "circular", noise: Noise | None = None, truncate: float = 4.0
    ) -> Self:
        """A Gaussian kernel of standard deviation `sigma_px` pixels, cut at `truncate` of them, of sum 1.

        Raises:
            ValueError: sigma_px that is not positive.
        """
        sigma_px = number("Blur.gaussian: sigma_px", sigma_px, "(0, inf)", "it is a width in pixels")
        reach = number("Blur.gaussian: truncate", truncate, "(0, inf)", "the kernel is truncated at this many sigma_px")
        if reach * sigma_px > LARGEST // 2:
            raise ValueError(
                f"Blur.gaussian: truncate x sigma_px = {truncate} x {sigma_px}: expected at most {LARGEST // 2} pixels"
            )
        radius = max(1, int(reach * sigma_px + 0.5))
        return cls(gaussian_kernel(sigma_px, 2 * radius + 1), boundary, noise)

    @classmethod
    def defocus(cls, radius: float, boundary: Boundary = "circular", noise: Noise | None = None) -> Self:
        """The kernel of a lens out of focus, of sum 1: a disc of this `radius` in pixels (see `kernels.disc_kernel`).

        Raises:
            ValueError: a radius that is not positive, or larger than kernels may be.
        """
        radius = number("Blur.defocus: radius", radius, f"(0, {LARGEST // 2 - 1}]", "it is a radius in pixels")
        return cls(disc_kernel(radius, 2 * math.ceil(radius + 0.5) + 1), boundary, noise)

    @classmethod
    def motion(
        cls,
        size: int | None = None,
        seed: int = 0,
        length: float | None = None,
        boundary: Boundary = "circular",
        noise: Noise | None = None,
        angle: float | None = None,
    ) -> Self:
        """The kernel of a moving camera, of sum 1: along a straight line, by `length` and `angle` (see
        `kernels.line_kernel`), or of a random shake, by `size` and `seed` (see `kernels.motion_kernel`).

        Arguments:
            size: side of the kernel in pixels, odd; of a straight line by default the least that holds it.
            seed: of a random path: a seed is a kernel. Such a kernel is for simulations.
            length: of the line or path in pixels; of a random path by default `size`.
            angle: of a straight line in degrees, counter-clockwise from a movement along the rows.

        Raises:
            TypeError or ValueError: neither `angle` with `length` nor `size`; an angle with a seed; a size that is no
                odd integer >= 3 or does not hold the line, a length that is not positive.
        """
        if angle is None:
            if size is None:
                raise ValueError(
                    "Blur.motion: expected length and angle for a straight line, or size and seed for a random motion"
                )
            return cls(motion_kernel(size, seed, length), boundary, noise)
        if length is None or seed != 0:
            raise ValueError(
                f"Blur.motion: angle = {angle}, length = {length}, seed = {seed}: expected a length in pixels with an "
                "angle, and no seed: a straight line is not random"
            )
        return cls(line_kernel(length, angle, size), boundary, noise)

    @classmethod
    def from_file(cls, path: str | Path, boundary: Boundary = "circular", noise: Noise | None = None) -> Self:
        """A kernel from a file, scaled to sum 1.

        Arguments:
            path: an image file, white on black (colours are averaged), or an .npy file, (kH, kW) or (C, kH, kW).

        Raises:
            FileNotFoundError or ValueError: as `kernels.read_kernel`.
        """
        return cls(read_kernel(path), boundary, noise)

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError  # in the subclasses, one of which `__new__` makes

    @property
    def kernel_size(self) -> tuple[int, int]:
        """(kH, kW), pixels."""
        return self.kernel.shape[-2], self.kernel.shape[-1]

    def check_event_shape(self, event_shape: Shape) -> None:
        if len(event_shape) != 3 or self.kernel.shape[-3] not in (1, event_shape[0]):
            raise ValueError(
                f"Blur: expected events (C, H, W) with the kernel's {self.kernel.shape[-3]} channels, given "
                f"{event_shape}; a kernel (kH, kW) works for any number of channels"
            )
        for k, size in zip(self.kernel_size, event_shape[-2:], strict=True):
            if k > size or (self.boundary == "reflect" and k // 2 >= size):
                raise ValueError(
                    f"Blur: a kernel of {self.kernel_size} pixels does not fit into a picture of {event_shape[-2:]} "
                    f'with boundary="{self.boundary}"; crop the kernel'
                )


class CircularBlur(Blur, SVDOperator):
    """Blur with periodic boundary: an SVD from Fourier transforms.

    A = F^-1 diag(khat) F. With the Hartley transform H x = Re F x - Im F x, which is real, symmetric and orthogonal,
    A = U diag(|khat|) H, U = F^-1 diag(khat / |khat|) F H (Bracewell 1983; |khat| is even, so H diag(|khat|) H is the
    circular convolution by it).
    """

    structure = SVDOperator.structure
    boundaries = ("circular",)

    def __init__(self, kernel: Tensor, boundary: Boundary = "circular", noise: Noise | None = None) -> None:
        super().__init__(kernel, boundary, noise)
        self._responses, self._polar = Kept(), Kept()

    @property
    def singular_values(self) -> Tensor:
        """|khat|, (C or 1, H, W) or (B, C or 1, H, W); needs the event shape (see `Operator.at`)."""
        return self._singular(LinearOperator.event_shape_of(self, ()), torch.float32)[0]

    def spectrum(self, z: Tensor) -> Tensor:
        return self._singular(tuple(z.shape[1:]), z.dtype)[0]

    def forward(self, x: Tensor) -> Tensor:
        return filtered(self._factors(tuple(x.shape[1:]), x.dtype), x)

    def adjoint(self, y: Tensor) -> Tensor:
        return filtered(self._factors(tuple(y.shape[1:]), y.dtype), y, torch.conj_physical)

    def transfer(self, event_shape: Shape, dtype: torch.dtype) -> Tensor | None:
        alone = not self._is_batched("kernel") and len(self.kernel) == 1
        return self._factors(event_shape, dtype) if alone else None

    def Vt(self, x: Tensor) -> Tensor:
        return hartley(x)

    def V(self, z: Tensor) -> Tensor:
        return self.Vt(z)

    def U(self, z: Tensor) -> Tensor:
        s, phase = self._singular(tuple(z.shape[1:]), z.dtype)
        return filtered(phase, self.V(torch.where(s > 0, z, 0)))

    def Ut(self, y: Tensor) -> Tensor:
        s, phase = self._singular(tuple(y.shape[1:]), y.dtype)
        return torch.where(s > 0, self.Vt(filtered(phase, y, torch.conj_physical)), 0)

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        return measurement_shape

    def _solve_isotropic(self, y: Tensor, r2: Tensor | float, variance: Tensor) -> Tensor:
        r2, variance = column(r2, y), column(variance.to(y).reshape(-1), y)

        def inverse(khat: Tensor) -> Tensor:
            scale = r2 * khat.abs() ** 2 + variance
            return divide(torch.ones_like(scale), scale)

        return filtered(self._factors(tuple(y.shape[1:]), y.dtype), y, inverse)

    def _factors(self, event_shape: Shape, dtype: torch.dtype) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():  # khat on rfft2's half plane
            make = partial(response, self.kernel, event_shape[-2], event_shape[-1], dtype)
            return self._responses.get((self.kernel._version, event_shape[-2:], dtype), make, of=self.kernel)

    def _singular(self, event_shape: Shape, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """|khat| on the whole plane and khat / |khat| on rfft2's half plane."""
        with torch.inference_mode(False), torch.no_grad():
            make = partial(polar, self._factors(event_shape, dtype), event_shape[-1])
            return self._polar.get((self.kernel._version, event_shape[-2:], dtype), make, of=self.kernel)


class PaddedBlur(Blur):
    """Blur with a mirrored border, or of the interior only; transforms apply large kernels, on a torus that fits."""

    boundaries = ("reflect", "valid")

    def __init__(self, kernel: Tensor, boundary: Boundary = "reflect", noise: Noise | None = None) -> None:
        super().__init__(kernel, boundary, noise)
        self._powers, self._responses = Kept(), Kept()

    def forward(self, x: Tensor) -> Tensor:
        h, w = self.kernel_size
        margins = (w - 1 - w // 2, w // 2, h - 1 - h // 2, h // 2)
        x = F.pad(x, margins, mode="reflect") if self.boundary == "reflect" else x
        if h * w > DIRECT:
            size = smooth_shape(x.shape[2:])
            y = torch.fft.irfft2(self._response(size, x.dtype) * torch.fft.rfft2(x, s=size), s=size)
            return y[..., h - 1 : x.shape[2], w - 1 : x.shape[3]]
        return per_channel(F.conv2d, x, self.kernel, self._is_batched("kernel"))

    def adjoint(self, y: Tensor) -> Tensor:
        h, w = self.kernel_size
        if h * w > DIRECT:
            height, width = y.shape[2] + h - 1, y.shape[3] + w - 1
            size = smooth_shape((height, width))
            spread = F.pad(y, (w - 1, size[1] - width, h - 1, size[0] - height))
            x = torch.fft.irfft2(self._response(size, y.dtype).conj() * torch.fft.rfft2(spread), s=size)
            x = x[..., :height, :width]
        else:
            x = per_channel(F.conv_transpose2d, y, self.kernel, self._is_batched("kernel"))
        return x if self.boundary == "valid" else unreflected(unreflected(x, h, -2), w, -1)

    def _response(self, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
        """The kernel's transform on rfft2's frequencies of images of this size."""
        with torch.inference_mode(False), torch.no_grad():
            make = partial(torch.fft.rfft2, self.kernel.to(dtype), s=size)
            return self._responses.get((self.kernel._version, size, dtype), make, of=self.kernel)

    def gram_preconditioner(self, y: Tensor, r2: Tensor) -> Map:
        """A preconditioner that ignores the border.

        "valid": A A^T is a truncated convolution with the kernel's autocorrelation, approximated by the circular one
        (Chan 1988). "reflect": the cosine transform, coarse for asymmetric kernels (see `convolution.power`).
        """
        variance, size, cosine = self._mean_variance(y), (y.shape[-2], y.shape[-1]), self.boundary == "reflect"

        def apply(v: Tensor) -> Tensor:
            scale = column(r2, v) * self._power(size, cosine, v.dtype) + variance.to(v)
            return idct(dct(v) / scale) if cosine else filtered(1 / scale, v)

        return apply

    def _power(self, size: tuple[int, int], cosine: bool, dtype: torch.dtype) -> Tensor:
        """|khat|^2 on rfft2's frequencies of images of this size, or on those of the cosine transform."""
        with torch.inference_mode(False), torch.no_grad():
            make = partial(power, self.kernel, size, cosine, dtype)
            return self._powers.get((self.kernel._version, size, cosine, dtype), make, of=self.kernel)

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        channels, height, width = picture(type(self).__name__, measurement_shape)
        h, w = self.kernel_size if self.boundary == "valid" else (1, 1)
        return (channels, height + h - 1, width + w - 1)
