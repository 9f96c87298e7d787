"""DDNM+: the denoised image keeps its null-space part and takes its range-space part from the measurement."""

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
class DDNM(Guidance):
    """D <- D - L A^+ (A D - y), with less of the measurement where its noise is above the step's.

    Formula, in the singular basis, on top of the predictor `Renoise(eta)`: D moves by l (u - V'D). Where the noise of
    u, n = sigma_y / s, is at most sigma_s / alpha_s, l = 1; elsewhere l = (1 - eta^2)^1/2 sigma_s / (alpha_s n). Of the
    step's variance sigma_s^2 the measurement supplies (alpha_s l n)^2 and new noise the rest: the noise of u is the
    same at every step, and the last step's, which `Renoise` carries on, has it already. Where n = 0 that stays.
    Source: Wang, Yu, Zhang 2023, equations 13 to 19 (DDNM+, without time travel: `inverse.grids.TimeTravel` adds it),
    and their code for a general A, which splits the noise so. No gradient of the prior.
    Arguments: eta (float in (0, 1]), the predictor's.
    Raises: ValueError for eta out of range.
    """

    eta: float = 0.85

    needs = frozenset({"svd", "isotropic"})
    citation = "Wang, Yu, Zhang: Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, ICLR 2023"

    def __post_init__(self) -> None:
        settings(self, eta="(0, 1]")

    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        return DDNMPosterior(prior, operator, y, self.eta)


class DDNMPosterior(SpectralPosterior):
    def __init__(self, prior: Prior, operator: Any, y: Any, eta: float) -> None:
        super().__init__(prior, operator, y)
        self.eta = eta

    def trust(self, s: Tensor, x: Tensor) -> Tensor:
        """l, (N, *E) in coordinates."""
        most = (self.sde.sigma(s) / self.sde.alpha(s)).to(x)
        shared = (1 - self.eta**2) ** 0.5 * most / torch.where(self.noise > 0, self.noise, 1.0)
        return torch.where(self.noise > most, shared, 1.0)

    def condition(self, q: Gaussian, x: Tensor, t: Tensor, s: Tensor) -> Gaussian:
        alpha, sigma, trust = self.sde.alpha(s).to(x), self.sde.sigma(s).to(x), self.trust(s, x)
        q, denoised = q.within(self.operator), self.operator.Vt(self.prior.denoise(x, t))
        change = alpha * trust * (self.u - denoised)
        exact, noisy = self.known & (self.noise == 0), self.known & (self.noise > 0)
        mean = torch.where(exact, q.mean + change, torch.where(noisy, alpha * denoised + change, q.mean))
        left = (sigma**2 - (alpha * trust * self.noise) ** 2).clamp_min(0.0).sqrt()
        return Gaussian(mean, torch.where(noisy, left, q.std.to(x)), q.basis)

    def finish(self, x: Tensor, t: Tensor, rng: RNG) -> Tensor:
        return self.settled(self.prior.denoise(x, t), t, rng, self.trust(t, x))
