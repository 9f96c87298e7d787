"""Moment matching for any noise of single entries, by expectation propagation."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverse.gaussian import Wiener, widened
from inverse.guidance.covariance import draw
from inverse.guidance.mmps import MMPS, MMPSPosterior
from inverse.guidance.sites import Exact, Marginals, Spectral, matched
from inverse.protocols import RNG, Guidance, Posterior
from operators import GaussianNoise, LinearOperator, Operator
from priors import Moments, Prior
from priors.arguments import settings
from priors.base import VJP, expand
from priors.moments import SecondMoments


@dataclass(frozen=True)
class EP(Guidance):
    """E[x0 | x_t, y] for noise that is not Gaussian, such as photon counts, and entrywise functions of A x.

    Formula: p(x0 | x_t) is N(D, C) with Tweedie's covariance C = (sigma^2 / alpha) J', as in `MMPS`, and every factor
    p(y_i | (A x0)_i) is replaced by a Gaussian N(z_i; (A x0)_i, s_i^2), such that the posterior's mean and variance of
    (A x0)_i are those with the factor itself in its place (expectation propagation). Then

        E[x0 | x_t, y] ~ D + C A' (S + A C A')^-1 (z - A D),  S = diag(s_i^2).

    z and s are found by a few iterations. Up to ``most`` measured numbers these use A C A' itself, by one backward pass
    each. Above, they use C of a Gaussian prior with the moments of this one, free of passes: the variance of an entry
    is that of the average entry with the same s_i, by Lanczos quadrature of A C A'; and the correction is that of
    `MMPS` with sigma_y = s. Gaussian noise gives z = y and s = sigma_y.
    Source: Minka 2001 (expectation propagation); Rozet et al. 2024 (C, and the solve); Golub & Meurant 2010, chapter 7
    (quadrature). Their combination is ours.
    Arguments: steps (int >= 1) of conjugate gradients, as in `MMPS`; most (int >= 0): measured numbers, unmeasured ones
    included, of which a backward pass each is worth it.
    Raises: ValueError for numbers out of range.
    """

    steps: int = 1
    most: int = 16

    needs = frozenset({"generalized_linear"})
    differentiates = calibrated = True
    citation = (
        "Minka: Expectation Propagation for Approximate Bayesian Inference, UAI 2001; Rozet, Andry, Lanusse, Louppe: "
        "Learning Diffusion Priors from Observations by EM, NeurIPS 2024"
    )

    def __post_init__(self) -> None:
        settings(self, steps=1, most=0)

    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        assert operator is not None and y is not None
        return EPPosterior(prior, operator, y, self)


class EPPosterior(Posterior):
    def __init__(self, prior: Prior, operator: Any, y: Tensor, settings: EP) -> None:
        super().__init__(prior, operator, y)
        self.linear, self.noise = operator.linear_part()
        self.cg = MMPS(settings.steps)
        self.second = (prior.moments or Moments.isotropic(self.event_shape, self.variance)).to(y.device)
        self.support = None if operator.support is None else operator.support.expand_as(y)
        self.wide = self.second if self.second.approximate else widened(self.second, self.linear, y)
        self.axes = None  # rows of A, (N, m, *E), where a backward pass each is worth it
        if (m := y[0].numel()) <= settings.most:
            units = torch.eye(m, dtype=y.dtype, device=y.device).view(m, 1, *y.shape[1:]).expand(m, *y.shape)
            self.axes = torch.stack([self.linear.adjoint(unit.contiguous()) for unit in units], 1)

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        denoised, vjp = self.prior.denoise_vjp(x, t)
        return denoised + self._given(self._marginals(denoised, vjp, t), None, denoised, vjp, t)

    def log_likelihood(self, x: Tensor, t: Tensor) -> Tensor:
        """log p_t(y | x_t) over the measured entries, (N,): that of expectation propagation.

        Formula: log N(z; A D, A C A' + S) + sum_i log Z_i - log N(z_i; m_i, v_i + s_i^2), with Z_i the integral of
        N(u; m_i, v_i) p(y_i | u), and N(m_i, v_i) the marginal without factor i. Source: Minka 2001, section 3.2.
        Raises: ValueError for more than ``most`` measured numbers.
        """
        denoised, vjp = self.prior.denoise_vjp(x, t)
        marginals = self._marginals(denoised, vjp, t)
        if not isinstance(marginals, Exact):
            raise ValueError(
                f"EP: a likelihood of {self.y[0].numel()} measured numbers costs a backward pass each: raise `most`"
            )
        found = matched(self.noise, self.y, marginals, self.support)
        own = self.noise.log_marginal(self.y.double(), found.mean, found.spread)
        total = found.spread + found.variance
        own = own + 0.5 * ((found.target - found.mean) ** 2 / total + (2 * torch.pi * total).log())
        if self.support is not None:  # nothing was measured there: factors that are nearly flat
            own = torch.where(self.support, own, 0.5 * (2 * torch.pi * total).log())
        return marginals.log_normal(found.target, found.variance) + own.flatten(1).sum(1)

    def finish(self, x: Tensor, t: Tensor, rng: RNG) -> Tensor:
        """A draw of the Gaussian p(x0 | x_t, y) with the matched factors, (N, *E), by Matheron's rule."""
        marginals = self._marginals(*self.prior.denoise_vjp(x, t), t)
        drawn, vjp = draw(self.prior, x, t, rng)
        return drawn + self._given(marginals, rng, drawn, vjp, t)

    def guess(self, n: int, moments: SecondMoments, rng: RNG) -> Tensor:
        """n draws of the posterior of the Gaussian with the prior's moments, (n, *E)."""
        mean = moments.to(self.device).mean.expand(n, *self.event_shape)
        operator, target = self._matched(Spectral(self.linear, self.second, self.wide, float("inf"), mean))
        return Wiener(self.second, operator).draw(target, rng)

    def _marginals(self, denoised: Tensor, vjp: VJP, t: Tensor | float) -> Marginals:
        """Of A x0 under N(D, C)."""
        alpha, sigma = self.sde.alpha(t), self.sde.sigma(t)
        if self.axes is not None:
            return Exact(self.axes, self.linear(denoised), lambda v: expand(sigma**2 / alpha, v) * vjp(v))
        return Spectral(self.linear, self.second, self.wide, float((sigma / alpha) ** 2), denoised)

    def _given(self, marginals: Marginals, rng: RNG | None, start: Tensor, vjp: VJP, t: Tensor | float) -> Tensor:
        """C A' (S + A C A')^-1 (z - A start), (N, *E); with a draw of N(0, S) subtracted from z where rng is given."""
        operator, target = self._matched(marginals)
        if rng is not None:
            target = target - operator.noise.aligned("sigma", target) * rng.normal(tuple(target.shape))
        residual = target - self.linear(start)
        if self.support is not None:
            residual = torch.where(self.support, residual, 0.0)
        if isinstance(marginals, Exact):
            return marginals.correction(residual, operator.noise.aligned("sigma", target).expand_as(target))
        return MMPSPosterior(self.prior, operator, target, self.cg).correction(residual, vjp, t)

    def _matched(self, marginals: Marginals) -> tuple[LinearOperator, Tensor]:
        """The operator with the matched factors' noise, and z (N, *M): those of Gaussian noise are its own, and closed
        forms for equal noise stay."""
        if "gaussian" in self.noise.capabilities and not self.noise.noiseless:
            return self.linear.with_noise(self.noise), self.y
        found = matched(self.noise, self.y, marginals, self.support)
        target, deviation = found.target.to(self.y), found.variance.sqrt().to(self.y)
        return self.linear.with_noise(GaussianNoise(deviation, event_ndim=self.y.ndim - 1)), target
