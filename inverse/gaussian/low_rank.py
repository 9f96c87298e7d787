"""The inverse of A C A' + sigma_y^2 I for a covariance of few components, in closed form."""

from dataclasses import dataclass

import torch
from torch import Tensor

from operators.svd import SVDOperator, divide

ROUNDING = 1e-3  # largest relative error of the closed form
SOME = 16  # components that the error of a decomposition is measured on


@dataclass(frozen=True)
class Components:
    """The k components of moments in the singular basis of an operator, where its singular values are not 0.

    Attributes: operator; kept (*E), bool: those m coordinates; gains (m,): the singular values; spectral (k, m);
    rounding: relative error of the decomposition.
    """

    operator: SVDOperator
    kept: Tensor
    gains: Tensor
    spectral: Tensor
    rounding: float

    @classmethod
    def of(cls, operator: SVDOperator, basis: Tensor) -> "Components":
        """Of V' (k, *E)."""
        spectrum, z = operator.spectrum(basis).expand(1, *basis.shape[1:])[0], operator.Vt(basis)
        kept, rounding = spectrum > 0, torch.finfo(basis.dtype).eps
        if len(basis):  # an operator may keep its decomposition in single precision: some components tell
            some = slice(None, None, -(-len(basis) // SOME))
            measured = operator(basis[some])
            away = (operator.U(spectrum * z[some]) - measured).norm() / measured.norm().clamp_min(rounding)
            rounding = max(rounding, float(away))
        return cls(operator, kept, spectrum[kept], z[:, kept], rounding)

    def inverse(self, values: Tensor, rest: float) -> "LowRank | None":
        """`LowRank` for e (k,) and rest; None where e has a negative entry, where rest and the noise are both 0, or
        where both are so small that rounding would dominate."""
        # one number, which may have axes of length 1
        variance = self.operator.noise.get_buffer("sigma").reshape(()).to(self.gains) ** 2
        if bool((values < 0).any()) or not (rest > 0 or bool((variance > 0).all())):
            return None
        scaled = values.sqrt()[:, None] * self.spectral
        columns = scaled * (self.gains / (rest * self.gains**2 + variance))
        gram = (columns * self.gains) @ scaled.mT
        # the formula is a small difference of terms that are this much larger
        if not bool((gram.diagonal() * self.rounding < ROUNDING).all()):
            return None
        gram = torch.eye(len(values), dtype=values.dtype, device=values.device) + 0.5 * (gram + gram.mT)
        return LowRank(self.operator, self.kept, rest, columns, torch.linalg.cholesky(gram))


@dataclass(frozen=True)
class LowRank:
    """(B + U diag(e) U')^-1 with U = A V and B = rest A A' + sigma_y^2 I, in closed form.

    Formula: B^-1 - F' G^-1 F with W = diag(e)^1/2, F = W U' B^-1 and G = I + F U W. B is diagonal in the singular basis
    of A, in which F has the columns (k, m).
    Source: Woodbury 1950.
    Attributes: operator; kept (*E): the m coordinates; rest; columns; factor (k, k): lower triangle of G.
    """

    operator: SVDOperator
    kept: Tensor
    rest: float
    columns: Tensor
    factor: Tensor

    def solve(self, r: Tensor) -> Tensor:
        """The inverse times r (N, *M)."""
        operator = self.operator
        if operator.support is not None:
            r = torch.where(operator.support, r, 0)
        z = operator.Ut(r)
        # what U does not reach, as in `SVDOperator.solve_gram`, to which this adds one term
        out = r - operator.U(z)
        out = out - operator.U(operator.Ut(out))
        variance = operator.noise.get_buffer("sigma").reshape(()).to(z) ** 2
        inner = torch.cholesky_solve(self.columns @ z[:, self.kept].mT, self.factor)  # (k, N)
        inside = divide(z, self.rest * operator.spectrum(z) ** 2 + variance)
        inside[:, self.kept] -= inner.mT @ self.columns
        return operator.U(inside) + divide(out, variance)
