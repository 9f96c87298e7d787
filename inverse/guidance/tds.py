"""TDS: twisted sequential Monte Carlo, exact as particles grow."""

import math
from typing import Any

import torch
from torch import Tensor

from inverse.guidance.pigdm import PiGDMPosterior
from inverse.protocols import RNG, Guidance, Posterior
from operators import Operator
from priors import Prior


class TDS(Guidance):
    """`PiGDM`'s score as the proposal and its likelihood as the twisting function of `inverse.population.SMC`.

    Formula: psi_t(x_t) = N(y; A D, r^2 A A' + sigma_y^2 I), whose gradient is PiGDM's; weights
    p(x_s | x_t) psi_s(x_s) / (psi_t(x_t) q(x_s | x_t)). The paper takes r = sigma; with the prior's variance v,
    r^2 = v sigma^2 / (sigma^2 + alpha^2 v), it tends to the likelihood of y under the prior at t = 1.
    Source: Wu, Trippe, Naesseth, Blei, Cunningham 2023, equations 9 to 11 and algorithm 1.
    """

    needs = frozenset({"svd", "isotropic"})
    differentiates = True
    citation = (
        "Wu, Trippe, Naesseth, Blei, Cunningham: Practical and Asymptotically Exact Conditional Sampling in Diffusion "
        "Models, NeurIPS 2023"
    )

    likelihood = evidence = True

    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        return TDSPosterior(prior, operator, y)


class TDSPosterior(PiGDMPosterior):
    def __init__(self, prior: Prior, operator: Any, y: Any) -> None:
        super().__init__(prior, operator, y)
        self._det: tuple[int, float, Tensor] | None = None

    def log_likelihood(self, x: Tensor, t: Tensor) -> Tensor:
        denoised, _ = self.prior.denoise_vjp(x, t)  # kept: the next step asks for both
        r2 = self.r2(t)
        residual, p = self.weighted(denoised, r2)
        if self._det is None or self._det[:2] != (len(x), r2):  # of the last level, which the next step starts from
            self._det = len(x), r2, self._log_det(denoised, r2)
        return -0.5 * ((residual * p).flatten(1).sum(1) + self._det[2])

    def _log_det(self, x: Tensor, r2: float) -> Tensor:
        """log det 2 pi (r^2 A A' + sigma_y^2 I) over measured entries, (N,); an entry without variance counts as 0."""
        operator, support = self.operator, self.operator.support
        spectrum = operator.spectrum(x).expand_as(x).flatten(1)  # coordinates have the event's shape
        variance = operator.noise.aligned("sigma", x).expand_as(x).flatten(1)[:, 0] ** 2
        known = spectrum > 0
        inside = torch.where(known, (r2 * spectrum**2 + variance[:, None]).log(), 0.0).sum(1)
        measured = self.y[0].numel() if support is None else support.expand_as(self.y).flatten(1).sum(1)
        outside = measured - known.sum(1)
        return (
            inside
            + measured * math.log(2 * math.pi)
            + torch.where((outside > 0) & (variance > 0), outside * variance.log(), 0.0)
        )
