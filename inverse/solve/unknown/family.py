"""Operators with unknown parameters: from the values of these to an operator."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from inverse.solve.unknown.ranges import Range
from operators import Operator

STEP = 1e-3  # of the unit cube, of a difference quotient

Make = Callable[..., Operator]


@dataclass(frozen=True)
class Family:
    """Operators by the position of their parameters in the unit cube, where the prior of these is uniform.

    Attributes: make: an operator from the parameters, by name; ranges: of each parameter; row: which of the
    measurements, where the operators' own parameters differ between these.
    """

    make: Make
    ranges: dict[str, Range]
    row: int = 0

    def values(self, u: Tensor) -> dict[str, float]:
        """The parameters at u (d,)."""
        return {name: spread.at(float(x)) for (name, spread), x in zip(self.ranges.items(), u, strict=True)}

    def at(self, u: Tensor) -> Operator:
        """The operator at u (d,).

        Raises: TypeError if `make` returns no operator.
        """
        values = self.values(u)
        operator = self.make(**values)
        if not isinstance(operator, Operator):
            raise TypeError(f"operator({values}) returned {type(operator).__name__}: expected an operators.Operator")
        return operator if operator.batch is None else operator.rows(torch.tensor([self.row]))

    def slopes(self, u: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Derivatives of log p(y | x) by u, (K, d), as difference quotients; y (1, *M), x (K, *E)."""
        found = []
        for i in range(len(u)):
            ends = u.repeat(2, 1)
            ends[:, i] = torch.tensor([float(u[i]) - STEP, float(u[i]) + STEP]).clamp(0, 1)
            low, high = (log_likelihood(self.at(end), y, x) for end in ends)
            found.append((high - low) / float(ends[1, i] - ends[0, i]))
        return torch.stack(found, 1)


def family(operator: Operator | Make, ranges: dict[str, Range]) -> Family:
    """The operators of a solve with unknown parameters.

    Arguments: operator: one whose noise has these parameters, or a function of them; ranges.
    Raises: TypeError for neither; ValueError for parameters that the operator's noise does not have.
    """
    if not isinstance(operator, Operator):
        if not callable(operator):
            raise TypeError(
                f"operator of type {type(operator).__name__}: expected an operators.Operator, or with unknown "
                "parameters a function of them that returns one"
            )
        try:
            inspect.signature(operator).bind(**dict.fromkeys(ranges))
        except TypeError as error:
            raise TypeError(
                f"operator: expected a function with the keyword arguments {', '.join(ranges)}, as in unknown: {error}"
            ) from None
        except ValueError:  # a function without a signature
            pass
        return Family(operator, ranges)
    known = operator.noise.inferable
    if foreign := [name for name in ranges if name not in known]:
        raise ValueError(
            f"unknown: {foreign[0]!r} is no parameter of {type(operator.noise).__name__}, which has "
            f"{', '.join(known) or 'none that can be unknown'}; give a function of the unknown parameters as the "
            "operator, such as lambda width: operators.Blur(gaussian_kernel(width, 15))"
        )
    if low := [name for name, spread in ranges.items() if spread.low <= 0]:
        raise ValueError(
            f"unknown: {low[0]} from {ranges[low[0]].low:g}: expected a range above 0, as this parameter of "
            f"{type(operator.noise).__name__} is positive"
        )

    def make(**values: float) -> Operator:
        return operator.with_noise(operator.noise.replaced(**values))

    return Family(make, ranges)


def log_likelihood(operator: Operator, y: Tensor, x: Tensor) -> Tensor:
    """log p(y | x), (K,), double precision but for the forward model: differences of parameters change it little.

    Of the density of y (`Noise.log_density`), so that values of the noise's parameters can be compared.
    Arguments: operator; y (1, *M); x (K, *E).
    Raises: ValueError for a noise without a density, such as sigma = 0.
    """
    operator = operator.at(tuple(x.shape[1:]))
    if operator.batch is not None:
        operator = operator.rows(torch.zeros(len(x), dtype=torch.long))
    with torch.no_grad():
        clean = operator(x)
        measured, exact = (v.double() if v.is_floating_point() else v for v in (y, clean))
        log_prob = operator.noise.log_density(measured.expand(len(x), *y.shape[1:]), exact)
    support = operator.support
    if support is not None:
        log_prob = torch.where(support, log_prob, 0)
    return log_prob.flatten(1).sum(1)
