"""Particles twisted by the likelihood under the prior's Gaussian, and asked once for a better one."""

from dataclasses import dataclass

from torch import Tensor

from inverse.guidance.tds import TDS
from inverse.guidance.tweedie import Tweedie
from inverse.guidance.wiener import WienerPosterior
from inverse.protocols import Guidance, GuidedPosterior


@dataclass(frozen=True)
class Twisted(Guidance):
    """`TDS` with the covariance C_s of the prior's moments in place of r^2 I, for the part of a walk at high noise.

    Formula: psi_t(x_t) ~ N(y; A D, Sigma_y + A C_s A'), C_s = C s^2 (C + s^2 I)^-1, s = sigma / alpha (`Wiener`), up to
    a factor without x_t. C_s knows how neighbouring pixels move together, at no backward pass; it does not know that C
    differs from mode to mode. So where the rows are handed over (`inverse.methods.Method.then`) they are weighed once
    by the covariance at each, `Tweedie`'s, of a backward pass per measured number: their share in every mode is decided
    there. Walks that begin below t = 1 begin at the Gaussian's posterior, whose density is p_t psi_t there.
    Source: Wu et al. 2023, equations 9 to 11, for the weights; covariance, start and the handover are ours.
    Arguments: most (int >= 0): the largest measurement, in numbers, unmeasured ones included.
    Raises: ValueError for most < 0, and, before the prior is evaluated, for larger measurements.
    """

    most: int = 64

    needs = frozenset({"linear", "gaussian"})
    citation = TDS.citation

    def __post_init__(self):
        if self.most < 0:
            raise ValueError(f"most = {self.most}: expected a number of measured numbers >= 0")

    @property
    def largest(self) -> float:
        """The most numbers that a measurement may have."""
        return self.most

    def posterior(self, prior, operator, y, rng=None):
        assert y is not None
        if (size := y[0].numel()) > self.most:
            raise ValueError(
                f"a measurement of {size} numbers: expected at most {self.most}, for each costs a backward pass; take "
                "method 'mmps', or raise most"
            )
        return TwistedPosterior(prior, operator, y)


class TwistedPosterior(WienerPosterior, GuidedPosterior):
    def guide(self, x: Tensor, t):
        denoised, vjp = self.prior.denoise_vjp(x, t)
        return denoised, vjp(self.operator.adjoint(self._explained(self.y - self.operator(denoised), t)))

    def log_likelihood(self, x: Tensor, t: Tensor) -> Tensor:
        denoised, _ = self.prior.denoise_vjp(x, t)  # kept: the next step asks for both
        residual = self.y - self.operator(denoised)
        return -0.5 * (residual * self._explained(residual, t)).flatten(1).sum(1)

    def opening(self, x: Tensor, t: Tensor) -> Tensor:
        # the start drew the Gaussian's posterior, of density p_t psi_t
        drawn = t < 1 and self.moments is not None
        return x.new_zeros(len(x)) if drawn else self.log_likelihood(x, t)

    def refined(self, x: Tensor, t: Tensor) -> Tensor:
        return Tweedie(self.y[0].numel()).posterior(self.prior, self.operator, self.y).log_likelihood(x, t)

    def _explained(self, residual: Tensor, t) -> Tensor:
        """(Sigma_y + A C_s A')^-1 of a residual."""
        ratio = (self.sde.sigma(t) / self.sde.alpha(t)).item()
        return self.gaussian.solve(residual, ratio**2, rtol=1e-4, max_steps=100)
