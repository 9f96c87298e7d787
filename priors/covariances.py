"""Arguments of analytic priors as tensors, and the eigenvalues of their covariances."""

import torch
from torch import Tensor

from priors.arguments import finite


def numbers(name: str, value) -> Tensor:
    """A real tensor of what was given.

    Raises: TypeError for values that are not an array of real numbers.
    """
    try:
        value = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"{name} of type {type(value).__name__}: expected a tensor or nested lists of numbers"
        ) from None
    if value.is_complex() or value.dtype == torch.bool:
        raise TypeError(f"{name} of {value.dtype}: expected real values")
    return value.detach()


def finite_tensor(name: str, value) -> Tensor:
    """As `numbers`, in float64. Raises: ValueError for values that are not finite."""
    return finite(name, numbers(name, value).to(torch.float64))


def eps_of(value) -> float:
    """The rounding error of a value's dtype."""
    dtype = torch.as_tensor(value).dtype
    return torch.finfo(dtype if dtype.is_floating_point else torch.float64).eps


def eigen(covariances: Tensor, rounding: float) -> tuple[Tensor, Tensor | None]:
    """Eigenvalues (J, d) and eigenvectors (J, d, d), or None where all are diagonal; ``rounding`` that of the input."""
    d = covariances.shape[1]
    size = covariances.abs().amax((1, 2))
    asymmetry = (covariances - covariances.mT).abs().amax((1, 2))
    if bool((asymmetry > 100 * rounding * size).any()):
        raise ValueError(
            f"covariances differ from their transposes by {asymmetry.max():.3g}: expected symmetric matrices; average "
            "them with their transposes if that is rounding"
        )
    diagonal = covariances.diagonal(dim1=1, dim2=2)
    if bool((covariances == torch.diag_embed(diagonal)).all()):
        eigenvalues, basis = diagonal.clone(), None
        floor = 0.0
    else:
        eigenvalues, basis = torch.linalg.eigh(0.5 * (covariances + covariances.mT))
        floor = d * torch.finfo(torch.float64).eps
    if bool((eigenvalues < -10 * d * rounding * size[:, None]).any()):
        raise ValueError(
            f"covariances have the eigenvalue {eigenvalues.min():.3g}: expected positive semidefinite matrices; add a "
            "multiple of the identity"
        )
    return torch.where(eigenvalues > floor * size[:, None], eigenvalues, 0.0), basis


def rotated(basis: Tensor | None, x: Tensor) -> Tensor:
    """Into the bases (K or 1, d, d), None for the axes: (N, 1, d) -> (N, K or 1, d), and (K, d) -> (K, d)."""
    if basis is None:
        return x
    if x.ndim == 2:
        return (x[:, None] @ basis)[:, 0]
    if len(basis) == 1:  # as einsum has it, without its search for the order of the axes
        return torch.bmm(x.transpose(0, 1), basis).transpose(0, 1)
    return torch.einsum("nd,kde->nke", x[:, 0], basis)


def unrotated(basis: Tensor | None, z: Tensor) -> Tensor:
    """Out of the bases, as `rotated`, and summed: (N, K or 1, d) -> (N, d)."""
    if basis is None:
        return z.sum(1)
    if len(basis) == 1:
        return torch.bmm(z.transpose(0, 1), basis.mT)[0]
    return torch.einsum("nke,kde->nd", z, basis)
