"""The posterior mean of a Gaussian of stationary pictures, in the bases that its covariance and the operator share."""

from collections.abc import Callable

import torch
from torch import Tensor

from operators import LinearOperator
from operators.solvers import Map, column, dot
from operators.transforms import dct, idct
from priors.moments import SecondMoments
from priors.spectrum import StationaryMoments, scaled

MOST = 10  # iterations with the preconditioner of a periodic picture: nearer than 50 without it
Variances = Callable[[Tensor], Tensor]


class Cosines:
    """C_s A' (sigma_y^2 I + A C_s A')^-1 r where A C_s A' is diagonal in cosines: closed form.

    Arguments: moments; operator (isotropic noise), whose `cosine_power` is known.
    """

    def __init__(self, moments: StationaryMoments, operator: LinearOperator) -> None:
        self.moments, self.operator = moments, operator

    def estimate(self, r: Tensor, filtered: Variances, rtol: float, max_steps: int) -> Tensor:
        """Of r (N, *M), (N, *E); filtered: variances of x0 -> those of C_s. No iterations: rtol and max_steps are as
        of `Periodic.estimate`."""
        moments, operator = self.moments, self.operator
        variances = filtered(moments.variances)
        power = operator.cosine_power(variances)
        if power is None:
            raise ValueError(f"{type(operator).__name__}: expected an operator whose cosine_power is known")
        total = power + variance_of(operator, r)
        v = idct(dct(moments.axes(r)) / total)
        return moments.channels(scaled(variances, operator.adjoint(v)))


class Periodic:
    """C_s A' (sigma_y^2 I + A C_s A')^-1 r where A is a circular convolution, by conjugate gradients.

    A is diagonal in Fourier transforms and C_s in cosines, which differ at the border. The system is solved in Fourier
    coordinates, preconditioned by the inverse that it has for pictures that continue periodically (`periodic`): the
    more noise there is left in x_t, the further C_s reaches from the border, and the more iterations are needed.
    Source: Strang 1986 (circulant preconditioners).
    Arguments: moments; operator (isotropic noise), whose transfer is ``transfer`` (1, H, W // 2 + 1).
    """

    def __init__(self, moments: StationaryMoments, operator: LinearOperator, transfer: Tensor) -> None:
        self.moments, self.operator = moments, operator
        self.size = tuple(moments.variances.shape[-2:])
        # of all columns, those between the first and the middle occur twice: with these weights inner products are
        # those of pixels
        twice = torch.full(transfer.shape[-1:], 2.0**0.5, dtype=moments.variances.dtype, device=transfer.device)
        twice[0] = 1.0
        if self.size[1] % 2 == 0:
            twice[-1] = 1.0
        self.weights, self.power = twice, transfer.abs() ** 2
        self.ahead, self.back = transfer * twice, transfer.conj() / twice

    def estimate(self, r: Tensor, filtered: Variances, rtol: float, max_steps: int) -> Tensor:
        """Of r (N, *M), (N, *E); filtered: variances of x0 -> those of C_s; rtol, max_steps: as of
        `conjugate_estimate`."""
        variances = filtered(self.moments.variances)
        z = torch.view_as_real(torch.fft.rfft2(self.moments.axes(r), norm="ortho").mul_(self.weights))
        variance = column(variance_of(self.operator, r).reshape(-1), z)
        inverse = 1 / (self.power * self.moments.periodic(filtered) + variance[..., 0])[..., None]

        def spread(z: Tensor) -> Tensor:
            x = torch.fft.irfft2(torch.view_as_complex(z) * self.back, s=self.size, norm="ortho")
            return scaled(variances, x)

        def system(z: Tensor, w: Tensor) -> Tensor:
            measured = torch.fft.rfft2(w, norm="ortho").mul_(self.ahead)
            return torch.view_as_real(measured).addcmul_(variance, z)

        found = conjugate_estimate(spread, system, lambda z: inverse * z, z, rtol, min(max_steps, MOST))
        return self.moments.channels(found)


def shared(moments: SecondMoments, operator: LinearOperator) -> Cosines | Periodic | None:
    """The solver for moments and an operator that share a basis, or nearly; None for others."""
    if not isinstance(moments, StationaryMoments) or operator.noise.noiseless:
        return None
    if "isotropic" not in operator.capabilities:
        return None
    if operator.cosine_power(moments.variances) is not None:
        return Cosines(moments, operator)
    transfer = operator.transfer(tuple(moments.variances.shape), moments.variances.dtype)
    return None if transfer is None else Periodic(moments, operator, transfer)


def conjugate_estimate(
    spread: Map,
    system: Callable[[Tensor, Tensor], Tensor],
    precondition: Map | None,
    r: Tensor,
    rtol: float,
    max_steps: int,
) -> Tensor:
    """C A' G^-1 r with G = A C A' + Sigma_y, by conjugate gradients whose products C A' p it is the sum of.

    Arguments: spread: p -> w = C A' p; system: (p, w) -> G p; precondition: P, like G^-1 (None: 1); r: rows (N, ...);
    rtol: a row stops once its residual, in the norm of P, is this fraction of the first; max_steps: products at most.
    """
    p = z = r if precondition is None else precondition(r)
    rho = dot(r, z)
    limit, total = rtol**2 * rho, None
    for step in range(max_steps):
        w = spread(p)
        q = system(p, w)
        curvature = dot(p, q)
        a = torch.where((rho > limit) & (curvature > 0), rho / torch.where(curvature > 0, curvature, 1.0), 0.0)
        total = column(a, w) * w if total is None else torch.addcmul(total, column(a, w), w)
        if step + 1 == max_steps:
            break
        r = torch.addcmul(r, column(a, r), q, value=-1)
        z = r if precondition is None else precondition(r)
        rho, before = dot(r, z), rho
        if not bool((rho > limit).any()):
            break
        p = torch.addcmul(z, column(rho / torch.where(before > 0, before, 1.0), p), p)
    return spread(torch.zeros_like(r)) if total is None else total


def variance_of(operator: LinearOperator, r: Tensor) -> Tensor:
    """sigma_y^2 of rows r (N, *M), broadcastable to them."""
    return operator.noise.aligned("sigma", r).to(r) ** 2
