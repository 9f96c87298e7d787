"""How often a prior is evaluated, and the last evaluation kept."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import torch
from torch import Tensor

from priors.base import VJP, Prior, Wrapped, recorded


@dataclass
class _Done:
    """Evaluations and backward passes so far, which derivatives count without holding the prior that they are of."""

    nfe: Fraction = Fraction(0)
    nvjp: Fraction = Fraction(0)

    def back(self, passes: Fraction, _: Tensor | None = None) -> None:
        self.nvjp += passes


class Evaluations(Wrapped):
    """A prior that caches its last evaluation and counts evaluations.

    Score, denoiser and guided likelihood at one (x, t) share one call of the network. The last (x, t) is cached and x
    is compared by identity and version, not element by element.
    Arguments: prior (Prior); rows (int): of the whole state; calls on fewer rows count as that fraction of an
    evaluation and are not cached.
    Attributes: nfe, evaluations of the prior; nvjp, backward passes through it; both per row, rounded. A double
    backward counts as two passes.
    """

    def __init__(self, prior: Prior, rows: int | None = None):
        super().__init__(prior)
        self.rows, self.has_log_prob = rows, prior.has_log_prob
        self._done = _Done()
        self._key: tuple | None = None
        self._value: tuple[Tensor, VJP | None] | None = None

    def _facts(self) -> dict[str, Any]:
        return super()._facts() | {"nfe": self.nfe, "nvjp": self.nvjp}

    @property
    def nfe(self) -> int:
        """Evaluations of the prior per sample so far."""
        return round(self._done.nfe)

    @property
    def nvjp(self) -> int:
        """Backward passes through the prior per sample so far."""
        return round(self._done.nvjp)

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        if (kept := self._kept(x, t)) is not None:
            return kept[0]
        self._forget(x)
        return self._keep(x, t, self.prior.denoise(x, t), None)[0]

    def denoise_vjp(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, VJP]:
        kept = self._kept(x, t)
        if kept is not None and kept[1] is not None:
            return kept[0], kept[1]
        self._forget(x)
        denoised, vjp = self.prior.denoise_vjp(x, t)
        # the cache holds this function: one that held the cache would keep the graph until garbage is collected
        done, part, again = self._done, self._part(x), denoised.requires_grad

        def counted(v: Tensor) -> Tensor:
            if again:
                return _watched(vjp(v), partial(done.back, 2 * part))
            done.back(part)
            return vjp(v)

        _watched(denoised, partial(done.back, part))
        self._keep(x, t, denoised, counted)
        return denoised, counted

    def log_prob(self, x: Tensor, t: Tensor | float | None = None) -> Tensor:
        return self.prior.log_prob(x, t)

    def _forget(self, x: Tensor) -> None:
        """Count an evaluation, and let go of the last one before it: its graph is most of the memory of a solve."""
        self._done.nfe += self._part(x)
        if not (recorded(x) or x.is_inference() or self._part(x) < 1):
            self._key = self._value = None

    def _part(self, x: Tensor) -> Fraction:
        return Fraction(1) if self.rows is None else Fraction(len(x), self.rows)

    def _kept(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, VJP | None] | None:
        if self._key is None or self._key[0] is not x or self._key[1] != x._version:
            return None
        if recorded(x):  # cached values have no graph
            return None
        return self._value if _same_time(self._key[2], t) else None

    def _keep(self, x: Tensor, t, denoised: Tensor, vjp: VJP | None) -> tuple[Tensor, VJP | None]:
        value = (denoised, vjp)
        # graphs are not shared between callers, and inference tensors have no version to compare
        if not (denoised.requires_grad or x.is_inference() or self._part(x) < 1):
            self._key, self._value = (x, x._version, t.clone() if isinstance(t, Tensor) else t), value
        return value


def _watched(x: Tensor, on_gradient: Callable[[Tensor], None]) -> Tensor:
    """x, with a hook that is called whenever its gradient is computed."""
    if x.requires_grad:
        x.register_hook(on_gradient)
    return x


def _same_time(kept: Tensor | float, t: Tensor | float) -> bool:
    kept, t = (u if isinstance(u, Tensor) else torch.tensor(u, dtype=torch.float64) for u in (kept, t))
    return kept.shape == t.shape and kept.device == t.device and bool((kept == t).all())
