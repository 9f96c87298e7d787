"""DDRM: a step of its own for every singular value."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverse.guidance.spectral import SpectralPosterior
from inverse.protocols import RNG, Guidance, Posterior
from inverse.types import Gaussian
from operators import Operator
from priors import Prior
from priors.arguments import settings


@dataclass(frozen=True)
class DDRM(Guidance):
    """Denoising diffusion restoration: in the singular basis, coordinates are drawn as their noise allows.

    Formula, for states divided by alpha, with D = V' E[x0 | x_t], r = sigma_s / alpha_s and u of noise n = sigma_y / s:

        s = 0     the predictor's own step, `Renoise(eta)`
        r <  n    N(D + sqrt(1 - eta^2) r (u - D) / n, eta^2 r^2)
        r >= n    N((1 - eta_b) D + eta_b u, r^2 - eta_b^2 n^2)

    Source: Kawar, Elad, Ermon, Song 2022, equations 7 and 8; defaults of their code. No gradient of the prior.
    Arguments: eta and eta_b (floats in [0, 1]); eta should be the predictor's.
    Raises: ValueError for numbers out of range.
    """

    eta: float = 0.85
    eta_b: float = 1.0

    needs = frozenset({"svd", "isotropic"})
    citation = "Kawar, Elad, Ermon, Song: Denoising Diffusion Restoration Models, NeurIPS 2022"

    def __post_init__(self) -> None:
        settings(self, eta="[0, 1]", eta_b="[0, 1]")

    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        return DDRMPosterior(prior, operator, y, self.eta, self.eta_b)


class DDRMPosterior(SpectralPosterior):
    def __init__(self, prior: Prior, operator: Any, y: Any, eta: float, eta_b: float) -> None:
        super().__init__(prior, operator, y)
        self.eta, self.eta_b = eta, eta_b

    def condition(self, q: Gaussian, x: Tensor, t: Tensor, s: Tensor) -> Gaussian:
        alpha = self.sde.alpha(s).to(x)
        r = self.sde.sigma(s).to(x) / alpha
        denoised = self.operator.Vt(self.prior.denoise(x, t))
        gap, n = self.u - denoised, self.noise
        loud = r < n  # the measurement is noisier than the state
        kept = (1 - self.eta**2) ** 0.5 * r / torch.where(loud, n, 1.0)
        mean = denoised + torch.where(loud, kept, self.eta_b) * gap
        std = torch.where(loud, self.eta * r, (r**2 - (self.eta_b * n) ** 2).clamp_min(0.0).sqrt())
        q = q.within(self.operator)
        return Gaussian(
            torch.where(self.known, alpha * mean, q.mean), torch.where(self.known, alpha * std, q.std.to(x)), q.basis
        )
