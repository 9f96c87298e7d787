"""How the tensors of another toolkit, complex ones and lists of them, are laid out as one real tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Packing:
    """The layout of a batch: a complex tensor (N, C, ...) is (N, 2C, ...), its real parts before its imaginary parts;
    a list of tensors is (N, m), one flattened after the other.

    Arguments:
        shapes: of each tensor, without the batch axis.
        dtypes: of each tensor.
        listed: whether there is a list of tensors, or one.

    Raises:
        ValueError: `pack` of another number of tensors or of other shapes.
    """

    shapes: tuple[Shape, ...]
    dtypes: tuple[torch.dtype, ...]
    listed: bool = False

    @classmethod
    def of(cls, theirs: Any) -> Packing:
        """The layout of a tensor (N, ...) or of a list of them."""
        parts = [theirs] if isinstance(theirs, Tensor) else list(theirs)
        return cls(
            tuple(tuple(part.shape[1:]) for part in parts),
            tuple(part.dtype for part in parts),
            not isinstance(theirs, Tensor),
        )

    @cached_property
    def plain(self) -> bool:
        """Whether there is one real tensor, which is left as it is."""
        return not self.listed and not self.dtypes[0].is_complex

    @cached_property
    def shape(self) -> Shape:
        """The shape of the real tensor, without the batch axis."""
        sizes = [_real_shape(s, d) for s, d in zip(self.shapes, self.dtypes, strict=True)]
        return (sum(map(math.prod, sizes)),) if self.listed else sizes[0]

    def pack(self, theirs: Any) -> Tensor:
        """A tensor or list of tensors as one real tensor.

        Arguments:
            theirs: (N, ...), or a list of such tensors.
        """
        parts = [theirs] if isinstance(theirs, Tensor) else list(theirs)
        if tuple(tuple(part.shape[1:]) for part in parts) != self.shapes:
            raise ValueError(
                f"tensors of shapes {[tuple(part.shape) for part in parts]}: expected (N, ...) of "
                f"{', '.join(map(str, self.shapes))}"
            )
        real = [_as_real(part, dtype) for part, dtype in zip(parts, self.dtypes, strict=True)]
        return torch.cat([part.flatten(1) for part in real], 1) if self.listed else real[0]

    def unpack(self, ours: Tensor) -> Any:
        """The inverse of `pack`.

        Arguments:
            ours: (N, ...), of `shape`.
        """
        if not self.listed:
            return _as_theirs(ours, self.shapes[0], self.dtypes[0])
        sizes = [_real_shape(s, d) for s, d in zip(self.shapes, self.dtypes, strict=True)]
        parts = ours.split([math.prod(size) for size in sizes], 1)
        return [
            _as_theirs(part.reshape(len(part), *size), shape, dtype)
            for part, size, shape, dtype in zip(parts, sizes, self.shapes, self.dtypes, strict=True)
        ]


def _real_shape(shape: Shape, dtype: torch.dtype) -> Shape:
    return (2 * shape[0], *shape[1:]) if dtype.is_complex else shape


def _as_real(part: Tensor, dtype: torch.dtype) -> Tensor:
    if not dtype.is_complex:
        return part.real if part.is_complex() else part
    return torch.cat([part.real, part.imag], 1) if part.is_complex() else torch.cat([part, torch.zeros_like(part)], 1)


def _as_theirs(part: Tensor, shape: Shape, dtype: torch.dtype) -> Tensor:
    if not dtype.is_complex:
        return part
    wide = torch.float64 if dtype == torch.complex128 else part.dtype
    return torch.complex(*part.to(wide).split(shape[0], 1))
