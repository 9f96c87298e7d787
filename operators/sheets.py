"""Cone beams a detector row at a time: the rays to a row lie in a sheet through the source, as those of a fan beam.

A volume's values on the sheet, interpolated between slices, are a picture: its line integrals are those of `joseph`.
Only a block of rows is in memory at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .backprojection import nodes

BLOCK = 2**22  # values on sheets that are in memory at once, at least those of one row
PART = 2**17  # of those, how many are interpolated at once: a size that stays in the cache


class Sheets(NamedTuple):
    """The sheets of a view: where the one to row i is at a voxel column, start + step i, in slices; both (H * W,). And
    the weights of the view's rays, sparse (columns, H * W), with their transpose."""

    matrix: Tensor
    transpose: Tensor
    start: Tensor
    step: Tensor


def project(x: Tensor, views: Iterable[Sheets], rows: int) -> Tensor:
    """Line integrals within every sheet of every view, (B, D, H, W) -> (B, views, rows, columns)."""
    batch, depth = x.shape[:2]
    columns = F.pad(x.flatten(2).movedim(0, 1), (0, 0, 0, 0, 1, 1)).permute(2, 1, 0).contiguous()  # (H W, B, D + 2)
    found = []
    for sheets in views:
        parts = []
        for first, count in _blocks(rows, len(columns) * batch):
            values = columns.new_empty(len(columns), batch, count)
            for part in _parts(len(columns), batch * count):
                low, share = _between(sheets, part, first, count, depth, values)
                values[part] = read(columns[part], low, share)
            parts.append((sheets.matrix @ values.flatten(1)).unflatten(1, (batch, count)))
        found.append(torch.cat(parts, -1))
    return torch.stack(found).permute(2, 0, 3, 1).contiguous()


def spread(y: Tensor, views: Iterable[Sheets], size: tuple[int, int, int]) -> Tensor:
    """The adjoint of `project`, (B, views, rows, columns) -> (B, D, H, W). Arguments: size (D, H, W)."""
    batch, rows = len(y), y.shape[2]
    columns = y.new_zeros(size[1] * size[2], batch, size[0] + 2)
    for view, sheets in zip(y.permute(1, 3, 0, 2), views, strict=True):
        for first, count in _blocks(rows, len(columns) * batch):
            block = view[..., first : first + count].reshape(len(view), -1)
            values = (sheets.transpose @ block).unflatten(1, (batch, count))
            for part in _parts(len(columns), batch * count):
                low, share = _between(sheets, part, first, count, size[0], values)
                low, upper = low.expand_as(values[part]), values[part] * share
                columns[part].scatter_add_(2, low, values[part] - upper)
                columns[part].scatter_add_(2, low + 1, upper)
    return columns[..., 1:-1].permute(1, 2, 0).reshape(batch, *size)


def back_project(q: Tensor, views: Iterable[tuple[Tensor, Tensor, Tensor, Tensor]], depth: int) -> Tensor:
    """The weighted sum over views of the value at each voxel's place on the detector, linearly interpolated in both
    directions; 0 beyond. (B, views, rows, columns) -> (H * W, B, D).

    Arguments: views: of each, of every voxel column (H * W,): its column on the detector, the rows start + step k of
    its slices k, as start and step, and the weight; depth: D.
    """
    batch, _, seen, across = q.shape
    q, parts = F.pad(q, (1, 1, 1, 1)).permute(1, 3, 0, 2), []  # (views, columns + 2, B, rows + 2)
    for view, (place, start, step, weight) in zip(q, views, strict=True):
        view, parts = view.contiguous(), parts or [0.0 for _ in _parts(len(place), batch * max(seen, depth))]
        for i, part in enumerate(_parts(len(place), batch * max(seen, depth))):
            low, share = nodes(place[part].to(q.device), across)
            values = torch.lerp(view[low], view[low + 1], share.to(q)[:, None, None])
            between = even(start[part].to(q.device), step[part].to(q.device), depth, seen, q)
            parts[i] = parts[i] + weight[part].to(q)[:, None, None] * read(values, *between)
    return torch.cat([part for part in parts if isinstance(part, Tensor)])


def read(padded: Tensor, low: Tensor, share: Tensor) -> Tensor:
    """Values (M, B, n + 2), zero at the ends, at the `nodes` (M, 1, count): (M, B, count)."""
    low = low.expand(-1, padded.shape[1], -1)
    return torch.lerp(padded.gather(2, low), padded.gather(2, low + 1), share.expand_as(low))


def even(start: Tensor, step: Tensor, count: int, n: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The `nodes` of places start + step i, i < count, among n values: (M, 1, count), the shares in like's dtype."""
    low, share = nodes(start[:, None] + step[:, None] * torch.arange(count, device=step.device), n)
    return low[:, None], share[:, None].to(like)


def _between(sheets: Sheets, part: slice, first: int, count: int, depth: int, like: Tensor) -> tuple[Tensor, Tensor]:
    step = sheets.step[part]
    return even(sheets.start[part] + first * step, step, count, depth, like)


def _blocks(rows: int, each: int) -> Iterator[tuple[int, int]]:
    """(first, count) of blocks of rows of so many values each."""
    most = max(1, BLOCK // each)
    return ((first, min(most, rows - first)) for first in range(0, rows, most))


def _parts(length: int, each: int) -> Iterator[slice]:
    most = max(1, PART // each)
    return (slice(first, min(first + most, length)) for first in range(0, length, most))
