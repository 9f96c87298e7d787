"""Large pictures in tiles: the same denoiser in bounded memory."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from priors.arguments import count
from priors.base import Prior, Wrapped


class Tiled(Wrapped):
    """A prior whose denoiser is evaluated in tiles, equal to the untiled one up to rounding.

    A network with a bounded receptive field needs a margin of its radius around each tile; margins are evaluated and
    discarded. With gradients, activations are recomputed in the backward pass (checkpointing): memory is that of one
    tile either way, and a backward pass costs one more evaluation.
    Arguments: prior (of a network of any size, such as "natural"); tile (int >= 1): side of a tile without
    margin, pixels, rounded up to the network's stride. The overhead is a factor (1 + 2 margin / tile)^2, so a tile
    should not be small compared with the margin.
    Attributes: margin (pixels); tile (pixels, rounded).
    Raises: ValueError for a prior of a network without a known receptive field, and for a tile below 1.
    """

    def __init__(self, prior: Prior, tile: int = 512):
        if not isinstance(prior, Prior):
            raise TypeError(
                f"prior of type {type(prior).__name__}: expected a priors.Prior, for example priors.load(...)"
            )
        super().__init__(prior)
        network = getattr(prior, "network", None)
        radius, stride = (getattr(network, name, None) for name in ("receptive_radius", "stride"))
        if radius is None or stride is None:
            raise ValueError(
                f"{type(prior).__name__}: its network does not declare its receptive field, and only a bounded one "
                "can be tiled; use a prior for any size, such as 'natural', or solve without tiles"
            )
        tile = count("tile", tile, hint="pixels of a side")
        self.margin, self.tile = -(-int(radius) // stride) * stride, -(-tile // stride) * stride

    def _facts(self) -> dict[str, Any]:
        return super()._facts() | {"tile": self.tile, "margin": self.margin}

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        h, w = x.shape[-2:]
        recorded = torch.is_grad_enabled() and x.requires_grad
        lines = []
        for rows, own_rows in self.spans(h):
            line = []
            for columns, own_columns in self.spans(w):
                part = x[..., rows, columns]
                denoised = (
                    checkpoint(self.prior.denoise, part, t, use_reentrant=False, preserve_rng_state=False)
                    if recorded
                    else self.prior.denoise(part, t)
                )
                line.append(denoised[..., own_rows, own_columns])
            lines.append(torch.cat(line, -1))
        return torch.cat(lines, -2)

    def spans(self, size: int) -> Iterator[tuple[slice, slice]]:
        """Along one axis: the pixels that a tile is evaluated on, and those of them that are kept."""
        # tiles start and end at multiples of the stride, so that their grid is that of the image
        for start in range(0, size, self.tile):
            end = min(start + self.tile, size)
            first, last = max(start - self.margin, 0), min(end + self.margin, size)
            yield slice(first, last), slice(start - first, end - first)
