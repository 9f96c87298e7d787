"""Replacement: what was measured is put in place at every step, at the noise level of the step."""

import torch
from torch import Tensor

from inverse.guidance.spectral import SpectralPosterior
from inverse.protocols import RNG, Guidance, Posterior
from inverse.types import Gaussian
from operators import Operator
from priors import Prior


class Replacement(Guidance):
    """Inpainting and colourisation as in the score-SDE paper, for any operator with orthogonal rows.

    Formula: in the singular basis, coordinates with s > 0 are drawn from N(alpha_s u, sigma_s^2) with u = U'y / s, of
    which the measurement's own noise supplies (alpha_s sigma_y / s)^2; where that is more than sigma_s^2 the
    coordinate is left to the prior, which knows it better.
    Source: Song et al. 2021, appendix I.2 and I.3; there sigma_y = 0. Biased: unknown coordinates never learn that the
    known ones constrain x_t too (two-pixel test in tests/inverse). No gradient of the prior.
    """

    needs = frozenset({"svd", "orthogonal_rows", "isotropic"})
    citation = (
        "Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole: Score-Based Generative Modeling through SDEs, ICLR 2021"
    )

    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        return ReplacementPosterior(prior, operator, y)


class ReplacementPosterior(SpectralPosterior):
    def condition(self, q: Gaussian, x: Tensor, t: Tensor, s: Tensor) -> Gaussian:
        alpha, sigma = self.sde.alpha(s), self.sde.sigma(s)
        q = q.within(self.operator)
        added = sigma**2 - (alpha * self.noise) ** 2
        put = self.known & (added >= 0)
        std = torch.where(put, added.clamp_min(0.0).sqrt(), q.std.to(added))
        return Gaussian(torch.where(put, alpha * self.u, q.mean), std, q.basis)
