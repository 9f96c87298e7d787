"""Total variation reconstruction for any linear operator, with the weight set by the noise level."""

import torch
from torch import Tensor

from operators import LinearOperator, Operator

STEPS = 1000
POWER = 30  # iterations for the norm of the operator
BALANCE = 0.1  # ratio of primal to dual steps: gradients of images in [0, 1] are of about this size


def serves(operator: Operator) -> bool:
    """Whether total variation supports an operator: linear, Gaussian noise of positive sigma."""
    return {"linear", "gaussian"} <= operator.capabilities and not operator.noise.noiseless


def total_variation(operator: LinearOperator, y: Tensor, n_steps: int = STEPS) -> Tensor:
    """The image of least total variation subject to a residual at the noise level.

    Formula: min sum_i |(grad x)_i| subject to sum ((y - A x) / sigma_y)^2 <= m, m the number of measured entries: the
    weight of Morozov's discrepancy principle as a constraint. |.| is over the differences along both axes of a picture,
    or all three of a volume, and all channels of a pixel.
    Solved by the primal-dual method with a fixed number of steps, so that a row does not depend on its batch.
    Source: Rudin, Osher & Fatemi 1992; Morozov 1966; Chambolle & Pock 2011; Bresson & Chan 2008 (channels).
    Arguments: operator (of these rows), linear with Gaussian noise of positive sigma; y (B, *M); n_steps.
    Returns: (B, C, H, W), or (B, C, D, H, W).
    Raises: ValueError for an operator that is not linear, or noise that is not Gaussian or has no level.
    """
    if not serves(operator):
        raise ValueError(f"{type(operator).__name__}: expected a linear operator with Gaussian noise of positive sigma")
    sigma = operator.noise.aligned("sigma", y)
    seen = torch.ones_like(y) if operator.support is None else operator.support.expand_as(y).to(y)
    event_shape = operator.event_shape_of(tuple(y.shape[1:]))
    event_shape = event_shape if len(event_shape) > 2 else (1, *event_shape)
    axes = len(event_shape) - 1
    x = torch.zeros(len(y), *event_shape, dtype=y.dtype, device=y.device)

    def apply(z: Tensor) -> Tensor:
        return seen * operator(z) / sigma

    def adjoint(v: Tensor) -> Tensor:
        return operator.adjoint(seen * v / sigma)

    size = _norm(apply, adjoint, torch.ones_like(x))
    reach = 4 * axes  # |grad|^2 is less: both parts of the stacked map are as large
    scale = reach**0.5 / _column(size, y)
    centre = scale * seen * y / sigma
    radius = scale * _column(seen.flatten(1).sum(1).sqrt(), y)
    tau, step = 2 * BALANCE / reach, 1 / (4 * BALANCE)  # tau step |(grad, A)|^2 <= 1
    p = torch.zeros(axes, *x.shape, dtype=x.dtype, device=x.device)
    q, ahead = torch.zeros_like(y), x
    for _ in range(n_steps):
        p = p + step * gradient(ahead)
        p = p / p.square().sum((0, 2), keepdim=True).sqrt().clamp_min(1.0)
        v = q / step + scale * apply(ahead)
        away = v - centre
        length = _column(away.flatten(1).norm(dim=1), y)
        q = step * away * (1 - (radius / length.clamp_min(1e-30)).clamp_max(1.0))
        new = x - tau * (divergence(p) + adjoint(scale * q))
        x, ahead = new, 2 * new - x
    return x


def gradient(x: Tensor) -> Tensor:
    """Forward differences along every axis, 0 at the border: (B, C, H, W) -> (2, B, C, H, W), or (B, C, D, H, W) -> (3,
    B, C, D, H, W)."""
    ends = [x.narrow(axis, -1, 1) for axis in range(2, x.ndim)]
    return torch.stack([x.diff(dim=axis, append=end) for axis, end in enumerate(ends, 2)])


def divergence(p: Tensor) -> Tensor:
    """The adjoint of `gradient`: (2, B, C, H, W) -> (B, C, H, W), and of volumes likewise."""
    out = torch.zeros_like(p[0])
    for part, axis in zip(p, range(2, out.ndim), strict=True):
        inner = part.narrow(axis, 0, part.shape[axis] - 1)
        out.narrow(axis, 0, part.shape[axis] - 1).sub_(inner)
        out.narrow(axis, 1, part.shape[axis] - 1).add_(inner)
    return out


def _norm(apply, adjoint, x: Tensor) -> Tensor:
    """The norm of a map plus one per cent, per row (B,), by power iteration from a start with all frequencies."""
    rough = torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(0)).to(x)
    x = x + rough
    size = x.new_ones(len(x))
    for _ in range(POWER):
        x = x / _column(x.flatten(1).norm(dim=1).clamp_min(1e-30), x)
        x = adjoint(apply(x))
        size = x.flatten(1).norm(dim=1).sqrt()
    return 1.01 * size.clamp_min(1e-12)


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))
