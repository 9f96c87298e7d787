"""Diffusion posterior sampling: the residual's gradient, normalised."""

from dataclasses import dataclass

from torch import Tensor

from inverse.protocols import Guidance, GuidedPosterior
from priors.base import expand


@dataclass(frozen=True)
class DPS(Guidance):
    """A step along -grad |y - A(D(x_t))|, any differentiable operator.

    Formula: grad log p_t(y | x_t) ~ -(rate / g^2(t)) grad_x |y - A(D)|, |.| per row. A reverse step of length h moves
    by g^2 h times the score, so the state moves by rate * h: the paper's zeta per step, restated per unit time, which
    makes it independent of the grid. rate = zeta sqrt(variance m) with m measured numbers: the norm's gradient has
    length about 1 whatever the image's size, while distances grow with sqrt(m), so zeta needs no change with size or
    units.
    Source: Chung et al. 2023, algorithm 1 (there zeta_i per step, 1000 steps).
    Arguments: zeta (float > 0): prior standard deviations per unit time. Of 3, 10 and 30, the largest is the nearest
    to the exact posterior of the image mixture (`inverse-bench run exactness`), but spread the seen one of two pixels
    under VE by more than the prior, hence the default.
    Raises: ValueError for zeta <= 0.
    """

    zeta: float = 10.0

    needs = frozenset({"differentiable", "gaussian"})
    citation = (
        "Chung, Kim, McCann, Klasky, Ye: Diffusion Posterior Sampling for General Noisy Inverse Problems, ICLR 2023"
    )

    def __post_init__(self):
        if self.zeta <= 0:
            raise ValueError(f"zeta = {self.zeta}: expected a number > 0")

    def posterior(self, prior, operator, y):
        return DPSPosterior(prior, operator, y, self.zeta)


class DPSPosterior(GuidedPosterior):
    def __init__(self, prior, operator, y, zeta: float):
        super().__init__(prior, operator, y)
        support = operator.support
        measured = y[0].numel() if support is None else support.expand_as(y).flatten(1).sum(1).to(y)
        self.rate = expand((zeta * (self.variance * measured) ** 0.5) * y.new_ones(len(y)), y)

    def guide(self, x: Tensor, t):
        denoised, vjp = self.prior.denoise_vjp(x, t)
        residual = self.y - self.operator(denoised)
        norm = residual.flatten(1).norm(dim=1).clamp_min(1e-12)
        direction = vjp(self.operator.vjp(denoised, residual / expand(norm, residual)))
        rate = self.rate.view(-1, *[1] * (x.ndim - 1))
        return denoised, rate / expand(self.sde.g2(t), x) * direction
