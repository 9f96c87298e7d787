"""The inverse of A C A' + sigma_y^2 I for a covariance of few components, in closed form."""

from dataclasses import dataclass

import torch
from torch import Tensor

from operators.svd import SVDOperator, divide

ROUNDING = 1e-3  # largest relative error of the closed form
SOME = 16  # components that the error of a decomposition is measured on
FEW = 4  # different singular values up to which products of components are kept for each
EXACT = 1e-12  # rounding of an operator from which on one projection leaves nothing that 1 / sigma_y^2 would amplify


@dataclass(frozen=True)
class Components:
    """The k components of moments in the singular basis of an operator, where its singular values are not 0.

    Attributes: operator; kept (m,): those coordinates, of flattened events; gains (m,): the singular values; spectral S
    (k, m); rounding: relative error of the decomposition; grams: of few different singular values each, as of masks
    and of k-space, and S S' over its coordinates (k, k); empty where there are many.
    """

    operator: SVDOperator
    kept: Tensor
    gains: Tensor
    spectral: Tensor
    rounding: float
    grams: list[tuple[Tensor, Tensor]]

    @classmethod
    def of(cls, operator: SVDOperator, basis: Tensor) -> "Components":
        """Of V' (k, *E)."""
        spectrum, z = operator.spectrum(basis).expand(1, *basis.shape[1:])[0], operator.Vt(basis)
        rounding = torch.finfo(basis.dtype).eps
        if len(basis):  # an operator may keep its decomposition in single precision: some components tell
            some = slice(None, None, -(-len(basis) // SOME))
            measured = operator(basis[some])
            away = (operator.U(spectrum * z[some]) - measured).norm() / measured.norm().clamp_min(rounding)
            rounding = max(rounding, float(away))
        kept = (spectrum > 0).flatten().nonzero()[:, 0]
        gains, spectral = spectrum.flatten()[kept], z.flatten(1)[:, kept]
        different, grams = gains.unique(), list[tuple[Tensor, Tensor]]()
        if len(different) <= FEW:
            parts = [(gain, spectral[:, gains == gain]) for gain in different]
            grams = [(gain, part @ part.mT) for gain, part in parts]
        return cls(operator, kept, gains, spectral, rounding, grams)

    def inverse(self, values: Tensor, rest: float) -> "LowRank | None":
        """`LowRank` for e (k,) and rest; None where e has a negative entry, where rest and the noise are both 0, or
        where both are so small that rounding would dominate."""
        # one number, which may have axes of length 1
        variance = self.operator.noise.get_buffer("sigma").reshape(()).to(self.gains) ** 2
        if bool((values < 0).any()) or not (rest > 0 or bool((variance > 0).all())):
            return None
        roots, weights = values.sqrt(), self.gains / (rest * self.gains**2 + variance)
        if self.grams:
            gram = torch.stack([gain**2 / (rest * gain**2 + variance) * own for gain, own in self.grams]).sum(0)
        else:
            gram = (self.spectral * (weights * self.gains)) @ self.spectral.mT
        gram = roots[:, None] * gram * roots
        # the formula is a small difference of terms that are this much larger
        if not bool((gram.diagonal() * self.rounding < ROUNDING).all()):
            return None
        gram = torch.eye(len(values), dtype=values.dtype, device=values.device) + 0.5 * (gram + gram.mT)
        return LowRank(self, rest, roots, weights, torch.linalg.cholesky(gram))


@dataclass(frozen=True)
class LowRank:
    """(B + U diag(e) U')^-1 with U = A V and B = rest A A' + sigma_y^2 I, in closed form.

    Formula: B^-1 - F' G^-1 F with W = diag(e)^1/2, F = W U' B^-1 and G = I + F U W. B is diagonal in the singular basis
    of A, in which F is diag(roots) S diag(weights), S of the components.
    Source: Woodbury 1950.
    Attributes: components; rest; roots (k,); weights (m,); factor (k, k): lower triangle of G.
    """

    components: Components
    rest: float
    roots: Tensor
    weights: Tensor
    factor: Tensor

    def solve(self, r: Tensor) -> Tensor:
        """The inverse times r (N, *M)."""
        operator, spectral, kept = self.components.operator, self.components.spectral, self.components.kept
        if operator.support is not None:
            r = torch.where(operator.support, r, 0)
        z = operator.Ut(r)
        # what U does not reach, as in `SVDOperator.solve_gram`, to which this adds one term
        out = r - operator.U(z)
        if self.components.rounding > EXACT:
            out = out - operator.U(operator.Ut(out))
        variance = operator.noise.get_buffer("sigma").reshape(()).to(z) ** 2
        right = self.roots[:, None] * (spectral @ (self.weights * z.flatten(1)[:, kept]).mT)
        inner = self.roots[:, None] * torch.cholesky_solve(right, self.factor)  # (k, N)
        inside = divide(z, self.rest * operator.spectrum(z) ** 2 + variance)
        flat = inside.flatten(1).index_add_(1, kept, inner.mT @ spectral * self.weights, alpha=-1)
        inside = flat.view(inside.shape)
        return operator.U(inside) + divide(out, variance)
