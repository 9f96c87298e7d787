"""Residuals of any noise whose entries have a mean and a variance."""

from torch import Tensor

from operators import Operator

LEAST = 0.1  # smallest variance of an entry that is used, relative to the mean over entries


def relative_residual(operator: Operator, y: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """r with the norm to be lowered, and -dr^2/2 / d clean, (N, *M) each: y - clean, both, of Gaussian noise.

    Formula: r = (y - E[y | clean]) (v / Var[y | clean])^1/2 and (y - E[y | clean]) v / Var[y | clean], with v the mean
    variance of a measurement's entries and variances below v / 10 taken as that; the second is v times the derivative
    of the quasi-log-likelihood (`Noise.quasi_score`).
    Source: Wedderburn 1974; Chung et al. 2023, section 3.3, who weight photon counts so.
    Arguments: operator of the rows; y and clean (N, *M).
    """
    if "gaussian" in operator.capabilities:
        residual = y - clean
        return residual, residual
    noise, axes = operator.noise, tuple(range(1, clean.ndim))
    level = noise.variance(clean.clamp_min(0)).mean(axes, keepdim=True)
    weighted = level * noise.quasi_score(y, clean, LEAST * level)
    if operator.support is not None:
        weighted = weighted * operator.support
    return (weighted * (y - noise.mean(clean))).clamp_min(0).sqrt(), weighted
