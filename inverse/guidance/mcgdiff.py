"""MCGdiff: sequential Monte Carlo with measured coordinates as noised observations of the state."""

import torch
from torch import Tensor

from inverse.guidance.spectral import SpectralPosterior, combine
from inverse.protocols import RNG, Guidance, Posterior
from inverse.types import HALF_LOG_2PI, Gaussian
from operators import Operator
from priors import Prior


class MCGDiff(Guidance):
    """A coordinate u of noise n = sigma_y / s is x at the time at which sigma / alpha = n, observed exactly.

    Formula: while sigma_s / alpha_s > n, the step's law is multiplied by the potential
    g_s = N(x_s; alpha_s u, sigma_s^2 - (alpha_s n)^2), which is exact for diagonal Gaussians, and the weights are
    the mass of the product over g_t(x_t). Below, the coordinate moves by the prior alone. No gradient of the prior.
    Source: Cardoso, Janati El Idrissi, Le Corff, Moulines 2024, sections 3.1 and 3.2. Their code adds 1e-4 to the
    potential's variance and weights the last particles by their likelihood once more.
    """

    needs = frozenset({"svd", "isotropic"})
    citation = (
        "Cardoso, Janati El Idrissi, Le Corff, Moulines: Monte Carlo Guided Diffusion for Bayesian Linear Inverse "
        "Problems, ICLR 2024"
    )
    likelihood = True

    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        return MCGDiffPosterior(prior, operator, y)


class MCGDiffPosterior(SpectralPosterior):
    def potential(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of g_t in coordinates, (N, *E); the latter is inf where there is none."""
        alpha, sigma = self.sde.alpha(t).to(like), self.sde.sigma(t).to(like)
        left = sigma**2 - (alpha * self.noise) ** 2
        return alpha * self.u, torch.where(self.known & (left > 0), left.clamp_min(0.0).sqrt(), torch.inf)

    def condition(self, q: Gaussian, x: Tensor, t: Tensor, s: Tensor) -> Gaussian:
        return combine(q.within(self.operator), *self.potential(s, x))

    def log_likelihood(self, x: Tensor, t: Tensor) -> Tensor:
        return self._log_potential(x, t, t)

    def log_gain(self, x: Tensor, t: Tensor, before: Tensor, earlier: Tensor) -> Tensor:
        # what left the potential on the way stays in the weights: the path's law keeps the observation
        return self.log_likelihood(x, t) - self._log_potential(before, earlier, t)

    def _log_potential(self, x: Tensor, t: Tensor, active_at: Tensor) -> Tensor:
        """log g_t over the coordinates that still have a potential at ``active_at``, (N,)."""
        mean, std = self.potential(t, x)
        active = self.potential(active_at, x)[1] < torch.inf
        std = torch.where(active, std, 1.0)
        square = ((self.operator.Vt(x) - mean) / std) ** 2
        return torch.where(active, -0.5 * square - std.log() - HALF_LOG_2PI, 0.0).flatten(1).sum(1)
