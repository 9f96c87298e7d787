"""The posterior of a Gaussian with the prior's mean and covariance, which needs no evaluation of the prior."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from inverse.protocols import RNG, Posterior
from operators import LinearOperator
from operators.solvers import conjugate_gradients
from priors import Moments, Prior
from priors.base import expand
from priors.moments import SecondMoments

INNER = 20  # iterations of a preconditioner, which can be approximate
HIDDEN = 6.0  # standard deviations of a coordinate of x0: noise this large hides x0
APPROXIMATE = 5  # iterations if the moments are approximate


class Wiener:
    """x0 ~ N(m, C) measured as y = A x0 + N(0, Sigma_y).

    Formula: given noise of standard deviation s = sigma / alpha, Cov[x0 | x_t] = C_s = C s^2 (C + s^2 I)^-1, and y
    given x_t has the covariance Sigma_y + A C_s A'.
    Source: Wiener 1949; Matheron 1971, whose rule makes a draw of the prior one of the posterior (`draw`).
    Arguments: moments of the prior; operator (linear, Gaussian noise).
    """

    def __init__(self, moments: SecondMoments, operator: LinearOperator) -> None:
        self.moments, self.operator = moments, operator
        self.closed = {"svd", "isotropic"} <= operator.capabilities
        self.averaged = moments.approximate and self.closed  # use the average variance instead of the spectrum

    def precondition(self, r: Tensor, s2: float) -> Tensor:
        """An approximate (Sigma_y + A C_s A')^-1 r: if the moments are approximate and the operator has a closed form
        for a constant variance, by their average variance alone."""
        if self.averaged:
            return self.operator.solve_gram(r, self.moments.average(_given(s2)))
        return self.solve(r, s2, rtol=1e-2, max_steps=APPROXIMATE if self.moments.approximate else INNER, what=None)

    def spread(self, v: Tensor, s2: float) -> Tensor:
        """C_s A' v (N, *E), with the covariance C_s that `precondition` takes; v (N, *M), s2 (s^2)."""
        x = self.operator.adjoint(v)
        return self.moments.average(_given(s2)) * x if self.averaged else self.moments.apply(_given(s2), x)

    def solve(self, r: Tensor, s2: float, rtol: float, max_steps: int, what: str | None = "Wiener.solve") -> Tensor:
        """(Sigma_y + A C_s A')^-1 r by conjugate gradients; r (N, *M); s2 (s^2, may be inf: C itself).

        what: the name in the `NotConverged` warning where max_steps are not enough; None: no warning.
        """
        moments, operator, filtered = self.moments, self.operator, _given(s2)
        r2 = moments.average(filtered)

        def system(v: Tensor) -> Tensor:
            spread = operator(moments.apply(filtered, operator.adjoint(v)))
            return spread + operator.noise.aligned("sigma", v) ** 2 * v

        def isotropic(v: Tensor) -> Tensor:
            return operator.solve_gram(v, r2)

        return conjugate_gradients(
            system, r, rtol=rtol, max_steps=max_steps, precondition=isotropic if self.closed else None, what=what
        )

    def draw(self, y: Tensor, rng: RNG) -> Tensor:
        """One draw of p(x0 | y) per batch element, (N, *E); y (N, *M); rng (`RowRNG` of the rows)."""
        operator = self.operator
        x = self.moments.draw(len(y), rng)
        r = y - operator(x) - operator.noise.aligned("sigma", y) * rng.normal(tuple(y.shape))
        if operator.support is not None:
            r = torch.where(operator.support, r, 0.0)
        approximate = self.moments.approximate  # then the draw is only an initialisation and need not be exact
        v = self.solve(r, float("inf"), *((1e-2, 50, None) if approximate else (1e-4, 500, "Wiener.draw")))
        return x + self.moments.apply(lambda variances: variances, operator.adjoint(v))


def _given(s2: float) -> Callable[[Tensor], Tensor]:
    """Variances of x0 -> those of x0 given x_t, with noise of variance s2 = (sigma / alpha)^2 in x_t."""
    return lambda variances: variances / (1 + variances / s2)


class WienerPosterior(Posterior):
    """A posterior with the Gaussian posterior of the prior's moments, used to start at times before t = 1.

    Attributes: gaussian (`Wiener`), with the prior's variance alone if `Prior.moments` is None.
    """

    def __init__(self, prior: Prior, operator: Any, y: Any) -> None:
        super().__init__(prior, operator, y)
        moments = prior.moments or Moments.isotropic(self.event_shape, self.variance)
        self.gaussian = Wiener(moments.to(y.device), operator)

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
