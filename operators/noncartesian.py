"""Magnetic resonance imaging off the grid: k-space along radial, spiral or any other trajectories."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, Self

import torch
from torch import Tensor

from .arguments import count, rows
from .base import Shape
from .coils import coil_maps, smooth_sensitivities
from .fourier import pictures
from .kept import Kept
from .linear_operator import LinearOperator
from .noise import Noise
from .nufft import adjoint_nufft, circulant, density_weights, normal, nufft, require, toeplitz
from .registry import register
from .solvers import Map, column, dot, solve, widest
from .trajectories import checked_trajectory, radial_trajectory, spiral_trajectory

REACHED = 1e-13  # relative residual that conjugate gradients reach in double precision


@register("noncartesian")
class NonCartesian(LinearOperator):
    """k-space at arbitrary points: radial, spiral or any other trajectory, for one or several receive coils.

    Formula: y_c(k) = sum_r S_c(r) e^(i phase(r)) x(r) e^(-2 pi i k . (r - c)) / sqrt(H W) + noise with c = (H // 2, W
    // 2): at k = j / n for all whole j it is `Fourier`. Real and imaginary part are two channels.
    Source: Pruessmann et al. 2001 (SENSE with arbitrary trajectories); Barnett, Magland & af Klinteberg 2019 (finufft,
    which computes the sums to 1e-6, or 1e-12 for float64). Needs the extra `mri`. On the CPU; rows on another device
    are copied.
    Arguments:
        trajectory: k (M, 2), cycles per pixel in [-1/2, 1/2], first along H (down), then along W (right).
        sensitivities: of the coils, complex (coils, H, W), or (B, coils, H, W); None: a single coil of uniform
            sensitivity. y is (coils, 2, M) with sensitivities and (2, M) without.
        phase: the known phase of the image, radians, (H, W) or (B, H, W), as of `Fourier`.
        noise: of standard deviation sigma in the real part, and in the imaginary part, of every sample.
        channels: of events: 1, real images (1, H, W); or 2, real and imaginary part (2, H, W).
        event_shape: (channels, H, W); None: that of the maps, or any.

    Raises:
        TypeError: sensitivities that are not complex.
        ValueError: a trajectory of another shape or unit; parameters of the wrong number of axes or not finite;
            channels other than 1 and 2; events of another shape; finufft is not installed.
    """

    maps: Tensor
    complex_axis = -2

    def __init__(
        self,
        trajectory: Any,
        sensitivities: Tensor | None = None,
        phase: Tensor | None = None,
        noise: Noise | None = None,
        channels: int = 1,
        event_shape: Shape | None = None,
    ) -> None:
        require()
        channels = count("NonCartesian: channels", channels, most=2, hint="1 for real pictures, 2 for complex ones")
        super().__init__(noise, event_shape)
        self.channels = channels
        given = next((t for t in (sensitivities, phase) if isinstance(t, Tensor)), torch.empty(0))
        maps = coil_maps("NonCartesian", sensitivities, phase, given.device)
        self.coils = None if sensitivities is None else maps.shape[-3]
        self.batched_buffer("maps", maps, 3)
        self.trajectory = checked_trajectory("NonCartesian: trajectory", trajectory)  # on the CPU, where it is used
        if self.event_shape is None and self.maps.shape[-1] > 1:
            self.event_shape = (channels, *self.maps.shape[-2:])
        if self.event_shape is not None:
            self.check_event_shape(self.event_shape)
        self._spectra, self._circulants, self._weights = Kept(), Kept(), Kept()

    def get_extra_state(self) -> Tensor:
        """The trajectory: no buffer, as it stays on the CPU in double precision, but part of `state_dict`."""
        return self.trajectory

    def set_extra_state(self, state: Tensor) -> None:
        """Of `load_state_dict`. Arguments: state: a trajectory (M, 2)."""
        self.trajectory = state

    def _facts(self) -> dict[str, Any]:
        return ({} if self.coils is None else {"coils": self.coils}) | super()._facts()

    @classmethod
    def radial(
        cls,
        event_shape: Shape,
        spokes: int,
        samples: int | None = None,
        order: Literal["golden", "uniform"] = "golden",
        coils: int | None = None,
        noise: Noise | None = None,
    ) -> Self:
        """Spokes through k = 0; see `operators.trajectories.radial_trajectory`.

        Arguments:
            event_shape: (1, H, W), or (2, H, W) for complex images.
            spokes: their number; full sampling takes max(H, W) pi / 2.
            samples: per spoke; None: 2 max(H, W).
            order: of the angles, "golden" or "uniform".
            coils: number of simulated coils (`operators.coils.smooth_sensitivities`); None: a single uniform coil.
        """
        event_shape = pictures(event_shape, "NonCartesian")
        return cls._simulated(event_shape, radial_trajectory(event_shape[-2:], spokes, samples, order), coils, noise)

    @classmethod
    def spiral(
        cls,
        event_shape: Shape,
        interleaves: int,
        turns: float | None = None,
        samples: int | None = None,
        coils: int | None = None,
        noise: Noise | None = None,
    ) -> Self:
        """Golden-angle spirals; see `operators.trajectories.spiral_trajectory`.

        Arguments: event_shape, coils: as `radial`; interleaves: their number; turns of each, None: max(H, W) / (2
        interleaves), full sampling; samples per interleave, None: two per 1 / max(H, W) of its length.
        """
        event_shape = pictures(event_shape, "NonCartesian")
        trajectory = spiral_trajectory(event_shape[-2:], interleaves, turns, samples)
        return cls._simulated(event_shape, trajectory, coils, noise)

    @classmethod
    def _simulated(cls, event_shape: Shape, trajectory: Tensor, coils: int | None, noise: Noise | None) -> Self:
        sensitivities = None if coils is None else smooth_sensitivities(coils, event_shape[-2:])
        return cls(trajectory, sensitivities, noise=noise, channels=event_shape[0], event_shape=event_shape)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.view_as_real(nufft(self._seen(x), self.trajectory)).movedim(-1, -2)
        return y.squeeze(1) if self.coils is None else y

    def adjoint(self, y: Tensor) -> Tensor:
        height, width = self.event_shape_of(tuple(y.shape[1:]))[-2:]
        z = y.unsqueeze(1) if self.coils is None else y
        return self._combined(
            adjoint_nufft(torch.complex(z[..., 0, :], z[..., 1, :]), self.trajectory, (height, width))
        )

    def gram(self, x: Tensor) -> Tensor:
        """A^T A x, (N, *E) -> (N, *E), by Fourier transforms of twice the size (Toeplitz)."""
        rows("NonCartesian.gram: x", x, "event")
        self.validate(x)
        seen = self._seen(x)
        return self._combined(normal(seen, self._spectrum(x)))

    def solve_gram(self, y: Tensor, r2: Tensor | float) -> Tensor:
        """Solve (r2 A A^T + sigma_y^2) v = y, (N, *M).

        Formula: v = (y - r2 A w) / sigma_y^2 with (r2 A^T A + sigma_y^2) w = A^T y: an iteration is one `gram`, and the
        nearest circulant map preconditions; in double precision, because the difference is small. Where sigma_y varies
        between entries or is too small for this, by `LinearOperator`. Arguments as there.
        """
        wide = widest(self.gram, self.adjoint(y))
        if "isotropic" not in self.capabilities or self.noise.noiseless or wide != torch.float64:
            return super().solve_gram(y, r2)
        rest = y.to(wide)
        b, variance = self.adjoint(rest), self._sigma_y(y).to(wide).flatten() ** 2
        # the residual of v is r2 A / sigma_y^2 times that of w
        largest = float((self._spectrum(b).max() * self.maps.abs().square().sum(-3).max()).sqrt())
        scale = torch.as_tensor(r2).to(b).clamp_min(1e-30) * largest / variance
        rtol = float((self.cg_rtol * dot(rest, rest).sqrt() / (scale * dot(b, b).sqrt()).clamp_min(1e-300)).min())
        if not rtol > REACHED:
            return super().solve_gram(y, r2)
        r2, s2 = column(r2, b), column(variance, b)
        w = solve(
            lambda x: r2 * self.gram(x) + s2 * x,
            b,
            rtol=min(rtol, 1e-3),
            max_steps=self.cg_steps,
            what="NonCartesian.solve_gram",
            precondition=self._nearly_inverse(r2, s2),
        )
        return ((rest - self(r2 * w)) / column(variance, rest)).to(y.dtype)

    def _nearly_inverse(self, r2: Tensor, s2: Tensor) -> Map:
        """(r2 C + s2)^-1 with the circulant map C nearest to A^T A."""

        def apply(x: Tensor) -> Tensor:
            size = (x.shape[-2], x.shape[-1])
            make = partial(circulant, self._spectrum(x), self.maps, size)
            c = self._circulants.get((size, x.device), make, of=self.maps)
            c = (c.unsqueeze(1) if c.ndim == 3 else c).to(x)
            if self.channels == 1:  # the real part of a convolution is that by the real part of its kernel
                c = (c + c.flip((-2, -1)).roll((1, 1), (-2, -1))) / 2
                return torch.fft.ifft2(torch.fft.fft2(x) / (r2 * c + s2)).real
            z = torch.fft.ifft2(torch.fft.fft2(torch.complex(x[:, :1], x[:, 1:])) / (r2 * c + s2))
            return torch.cat((z.real, z.imag), 1)

        return apply

    def gridding(self, y: Tensor) -> Tensor:
        """A^T W y with the density compensation W, (N, *M) -> (N, *E): the picture without a model, in one pass.

        On a grid it is the zero-filled picture. W: `operators.nufft.density_weights`.
        """
        rows("NonCartesian.gridding: y", y, "measurement")
        size = self.event_shape_of(tuple(y.shape[1:]))[-2:]
        return self.adjoint(self._density(size).to(y) * y)

    def measurement_shape(self, event_shape: Shape) -> Shape:
        """([coils,] 2, M)."""
        self.check_event_shape(tuple(event_shape))
        return (*([] if self.coils is None else [self.coils]), 2, len(self.trajectory))

    def check_event_shape(self, event_shape: Shape) -> None:
        size = tuple(self.maps.shape[-2:])
        fits = len(event_shape) == 3 and event_shape[0] == self.channels
        if not fits or size not in ((1, 1), tuple(event_shape[1:])):
            raise ValueError(
                f"NonCartesian: expected events ({self.channels}, H, W)"
                + ("" if size == (1, 1) else f" of the maps' {size} pixels")
                + f", given {event_shape}; use NonCartesian(..., channels=2) for complex pictures"
            )

    def _seen(self, x: Tensor) -> Tensor:
        """The complex picture of every coil, (N, channels, H, W) -> (N, coils, H, W)."""
        picture = torch.complex(x[:, :1], x[:, 1:] if self.channels == 2 else torch.zeros_like(x))
        return self.aligned("maps", picture) * picture

    def _combined(self, z: Tensor) -> Tensor:
        picture = (self.aligned("maps", z).conj() * z).sum(1)
        return torch.stack((picture.real, picture.imag), 1)[:, : self.channels]

    def _spectrum(self, x: Tensor) -> Tensor:
        size = (x.shape[-2], x.shape[-1])
        return self._spectra.get(
            (size, x.dtype, x.device), lambda: toeplitz(self.trajectory, size).to(x), of=self.trajectory
        )

    def _density(self, size: Shape) -> Tensor:
        height, width = size
        return self._weights.get(size, lambda: density_weights(self.trajectory, (height, width)), of=self.trajectory)
