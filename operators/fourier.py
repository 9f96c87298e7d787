"""Magnetic resonance imaging: undersampled k-space of one or several coils."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from . import sampling
from .arguments import count, shape
from .arguments import mask as measured_mask
from .base import Shape
from .coils import coil_maps, smooth_sensitivities
from .kept import Kept
from .kspace import fftc, ifftc, mirrored, to_channels, to_complex
from .linear_operator import LinearOperator
from .noise import Noise
from .registry import register
from .svd import SVDOperator, divide


@register("fourier")
class Fourier(LinearOperator):
    """Undersampled k-space: the masked Fourier transform of an image, for one or several receive coils.

    Formula: y_c = m * (F(S_c e^(i phase) x) + noise), F centred and orthonormal (`operators.kspace.fftc`); real and
    imaginary part are two channels, and 0 where nothing was measured. `Fourier(...)` returns a `RealFourier` or
    `ComplexFourier`, which have an SVD, or a `CoilFourier`, which has none.
    Source: Pruessmann et al. 1999 (SENSE).
    Arguments:
        mask: bool or 0/1, 1 where measured, with k = 0 at (H // 2, W // 2). (H, W), or (1, W) for whole columns;
            (B, H or 1, W) for one per measurement. `operators.sampling` makes some.
        sensitivities: of the coils, complex (coils, H, W), or (B, coils, H, W); None: a single coil of uniform
            sensitivity. y is (coils, 2, H, W) with sensitivities and (2, H, W) without.
        phase: the known phase of the image, radians, (H, W) or (B, H, W): the image is x e^(i phase), so that x may be
            real.
        noise: of standard deviation sigma in the real part, and in the imaginary part, of every sample.
        channels: of events: 1, real images (1, H, W); or 2, real and imaginary part (2, H, W).

    Raises:
        TypeError: sensitivities that are not complex.
        ValueError: a mask with entries other than 0 and 1; parameters of the wrong number of axes or not finite;
            channels other than 1 and 2; events of another shape.
    """

    mask: Tensor
    maps: Tensor
    complex_axis = -3

    def __new__(
        cls, mask: Any = None, sensitivities: Any = None, phase: Any = None, noise: Any = None, channels: int = 1
    ) -> Self:
        if cls is not Fourier:
            return super().__new__(cls)
        channels = count("Fourier: channels", channels, most=2, hint="1 for real pictures, 2 for complex ones")
        kind = RealFourier if channels == 1 else ComplexFourier
        if sensitivities is not None or (phase is not None and channels == 1):
            kind = CoilFourier
        return super().__new__(cls._fitting(kind))

    def __init__(
        self,
        mask: Any,
        sensitivities: Tensor | None = None,
        phase: Tensor | None = None,
        noise: Noise | None = None,
        channels: int = 1,
    ) -> None:
        super().__init__(noise)
        channels = count("Fourier: channels", channels, most=2, hint="1 for real pictures, 2 for complex ones")
        mask = measured_mask("Fourier", mask)
        if mask.ndim not in (2, 3):
            raise ValueError(
                f"Fourier: expected a mask (H, W) or (B, H, W), given one of shape {tuple(mask.shape)}; "
                "operators.sampling has functions to make one"
            )
        self.channels = channels
        maps = coil_maps("Fourier", sensitivities, phase, mask.device)
        self.coils = None if sensitivities is None else maps.shape[-3]
        self.batched_buffer("maps", maps, 3)
        axes = 1 if self.coils is None else 2  # axes of a measurement before its pixels
        self.batched_buffer("mask", mask.bool().reshape(*mask.shape[:-2], *[1] * axes, *mask.shape[-2:]), axes + 2)

    def _facts(self) -> dict[str, Any]:
        return ({} if self.coils is None else {"coils": self.coils}) | super()._facts()

    @classmethod
    def cartesian(
        cls,
        event_shape: Shape,
        acceleration: float = 4.0,
        calibration: float = 0.08,
        kind: sampling.Kind = "variable",
        seed: int = 0,
        coils: int | None = None,
        noise: Noise | None = None,
    ) -> Self:
        """Cartesian sampling: whole columns of k-space; see `operators.sampling.cartesian`.

        Arguments:
            event_shape: (1, H, W), or (2, H, W) for complex images.
            acceleration: number of columns over the number measured.
            calibration: fraction of columns measured in the middle.
            kind: "uniform", "variable" or "equispaced".
            seed: of the choice.
            coils: number of simulated coils (`operators.coils.smooth_sensitivities`); None: a single uniform coil.
        """
        event_shape = pictures(event_shape)
        mask = sampling.cartesian(event_shape[-2:], acceleration, calibration, kind, seed)
        return cls._simulated(event_shape, mask, coils, noise)

    @classmethod
    def radial(cls, event_shape: Shape, spokes: int, coils: int | None = None, noise: Noise | None = None) -> Self:
        """Radial sampling: lines through k = 0, on the grid; see `operators.sampling.radial`.

        Arguments: event_shape, coils: as `cartesian`; spokes: their number.
        """
        event_shape = pictures(event_shape)
        return cls._simulated(event_shape, sampling.radial(event_shape[-2:], spokes), coils, noise)

    @classmethod
    def poisson_disc(
        cls,
        event_shape: Shape,
        acceleration: float = 4.0,
        calibration: float = 0.08,
        seed: int = 0,
        coils: int | None = None,
        noise: Noise | None = None,
    ) -> Self:
        """Variable-density Poisson-disc sampling; see `operators.sampling.poisson_disc`.

        Arguments: event_shape, coils: as `cartesian`; acceleration: number of points over the number measured;
        calibration: sides of the fully sampled central rectangle, as fractions; seed: of the points.
        """
        event_shape = pictures(event_shape)
        mask = sampling.poisson_disc(event_shape[-2:], acceleration, calibration, seed)
        return cls._simulated(event_shape, mask, coils, noise)

    @classmethod
    def _simulated(cls, event_shape: Shape, mask: Tensor, coils: int | None, noise: Noise | None) -> Self:
        sensitivities = None if coils is None else smooth_sensitivities(coils, event_shape[-2:])
        return cls(mask, sensitivities, noise=noise, channels=event_shape[0])

    @property
    def support(self) -> Tensor:
        return self.mask

    def forward(self, x: Tensor) -> Tensor:
        return self._masked(self._transform(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self._transposed(self._masked(y))

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        return (self.channels, *measurement_shape[-2:])

    def check_event_shape(self, event_shape: Shape) -> None:
        sizes = [tuple(parameter.shape[-2:]) for parameter in (self.mask, self.maps)]
        fits = len(event_shape) == 3 and event_shape[0] == self.channels
        if not fits or any(n not in (1, e) for size in sizes for n, e in zip(size, event_shape[-2:], strict=True)):
            raise ValueError(
                f"Fourier: expected events ({self.channels}, H, W) of the mask's {sizes[0]} and the maps' {sizes[1]} "
                f"pixels, given {event_shape}; use Fourier(..., channels=2) for complex pictures"
            )

    def _masked(self, y: Tensor) -> Tensor:
        return torch.where(self.mask, y, 0)

    def _transform(self, x: Tensor) -> Tensor:
        """All of k-space, (N, channels, H, W) -> (N, [coils,] 2, H, W)."""
        picture = torch.complex(x[:, :1], x[:, 1:] if self.channels == 2 else torch.zeros_like(x))
        z = to_channels(fftc(self.aligned("maps", picture) * picture))
        return z.squeeze(1) if self.coils is None else z

    def _transposed(self, y: Tensor) -> Tensor:
        z = to_complex(y)
        z = ifftc(z.unsqueeze(1) if self.coils is None else z)
        picture = (self.aligned("maps", z).conj() * z).sum(1)
        return to_channels(picture)[:, : self.channels]


class CoilFourier(Fourier):
    """Several coils, or real images of known phase: only the adjoint has a closed form."""


class ComplexFourier(Fourier, SVDOperator):
    """One coil and complex images: A = m F e^(i phase), S = m, V^T = F e^(i phase)."""

    structure = SVDOperator.structure | {"orthogonal_rows"}

    @property
    def singular_values(self) -> Tensor:
        return self.mask.float()

    def Vt(self, x: Tensor) -> Tensor:
        return self._transform(x)

    def V(self, z: Tensor) -> Tensor:
        return self._transposed(z)

    def U(self, z: Tensor) -> Tensor:
        return self._masked(z)

    def Ut(self, y: Tensor) -> Tensor:
        return self._masked(y)


class RealFourier(Fourier, SVDOperator):
    """One coil and real images, whose k-space at -k is the conjugate of that at k.

    A = U S H, with the Hartley transform H x = Re F x - Im F x, which is real, symmetric and orthogonal (Bracewell
    1983). A'A is the convolution by the even part of the mask, so S^2 = (m(k) + m(-k)) / 2; and F H z has the real part
    (z(k) + z(-k)) / 2 and the imaginary part (z(-k) - z(k)) / 2, so that U = m F H S^-1 needs no transform.
    """

    structure = SVDOperator.structure

    def __init__(
        self, mask: Any, sensitivities: None = None, phase: None = None, noise: Noise | None = None, channels: int = 1
    ) -> None:
        super().__init__(mask, sensitivities, phase, noise, channels)
        self._kept = Kept(4)  # of two kinds, in single and double precision
        if torch.equal(self.mask, mirrored(self.mask)):
            self.structure = self.structure | {"orthogonal_rows"}

    @property
    def singular_values(self) -> Tensor:
        return self._gains(torch.float32)

    def spectrum(self, z: Tensor) -> Tensor:
        return self._gains(z.dtype)

    def _gains(self, dtype: torch.dtype) -> Tensor:
        def make() -> Tensor:
            with torch.inference_mode(False), torch.no_grad():
                m = self.mask.to(dtype)
                return ((m + mirrored(m)) / 2).sqrt()

        return self._kept.get((self.mask._version, dtype), make, of=self.mask)

    def _half_inverse(self, dtype: torch.dtype) -> Tensor:
        """1 / 2 S, and 0 where S is 0."""

        def make() -> Tensor:
            with torch.inference_mode(False), torch.no_grad():
                return divide(torch.tensor(0.5, dtype=dtype, device=self.mask.device), self._gains(dtype))

        return self._kept.get((self.mask._version, dtype, "inverse"), make, of=self.mask)

    def _transform(self, x: Tensor) -> Tensor:
        return to_channels(fftc(x[:, 0]))  # of real numbers: half the work

    def _transposed(self, y: Tensor) -> Tensor:
        return ifftc(to_complex(y)).real[:, None]

    def Vt(self, x: Tensor) -> Tensor:
        z = fftc(x)
        return z.real - z.imag

    def V(self, z: Tensor) -> Tensor:
        return self.Vt(z)

    def U(self, z: Tensor) -> Tensor:
        z = self._half_inverse(z.dtype) * z
        there = mirrored(z)
        return self._masked(torch.cat((z + there, there - z), 1))

    def Ut(self, y: Tensor) -> Tensor:
        real, imaginary = self._masked(y).split(1, 1)
        return self._half_inverse(y.dtype) * (real - imaginary + mirrored(real + imaginary))


def pictures(event_shape: Any, name: str = "Fourier") -> Shape:
    """A checked event shape (1, H, W) or (2, H, W); name: of the operator, for messages."""
    found = shape(f"{name}: event_shape", event_shape)
    if len(found) != 3 or found[0] > 2:
        raise ValueError(f"{name}: event_shape = {found}: expected (1, H, W), or (2, H, W) for complex pictures")
    return found
