"""An adaptive Runge-Kutta solver with a separate time and step size for every batch element."""

from collections.abc import Callable

import torch
from torch import Tensor

from priors.base import expand

# (s (n,), u (n, *E), row numbers (n,)) -> (du/ds (n, *E), dw/ds (n,) or (n, k)); w: scalars integrated with u
Slope = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
STAGES = (  # the last row has the weights of order 5: its stage is the first one of the next step
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)  # order 5 less order 4
FIRST_STEP, LEAST_STEP = 0.1, 1e-7  # for an s of order 10, as is the log r of the probability flow


def integrate(
    slope: Slope, u: Tensor, start: float, stop: float, rtol: float, atol: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve an ODE for a batch, each element with its own time and step size.

    With a common step size, results would depend on the batch. Here the step of an element is accepted if its own error
    is below tolerance, and finished elements leave the batch.
    Formula: the pair of orders 5(4); error = max(max |e_u| / (atol + rtol rms(u)), |e_w| / (atol + rtol |w|)) with e
    the difference of the two orders: the worst entry relative to the magnitude of the row; of k scalars w it is that of
    their mean. The next step is .9 error^(-1/5) times the last, at least 1/5 and at most 5 times, and the first one is
    .1. Six evaluations per step.
    Source: Dormand & Prince 1980; step control of Hairer, Noersett & Wanner 1993, section II.4.
    Arguments: slope: see `Slope`; u (N, *E) at ``start``; start, stop (float); rtol, atol (float > 0).
    Returns: u (N, *E) and w, (N,) or (N, k), at ``stop`` (w from 0, float64), and the evaluations of each row, (N,)
    int64.
    Raises: ArithmeticError for a slope that is nan or infinite, and where the tolerance asks for steps below rounding.
    """
    n = len(u)
    result, nfe = torch.empty_like(u), torch.ones(n, dtype=torch.int64)
    rows, at = torch.arange(n), torch.full((n,), start, dtype=torch.float64)
    h = torch.full_like(at, FIRST_STEP if stop > start else -FIRST_STEP)
    first = slope(at, u, rows) if n else (u, at)
    w = torch.zeros(first[1].shape, dtype=torch.float64)
    total = w.clone()
    while len(rows):
        last = h.abs() >= (stop - at).abs()
        h = torch.where(last, stop - at, h)
        stages, next_u, next_w = [first], u, w
        for node, weights in zip(NODES, STAGES, strict=True):
            next_u, next_w = _advance(u, w, h, weights, stages)
            stages.append(slope(at + node * h, next_u, rows))
        nfe[rows] += len(NODES)
        error_u, error_w = _advance(torch.zeros_like(u), torch.zeros_like(w), h, ERROR, stages)
        size = torch.maximum(_rms(u), _rms(next_u)), torch.maximum(_mean(w).abs(), _mean(next_w).abs())
        of_w = _mean(error_w).abs() / (atol + rtol * size[1])
        error = torch.maximum(_largest(error_u) / (atol + rtol * size[0]), of_w)
        finite = size[0].isfinite() & error.isfinite()
        error = torch.where(finite, error, torch.inf)  # steps that overflow are rejected and shortened
        accepted = error <= 1
        factor = (0.9 * error ** (-0.2)).clamp(0.2, 5.0)
        _check_steps(error, ~accepted & (h.abs() * factor < LEAST_STEP), at, rows)
        chosen = accepted.to(u.device)
        mask, of_scalars = chosen.view(-1, *[1] * (u.ndim - 1)), accepted.view(-1, *[1] * (w.ndim - 1))
        u, w = torch.where(mask, next_u, u), torch.where(of_scalars, next_w, w)
        first = torch.where(mask, stages[-1][0], first[0]), torch.where(of_scalars, stages[-1][1], first[1])
        at, h = torch.where(accepted, at + h, at), h * factor
        if bool((done := accepted & last).any()):
            result[rows[done].to(u.device)], total[rows[done]] = u[done.to(u.device)], w[done]
            kept = ~done
            on_device = kept.to(u.device)
            rows, at, h, w, u = rows[kept], at[kept], h[kept], w[kept], u[on_device]
            first = first[0][on_device], first[1][kept]
    return result, total, nfe


def _advance(u: Tensor, w: Tensor, h: Tensor, weights, stages) -> tuple[Tensor, Tensor]:
    """u and w plus h times the weighted sum of the stages' slopes."""
    for weight, (du, dw) in zip(weights, stages, strict=True):
        if weight:
            step = h * weight
            u, w = u + expand(step, u) * du, w + expand(step, w) * dw
    return u, w


def _rms(u: Tensor) -> Tensor:
    """Root mean square of a row, (N,), float64 on the CPU."""
    return u.flatten(1).square().mean(1).sqrt().cpu().double()


def _mean(w: Tensor) -> Tensor:
    """The mean of the scalars of a row, (N,)."""
    return w if w.ndim == 1 else w.mean(1)


def _largest(u: Tensor) -> Tensor:
    """Largest absolute entry of a row, (N,), float64 on the CPU."""
    return u.flatten(1).abs().amax(1).cpu().double()


def _check_steps(error: Tensor, stuck: Tensor, at: Tensor, rows: Tensor) -> None:
    if bool(stuck.any()):
        k = int(stuck.nonzero()[0])
        place = f"s = {at[k]:.3f} (log sigma / alpha of a flow)"
        if not bool(error[k].isfinite()):
            raise ArithmeticError(
                f"sample {int(rows[k])} becomes nan or infinite after {place}: check its units, and "
                "that the prior is finite there"
            )
        raise ArithmeticError(
            f"sample {int(rows[k])} needs steps below {LEAST_STEP:g} at {place}: raise rtol and atol, or pass float64"
        )
