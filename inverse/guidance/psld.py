"""Diffusion posterior sampling of latents: the residual's gradient, and that of a gluing term."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverse.guidance.coding import Coding
from inverse.guidance.dps import DPSPosterior
from inverse.guidance.residual import largest
from inverse.protocols import RNG, Guidance, Posterior
from operators import LinearOperator, Operator
from priors import Prior
from priors.arguments import settings
from priors.base import expand


@dataclass(frozen=True)
class PSLD(Guidance):
    """`DPS` through a decoder, and a step along the gradient of the gluing term, for `priors.Latent` with an encoder.

    Formula: with D = E[z0 | z_t], the decoder G and the encoder E, a step along

        -grad |y - A G(D)| - gamma grad |D - E(G(D) + A'(y - A G(D)) / c)|,  norms per row,

    the second of which draws latents to fixed points of encoding a picture that agrees with y. The paper has A' for
    operators with orthonormal rows, of which c = 1; here c is the largest eigenvalue of A A'. Of a nonlinear A, A' is
    the derivative, held fixed under the gradient. Of a prior over pictures G and E are the identity. The size of steps
    is that of `DPS`. It is not calibrated: the norms are not the likelihood's.
    Source: Rout, Raoof, Daras, Caramanis, Dimakis, Shakkottai 2023, algorithm 2.
    Arguments: zeta (float > 0): as of `DPS`, the paper's eta; gamma (float >= 0): the paper's gamma over its eta.
    Raises: ValueError for numbers out of range, and, before the prior is evaluated, for latents without an encoder.
    """

    zeta: float = 10.0
    gamma: float = 0.1

    needs = frozenset({"differentiable", "numeric"})
    differentiates = True
    citation = (
        "Rout, Raoof, Daras, Caramanis, Dimakis, Shakkottai: Solving Linear Inverse Problems Provably via Posterior "
        "Sampling with Latent Diffusion Models, NeurIPS 2023"
    )

    def __post_init__(self) -> None:
        settings(self, zeta="(0, inf)", gamma="[0, inf)")

    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        return PSLDPosterior(prior, operator, y, self)


class PSLDPosterior(DPSPosterior):
    def __init__(self, prior: Prior, operator: Any, y: Any, settings: PSLD) -> None:
        super().__init__(prior, operator, y, settings.zeta)
        self.gamma, self.coding = settings.gamma, Coding.of(prior, operator)
        self.size: Tensor | None = None  # c, found at the first pictures
        if self.coding.latents is None:
            raise ValueError("psld needs an encoder of latents: priors.Latent(prior, encoder, decoder); or take 'dps'")

    def descent(self, x0: Tensor) -> Tensor:
        return super().descent(x0) + (self.gamma * self._glue(x0) if self.gamma else 0.0)

    def _glue(self, latents: Tensor) -> Tensor:
        """-grad |z - E(G(z) + A'(y - A G(z)) / c)| by z, (N, *E)."""
        coding, latents_of = self.coding, self.coding.latents
        assert latents_of is not None
        operator = coding.operator
        with torch.inference_mode(False), torch.enable_grad():
            z = latents.detach().clone().requires_grad_()
            pictures = coding.pictures(z)
            residual = self.y - operator(pictures)
            if operator.support is not None:
                residual = torch.where(operator.support, residual, 0.0)
            if isinstance(operator, LinearOperator):
                back = operator.adjoint(residual)
            else:
                back = operator.vjp(pictures.detach(), residual.detach())
            if self.size is None:
                with torch.no_grad():
                    self.size = largest(operator, pictures.detach(), 1.0, 20).clamp_min(1e-12)
            gap = z - latents_of(pictures + back / expand(self.size, back))
            (slope,) = torch.autograd.grad(gap.flatten(1).square().sum(1).add(1e-24).sqrt().sum(), z)
        return -slope
