"""Split Gibbs: the likelihood's draw and the prior's draw in turn, at a coupling that is annealed."""

import torch
from torch import Tensor

from inverse.guidance.spectral import SpectralPosterior, combine
from inverse.protocols import RNG, Guidance, Posterior
from inverse.types import Gaussian
from operators import Operator
from priors import Prior


class SplitGibbs(Guidance):
    """Plug-and-play diffusion: z ~ p(y | z) N(z; x, rho^2), exact in the singular basis, then x ~ p(x0 | x_t = z).

    Formula: on a grid that goes down to the data and back up to rho = sigma / alpha again and again
    (`inverse.grids.Sawtooth`), the way down is the reverse SDE of the prior alone, and the way up draws z with the
    precision 1 / rho^2 + 1 / n^2 per coordinate, n = sigma_y / s.
    Source: Wu et al. 2024, algorithm 1. Its law is the posterior of y given z and not x, with Var(z - x) = rho^2: exact
    as rho -> 0 only. No gradient of the prior.
    """

    needs = frozenset({"svd", "isotropic"})
    citation = (
        "Wu, Sun, Chen, Zhang, Yue, Bouman: Principled Probabilistic Imaging using Diffusion Models as Plug-and-Play "
        "Priors, NeurIPS 2024"
    )

    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        return SplitGibbsPosterior(prior, operator, y)


class SplitGibbsPosterior(SpectralPosterior):
    def condition(self, q: Gaussian, x: Tensor, t: Tensor, s: Tensor) -> Gaussian:
        if s <= t:
            return q
        q, alpha = q.within(self.operator), self.sde.alpha(s).to(x)
        return combine(q, alpha * self.u, torch.where(self.known, alpha * self.noise, torch.inf))
