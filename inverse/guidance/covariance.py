"""Draws of the Gaussian p(x0 | x_t) that Tweedie's formula gives, by a few backward passes through the prior."""

import torch
from torch import Tensor

from inverse.protocols import RNG
from operators import Operator
from operators.solvers import dot
from priors import Prior
from priors.base import VJP, expand

KRYLOV = 4  # backward passes of a draw


def covariance_draw(vjp: VJP, scale: float, z: Tensor, steps: int = KRYLOV) -> Tensor:
    """C^(1/2) z with C = scale J', the covariance of x0 given x_t.

    Formula: in the Krylov space of (J', z), with the orthonormal basis Q and T = Q'J'Q, C^(1/2) z is about
    |z| Q (scale T)^(1/2) e_1. Exact where J has as many eigenvalues as steps; at little noise most are near 0 or 1.
    Source: Chow & Saad 2014 (Lanczos draws of a Gaussian); Efron 2011 (the covariance).
    Arguments: vjp: v -> J'v, J = dD / dx_t; scale: sigma^2 / alpha, data units squared; z (N, *E), standard normal;
    steps (int >= 1): backward passes.
    Returns: (N, *E).
    """
    size = dot(z, z).sqrt().clamp_min(1e-30)
    basis, values, vectors = lanczos(vjp, z / expand(size, z), steps)
    # a covariance has no negative eigenvalues, whatever the network's Jacobian has
    weights = (vectors @ (values.clamp_min(0.0).sqrt() * vectors[:, 0])[:, :, None])[:, :, 0]
    scaled = (scale**0.5 * size.double())[:, None] * weights
    return sum((expand(scaled[:, i].to(z), z) * q for i, q in enumerate(basis)), torch.zeros_like(z))


def lanczos(product: VJP, start: Tensor, steps: int, relative: bool = False) -> tuple[list[Tensor], Tensor, Tensor]:
    """An orthonormal basis Q of the Krylov space of a symmetric map, and the eigenvalues and eigenvectors of T = Q'AQ.

    Source: Lanczos 1950, reorthogonalised.
    Arguments: product: v -> A v, rows (N, ...); start: rows of length 1; steps (int >= 1): products; relative: whether
    the space is exhausted at 1e-5 of the largest diagonal entry of T so far, rather than at 1e-6, for eigenvalues of
    about 1.
    Returns: steps vectors (N, ...), zero where the space is exhausted; (N, steps), ascending, and (N, steps, steps), in
    double precision.
    """
    basis, diagonal, off = [start], [], []
    for step in range(steps):
        v = basis[-1]
        w = product(v)
        diagonal.append(dot(v, w))
        if step + 1 == steps:
            break
        # against all earlier vectors, twice: a trained J is not quite symmetric, and rounding loses orthogonality
        for q in (*basis, *basis):
            w = w - expand(dot(q, w), w) * q
        length = dot(w, w).sqrt()
        going = length > (1e-5 * torch.stack(diagonal).amax(0) if relative else 1e-6)
        off.append(torch.where(going, length, 0.0).double())
        basis.append(torch.where(expand(going, w).bool(), w / expand(length.clamp_min(1e-30), w), 0.0))
    t = torch.diag_embed(torch.stack(diagonal, 1).double())
    for i, length in enumerate(off):
        t[:, i, i + 1] = t[:, i + 1, i] = length
    values, vectors = torch.linalg.eigh(t)
    return basis, values, vectors


def draw(prior: Prior, x: Tensor, t: Tensor, rng: RNG, steps: int = KRYLOV) -> tuple[Tensor, VJP]:
    """A draw of p(x0 | x_t) ~ N(D, C), (N, *E), and v -> J'v at (x, t).

    Arguments: prior; x (N, *E) at t; rng (`RowRNG` of the rows); steps: as `covariance_draw`.
    """
    denoised, vjp = prior.denoise_vjp(x, t)
    scale = (prior.sde.sigma(t) ** 2 / prior.sde.alpha(t)).item()
    return denoised + covariance_draw(vjp, scale, rng.normal(tuple(x.shape)), steps), vjp


def measured_draw(operator: Operator, x: Tensor, y: Tensor, rng: RNG) -> Tensor:
    """A x + N(0, Sigma_y) on the support, and 0 elsewhere; x (N, *E), y (N, *M), for whose entries sigma_y is given."""
    found = operator(x) + operator.noise.aligned("sigma", y) * rng.normal(tuple(y.shape))
    return found if operator.support is None else torch.where(operator.support, found, 0.0)
