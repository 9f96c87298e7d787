"""Spatially varying blur: camera rotation, curved or tilted focus."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from .arguments import count, number, shape, tensor
from .base import Shape
from .blur import Blur, Boundary
from .kernels import checked, disc_kernel, drawn
from .linear_operator import LinearOperator
from .noise import Noise
from .registry import register

MOMENTS = 201  # of an exposure


@register("varying_blur")
class VaryingBlur(LinearOperator):
    """Spatially varying blur as a sum of windowed convolutions (efficient filter flow).

    Formula: y = sum_j k_j * (w_j x), channel by channel, with kernels k_j and overlapping windows w_j of sum 1.
    `VaryingBlur.grid` makes the windows.
    Source: Hirsch, Sra, Schoelkopf & Harmeling 2010.
    Arguments: kernels (J, kH, kW), or (B, J, kH, kW), one set per measurement; windows (J, H, W), or (B, J, H, W);
    boundary: "reflect", "circular" or "valid", as of `Blur`; noise, in units of y.
    Raises: ValueError for other shapes or numbers that are not finite, and for events of another size than the windows.
    """

    windows: Tensor

    def __init__(
        self, kernels: Tensor, windows: Tensor, boundary: Boundary = "reflect", noise: Noise | None = None
    ) -> None:
        super().__init__(noise)
        windows = tensor("VaryingBlur: windows", windows)
        kernels = checked("VaryingBlur: kernels", kernels)
        given = f"given kernels {tuple(kernels.shape)} and windows {tuple(windows.shape)}"
        if kernels.ndim not in (3, 4) or windows.ndim not in (3, 4) or kernels.shape[-3] != windows.shape[-3]:
            raise ValueError(
                f"VaryingBlur: expected kernels (J, kH, kW) and windows (J, H, W), or with a leading axis of "
                f"measurements, {given}; for a single kernel use Blur; VaryingBlur.grid makes windows"
            )
        self.blur = Blur(kernels, boundary)
        self.batched_buffer("windows", windows, 3)

    def _facts(self) -> dict[str, Any]:
        return {"kernels": self.blur.kernel, "boundary": self.blur.boundary} | super()._facts()

    @classmethod
    def grid(
        cls, kernels: Tensor, event_shape: Shape, boundary: Boundary = "reflect", noise: Noise | None = None
    ) -> Self:
        """Kernels at the nodes of a regular grid over the image, interpolated linearly.

        Arguments:
            kernels: (rows, columns, kH, kW).
            event_shape: (C, H, W).

        Raises:
            ValueError: kernels of other than four axes.
        """
        kernels = checked("VaryingBlur.grid: kernels", kernels)
        event_shape = shape("VaryingBlur.grid: event_shape", event_shape)
        if kernels.ndim != 4:
            raise ValueError(
                f"VaryingBlur.grid: expected kernels (rows, columns, kH, kW), given shape {tuple(kernels.shape)}; "
                "write kernels[:, None] for one column"
            )
        down, across = (
            F.interpolate(torch.eye(nodes)[None], size=size, mode="linear", align_corners=True)[0].to(kernels.device)
            for nodes, size in zip(kernels.shape[:2], event_shape[-2:], strict=True)
        )
        windows = torch.einsum("rh,sw->rshw", down, across).flatten(0, 1)
        return cls(kernels.flatten(0, 1), windows, boundary, noise)

    @classmethod
    def rotation(
        cls,
        event_shape: Shape,
        degrees: float = 5.0,
        nodes: int = 5,
        boundary: Boundary = "reflect",
        noise: Noise | None = None,
    ) -> Self:
        """Blur by a rotation of the camera about the image centre during the exposure.

        Arguments:
            event_shape: (C, H, W).
            degrees: the angle of rotation, counter-clockwise in the image.
            nodes: of the grid of kernels, along each side.

        Raises:
            ValueError: fewer than two nodes.
        """
        nodes = _nodes(nodes)
        event_shape = shape("VaryingBlur.rotation: event_shape", event_shape)
        degrees = number("VaryingBlur.rotation: degrees", degrees, "[-360, 360]")
        rows, columns = (torch.linspace(-0.5, 0.5, nodes, dtype=torch.float64) * (n - 1) for n in event_shape[-2:])
        place = torch.complex(*torch.meshgrid(columns, -rows, indexing="xy")).flatten()[:, None]  # up is positive
        angle = ((torch.arange(MOMENTS, dtype=torch.float64) + 0.5) / MOMENTS - 0.5) * math.radians(degrees)
        moved = place * torch.polar(torch.ones_like(angle), angle) - place  # (nodes^2, moments)
        paths = torch.stack([-moved.imag, moved.real], -1)
        reach = max(1, math.ceil(paths.abs().max().item()))
        kernels = torch.stack([drawn(path + reach, 2 * reach + 1) for path in paths])
        return cls.grid(kernels.unflatten(0, (nodes, nodes)), event_shape, boundary, noise)

    @classmethod
    def defocus(
        cls,
        event_shape: Shape,
        top: float = 0.0,
        bottom: float = 3.0,
        nodes: int = 5,
        boundary: Boundary = "reflect",
        noise: Noise | None = None,
    ) -> Self:
        """Tilted focus: defocus discs whose radius changes linearly from the top row to the bottom row.

        Arguments:
            event_shape: (C, H, W).
            top, bottom: radius at these rows, pixels; 0 is in focus.
            nodes: of the grid of kernels, from top to bottom.

        Raises:
            ValueError: a radius below 0, fewer than two nodes.
        """
        nodes = _nodes(nodes)
        event_shape = shape("VaryingBlur.defocus: event_shape", event_shape)
        top, bottom = (
            number(f"VaryingBlur.defocus: {name}", radius, "[0, 512]", "a radius in pixels")
            for name, radius in (("top", top), ("bottom", bottom))
        )
        size = 2 * math.ceil(max(top, bottom)) + 1
        radii = torch.linspace(top, bottom, nodes, dtype=torch.float64).tolist()
        kernels = torch.stack([disc_kernel(radius, size) for radius in radii])
        return cls.grid(kernels[:, None], event_shape, boundary, noise)

    def forward(self, x: Tensor) -> Tensor:
        n, c = x.shape[:2]
        # The windowed images become channels, each with its own kernel.
        seen = self.aligned("windows", x[:, :, None]) * x[:, :, None]
        blur = self.blur if self.blur.batch is None else self.blur.rows(torch.arange(n).repeat_interleave(c))
        return blur(seen.flatten(0, 1)).sum(1).unflatten(0, (n, c))

    def event_shape_of(self, measurement_shape: Shape) -> Shape:
        return (*measurement_shape[:-2], *self.windows.shape[-2:])

    def check_event_shape(self, event_shape: Shape) -> None:
        size = tuple(self.windows.shape[-2:])
        if len(event_shape) != 3 or tuple(event_shape[1:]) != size:
            raise ValueError(
                f"VaryingBlur: its windows are for events (C, {size[0]}, {size[1]}), given {event_shape}; make a new "
                "operator for this size, e.g. by VaryingBlur.grid"
            )


def _nodes(nodes: int) -> int:
    return count("VaryingBlur: nodes", nodes, 2, 64, "including both edges of the picture")
