"""Exact conditioning of Gaussians on one linear measurement, by SVDs of factors and without matrix inverses."""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Measurement:
    """y = matrix x + sigma z: matrix (m, d), y (m,), sigma (m,) >= 0; unmeasured entries are left out."""

    matrix: Tensor
    y: Tensor
    sigma: Tensor


def read(operator, y: Tensor, event_shape: tuple[int, ...], like: Tensor) -> Measurement:
    """An operator and its measurement in matrix form.

    Arguments: operator (Module): anything with ``capabilities`` ("linear" and "gaussian" among them), ``noise.sigma``,
    ``support`` and a call on rows (N, *E) -> (N, *M); y (1, *M), one measurement in the operator's units; event_shape
    (E); like: a tensor of the dtype and device to compute in.
    Raises: ValueError for an operator that is not linear with Gaussian noise or that serves several measurements, and
    for a y of the wrong shape or not finite.
    """
    if not hasattr(operator, "capabilities"):
        raise TypeError(f"operator of type {type(operator).__name__}: expected an operators.Operator")
    if not isinstance(y, Tensor) or not y.is_floating_point():
        raise TypeError(f"y of {getattr(y, 'dtype', type(y).__name__)}: expected a floating tensor (1, *M)")
    if missing := {"linear", "gaussian"} - set(operator.capabilities):
        raise ValueError(
            f"{type(operator).__name__} lacks {sorted(missing)}: the posterior of a mixture has a closed form "
            "only for linear operators with Gaussian noise; use inverse.solve"
        )
    operator = single(operator, event_shape)
    d = math.prod(event_shape)
    basis = torch.eye(d, dtype=like.dtype, device=like.device).view(d, *event_shape)
    forward = copy.deepcopy(operator).to(device=like.device, dtype=like.dtype)
    if getattr(operator, "batch", None) is not None:
        forward = forward.rows(torch.zeros(d, dtype=torch.int64))
    with torch.no_grad():
        columns = forward(basis)
    shape = tuple(columns.shape[1:])
    if tuple(y.shape) != (1, *shape):
        raise ValueError(
            f"y of shape {tuple(y.shape)}: expected one measurement {(1, *shape)}; for a batch, use y[i : i + 1]"
        )
    sigma = torch.as_tensor(operator.noise.sigma, dtype=like.dtype, device=like.device).expand(1, *shape).reshape(-1)
    support = torch.tensor(True) if operator.support is None else operator.support
    seen = support.to(like.device).expand(1, *shape).reshape(-1)
    measured = Measurement(columns.reshape(d, -1).mT[seen], y.to(like).reshape(-1)[seen], sigma[seen])
    if not bool(measured.y.isfinite().all()):
        raise ValueError("y has measured entries that are nan or infinite: exclude them from the operator's mask")
    return measured


def single(operator, event_shape: tuple[int, ...]):
    """An operator for events E, once it is found to serve one measurement.

    Raises: TypeError for what is no operator; ValueError for one with parameters for several measurements.
    """
    if not hasattr(operator, "capabilities"):
        raise TypeError(f"operator of type {type(operator).__name__}: expected an operators.Operator")
    batch = getattr(operator, "batch", None)
    if batch is not None and batch > 1:
        raise ValueError(
            f"{type(operator).__name__} has parameters for {batch} measurements: expected one; select it "
            "with operator.rows(torch.tensor([index]))"
        )
    # noise and support of a stack depend on the event shape
    return operator.at(event_shape) if hasattr(operator, "at") else operator


def condition(means: Tensor, factors: Tensor, measured: Measurement, eps: float) -> tuple[Tensor, Tensor, Tensor, bool]:
    """Condition K Gaussians N(mean, F F') on one measurement.

    Formula: with x = mean + F z, z ~ N(0, I), and the singular values s of B = A F / sigma, z | y has the covariance
    I - V (s^2 / (1 + s^2)) V', the mean V s / (1 + s^2) U' (y - A mean) / sigma. Rows with sigma = 0 are conditioned on
    first; they restrict F to the null space of B, which has as many columns fewer.
    Arguments: means (K, d); factors (K or 1, d, r); measured; eps: relative rounding of y. Combinations of noise-free
    rows with singular values below eps count as not measured.
    Returns: means (K, d), factors (K or 1, d, r'), log p(y) (K,) in nats, and whether this is a density of y: with
    linearly dependent noise-free rows it is the density of their independent combinations only.
    Raises: ValueError where noise-free entries of y contradict each other or are already exact under a Gaussian.
    """
    exact = measured.sigma == 0
    log_p, density = means.new_zeros(len(means)), True
    if bool(exact.any()):
        means, factors, log_p, density = _exact(means, factors, measured.matrix[exact], measured.y[exact], eps)
    sigma = measured.sigma[~exact]
    u, s, vh = torch.linalg.svd(measured.matrix[~exact] / sigma[:, None] @ factors, full_matrices=False)
    residual = (measured.y[~exact] - means @ measured.matrix[~exact].mT) / sigma
    c = _times(residual, u)
    rest = residual - _times(c, u.mT)  # a difference of squares would lose precision for small sigma
    log_p = log_p - 0.5 * (rest.square().sum(1) + (c.square() / (1 + s**2)).sum(1) + torch.log1p(s**2).sum(1))
    log_p = log_p - sigma.log().sum() - 0.5 * len(sigma) * LOG_2PI
    means = means + _times(_times(c * s / (1 + s**2), vh), factors.mT)
    shrink = 1 - torch.rsqrt(1 + s**2)
    return means, factors - factors @ vh.mT * shrink[:, None] @ vh, log_p, density


def _exact(
    means: Tensor, factors: Tensor, matrix: Tensor, y: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, bool]:
    u, scale, rows = torch.linalg.svd(matrix, full_matrices=False)
    keep = scale > max(matrix.shape) * eps * scale.max()
    u, scale, rows = u[:, keep], scale[keep], rows[keep]
    values = u.mT @ y
    if (y - u @ values).norm() > 1e-4 * y.norm():
        raise ValueError(
            "the noise-free entries of y are inconsistent: no image gives this y; set the operator's sigma to that of "
            "the noise"
        )
    n = len(scale)
    u, s, vh = torch.linalg.svd(rows @ factors, full_matrices=True)
    if n > s.shape[-1] or bool((s <= 1e-12 * factors.abs().amax((1, 2))[:, None]).any()):
        raise ValueError(
            "a noise-free measurement of coordinates that the prior fixes: y has no density; give the operator a "
            "positive sigma, or a mask without those entries"
        )
    c = _times(values / scale - means @ rows.mT, u) / s
    log_p = -0.5 * c.square().sum(1) - s.log().sum(1) - scale.log().sum() - 0.5 * n * LOG_2PI
    means = means + _times(_times(c, vh[:, :n]), factors.mT)
    return means, factors @ vh[:, n:].mT, log_p, n == len(matrix)


def _times(rows: Tensor, matrices: Tensor) -> Tensor:
    """Row k times matrix k (or the only one): (K, a), (K or 1, a, b) -> (K, b)."""
    return (rows[:, None] @ matrices)[:, 0]
