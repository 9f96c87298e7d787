"""Class labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import Noise, fits_rows


class Categorical(Noise):
    """A label drawn from logits.

    P(y = c) = softmax(clean)_c; clean (N, classes), y (N,) int64.
    """

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset()

    def sample(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        p = clean.softmax(-1).cpu()
        return torch.cat([torch.multinomial(row, 1, generator=generator) for row in p]).to(clean.device)

    def log_prob(self, y: Tensor, clean: Tensor) -> Tensor:
        return clean.log_softmax(-1).gather(-1, y[:, None])[:, 0]

    def mean(self, clean: Tensor) -> Tensor:
        return clean.softmax(-1)

    def variance(self, clean: Tensor) -> Tensor:
        p = clean.softmax(-1)
        return p * (1 - p)

    def encode(self, y: Tensor, clean: Tensor) -> Tensor:
        return F.one_hot(y, clean.shape[-1]).to(clean)

    def fits(self, y: Tensor, measurement_shape: tuple[int, ...], n: int | None = None) -> None:
        if not isinstance(y, Tensor) or y.dtype != torch.int64:
            given = y.dtype if isinstance(y, Tensor) else type(y).__name__
            raise TypeError(
                f"y: expected int64 labels (B,), given {given}; convert integers with torch.as_tensor(y).long()"
            )
        if y.ndim != 1 or len(y) == 0:
            raise ValueError(f"y: expected labels of shape (B,) with B >= 1, given {tuple(y.shape)}; not one-hot")
        fits_rows(len(y), n)

    def validate(self, y: Tensor, measurement_shape: tuple[int, ...]) -> None:
        """Refuse anything but integer labels (B,) in 0..classes-1.

        Raises:
            TypeError: y is not an int64 tensor.
            ValueError: wrong shape, or a label out of range.
        """
        self.fits(y, measurement_shape)
        if y.is_meta:
            raise ValueError("y is on the meta device, which stores no values: expected another device")
        if int(y.min()) < 0 or int(y.max()) >= measurement_shape[-1]:
            raise ValueError(f"y: labels must be in 0..{measurement_shape[-1] - 1}, given {y.tolist()[:8]}")
