"""DDNM+: the denoised image keeps its null-space part and takes its range-space part from the measurement."""

from dataclasses import dataclass

import torch
from torch import Tensor

from inverse.guidance.spectral import SpectralPosterior
from inverse.protocols import Guidance
from inverse.types import Gaussian
from priors.arguments import settings


@dataclass(frozen=True)
class DDNM(Guidance):
    """D <- D - L A^+ (A D - y), with less of the measurement where its noise is above the step's.

    Formula, in the singular basis, on top of the predictor `Renoise(eta)`: the mean moves by alpha_s l (u - V'D) with
    l = min(1, eta sigma_s / (alpha_s n)), n = sigma_y / s the noise of u, and of the new noise eta^2 sigma_s^2 the
    measurement supplies (alpha_s l n)^2.
    Source: Wang, Yu, Zhang 2023, equations 13 to 19 (DDNM+, without time travel: `inverse.grids.TimeTravel` adds it).
    No gradient of the prior.
    Arguments: eta (float in (0, 1]), the predictor's.
    Raises: ValueError for eta out of range.
    """

    eta: float = 0.85

    needs = frozenset({"svd", "isotropic"})
    citation = "Wang, Yu, Zhang: Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, ICLR 2023"

    def __post_init__(self):
        settings(self, eta="(0, 1]")

    def posterior(self, prior, operator, y, rng=None):
        return DDNMPosterior(prior, operator, y, self.eta)


class DDNMPosterior(SpectralPosterior):
    def __init__(self, prior, operator, y, eta: float):
        super().__init__(prior, operator, y)
        self.eta = eta

    def trust(self, s: Tensor, x: Tensor) -> Tensor:
        """l, (N, *E) in coordinates."""
        most = self.eta * (self.sde.sigma(s) / self.sde.alpha(s)).to(x)
        return torch.where(self.noise > most, most / torch.where(self.noise > 0, self.noise, 1.0), 1.0)

    def condition(self, q: Gaussian, x: Tensor, t: Tensor, s: Tensor) -> Gaussian:
        alpha, trust = self.sde.alpha(s).to(x), self.trust(s, x)
        q = q.within(self.operator)
        gap = self.u - self.operator.Vt(self.prior.denoise(x, t))
        left = (q.std.to(x) ** 2 - (alpha * trust * self.noise) ** 2).clamp_min(0.0).sqrt()
        mean = torch.where(self.known, q.mean + alpha * trust * gap, q.mean)
        return Gaussian(mean, torch.where(self.known, left, q.std.to(x)), q.basis)

    def finish(self, x: Tensor, t: Tensor) -> Tensor:
        return self.rectified(self.prior.denoise(x, t), self.trust(t, x))
