"""The posterior mean of a Gaussian whose measurements have noise of different sizes, by iterations on pictures."""

from collections.abc import Callable

from torch import Tensor

from operators import LinearOperator
from operators.solvers import conjugate_gradients
from priors.moments import SecondMoments


def uneven(operator: LinearOperator) -> bool:
    """Whether noise differs between entries of an operator without singular values, such as counts behind `Radon`."""
    return not operator.noise.noiseless and not {"isotropic", "svd"} & operator.capabilities


def weighted_estimate(
    moments: SecondMoments,
    operator: LinearOperator,
    r: Tensor,
    filtered: Callable[[Tensor], Tensor],
    rtol: float,
    max_steps: int,
) -> Tensor:
    """C A' (S + A C A')^-1 r, (N, *E), by conjugate gradients on pictures, which may end early.

    Formula: C^1/2 w with (I + C^1/2 A' S^-1 A C^1/2) w = C^1/2 A' S^-1 r. Every iteration lowers the negative
    logarithm of the posterior. Iterations on measurements do not: where the noise varies a thousandfold, as behind an
    absorber, those that end early leave estimates far outside both prior and likelihood. Source: Gratton & Tshimanga,
    An observation-space formulation of variational assimilation, Q. J. R. Meteorol. Soc. 2009, on both.
    Arguments: moments; operator, S the variances of its noise; r (N, *M); filtered: variances of x0 -> those of C;
    rtol, max_steps: as of `conjugate_gradients`.
    """
    precision = operator.noise.aligned("sigma", r).to(r) ** -2
    if operator.support is not None:
        precision = precision * operator.support.to(r)

    def root(x: Tensor) -> Tensor:
        return moments.apply(lambda variances: filtered(variances).clamp_min(0).sqrt(), x)

    def back(v: Tensor) -> Tensor:
        return root(operator.adjoint(precision * v))

    found = conjugate_gradients(lambda w: w + back(operator(root(w))), back(r), rtol=rtol, max_steps=max_steps)
    return root(found)
