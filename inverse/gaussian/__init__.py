"""The posterior of a Gaussian with the prior's mean and covariance, which needs no evaluation of the prior."""

from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from inverse.gaussian.iterated import Pictures
from inverse.gaussian.low_rank import Components, LowRank
from inverse.gaussian.stationary import Cosines, Periodic, conjugate_estimate, shared
from inverse.protocols import RNG, Posterior
from operators import GaussianNoise, LinearOperator
from operators.solvers import Map, conjugate_gradients, widest
from operators.svd import SVDOperator
from priors import Moments, Prior
from priors.base import expand
from priors.moments import SecondMoments

INNER = 20  # iterations of a preconditioner, which can be approximate
HIDDEN = 6.0  # standard deviations of a coordinate of x0: noise this large hides x0
APPROXIMATE, DRAWN = 5, 100  # iterations if the moments are approximate: at a noise level, of a draw
# of a draw: at 1e-2, modes whose variance is a thousand times that of others are not there yet
DRAW_RTOL = 1e-4
# of a solve that does not converge: A C_s A' alone is ill-conditioned, Sigma_y makes it less so
REMEDY = "use a larger sigma, or a prior with smaller variance"
NOISELESS = "the operator has no noise: give it some, noise=GaussianNoise(sigma) with a small sigma > 0"


class Wiener:
    """x0 ~ N(m, C) measured as y = A x0 + N(0, Sigma_y).

    Formula: given noise of standard deviation s = sigma / alpha, Cov[x0 | x_t] = C_s = C s^2 (C + s^2 I)^-1, and y
    given x_t has the covariance Sigma_y + A C_s A'.
    Source: Wiener 1949; Matheron 1971, whose rule makes a draw of the prior one of the posterior (`draw`).
    Arguments: moments of the prior; operator (linear, Gaussian noise); whole: whether the covariance of approximate
    moments is used where the operator has a closed form for a constant variance; by default their average variance is.
    """

    def __init__(self, moments: SecondMoments, operator: LinearOperator, whole: bool = False) -> None:
        self.moments, self.operator = moments, operator
        self.closed = {"svd", "isotropic"} <= operator.capabilities
        self.averaged = moments.approximate and self.closed and not whole
        # made when first needed: the moments in double precision where there is one, their components in the singular
        # basis of the operator, the inverse at the last noise level, and the solver for a basis of both
        self._wide: SecondMoments | None = None
        self._components: Components | None = None
        self._kept: tuple[float, LowRank | None] | None = None
        self._shared: tuple[Cosines | Periodic | None] | None = None
        self._pictures: Pictures | None = None  # and the solver where it does not serve

    def precondition(self, r: Tensor, s2: float) -> Tensor:
        """An approximate (Sigma_y + A C_s A')^-1 r; r (N, *M); s2 (s^2, may be inf: C itself).

        If the moments are approximate and the operator has a closed form for a constant variance, it is that of their
        average variance, unless ``whole``. Otherwise, approximate moments take a few iterations, and others are solved
        in double precision: iterations that stop early in single precision would turn rounding, which depends on the
        batch, into differences of a percent.
        """
        return self._solved(r, s2).to(r)

    def estimate(self, r: Tensor, s2: float, rtol: float = 1e-2, max_steps: int = INNER) -> Tensor:
        """C_s A' (Sigma_y + A C_s A')^-1 r (N, *E), with the covariance C_s that `precondition` takes; rtol and
        max_steps of iterations where the moments are not approximate."""
        if self.moments.approximate and not self.averaged:
            return self._approximate(r, s2, 1e-2, APPROXIMATE)
        x = self.operator.adjoint(self._solved(r, s2, rtol, max_steps))
        spread = self.moments.average(given(s2)) * x if self.averaged else self._sized(x).apply(given(s2), x)
        return spread.to(r)

    def _solved(
        self, r: Tensor, s2: float, rtol: float = 1e-2, max_steps: int = INNER, what: str | None = None
    ) -> Tensor:
        """As `precondition`, in the precision that it is computed in. Arguments as in `solve`, where it iterates."""
        if self.averaged:
            return self.operator.solve_gram(r, self.moments.average(given(s2)))
        if self.moments.approximate:
            return self.solve(r, s2, rtol=1e-2, max_steps=APPROXIMATE, what=None)
        if self._wide is None:
            self._wide = widened(self.moments, self.operator, r)
        r = r.to(self._wide.mean)
        if (inverse := self._inverse(s2)) is not None:
            return inverse.solve(r)
        return self.solve(r, s2, rtol, max_steps, what)

    def _approximate(self, r: Tensor, s2: float, rtol: float, max_steps: int) -> Tensor:
        """As `estimate`, with moments that are approximate, by iterations that may stop early.

        `Periodic` takes too many of them where no noise hides x0: its system differs from that of its preconditioner at
        the border by the widest of C_s.
        """
        if self._shared is None:
            self._shared = (shared(self.moments, self.operator),)
        solver = self._shared[0]
        if isinstance(solver, Cosines) or (solver is not None and s2 < float("inf")):
            return solver.estimate(r, given(s2), rtol, max_steps)
        if self.operator.noise.noiseless:
            return conjugate_estimate(*self._system(r, s2), r, rtol, max_steps)
        if self._pictures is None:
            self._pictures = Pictures(self.moments, self.operator)
        return self._pictures.estimate(r, given(s2), rtol, max_steps)

    def _inverse(self, s2: float) -> LowRank | None:
        """At the noise level s2, kept for the next call; None without a singular basis that all rows share, and where
        C_s has many components."""
        operator, moments = self.operator, self._wide
        if not (self.closed and isinstance(operator, SVDOperator)) or operator.batch is not None or moments is None:
            return None
        if (low := moments.low_rank(given(s2))) is None:
            return None
        basis, values, rest = low
        if self._components is None:
            self._components = Components.of(operator, basis)
        if self._kept is None or self._kept[0] != s2:
            self._kept = s2, self._components.inverse(values, rest)
        return self._kept[1]

    def _sized(self, x: Tensor) -> SecondMoments:
        """The moments in the precision of x."""
        return self._wide if self._wide is not None and x.dtype == self._wide.mean.dtype else self.moments

    def solve(self, r: Tensor, s2: float, rtol: float, max_steps: int, what: str | None = "Wiener.solve") -> Tensor:
        """(Sigma_y + A C_s A')^-1 r by conjugate gradients; r (N, *M); s2 (s^2, may be inf: C itself).

        what: the name in the `NotConverged` warning where max_steps are not enough; None: no warning.
        """
        spread, system, precondition = self._system(r, s2)
        return conjugate_gradients(
            lambda v: system(v, spread(v)),
            r,
            rtol=rtol,
            max_steps=max_steps,
            precondition=precondition,
            what=what,
            remedy=NOISELESS if self.operator.noise.noiseless else REMEDY,
        )

    def _system(self, r: Tensor, s2: float) -> tuple[Map, Callable[[Tensor, Tensor], Tensor], Map | None]:
        """For rows like r (N, *M): v -> w = C_s A' v, (v, w) -> A w + Sigma_y v, and a preconditioner."""
        moments, operator, filtered = self._sized(r), self.operator, given(s2)
        r2 = moments.average(filtered)

        def spread(v: Tensor) -> Tensor:
            return moments.apply(filtered, operator.adjoint(v))

        def system(v: Tensor, w: Tensor) -> Tensor:
            return operator(w) + operator.noise.aligned("sigma", v) ** 2 * v

        return spread, system, (lambda v: operator.solve_gram(v, r2)) if self.closed else _evened(operator, r, r2)

    def draw(self, y: Tensor, rng: RNG) -> Tensor:
        """One draw of p(x0 | y) per batch element, (N, *E); y (N, *M); rng (`RowRNG` of the rows).

        It starts a walk at a noise level that hides pixels, but not averages over many of them: where these are wrong,
        the samples stay wrong.
        """
        operator = self.operator
        x = self.moments.draw(len(y), rng)
        r = y - operator(x) - operator.noise.aligned("sigma", y) * rng.normal(tuple(y.shape))
        if operator.support is not None:
            r = torch.where(operator.support, r, 0.0)
        if self.moments.approximate:
            return x + self._approximate(r, float("inf"), DRAW_RTOL, DRAWN)
        v = self._solved(r, float("inf"), rtol=1e-4, max_steps=500, what="Wiener.draw").to(r)
        return x + self.moments.apply(lambda variances: variances, operator.adjoint(v))


def _evened(operator: LinearOperator, v: Tensor, r2: float) -> Callable[[Tensor], Tensor] | None:
    """A preconditioner for noise that differs between entries, on rows like v (N, *M); None for one noise or none.

    Formula: (r2 A A' + S)^-1 ~ W (r2 A A' + w^2 I)^-1 W, with W = w S^-1/2 and w^2 the harmonic mean of a row's
    variances: exact for A A' = 0 and for equal variances. Without singular values, A A' is its mean diagonal.
    """
    if operator.noise.noiseless or "isotropic" in operator.capabilities:
        return None
    sigma = operator.noise.aligned("sigma", v).expand_as(v)
    measured = torch.ones_like(v) if operator.support is None else operator.support.expand_as(v).to(v)
    axes = tuple(range(1, v.ndim))
    even = (measured.sum(axes, keepdim=True) / (measured / sigma**2).sum(axes, keepdim=True)).sqrt()
    weight = even / sigma
    if "svd" in operator.capabilities:
        level = even.flatten()
        smooth = operator.with_noise(GaussianNoise(level if len(level) > 1 else level[0]))
        return lambda v: weight.to(v) * smooth.solve_gram(weight.to(v) * v, r2)
    signs = (
        torch.where(torch.arange(v[0].numel(), device=v.device).view(v.shape[1:]) * 7919 % 13 < 6, 1.0, -1.0) * measured
    )
    gain = operator.adjoint(signs).square().flatten(1).sum(1) / measured.flatten(1).sum(1)
    total = r2 * gain.view(even.shape) + even**2
    return lambda v: (weight**2 / total).to(v) * v


def widened(moments: SecondMoments, operator: LinearOperator, r: Tensor) -> SecondMoments:
    """The moments in double precision, if the operator works in it on rows like r (N, *M)."""
    return moments.to(r.device, widest(lambda v: operator(operator.adjoint(v)), r))


def given(s2: float) -> Callable[[Tensor], Tensor]:
    """Variances of x0 -> those of x0 given x_t, with noise of variance s2 = (sigma / alpha)^2 in x_t; kept, as every
    iteration of a solve asks for them."""
    return cache(lambda variances: variances / (1 + variances / s2))


class WienerPosterior(Posterior):
    """A posterior with the Gaussian posterior of the prior's moments, used to start at times before t = 1.

    Attributes: gaussian (`Wiener`), with the prior's variance alone if `Prior.moments` is None; whole: as of `Wiener`.
    """

    whole: ClassVar[bool] = False

    def __init__(self, prior: Prior, operator: Any, y: Any) -> None:
        super().__init__(prior, operator, y)
        moments = prior.moments or Moments.isotropic(self.event_shape, self.variance)
        self.gaussian = Wiener(moments.to(y.device), operator, self.whole)

    def start(self, n: int, t: Tensor, rng: RNG) -> Tensor:
        """n states at the first time t, (n, *E); also at t = 1 from the Gaussian posterior, if the noise does not hide
        x0 there, as for denoisers that only support small noise."""
        noise = float(self.sde.sigma(t) / self.sde.alpha(t))
        if t < 1 or noise >= HIDDEN * self.variance**0.5 or self.moments is None:
            return super().start(n, t, rng)
        x0 = self.guess(n, self.moments, rng)
        return expand(self.sde.alpha(t), x0) * x0 + expand(self.sde.sigma(t), x0) * rng.normal(tuple(x0.shape))

    def guess(self, n: int, moments: SecondMoments, rng: RNG) -> Tensor:
        """n draws of the Gaussian's posterior, (n, *E)."""
        return self.gaussian.draw(self.y, rng)
