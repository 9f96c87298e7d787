"""Line integrals as a sparse matrix by Joseph's method, and differentiable products with it."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def joseph(angles: Tensor, size: int, detectors: int, pixel: float, centre: float, origin: tuple[float, float]) -> Any:
    """The system matrix by Joseph's method, as scipy CSR (views * detectors, size * size), float64.

    Arguments: angles in degrees; centre and origin: the axis of rotation, see `Radon`.
    """
    from scipy.sparse import csr_array

    s = torch.arange(detectors, dtype=torch.float64)[:, None] - centre
    line = torch.arange(size)[:, None]
    weights, pixels, counts = [], [], []
    for angle in angles.double().deg2rad().tolist():
        cos, sin = math.cos(angle), math.sin(angle)
        steep = abs(cos) >= abs(sin)  # the ray crosses each row once, otherwise each column
        major, slope = (cos, sin / cos) if steep else (-sin, cos / sin)
        along, across_at = origin if steep else origin[::-1]
        place = s / major + slope * (line.T - along) + across_at  # (detectors, size): where rays cross the lines
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


def as_torch(matrix: Any, like: Tensor) -> Tensor:
    """A scipy CSR matrix as a torch CSR tensor of like's dtype and device."""
    ends, places, weights = (torch.from_numpy(a).to(like.device) for a in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(ends, places, weights.to(like), matrix.shape, check_invariants=False)


class Product(Function):
    """Rows (N, d) times the transpose of a sparse matrix (m, d), differentiable by the stored transpose."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, matrix: Tensor, transpose: Tensor) -> Tensor:
        ctx.swapped = transpose, matrix
        return (matrix @ rows.T).T.contiguous()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, None, None]:
        return Product.apply(gradients[0], *ctx.swapped), None, None
