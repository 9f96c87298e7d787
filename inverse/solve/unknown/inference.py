"""The posterior of unknown parameters of a measurement, with the picture integrated out."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from inverse.quality import PoorFit
from inverse.quality.instrument import DoubtfulInstrument
from inverse.quality.scale import ImplausibleScale
from inverse.solution import Solution
from inverse.solve.unknown.doubts import undetermined
from inverse.solve.unknown.family import Family
from inverse.solve.unknown.grid import GridDensity
from inverse.solve.unknown.search import Search
from operators import Operator

TOLERATED = 2.0  # errors this much larger than the one aimed at are not reported


@dataclass(frozen=True)
class Effort:
    """How much is spent on unknown parameters.

    Attributes: samples: at each value of the parameters; nodes: most values; agreed: error of log p(y), in nats, at
    which their posterior counts as known.
    """

    samples: int
    nodes: int
    agreed: float


NETWORK, FORMULA = Effort(8, 32, 0.3), Effort(96, 64, 0.15)  # of priors that are networks, and that have a formula

Draw = Callable[[Operator, int, int], Solution]


class UncertainParameters(UserWarning):
    """The posterior of unknown parameters could not be determined as accurately as it should be."""


@dataclass(frozen=True)
class Inference:
    """The posterior of unknown parameters, given one measurement.

    Attributes: density: on the unit cube of their ranges; nodes (n, d): where posterior samples were drawn; gradients
    (n, d): of log p(y) there; errors (n, d): their standard errors; error: of log p(y) near the mean, in nats.
    """

    density: GridDensity
    nodes: Tensor
    gradients: Tensor
    errors: Tensor
    error: float


def infer(
    family: Family, y: Tensor, effort: Effort, draw: Draw, advance: Callable[[], None] = lambda: None
) -> Inference:
    """p(theta | y) of the parameters theta of a family of operators, with x integrated out.

    Formula: d log p(y | theta) / d theta = E[d log p(y | x, theta) / d theta | y, theta], Fisher's identity, by samples
    of p(x | y, theta) at some theta; log p(y | theta) is integrated from it by `Surrogate`. The next theta is the
    posterior mean so far, then where the estimate is least certain (`Search`).
    Source: Fisher 1925; Louis 1982; Gelman & Meng 1998 (path sampling).
    Arguments: family; y (1, *M); effort; draw: (operator, first, n) -> n posterior samples of
    equal weight, numbered from first, best in antithetic pairs; advance: called after each theta.
    Returns: `Inference`.
    Warns: UncertainParameters, where the values of theta that the effort allows did not suffice.
    Raises: ValueError for a noise without a density, and as ``draw``.
    """
    search, drawn = Search(len(family.ranges), effort.agreed), 0
    while not search.ended and len(search.nodes) < effort.nodes:
        found = []
        for u in search.proposals:
            with warnings.catch_warnings():  # the samples of a wrong theta need not explain y
                warnings.simplefilter("ignore", PoorFit)
                warnings.simplefilter("ignore", ImplausibleScale)
                warnings.simplefilter("ignore", DoubtfulInstrument)
                solution = draw(family.at(u), drawn, effort.samples)
            drawn += effort.samples
            found.append(_gradient(family, u, y, solution))
            advance()
        search.add(*(torch.stack(values) for values in zip(*found, strict=True)))
    if not search.ended and not (search.settled and search.error <= TOLERATED * effort.agreed):
        free = undetermined(list(family.ranges), search.density.covariance)
        if search.settled and free:
            remedy = f"y hardly determines {' and '.join(free)}; give {'one' if free[1:] else 'its value'} if you can"
        elif search.settled:
            remedy = "its intervals are approximate"
        else:
            remedy = "its maximum was not reached; give narrower ranges"
        warnings.warn(
            f"the posterior of {', '.join(family.ranges)} is uncertain after {len(search.nodes)} values (error of "
            f"log p(y) {search.error:.2g} nats, expected {effort.agreed}): {remedy}",
            UncertainParameters,
            stacklevel=2,
        )
    return Inference(search.density, search.nodes, search.gradients, search.variances.sqrt(), search.error)


def _gradient(family: Family, u: Tensor, y: Tensor, solution: Solution) -> tuple[Tensor, Tensor]:
    """The mean over samples of the derivatives of log p(y | x) by u, and the variance of that mean, (d,) each."""
    slopes = family.slopes(u, y, solution.samples[0]).cpu()
    if solution.antithetic:
        slopes = slopes.view(-1, 2, len(u)).mean(1)
    return slopes.mean(0), slopes.var(0) / len(slopes)
