"""JPEG compression with a differentiable rounding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .arguments import choice, tensor
from .base import Operator, Shape
from .noise import Noise
from .registry import register
from .transforms import dct, idct

LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56), (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99), (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)  # fmt: skip
# Rec. ITU-T T.871 (JFIF): luma and the two differences of colour, of R, G, B
YCC = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
SUBSAMPLINGS = ("4:2:0", "4:4:4")
# DPS with "sharp" ended at 2.5 times the error of the decoded file itself, with "smooth" below that error
# (smooth random images of 16 x 16 pixels, quality 50, rounded truly).
ROUNDINGS = {"smooth": 4, "sharp": 1}


@register("jpeg")
class JPEG(Operator):
    """An image compressed as JPEG and decoded again.

    Formula: y = idct(Q r(dct(x) / Q)) on blocks of 8 x 8 pixels of luma and chroma (chroma at half size for 4:2:0); Q
    are libjpeg's quantisation tables for the quality. Rounding, whose derivative is 0 almost everywhere, is replaced by
    r(c) = [c] + a (c - [c])^3 with [c] the nearest integer. a = 4 is a smooth staircase of mean slope 1, for guidance;
    a = 1 is closer to true rounding but jumps by 3/4 between integers. Sizes that are not multiples of a block are
    padded by the last pixel, as in libjpeg. A decoder's rounding to 8 bits and clipping to [0, 1] are left out, since
    they would stop gradients.
    Source: Wallace 1992; Shin & Song 2017 for r with a = 1.
    Arguments: quality (1 to 100), or (B,), one per measurement; subsampling of chroma: "4:2:0" or "4:4:4"; noise, in
    units of y; rounding: "smooth" (a = 4) or "sharp" (a = 1). Choose sigma between the error of r on a decoded file, up
    to 0.19 `step` (smooth) or 0.05 `step` (sharp) rms, and the rounding error step / sqrt(12).
    Raises: ValueError for a quality out of range, an unknown subsampling or rounding, or events that are not (1, H, W)
    or (3, H, W).
    """

    luminance: Tensor
    chrominance: Tensor
    ycc: Tensor

    def __init__(
        self, quality: Any = 50, subsampling: str = "4:2:0", noise: Noise | None = None, rounding: str = "smooth"
    ) -> None:
        super().__init__(noise)
        quality = tensor("JPEG: quality", quality)
        if quality.ndim > 1 or not bool(((quality >= 1) & (quality <= 100)).all()):
            raise ValueError(
                f"JPEG: quality = {quality.tolist()!s:.60}: expected a number from 1 to 100, or a tensor (B,)"
            )
        self.quality = quality.tolist()  # as given, for repr
        self.subsampling = choice("JPEG: subsampling", subsampling, SUBSAMPLINGS)
        self.rounding = choice("JPEG: rounding", rounding, ROUNDINGS)
        self.batched_buffer("luminance", _table(LUMINANCE, quality), 2)
        self.batched_buffer("chrominance", _table(CHROMINANCE, quality), 2)
        self.register_buffer("ycc", torch.tensor(YCC, dtype=torch.float64))

    @property
    def step(self) -> Tensor:
        """Root mean square of the luminance table, in image units; 0-d or (B,)."""
        return self.luminance.square().mean((-2, -1)).sqrt() / 255

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] == 1:
            return (self._coded(255 * x - 128, "luminance") + 128) / 255
        ycc = torch.einsum("ij,njhw->nihw", self.ycc.to(x.dtype), 255 * x)
        luma, chroma = self._coded(ycc[:, :1] - 128, "luminance") + 128, ycc[:, 1:]
        if self.subsampling == "4:2:0":
            h, w = x.shape[-2:]
            # libjpeg pads columns before subsampling, and rows after
            half = F.avg_pool2d(F.pad(chroma, (0, -w % 16, 0, h % 2), mode="replicate"), 2)
            half = self._coded(half, "chrominance")[..., : -(-w // 2)]
            chroma = F.interpolate(half, scale_factor=2, mode="bilinear")[..., :h, :w]
        else:
            chroma = self._coded(chroma, "chrominance")
        return torch.einsum("ij,njhw->nihw", self.ycc.inverse().to(x.dtype), torch.cat([luma, chroma], 1)) / 255

    def check_event_shape(self, event_shape: Shape) -> None:
        if len(event_shape) != 3 or event_shape[0] not in (1, 3):
            raise ValueError(f"JPEG: expected events (1, H, W) or (3, H, W), given {event_shape}; split other channels")

    def _coded(self, plane: Tensor, table: str) -> Tensor:
        """Planes (N, C, H, W) in grey levels about 0, quantised block by block."""
        h, w = plane.shape[-2:]
        padded = F.pad(plane, (0, -w % 8, 0, -h % 8), mode="replicate")
        z = dct(padded.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4))  # (N, C, H / 8, W / 8, 8, 8)
        step = self.aligned(table, z)
        nearest = (z / step).detach().round()
        blocks = idct(step * (nearest + ROUNDINGS[self.rounding] * (z / step - nearest) ** 3))
        return blocks.transpose(3, 4).flatten(4).flatten(2, 3)[..., :h, :w]


def _table(standard: tuple[tuple[int, ...], ...], quality: Tensor) -> Tensor:
    """The steps of a quality, (8, 8) or (B, 8, 8), by libjpeg's rule."""
    q = quality.double()[..., None, None]
    percent = torch.where(q < 50, (5000 / q).floor(), 200 - 2 * q)
    return ((torch.tensor(standard) * percent + 50) / 100).floor().clamp(1, 255).float()
