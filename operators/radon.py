"""Computed tomography: line integrals of a picture along parallel rays."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from .arguments import count, number, rows, tensor
from .backprojection import back_project, centred, ramp, shares
from .base import LinearOperator, Shape
from .noise import Noise
from .registry import register

LARGEST, MOST_VIEWS = 2**14, 2**17  # pixels of a side or detectors, and views: more is a mistake


@register("radon")
class Radon(LinearOperator):
    """The X-ray transform of square pictures along parallel rays: a sinogram.

    y[a, j] = p integral of x along the ray at s_j of view a; (N, C, n, n) -> (N, C, views, detectors). With columns u
    to the right and rows v upwards, both from the picture's centre and in pixels, that ray is u cos a + v sin a = s_j,
    s_j = j - (detectors - 1) / 2: view 0 sums over columns, and views turn as in skimage.transform.radon (whose centre
    is half a pixel off for even n). Every ray steps along the axis that it is nearest to and interpolates linearly
    between two pixels (Joseph 1982). The weights are one sparse matrix, made at the first use of a size, and the
    adjoint is its transpose.

    `pinv` is the least-squares x, exact and slow; `fbp` approximates it in one pass, well with many views and little
    noise, and smooths the noise by its filter. `solve_gram` takes the more iterations the smaller sigma_y^2 / r2 is:
    a larger `cg_rtol` makes it faster.

    Arguments:
        angles: degrees, (views,); or the number of views, which are then spread evenly over [0, 180).
        size: n, pixels; None: that of the pictures it is applied to.
        detectors: their number, one pixel apart; None: as many as see the whole picture in every view.
        noise: in units of y.
        pixel: p, what a pixel of value 1 adds to a line integral: 1 for units of [image unit x pixel], a pixel's length
            for [image unit x length], and that times the attenuation of value 1 for none (see `attenuation`).

    Raises:
        ValueError: no view, an angle that is not finite, a size or number of detectors below 1, a pixel that is not
            positive; events that are not (C, n, n).
    """

    def __init__(
        self,
        angles: int | Sequence[float] | Tensor,
        size: int | None = None,
        detectors: int | None = None,
        noise: Noise | None = None,
        pixel: float = 1.0,
    ) -> None:
        for name, n in (("size", size), ("detectors", detectors)):
            if n is not None:
                count(f"Radon: {name}", n, most=LARGEST, hint="leave it out to have it from the picture")
        super().__init__(noise, None if size is None else (1, size, size))
        if isinstance(angles, int | np.integer):
            views = count("Radon: angles", angles, most=MOST_VIEWS, hint="an integer is the number of views")
            angles = torch.arange(views, dtype=torch.float64) * (180 / views)
        angles = tensor("Radon: angles", angles).double()
        if angles.ndim != 1:
            raise ValueError(
                f"Radon: expected at least one finite angle (views,), given shape {tuple(angles.shape)}; angles are in "
                "degrees, and a number of views is an int"
            )
        self.pixel = number("Radon: pixel", pixel, "(0, inf)", "it is a length")
        self.size, self.detectors = size, detectors
        self.angles = angles.cpu()  # wherever the pictures are: they are read once, by the CPU
        self._matrices = _Kept()  # of the last size and dtype; shared by `rows`

    @classmethod
    def sparse_view(cls, size: int, views: int, noise: Noise | None = None, **kwargs: Any) -> Self:
        """Few views, spread evenly over [0, 180) degrees.

        Arguments:
            size: n, pixels.
            views: how many.
            noise, kwargs: as of `Radon`.
        """
        return cls(count("Radon.sparse_view: views", views, most=MOST_VIEWS), size, noise=noise, **kwargs)

    @classmethod
    def limited_angle(
        cls, size: int, degrees: float, views: int, noise: Noise | None = None, start: float = 0.0, **kwargs: Any
    ) -> Self:
        """Views of a part of the half circle: the rest is a missing wedge.

        Arguments:
            size: n, pixels.
            degrees: the part that is seen, in (0, 180].
            views: how many, spread evenly over [start, start + degrees).
            noise, kwargs: as of `Radon`.
            start: the first view, degrees.

        Raises:
            ValueError: degrees outside (0, 180].
        """
        degrees = number("Radon.limited_angle: degrees", degrees, "(0, 180]", "180 is all there is")
        views = count("Radon.limited_angle: views", views, most=MOST_VIEWS)
        start = number("Radon.limited_angle: start", start)
        return cls(start + torch.arange(views) * (degrees / views), size, noise=noise, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        matrix, transpose = self._matrix(x)
        y = _Product.apply(x.reshape(-1, matrix.shape[1]), matrix, transpose)
        return y.view(*x.shape[:2], len(self.angles), -1)  # type: ignore[union-attr]

    def adjoint(self, y: Tensor) -> Tensor:
        size = self._size_of(y)
        matrix, transpose = self._matrix(y.new_empty(0, 1, size, size))
        x = _Product.apply(y.reshape(-1, matrix.shape[0]), transpose, matrix)
        return x.view(*y.shape[:2], size, size)  # type: ignore[union-attr]

    def fbp(self, y: Tensor, filter: str = "ramp") -> Tensor:
        """Filtered back-projection, (N, C, views, detectors) -> (N, C, n, n), in the units of x.

        x = sum over views of (their share of the half circle) x (y convolved with the ramp filter), interpolated at
        every pixel. The ramp is that of a band of one detector, sampled in space, which keeps the mean right; Kak &
        Slaney 1988, section 3.3. Of a limited angle what the wedge hides stays missing.

        Arguments:
            y: a sinogram.
            filter: "ramp"; "shepp-logan", "cosine", "hamming" and "hann" smooth in this order.

        Raises:
            ValueError: an unknown filter, or a y of another shape.
        """
        rows("Radon.fbp: y", y, "measurement")
        size, n = self._size_of(y), y.shape[-1]
        length = 2 * n  # so that the convolution does not wrap round
        filtered = torch.fft.irfft(torch.fft.rfft(y, n=length) * ramp(length, filter).to(y), n=length)[..., :n]
        share = (shares(self.angles) / self.pixel).to(y)
        return back_project(filtered * share[:, None], self.angles, size)

    def detectors_for(self, size: int) -> int:
        """How many detectors see a picture of size x size pixels: as given, or its diagonal, odd where size is."""
        diagonal = math.ceil(size * math.sqrt(2))
        return diagonal + (diagonal - size) % 2 if self.detectors is None else self.detectors

    def check_event_shape(self, event_shape: Shape) -> None:
        n = self.size or event_shape[-1]
        if len(event_shape) != 3 or tuple(event_shape[1:]) != (n, n):
            raise ValueError(
                f"Radon: expected events (C, {n}, {n}), given {tuple(event_shape)}; pad or crop the picture to a square"
                + (" of the size that the operator is for" if self.size else "")
            )

    def _size_of(self, y: Tensor) -> int:
        size = self.event_shape_of(tuple(y.shape[1:]))[-1]
        expected = (len(self.angles), self.detectors_for(size))
        if y.ndim != 4 or tuple(y.shape[2:]) != expected:
            raise ValueError(
                f"Radon: expected sinograms (N, C, {expected[0]}, {expected[1]}) of pictures of {size} pixels, given "
                f"{tuple(y.shape)}; set operator.event_shape to the shape behind this y"
            )
        return size

    def _matrix(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The weights for pictures like x, sparse (views * detectors, n * n), and their transpose."""
        key = (x.shape[-1], x.dtype, x.device)
        if key not in self._matrices:
            self._matrices.clear()
            with torch.inference_mode(False):
                weights = joseph(self.angles, key[0], self.detectors_for(key[0]), self.pixel)
                # Both are kept: a product with the transpose of compressed rows would convert them every time.
                self._matrices[key] = _as_torch(weights, x), _as_torch(weights.T.tocsr(), x)
        return self._matrices[key]


class _Kept(dict[Any, tuple[Tensor, Tensor]]):
    """Matrices by what they are for. Copies begin empty: torch cannot copy sparse rows."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return _Kept, ()


def joseph(angles: Tensor, size: int, detectors: int, pixel: float) -> Any:
    """Joseph's weights, scipy's compressed sparse rows (views * detectors, size * size), float64; angles in degrees."""
    from scipy.sparse import csr_array

    offset, s = centred(size), centred(detectors)[:, None]
    line = torch.arange(size)[:, None]
    weights, pixels, counts = [], [], []
    for angle in angles.double().deg2rad().tolist():
        cos, sin = math.cos(angle), math.sin(angle)
        steep = abs(cos) >= abs(sin)  # the ray crosses every row once, else every column
        major, slope = (cos, sin / cos) if steep else (-sin, cos / sin)
        place = s / major + slope * offset + (size - 1) / 2  # (detectors, size): where rays cross the lines
        low = place.floor()
        across = torch.stack([low, low + 1], -1).long()
        weight = torch.stack([low + 1 - place, place - low], -1) * (pixel / abs(major))
        seen = (across >= 0) & (across < size) & (weight > 0)
        weights.append(weight[seen])
        pixels.append((line * size + across if steep else across * size + line)[seen].int())
        counts.append(seen.sum((1, 2)))
    ends = torch.cat([torch.zeros(1, dtype=torch.int64), torch.cat(counts).cumsum(0)]).int()
    arrays = (torch.cat(weights).numpy(), torch.cat(pixels).numpy(), ends.numpy())
    matrix = csr_array(arrays, shape=(len(ends) - 1, size**2))
    matrix.sort_indices()
    return matrix


def _as_torch(matrix: Any, like: Tensor) -> Tensor:
    ends, places, weights = (torch.from_numpy(a).to(like.device) for a in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(ends, places, weights.to(like), matrix.shape, check_invariants=False)


class _Product(Function):
    """Rows (N, d) times the transpose of a sparse matrix (m, d), with a derivative by the kept transpose."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, matrix: Tensor, transpose: Tensor) -> Tensor:
        ctx.swapped = transpose, matrix
        return (matrix @ rows.T).T.contiguous()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, None, None]:
        return _Product.apply(gradients[0], *ctx.swapped), None, None
