"""Pseudo-inverse-guided diffusion: Gaussian p(x0 | x_t) of one variance."""

from typing import Any

from torch import Tensor

from inverse.guidance.bounds import limited
from inverse.guidance.covariance import draw, measured_draw
from inverse.protocols import RNG, Guidance, GuidedPosterior, Posterior
from operators import Operator
from priors import Prior


class PiGDM(Guidance):
    """grad log p_t(y | x_t) ~ J' A' (r^2 A A' + sigma_y^2 I)^-1 (y - A D), J = dD/dx_t.

    Formula: r^2 = v sigma^2 / (sigma^2 + alpha^2 v), the variance of x0 given x_t under a Gaussian prior of variance v
    per coordinate (the paper's r^2 takes v = 1). The solve is closed in the singular basis and by conjugate gradients
    elsewhere.
    Source: Song, Vahdat, Mardani, Kautz 2023, equation 7. Their algorithm 1 adds alpha_t r^2 times this gradient at
    every step, however short, so that more steps mean more guidance; here it is a score, and a step's length enters.
    """

    needs = frozenset({"linear", "gaussian"})
    differentiates = True
    citation = "Song, Vahdat, Mardani, Kautz: Pseudoinverse-Guided Diffusion Models for Inverse Problems, ICLR 2023"

    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        return PiGDMPosterior(prior, operator, y)


class PiGDMPosterior(GuidedPosterior):
    def __init__(self, prior: Prior, operator: Any, y: Any) -> None:
        super().__init__(prior, operator, y)
        self._last: tuple[Tensor, int, float, tuple[Tensor, Tensor]] | None = None

    def guide(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        denoised, vjp = self.prior.denoise_vjp(x, t)
        residual, p = self.weighted(denoised, self.r2(t))
        return denoised, limited(self.operator, residual, p, vjp(self.operator.adjoint(p)), self.sde, t)

    def weighted(self, denoised: Tensor, r2: float) -> tuple[Tensor, Tensor]:
        """The residual y - A D, and (r^2 A A' + sigma_y^2 I)^-1 of it, (N, *M); D (N, *E).

        Those of the last D are kept: where rows are weighted, `priors.Evaluations` gives the same one for a step and
        the likelihoods before and after it.
        """
        last = self._last
        if last is not None and last[0] is denoised and last[1:3] == (denoised._version, r2):
            return last[3]
        residual = self.y - self.operator(denoised)
        found = residual, self.operator.solve_gram(residual, r2)
        if not (denoised.requires_grad or denoised.is_inference()):  # graphs are not shared
            self._last = denoised, denoised._version, r2, found
        return found

    def finish(self, x: Tensor, t: Tensor, rng: RNG) -> Tensor:
        """A draw of p(x0 | x_t), brought to y as if its covariance were r^2 I."""
        drawn, _ = draw(self.prior, x, t, rng)
        residual, r2 = self.y - measured_draw(self.operator, drawn, self.y, rng), self.r2(t)
        return drawn + r2 * self.operator.adjoint(self.operator.solve_gram(residual, r2))
