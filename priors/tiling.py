"""Large pictures in tiles: the same denoiser in bounded memory, evaluated by one process or several."""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from priors.arguments import count, state
from priors.base import VJP, Prior, Wrapped, recorded
from priors.crew import Crew, denoised, derivative, in_order
from priors.threads import one_thread


@dataclass(frozen=True)
class Tile:
    """A part of a picture that is evaluated by itself: its pixels with their margin, and which of these are its own."""

    rows: slice
    own_rows: slice
    columns: slice
    own_columns: slice

    def whole(self, x: Tensor) -> Tensor:
        """The tile of a picture, with its margin."""
        return x[..., self.rows, self.columns]

    def own(self, part: Tensor) -> Tensor:
        """The own pixels of what `whole` returned."""
        return part[..., self.own_rows, self.own_columns]


class Tiled(Wrapped):
    """A prior whose denoiser is evaluated in tiles, equal to the untiled one up to rounding.

    A network with a bounded receptive field needs a margin of its radius around each tile; margins are evaluated and
    discarded. Tiles are evaluated again for a derivative: memory is that of one tile either way, and a backward pass
    costs one more evaluation. With several processes, each has a copy of the network, gets tiles and returns them, and
    computes in one thread; results do not depend on their number, bit for bit if one process computes in one thread
    too. States, operators and methods stay in this process. The processes start with the first evaluation, by spawn (a
    script must do so under ``if __name__ == "__main__":``), and end with this object.
    Arguments: prior (of a network of any size, such as "natural"); tile (int >= 1): side of a tile without
    margin, pixels, rounded up to the network's stride. The overhead is a factor (1 + 2 margin / tile)^2, so a tile
    should not be small compared with the margin; processes (int >= 1) that evaluate tiles, this one included. Gradients
    of gradients are computed by this process alone.
    Attributes: margin (pixels); tile (pixels, rounded); processes.
    Raises: ValueError for a prior of a network without a known receptive field, for a tile or processes below 1, and
    for several processes with a prior on another device than the CPU; RuntimeError where a process has ended.
    """

    def __init__(self, prior: Prior, tile: int = 512, processes: int = 1):
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
        self._processes, self._crew = count("processes", processes), None
        if self._processes > 1 and prior.device.type != "cpu":
            raise ValueError(
                f"processes = {processes} and a prior on {prior.device}: several processes evaluate tiles on the CPU; "
                "take processes = 1, or prior.to('cpu')"
            )

    @property
    def processes(self) -> int:
        """How many processes evaluate tiles, this one included."""
        return self._processes

    def _facts(self) -> dict[str, Any]:
        several = {"processes": self.processes} if self.processes > 1 else {}
        return super()._facts() | {"tile": self.tile, "margin": self.margin} | several

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_crew": None}  # a copy starts processes of its own

    def in_bfloat16(self) -> "Tiled":
        copied = copy(self)
        copied.prior = self.prior.in_bfloat16()
        return copied

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        if recorded(x):
            return self._recorded(x, t)
        out = x.new_empty(x.shape)

        def take(tile: Tile, found: Tensor) -> None:
            tile.own(tile.whole(out)).copy_(tile.own(found))

        self._evaluate(denoised, x, t, None, take)
        return out

    def denoise_vjp(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, VJP]:
        state(x, t, len(self.event_shape))
        if recorded(x) or not self.prior.differentiable:
            return super().denoise_vjp(x, t)

        def vjp(v: Tensor) -> Tensor:
            v = v.detach()
            out = torch.zeros_like(v)

            def take(tile: Tile, found: Tensor) -> None:
                tile.whole(out).add_(found)

            self._evaluate(derivative, x, t, v, take)
            return out

        with torch.no_grad():
            return self.denoise(x, t), vjp

    def tiles(self, height: int, width: int) -> list[Tile]:
        """Those of a picture of this size, in the order of evaluation."""
        return [Tile(*rows, *columns) for rows, columns in product(self.spans(height), self.spans(width))]

    def spans(self, size: int) -> Iterator[tuple[slice, slice]]:
        """Along one axis: the pixels that a tile is evaluated on, and those of them that are kept."""
        # tiles start and end at multiples of the stride, so that their grid is that of the image
        for start in range(0, size, self.tile):
            end = min(start + self.tile, size)
            first, last = max(start - self.margin, 0), min(end + self.margin, size)
            yield slice(first, last), slice(start - first, end - first)

    def _evaluate(
        self,
        call: Callable[..., Tensor],
        x: Tensor,
        t: Tensor | float,
        v: Tensor | None,
        take: Callable[[Tile, Tensor], None],
    ) -> None:
        """A function of every tile of x, with the own pixels of v around zeros, by all processes."""
        x, tiles = x.detach(), self.tiles(*x.shape[-2:])

        def arguments(tile: Tile) -> tuple[Tensor, Tensor | float, Tensor | None]:
            part = tile.whole(x)
            if v is None:
                return part, t, None
            alone = torch.zeros_like(part, memory_format=torch.contiguous_format)
            tile.own(alone).copy_(tile.own(tile.whole(v)))
            return part, t, alone

        def here(tile: Tile) -> Tensor:
            return call(self.prior, *arguments(tile))

        others = min(self.processes, len(tiles)) - 1
        if others == 0:
            for tile in tiles:
                take(tile, here(tile))
            return
        crew = self._crew = self._crew or Crew(self.prior, self.processes - 1)

        def there(k: int, tile: Tile) -> Tensor:
            return crew.evaluate(k, call.__name__, *arguments(tile))

        try:
            with one_thread():
                in_order(tiles, [here, *(partial(there, k) for k in range(others))], take)
        except BaseException:  # an interrupt too: answers would come to the wrong questions
            self._crew = None
            crew.close()
            raise

    def _recorded(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The denoiser with a graph that recomputes the activations of each tile (checkpointing)."""
        lines = []
        for rows in self.spans(x.shape[-2]):
            line = []
            for columns in self.spans(x.shape[-1]):
                tile = Tile(*rows, *columns)
                part = checkpoint(self.prior.denoise, tile.whole(x), t, use_reentrant=False, preserve_rng_state=False)
                line.append(tile.own(part))
            lines.append(torch.cat(line, -1))
        return torch.cat(lines, -2)
