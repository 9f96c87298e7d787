"""One operator under examination: what is drawn for it, and the figures that fail."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Operator, Shape
from .solvers import dot

ROWS = 3


class OperatorCheckError(AssertionError):
    """An operator fails a test; the message names the test, its figure and the tolerance."""


class Exam:
    def __init__(self, op: Operator, event_shape: Shape, seed: int, x: Tensor | None) -> None:
        op = op.at(event_shape)
        self.original, self.seed, self.report = op, seed, {}
        self.rng = torch.Generator().manual_seed(seed)
        like = op._zeros(event_shape)
        x = torch.rand(ROWS, *event_shape, generator=self.rng) if x is None else x
        if len(x) < 2 or tuple(x.shape[1:]) != event_shape:
            raise ValueError(
                f"check: expected x (n, {event_shape}) with n >= 2, given {tuple(x.shape)}; give two images"
            )
        self.x = x[torch.arange(ROWS) % len(x)].to(like)
        self.op = self.serving(torch.arange(ROWS) % (op.batch or 1))
        with torch.no_grad():
            self.clean = self.op(self.x)
        if self.clean.is_complex():
            how = "is complex: stack real and imaginary part, torch.stack((y.real, y.imag), 1), in forward and in y"
            self.fail("forward", "the measurement", how)
        if len(self.clean) != ROWS:
            self.fail("forward", "batch size:", f"{len(self.clean)} measurements for {ROWS} images")

    def serving(self, index: Tensor) -> Operator:
        return self.original.rows(index)

    def normal(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.rng).to(like)

    def fail(self, name: str, what: str, how: str) -> None:
        raise OperatorCheckError(f"{type(self.original).__name__} fails the test {name!r}: {what} {how}")

    def require(self, name: str, what: str, figure: Tensor | float, tolerance: float) -> None:
        value = float(torch.as_tensor(figure).detach().abs().max())
        self.report[name] = max(value, self.report.get(name, 0.0))
        if not value <= tolerance:  # so that nan fails
            self.fail(name, what, f"is {value:.3g}, tolerance {tolerance:.3g}")

    def close(self, name: str, what: str, a: Tensor, b: Tensor, tolerance: float) -> None:
        if a.shape != b.shape:
            self.fail(name, what, f"has shape {tuple(a.shape)}, expected {tuple(b.shape)}")
        self.require(name, what, ratio(norm(a.double() - b.double()), norm(b)), tolerance)


def norm(a: Tensor) -> Tensor:
    return dot(a.double(), a.double()).sqrt()


def ratio(a: Tensor, b: Tensor) -> Tensor:
    return a / b.clamp(min=1e-30)
