"""Sensor saturation: clipping of bright pixels."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import softplus

from .arguments import number, tensor
from .base import Operator
from .noise import Noise
from .registry import register


@register("saturation")
class Saturation(Operator):
    """Clipping at the sensor's limit, after an exposure `gain` times as long.

    Formula: y = clip(gain x, 0, limit), with derivative gain inside and 0 outside; with a softness s > 0 instead
    y = s (softplus(gain x / s) - softplus((gain x - limit) / s)), which differs by at most s log 2 and has a nonzero
    derivative everywhere, so that guidance can correct estimates that are too bright. A softness near the noise's sigma
    works best. For HDR, `Stack` several exposures.
    Source: Debevec & Malik 1997, whose response curve is linear here.
    Arguments: gain (float > 0), or (B,), one per measurement; limit (float > 0) and softness (float >= 0), in units of
    y; noise, added after clipping, in units of y.
    Raises: ValueError for values out of range.
    """

    gain: Tensor

    def __init__(self, gain: Any = 2.0, limit: float = 1.0, softness: float = 0.0, noise: Noise | None = None) -> None:
        super().__init__(noise)
        gain = tensor("Saturation: gain", gain)
        if gain.ndim > 1 or not bool((gain > 0).all()):
            raise ValueError(f"Saturation: gain = {gain.tolist()!s:.60}: expected a number > 0, or a tensor (B,)")
        self.limit = number("Saturation: limit", limit, "(0, inf)")
        self.softness = number("Saturation: softness", softness, "[0, inf)")
        self.batched_buffer("gain", gain, 0)

    def forward(self, x: Tensor) -> Tensor:
        exposed, s = self.aligned("gain", x) * x, self.softness
        if s == 0:
            return exposed.clamp(0, self.limit)
        return s * (softplus(exposed / s) - softplus((exposed - self.limit) / s))
