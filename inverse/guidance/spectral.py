"""What methods share that work in an operator's singular basis."""

from typing import Any

import torch
from torch import Tensor

from inverse.protocols import RNG, Posterior
from inverse.types import Gaussian
from priors import Prior


class SpectralPosterior(Posterior):
    """y as noisy coordinates of x0 in the basis V: u = U'y / s = V'x0 + (sigma_y / s) z where s > 0.

    Attributes, in coordinates (N, *E): known (bool): s > 0; u, 0 elsewhere; noise: standard deviation sigma_y / s of u,
    0 elsewhere.
    """

    def __init__(self, prior: Prior, operator: Any, y: Any) -> None:
        super().__init__(prior, operator, y)
        coordinates = operator.Ut(y)
        s = operator.spectrum(coordinates).expand_as(coordinates)
        self.known = s > 0
        scale = torch.where(self.known, s, 1.0)
        self.u = coordinates / scale
        self.noise = torch.where(self.known, operator.noise.aligned("sigma", coordinates) / scale, 0.0)

    def finish(self, x: Tensor, t: Tensor, rng: RNG) -> Tensor:
        return self.settled(self.denoise(x, t), t, rng)

    def settled(self, denoised: Tensor, t: Tensor, rng: RNG, weight: Tensor | float = 0.0) -> Tensor:
        """An estimate (N, *E) at the last time t with the measurement put in its place.

        A coordinate that was measured with less noise than is left in the state, n <= sigma_t / alpha_t, is a draw of
        N(u, n^2), so that what was measured without noise is exact; the others move by ``weight`` (broadcastable to
        (N, *E)) of their distance from u.
        """
        z = self.operator.Vt(denoised)
        drawn = self.u + self.noise * rng.normal(tuple(z.shape))
        sharp = self.known & (self.noise <= (self.sde.sigma(t) / self.sde.alpha(t)).to(z))
        moved = torch.where(sharp, drawn - z, torch.where(self.known, weight * (self.u - z), 0.0))
        return denoised + self.operator.V(moved)

    def rectified(self, denoised: Tensor, weight: Tensor | float) -> Tensor:
        """D + V weight (u - V'D) on known coordinates; weight broadcastable to (N, *E)."""
        change = torch.where(self.known, weight * (self.u - self.operator.Vt(denoised)), 0.0)
        return denoised + self.operator.V(change)


def combine(q: Gaussian, mean: Tensor, std: Tensor) -> Gaussian:
    """q times N(mean, std^2), normalised, in q's coordinates; std (N, *E) from 0 to inf."""
    v = q.std.to(q.mean).expand_as(q.mean) ** 2
    share = v / (v + std**2)
    return Gaussian(
        q.mean + share * torch.where(std < torch.inf, mean - q.mean, 0.0), (v * (1 - share)).sqrt(), q.basis
    )
