"""Gaussian factors in place of a likelihood's: expectation propagation, and the marginals that it asks for."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from inverse.gaussian import Wiener, given
from inverse.gaussian.iterated import Pictures, uneven
from inverse.guidance.covariance import lanczos
from inverse.guidance.tweedie import combine
from operators import GaussianNoise, LinearOperator, Noise
from operators.solvers import dot
from priors.base import expand
from priors.moments import SecondMoments

INFORMED = 2  # passes with the Fisher information, whose steps do not overshoot where many entries agree
MATCHED = 8  # passes that match variances too
DAMPED = 0.7  # share of a new factor that is taken, after the first
FAR = 4  # standard deviations of the marginal without a factor from the one with it, at most: rarely 2 where exact
FLAT = 1e-6  # least precision of a factor, relative to that of the marginal without it
LANCZOS = 8
PROBES = 4
FEW = 6  # iterations where the moments are approximate


class Marginals(Protocol):
    """Those of u = A x0 with x0 ~ N(D, C), given Gaussian factors."""

    matching: bool  # whether variances are exact enough to be matched

    def given(self, target: Tensor | None, variance: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and variance of the entries, (N, *M) each in double precision, given factors N(target; u, variance) of
        shape (N, *M), or none."""
        ...


class Factors(NamedTuple):
    """Gaussian factors N(target; u, variance), and the marginals N(mean, spread) of u without the factor of the same
    entry; (N, *M) each, in double precision."""

    target: Tensor
    variance: Tensor
    mean: Tensor
    spread: Tensor


def matched(noise: Noise, y: Tensor, marginals: Marginals, support: Tensor | None) -> Factors:
    """Gaussian factors N(z; u, s^2) in place of p(y | u): with each of them the marginals have the mean and variance
    that they have with p(y | u) itself. Where variances are approximate the mean alone, and s is that of the Fisher
    information.

    Formula: without its own factor an entry has the marginal N(m, v), 1 / v = 1 / V - 1 / s^2, m / v = M / V - z / s^2;
    with p(y | u) that has the mean E and variance W (`Noise.tilted`), so 1 / s^2 = 1 / W - 1 / v, z / s^2 = E / W -
    m / v. All entries at once, from no factors. A factor with less than a millionth of the precision of its marginal
    has that, and the z that gives E. The first passes take 1 / s^2 = I(E), the information, whose steps are those of
    Fisher scoring.
    Source: Minka 2001, algorithm 2.
    Arguments: noise of u; y (N, *M); marginals; support (N, *M), bool: where something was measured, None: everywhere.
    """
    y = y.double()
    precision, shift = torch.zeros_like(y), torch.zeros_like(y)
    center, alone = shift, precision
    for k in range(INFORMED + marginals.matching * MATCHED):
        known, informed = k > 0, k < INFORMED
        mean, variance = marginals.given(*((shift / precision, 1 / precision) if known else (None, None)))
        alone = torch.maximum(1 / variance - precision, 1e-6 / variance)  # rounding may exceed what is left
        center = (mean / variance - shift) / alone
        # a solve that ended early leaves errors, which a precise factor amplifies
        center = mean + (center - mean).clamp(-FAR * alone.rsqrt(), FAR * alone.rsqrt())
        found, spread = noise.tilted(y, center, 1 / alone)
        own = noise.information(found) if informed else 1 / spread.clamp_min(1e-300) - alone
        new = torch.maximum(own, FLAT * alone)  # a likelihood that is not concave may widen the marginal
        pull = (found - center) * alone + found * new
        share = 1.0 if informed else DAMPED
        precision, shift = (1 - share) * precision + share * new, (1 - share) * shift + share * pull
        if support is not None:
            precision = torch.where(support, precision, FLAT * alone)
            shift = torch.where(support, shift, FLAT * alone * center)
    return Factors(shift / precision, 1 / precision, center, 1 / alone)


class Exact:
    """Marginals with A C A' as a matrix, one product with C for each of the m measured numbers.

    Arguments: axes: the rows of A, (N, m, *E); mean A D (N, *M); covariance: v -> C v, (N, *E).
    """

    matching = True

    def __init__(self, axes: Tensor, mean: Tensor, covariance: Callable[[Tensor], Tensor]) -> None:
        with torch.no_grad():
            self.columns = torch.stack([covariance(axis) for axis in axes.unbind(1)], 1)  # C A', (N, m, *E)
        gram = axes.flatten(2).double() @ self.columns.flatten(2).double().mT
        gram = 0.5 * (gram + gram.mT)
        # a trained Jacobian may have negative directions, which a covariance has not; and an entry without any variance
        # would have no marginal
        values, vectors = torch.linalg.eigh(gram)
        least = 1e-10 * values.amax(1, keepdim=True).clamp_min(1e-20)
        self.gram = (vectors * values.clamp_min(least)[:, None]) @ vectors.mT
        self.mean = mean.double()

    def given(self, target: Tensor | None, variance: Tensor | None) -> tuple[Tensor, Tensor]:
        """As `Marginals.given`."""
        if target is None or variance is None:
            return self.mean, self.gram.diagonal(dim1=1, dim2=2).reshape(self.mean.shape)
        system = self.gram + torch.diag_embed(variance.flatten(1))
        gain = torch.linalg.solve(system, self.gram)  # of A C A', (N, m, m)
        moved = (gain.mT @ (target - self.mean).flatten(1)[:, :, None])[:, :, 0].view(self.mean.shape)
        # (G - G (G + S)^-1 G)_ii = s_i^2 ((G + S)^-1 G)_ii, without a difference of large numbers
        left = variance.flatten(1) * gain.diagonal(dim1=1, dim2=2)
        return self.mean + moved, left.reshape(self.mean.shape).clamp_min(1e-300)

    def log_normal(self, target: Tensor, variance: Tensor) -> Tensor:
        """log N(target; A D, A C A' + diag(variance)), (N,); target and variance (N, *M)."""
        system = self.gram + torch.diag_embed(variance.flatten(1))
        residual = (target - self.mean).flatten(1)
        quadratic = (residual * torch.linalg.solve(system, residual)).sum(1)
        return -0.5 * (quadratic + torch.linalg.slogdet(2 * torch.pi * system).logabsdet)

    def correction(self, residual: Tensor, deviation: Tensor) -> Tensor:
        """C A' (diag(deviation^2) + A C A')^-1 residual, (N, *E); residual and deviation (N, *M)."""
        system = self.gram + torch.diag_embed(deviation.flatten(1).double() ** 2)
        weights = torch.linalg.solve(system, residual.flatten(1).double())
        return combine(self.columns, weights.to(self.columns))


class Spectral:
    """Marginals with the covariance C_s of x0 given x_t of a Gaussian prior with known moments, free of its passes.

    Formula: the mean is that of `Wiener`. The variance of an entry with a factor of variance s_i^2 is taken as the
    average (1/m) tr G (I + G / s_i^2)^-1 of G = A C_s A' with this factor at all entries, found for all s at once by
    Lanczos quadrature from vectors of random signs (Hutchinson 1990): four, or one of each row where operators differ.
    Arguments: operator A (linear); moments; wide: the same in the precision of `Wiener`'s solves; s2 = (sigma /
    alpha)^2, may be inf; center D (N, *E).
    """

    matching = False

    def __init__(
        self, operator: LinearOperator, moments: SecondMoments, wide: SecondMoments, s2: float, center: Tensor
    ) -> None:
        self.operator, self.moments, self.wide, self.s2 = operator, moments, wide, s2
        self.center = operator(center)
        support = operator.support
        seen = torch.ones_like(self.center) if support is None else support.expand_as(self.center).to(self.center)
        # rows that share an operator share its spectrum, which then takes several vectors
        seen = seen if operator.batch is not None else seen[:1].expand(PROBES, *seen.shape[1:])
        self.values, self.weights = self._spectrum(seen)

    def given(self, target: Tensor | None, variance: Tensor | None) -> tuple[Tensor, Tensor]:
        """As `Marginals.given`."""
        if target is None or variance is None:
            return self.center.double(), self._average(torch.zeros_like(self.center, dtype=torch.float64))
        deviation = variance.sqrt().to(self.center)
        operator = self.operator.with_noise(GaussianNoise(deviation, event_ndim=self.center.ndim - 1))
        residual = target.to(self.center) - self.center
        # never ended early by a loose tolerance, which would turn rounding into differences between batches
        rtol, steps = (0.0, FEW) if self.moments.approximate else (1e-6, 200)
        if uneven(operator):
            solver = Pictures(self.wide, operator, preconditioned=False)
            x = solver.estimate(residual.to(self.wide.mean), given(self.s2), rtol, steps)
            return self.center + operator(x).double(), self._average(1 / variance)
        wiener = Wiener(self.wide, operator)
        solved = wiener.solve(residual.to(self.wide.mean), self.s2, rtol, steps, what=None)
        return target - variance * solved, self._average(1 / variance)

    def _average(self, precision: Tensor) -> Tensor:
        """Of the marginal variances, for factors of such a precision (N, *M)."""
        shape = (-1, *[1] * (precision.ndim - 1))
        found = torch.zeros_like(precision)
        for value, weight in zip(self.values.unbind(1), self.weights.unbind(1), strict=True):
            value, weight = value.view(shape), weight.view(shape)
            found = found + weight * value / (1 + precision * value)
        return found.clamp_min(1e-300)

    def _spectrum(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes and weights of the spectral density of G on the measured entries, (1 or N, k) each."""
        generator, shared = torch.Generator().manual_seed(0), self.operator.batch is None
        shape = seen.shape if shared else seen.shape[1:]
        signs = (2 * torch.randint(2, shape, generator=generator) - 1).to(seen)
        moments, filtered = self.moments.to(seen.device, seen.dtype), given(self.s2)

        def product(v: Tensor) -> Tensor:
            return seen * self.operator(moments.apply(filtered, self.operator.adjoint(v)))

        v = signs * seen
        v = v / expand(dot(v, v).sqrt().clamp_min(1e-30), v)
        _, values, vectors = lanczos(product, v, LANCZOS, relative=True)
        values, weights = values.clamp_min(0.0), vectors[:, 0] ** 2
        return (values.reshape(1, -1), weights.reshape(1, -1) / PROBES) if shared else (values, weights)
