"""Line integrals as a sparse matrix by Joseph's method, and differentiable linear maps."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from .solvers import Map


def joseph(angles: Tensor, s: Tensor, size: tuple[int, int], pixel: float, origin: tuple[float, float]) -> Any:
    """The system matrix by Joseph's method, as scipy CSR (views * detectors, H * W), float64.

    Arguments:
        angles, s: of the rays u cos(angle) + v sin(angle) = s, (views, detectors); angles in radians, s in pixels.
        size: (H, W) of the image.
        pixel: the line integral through one pixel of value 1.
        origin: (row, column) of u = v = 0.
    """
    from scipy.sparse import coo_array

    (height, width), (row, column) = size, origin
    entries: list[tuple[Tensor, Tensor, Tensor]] = []
    for view, (angle, at) in enumerate(zip(angles.double(), s.double(), strict=True)):
        cos, sin = angle.cos(), angle.sin()
        steep = cos.abs() >= sin.abs()  # such rays cross each row once, the others each column
        for ray in steep.nonzero(), (~steep).nonzero():
            if not len(ray):
                continue
            if steep[ray[0]]:
                weight, line, across = _crossings(at[ray], cos[ray], sin[ray], height, width, row, column)
                places = line * width + across
            else:
                weight, line, across = _crossings(at[ray], -sin[ray], -cos[ray], width, height, column, row)
                places = across * width + line
            seen = weight > 0
            rays = (view * len(angle) + ray[..., None]).int().expand(seen.shape)
            entries.append((pixel * weight[seen], rays[seen], places[seen]))
    weights, rays, places = (torch.cat(part).numpy() for part in zip(*entries, strict=True))
    matrix = coo_array((weights, (rays, places)), shape=(angles.numel(), height * width)).tocsr()
    matrix.sort_indices()
    return matrix


def _crossings(
    at: Tensor, major: Tensor, minor: Tensor, lines: int, spots: int, along: float, across: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Where rays cross lines of pixels: weights, lines, and the two nearest pixels of the line, (rays, lines, 2)."""
    line = torch.arange(lines, dtype=torch.int32)
    place = at / major + minor / major * (line - along) + across
    low = place.floor()
    near = torch.stack([low, low + 1], -1)
    weight = torch.stack([low + 1 - place, place - low], -1) / major.abs()[..., None]
    weight = torch.where((near >= 0) & (near < spots), weight, 0)  # nothing is outside
    return weight, line[:, None], near.clamp(0, spots - 1).int()


def as_torch(matrix: Any, like: Tensor) -> Tensor:
    """A scipy CSR matrix as a torch CSR tensor of like's dtype and device."""
    ends, places, weights = (torch.from_numpy(a).to(like.device) for a in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(ends, places, weights.to(like), matrix.shape, check_invariants=False)


class Product(Function):
    """A linear map of rows, differentiable by its adjoint."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, apply: Map, adjoint: Map) -> Tensor:
        ctx.swapped = adjoint, apply
        return apply(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, None, None]:
        return Product.apply(gradients[0], *ctx.swapped), None, None


def times(matrix: Tensor) -> Map:
    """The map of rows (N, d) by a sparse matrix (m, d): their products with its transpose, (N, m)."""
    return lambda rows: (matrix @ rows.T).T.contiguous()
