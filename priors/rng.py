"""One random stream per sample, independent of the batch."""

import math
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from priors.arguments import count
from priors.arguments import seed as seeded


class RNG(Protocol):
    """Where random numbers come from; `RowRNG` is one, with a stream per row."""

    def normal(self, shape: tuple[int, ...], /) -> Tensor:
        """Standard normal draws of ``shape`` (N, ...), a new tensor."""
        ...

    def uniform(self, shape: tuple[int, ...], /) -> Tensor:
        """Uniform draws on [0, 1) of ``shape`` (N, ...)."""
        ...


class RowRNG:
    """One random stream per sample, so that a sample does not depend on its batch or device.

    Each stream is a numpy Generator of SeedSequence (seed, *key): streams of neighbouring keys are independent. (A
    torch.Generator on the CPU uses only 32 bits of its seed: among 10^5 keys two would coincide.)
    Source: the per-sample seeding of Karras et al. 2022 (EDM), carried to measurement x sample; Hammersley & Morton
    1956 (antithetic variates).
    Arguments: seed (int >= 0, < 2^63); keys (iterable of tuples of int, one per row); device and dtype of the draws;
    mirrored (bool per row, default none): rows whose normal draws are negated, so that two rows of one key are
    antithetic.
    Raises: TypeError or ValueError for an invalid seed.
    """

    def __init__(
        self,
        seed: int,
        keys: Iterable[tuple[int, ...]],
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        mirrored: Sequence[bool] = (),
    ):
        seed = seeded(seed)
        self.device, self.dtype = torch.device(device), dtype
        try:
            keys = [tuple(count("a number of a key", part, 0, 2**63 - 1) for part in key) for key in keys]
        except TypeError:
            raise TypeError("keys: expected tuples of integers >= 0, one per sample, such as [(0,), (1,)]") from None
        sequences = (np.random.SeedSequence(seed, spawn_key=key) for key in keys)
        self._mirrored = torch.tensor(list(mirrored), device=self.device) if any(mirrored) else None
        self._generators = [np.random.Generator(np.random.PCG64(sequence)) for sequence in sequences]

    def __repr__(self) -> str:
        return f"RowRNG({len(self._generators)} rows, {self.dtype}, {self.device})"

    @classmethod
    def rows(cls, seed: int, n: int, **kwargs) -> "RowRNG":
        """The streams of rows 0..n-1."""
        return cls(seed, ((row,) for row in range(count("n", n, 0))), **kwargs)

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal draws of ``shape`` (N, ...), row n from stream n."""
        z = self._draw(shape, np.random.Generator.standard_normal)
        if self._mirrored is not None:
            z[self._mirrored] *= -1
        return z

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """Uniform draws on [0, 1) of ``shape`` (N, ...), row n from stream n."""
        return self._draw(shape, np.random.Generator.random)

    def _draw(self, shape, fill) -> Tensor:
        if len(shape) == 0 or shape[0] != len(self._generators):
            raise ValueError(f"shape {tuple(shape)}: expected a first axis of {len(self._generators)}, one per stream")
        # memory of torch, which plans count
        out = torch.empty(shape, dtype=torch.float64 if self.dtype == torch.float64 else torch.float32, device="cpu")
        rows = out.view(len(out), math.prod(shape[1:])).numpy()
        for row, generator in zip(rows, self._generators, strict=True):
            fill(generator, dtype=rows.dtype, out=row)
        return out.to(self.device, self.dtype)


def signs(rng: RNG, shape: tuple[int, ...]) -> Tensor:
    """Rademacher draws, +1 or -1 with equal probability, in the dtype of ``rng.uniform``; shape (N, ...)."""
    u = rng.uniform(shape)
    return 1 - 2 * (u < 0.5).to(u)
