"""Moment matching: Gaussian p(x0 | x_t) with the covariance that Tweedie's formula gives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from inverse.protocols import Guidance, Posterior
from operators.solvers import dot
from priors.base import expand

REMEMBERED = 4  # directions: older ones belong to another system, and did harm


@dataclass(frozen=True)
class MMPS(Guidance):
    """E[x0 | x_t, y] ~ D + C A' (Sigma_y + A C A')^-1 (y - A D) with C = (sigma^2 / alpha) J', J = dD/dx_t.

    C is Cov[x0 | x_t] (second-order Tweedie formula), so on a Gaussian prior this is exact. The system is solved by
    conjugate gradients, one backward pass through the prior each; the correction is summed on the way and costs no pass
    of its own. What precondition them, free of passes, are the closed-form solution for an isotropic C, where the
    operator has a singular basis and one noise level, and the limited-memory BFGS formula on the directions of the last
    evaluation, whose system is much like this one.
    Source: Rozet et al. 2024, algorithm 2; Morales & Nocedal 2000 (the second preconditioner, ours to this method).
    Arguments: steps (int >= 1) of conjugate gradients; tolerance: a row stops when its residual fell below this
    fraction of the start; recycle: whether to precondition by the last evaluation's directions.
    Raises: ValueError for steps < 1.
    """

    steps: int = 3
    tolerance: float = 1e-3
    recycle: bool = True

    needs = frozenset({"linear", "gaussian"})
    citation = "Rozet, Andry, Lanusse, Louppe: Learning Diffusion Priors from Observations by EM, NeurIPS 2024"

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps = {self.steps}: expected at least 1")

    def posterior(self, prior, operator, y, rng=None):
        return MMPSPosterior(prior, operator, y, self)


class MMPSPosterior(Posterior):
    def __init__(self, prior, operator, y, settings: MMPS):
        super().__init__(prior, operator, y)
        self.settings = settings
        self.preconditioned = {"svd", "isotropic"} <= operator.capabilities
        self.directions: list[Direction] = []

    def denoise(self, x: Tensor, t):
        denoised, vjp = self.prior.denoise_vjp(x, t)
        alpha, sigma2 = self.sde.alpha(t).item(), self.sde.sigma(t).item() ** 2
        r2 = self.variance * sigma2 / (sigma2 + alpha**2 * self.variance)
        operator, known, found = self.operator, self.directions, []

        def isotropic(r: Tensor) -> Tensor:
            return operator.solve_gram(r, r2) if self.preconditioned else _scaled(known, r)

        # conjugate gradients per row on (Sigma_y + A C A') v = r; `correction` accumulates C A' v
        r = self.y - operator(denoised)
        z = _bfgs(known, isotropic, r)
        p, rz = z, dot(r, z)
        start, target = rz, self.settings.tolerance**2 * rz
        correction = torch.zeros_like(denoised)
        for step in range(self.settings.steps):
            w = sigma2 / alpha * vjp(operator.adjoint(p))
            ap = operator(w) + operator.noise.aligned("sigma", p) ** 2 * p
            pap = dot(p, ap)
            going = (rz > target) & (pap > 0)
            if not bool(going.any()):
                break
            inverse = torch.where(going, 1 / torch.where(going, pap, 1.0), 0.0)
            found.append(Direction(p, ap, inverse))
            a = rz * inverse
            correction = correction + expand(a, w) * w
            if step + 1 == self.settings.steps:
                break
            r = r - expand(a, ap) * ap
            z = _bfgs(known, isotropic, r)
            before, rz = rz, torch.where(going, dot(r, z), 0.0)
            # A trained J is only nearly symmetric and positive: where the residual exceeds the first, a row keeps what
            # it has. That it exceeds the last means nothing: conjugate gradients lower the error, not the residual.
            rz = torch.where(rz < start, rz, 0.0)
            p = z + expand(rz / before.clamp_min(1e-30), p) * p
        if self.settings.recycle:
            self.directions = found[-REMEMBERED:]
        return denoised + correction


class Direction(NamedTuple):
    """A direction p of the system, its image and 1 / (p . image) per row, 0 for a row that had stopped."""

    p: Tensor
    image: Tensor
    inverse: Tensor


def _bfgs(known: list[Direction], base: Callable[[Tensor], Tensor], r: Tensor) -> Tensor:
    """The inverse that maps the known images to their directions and acts like ``base`` elsewhere: two loops."""
    shares = []
    for p, image, inverse in reversed(known):
        shares.append(inverse * dot(p, r))
        r = r - expand(shares[-1], r) * image
    z = base(r)
    for (p, image, inverse), share in zip(known, reversed(shares), strict=True):
        z = z + expand(share - inverse * dot(image, z), z) * p
    return z


def _scaled(known: list[Direction], r: Tensor) -> Tensor:
    """r at the scale of the last direction, where there is nothing better to precondition by."""
    if not known:
        return r
    p, image, inverse = known[-1]
    scale = torch.where(inverse > 0, dot(p, image) / dot(image, image).clamp_min(1e-30), 1.0)
    return expand(scale, r) * r
