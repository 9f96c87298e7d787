"""DiffPIR: the denoiser as a plug-and-play prior, a proximal step on the measurement, and noise again."""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from inverse.guidance.spectral import SpectralPosterior
from inverse.protocols import RNG, Guidance, Posterior
from operators import Operator
from operators.convolution import LARGE
from priors import Prior
from priors.arguments import settings


@dataclass(frozen=True)
class DiffPIR(Guidance):
    """D <- argmin_z |y - A z|^2 / (2 sigma_y^2) + |z - D|^2 / (2 r^2), r^2 = (sigma / alpha)^2 / weight.

    Formula: z = D + r^2 A'(r^2 A A' + Sigma_y)^-1 (y - A D), closed in the singular basis and by conjugate gradients
    elsewhere; then the predictor `Renoise(sqrt(zeta))`.
    Source: Zhu et al. 2023, algorithm 1. No gradient of the prior.
    Arguments: weight (float > 0), the paper's lambda: 1 to 15 there.
    Raises: ValueError for a weight <= 0.
    """

    weight: float = 7.0

    needs = frozenset({"linear", "gaussian"})
    citation = (
        "Zhu, Zhang, Liang, Cao, Wen, Timofte, Van Gool: Denoising Diffusion Models for Plug-and-Play Image "
        "Restoration, CVPR Workshops 2023"
    )

    def __post_init__(self) -> None:
        settings(self, weight="(0, inf)")

    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        return DiffPIRPosterior(prior, operator, y, self.weight)


class DiffPIRPosterior(Posterior):
    def __init__(self, prior: Prior, operator: Any, y: Any, weight: float) -> None:
        super().__init__(prior, operator, y)
        self.weight = weight
        # two transforms in place of three operators, of pictures that are not so large that they are taken in parts
        closed = {"svd", "isotropic"} <= operator.capabilities and math.prod(self.event_shape[-2:]) < LARGE.get()
        self.spectral = SpectralPosterior(prior, operator, y) if closed else None

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        denoised, operator = self.prior.denoise(x, t), self.operator
        r2 = ((self.sde.sigma(t) / self.sde.alpha(t)) ** 2 / self.weight).item()
        if self.spectral is not None:
            return self.spectral.rectified(denoised, r2 / (r2 + self.spectral.noise**2))
        return denoised + r2 * operator.adjoint(operator.solve_gram(self.y - operator(denoised), r2))
