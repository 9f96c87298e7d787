"""What methods share that work in an operator's singular basis."""

import torch
from torch import Tensor

from inverse.protocols import Posterior


class SpectralPosterior(Posterior):
    """y as noisy coordinates of x0 in the basis V: u = U'y / s = V'x0 + (sigma_y / s) z where s > 0.

    Attributes, in coordinates (N, *E): known (bool): s > 0; u, 0 elsewhere; noise: standard deviation sigma_y / s of u,
    0 elsewhere.
    """

    def __init__(self, prior, operator, y):
        super().__init__(prior, operator, y)
        coordinates = operator.Ut(y)
        s = operator.spectrum(coordinates).expand_as(coordinates)
        self.known = s > 0
        scale = torch.where(self.known, s, 1.0)
        self.u = coordinates / scale
        self.noise = torch.where(self.known, operator.noise.aligned("sigma", coordinates) / scale, 0.0)

    def rectified(self, denoised: Tensor, weight: Tensor | float) -> Tensor:
        """D + V weight (u - V'D) on known coordinates; weight broadcastable to (N, *E)."""
        change = torch.where(self.known, weight * (self.u - self.operator.Vt(denoised)), 0.0)
        return denoised + self.operator.V(change)
