"""Phase retrieval: only Fourier magnitudes are measured."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from .arguments import count, number, shape, tensor
from .arguments import seed as seeded
from .base import Operator, Shape
from .noise import Noise
from .registry import register


@register("phase_retrieval")
class PhaseRetrieval(Operator):
    """The magnitude of the oversampled Fourier transform, optionally after coded masks.

    Formula: y = |F pad(x)|, channel by channel, with F orthonormal and zero padding to oversampling H x oversampling W;
    (N, C, H, W) -> (N, C, H', W'). With masks, (N, C L, H', W'): |F pad(m_l x)|, coded diffraction patterns. The
    derivative is defined as 0 where y = 0. Without masks, shifts of x and its rotation by 180 degrees have the same y,
    so the posterior has several modes: draw several samples.
    Source: Fienup 1982; Candes, Li & Soltanolkotabi 2015 for the masks.
    Arguments: oversampling (float >= 1); 2 makes the magnitudes determine the image up to these symmetries; noise, in
    units of y, whose mean square is that of x over oversampling^2; masks, real or complex: (L, H, W), or (B, L, H, W),
    one set per measurement.
    Raises: ValueError for an oversampling below 1, masks of other axes or not finite, or events that are not (C, H, W)
    or of another size than the masks.
    """

    masks: Tensor | None

    def __init__(self, oversampling: float = 2.0, noise: Noise | None = None, masks: Any = None) -> None:
        super().__init__(noise)
        self.oversampling = number("PhaseRetrieval: oversampling", oversampling, "[1, 64]", "usually 2")
        if masks is None:
            self.register_buffer("masks", None)
            return
        masks = tensor("PhaseRetrieval: masks", masks, complex_=True)
        if masks.ndim not in (3, 4):
            raise ValueError(
                f"PhaseRetrieval: expected masks (L, H, W) or (B, L, H, W), given shape {tuple(masks.shape)}; "
                "write mask[None] for a single mask"
            )
        self.batched_buffer("masks", masks, 3)

    @classmethod
    def coded(
        cls,
        event_shape: Shape,
        n_masks: int = 4,
        seed: int = 0,
        oversampling: float = 1.0,
        noise: Noise | None = None,
    ) -> Self:
        """Coded diffraction patterns: every mask multiplies each pixel by a random power of i.

        Arguments:
            event_shape: (C, H, W).
            n_masks: L, patterns measured.
            seed: of the masks.
        """
        n_masks = count("PhaseRetrieval.coded: n_masks", n_masks, most=1024)
        size = shape("PhaseRetrieval.coded: event_shape", event_shape)[-2:]
        turns = torch.randint(4, (n_masks, *size), generator=torch.Generator().manual_seed(seeded(seed)))
        return cls(oversampling, noise, torch.tensor([1, 1j, -1, -1j])[turns])

    def forward(self, x: Tensor) -> Tensor:
        size = [round(self.oversampling * n) for n in x.shape[-2:]]
        if self.masks is not None:
            masks = self.masks[:, None] if self._is_batched("masks") else self.masks
            x = (masks * x[:, :, None]).flatten(1, 2)
        return torch.fft.fft2(x, s=size, norm="ortho").abs()

    def check_event_shape(self, event_shape: Shape) -> None:
        if len(event_shape) != 3:
            raise ValueError(
                f"PhaseRetrieval: expected events (C, H, W), given {event_shape}; x[:, None] adds a channel"
            )
        if self.masks is not None and self.masks.shape[-2:] != event_shape[-2:]:
            raise ValueError(
                f"PhaseRetrieval: masks of {tuple(self.masks.shape[-2:])} pixels do not fit events {event_shape}; "
                "use PhaseRetrieval.coded to make masks of the picture's size"
            )
