"""A function of a few parameters from noisy values of its gradient: Gaussian-process regression."""

import torch
from torch import Tensor

LENGTH = 1.2  # correlation length of the residual, in units of the radius
AMPLITUDES = (
    0.0,
    0.1,
    0.3,
    1.0,
    3.0,
    10.0,
    30.0,
    100.0,
    1e3,
    1e4,
    1e5,
)  # nats: standard deviations that the residual may have
BROAD = 30.0  # prior standard deviation of polynomial coefficients, relative to the largest gradient
JITTER = 1e-12


class Surrogate:
    """L(u) - L(center) for u near a center, from gradients of L at some points.

    Formula: L is a polynomial of degree 2 with a flat prior plus a Gaussian process of squared-exponential covariance,
    whose amplitude has the largest marginal likelihood; the gradients have independent Gaussian errors.
    Source: Rasmussen & Williams 2006, sections 2.7 and 9.4.
    Arguments: center and radius (d,): the region's; points (n, d); gradients (n, d); variances (n, d) of their errors.
    """

    def __init__(self, center: Tensor, radius: Tensor, points: Tensor, gradients: Tensor, variances: Tensor) -> None:
        self.center, self.radius = center, radius
        self.w = (points - center) / radius
        g, noise = (gradients * radius).flatten(), (variances * radius**2).flatten()
        scale = BROAD * g.abs().max().clamp_min(1.0)
        fits = [self._fitted(a, scale, g, noise) for a in AMPLITUDES]
        self.amplitude, self.scale, self.factor, self.weights, _ = max(fits, key=lambda fit: fit[4])

    def _fitted(self, a: float, scale: Tensor, g: Tensor, noise: Tensor) -> tuple[float, Tensor, Tensor, Tensor, float]:
        slopes = _polynomial_slopes(self.w).flatten(0, 1)
        matrix = scale**2 * slopes @ slopes.mT + a**2 * _curvatures(self.w, self.w) + noise.diag()
        matrix = matrix + JITTER * matrix.diagonal().max() * torch.eye(len(g), dtype=g.dtype)
        factor = torch.linalg.cholesky(matrix)
        weights = torch.cholesky_solve(g[:, None], factor)[:, 0]
        likelihood = -0.5 * g @ weights - factor.diagonal().log().sum()
        return a, scale, factor, weights, float(likelihood)

    def __call__(self, u: Tensor) -> Tensor:
        """L(u) - L(center), (m,); u (m, d)."""
        return self._covariance(u) @ self.weights

    def variance(self, u: Tensor) -> Tensor:
        """Of the estimate of L(u) - L(center), (m,); u (m, d)."""
        w = (u - self.center) / self.radius
        prior = self.scale**2 * _polynomial(w).square().sum(1) + 2 * self.amplitude**2 * (1 - _kernel(w))
        explained = torch.linalg.solve_triangular(self.factor, self._covariance(u).mT, upper=False).square().sum(0)
        return (prior - explained).clamp_min(0)

    def error(self, u: Tensor, coefficients: Tensor) -> Tensor:
        """Standard deviation of the estimate of sum_i c_i L(u_i), whose coefficients c (k,) sum to 0; u (k, d)."""
        w = (u - self.center) / self.radius
        features = coefficients @ _polynomial(w)
        own = coefficients @ _kernel(w[:, None] - w) @ coefficients
        prior = self.scale**2 * features.square().sum() + self.amplitude**2 * own
        cross = coefficients @ self._covariance(u)
        explained = torch.linalg.solve_triangular(self.factor, cross[:, None], upper=False).square().sum()
        return (prior - explained).clamp_min(0).sqrt()

    def _covariance(self, u: Tensor) -> Tensor:
        """Of L(u) - L(center) with the gradients, (m, n d)."""
        w = (u - self.center) / self.radius
        slopes = _polynomial_slopes(self.w).flatten(0, 1)
        return self.scale**2 * _polynomial(w) @ slopes.mT + self.amplitude**2 * (
            _slopes(w, self.w) - _slopes(torch.zeros_like(w[:1]), self.w)
        )


def _polynomial(w: Tensor) -> Tensor:
    """Monomials of degree 1 and 2, (m, p); w (m, d)."""
    i, j = torch.triu_indices(w.shape[1], w.shape[1])
    return torch.cat([w, w[:, i] * w[:, j]], 1)


def _polynomial_slopes(w: Tensor) -> Tensor:
    """Derivatives of `_polynomial` by the entries of w, (n, d, p)."""
    d = w.shape[1]
    eye = torch.eye(d, dtype=w.dtype)
    i, j = torch.triu_indices(d, d)
    squares = eye[:, i] * w[:, None, j] + eye[:, j] * w[:, None, i]
    return torch.cat([eye.expand(len(w), d, d), squares], 2)


def _kernel(away: Tensor) -> Tensor:
    return torch.exp(-0.5 * away.square().sum(-1) / LENGTH**2)


def _slopes(w: Tensor, v: Tensor) -> Tensor:
    """Derivatives of the kernel by v, (m, n d); w (m, d), v (n, d)."""
    away = w[:, None] - v
    return (away / LENGTH**2 * _kernel(away)[..., None]).flatten(1)


def _curvatures(w: Tensor, v: Tensor) -> Tensor:
    """Derivatives of the kernel by w and v, (m d, n d)."""
    away, d = w[:, None] - v, w.shape[1]
    eye = torch.eye(d, dtype=w.dtype) / LENGTH**2
    parts = (eye - away[..., :, None] * away[..., None, :] / LENGTH**4) * _kernel(away)[..., None, None]
    return parts.transpose(1, 2).reshape(len(w) * d, len(v) * d)
