"""What is wrong with a posterior of unknown parameters: not determined by y, or at an end of a range."""

import torch
from torch import Tensor

from inverse.solve.unknown.ranges import Range

BROAD = 0.23  # standard deviation on the unit interval, that of a uniform distribution is .289
NEAR = 0.5  # standard deviations from an end
PILED = 0.12  # share of the draws that near an end, above which the posterior continues beyond it
INVOLVED = 0.3  # coefficient in a direction of the unit cube


def undetermined(names: list[str], covariance: Tensor) -> list[str]:
    """The parameters of the direction of largest variance on the unit cube, if y does not determine it; else none.

    Arguments: names of the d parameters; covariance (d, d).
    """
    variances, directions = torch.linalg.eigh(covariance)
    if float(variances[-1]) < BROAD**2:
        return []
    return [name for name, part in zip(names, directions[:, -1].abs().tolist(), strict=True) if part > INVOLVED]


def at_end(u: Tensor) -> str:
    """The end of the unit interval at which draws u (n,) pile up: "lower", "upper" or "" for neither."""
    reach = NEAR * float(u.std())
    shares = {"lower": float((u < reach).double().mean()), "upper": float((u > 1 - reach).double().mean())}
    end = max(shares, key=lambda name: shares[name])
    return end if shares[end] > PILED else ""


def doubts(ranges: dict[str, Range], draws: dict[str, Tensor]) -> list[str]:
    """Sentences on a posterior of unknown parameters, with the remedy; none where it is as it should be.

    Arguments: ranges; draws (n,) of each parameter, by name.
    """
    places = {name: [spread.place(value) for value in draws[name].tolist()] for name, spread in ranges.items()}
    u = torch.tensor(list(places.values()), dtype=torch.float64)
    found, free = [], undetermined(list(ranges), torch.cov(u).reshape(len(u), len(u)))
    if free:
        what = free[0] if len(free) == 1 else f"a combination of {' and '.join(free)}"
        found.append(
            f"y hardly determines {what}: the posterior is about as wide as the range, which then decides the result; "
            f"give {'its value' if len(free) == 1 else 'the value of one of them'} if you can"
        )
    for (name, spread), row in zip(ranges.items(), u, strict=True):
        end = "" if name in free else at_end(row)
        if end:
            value, beyond = (spread.low, "smaller") if end == "lower" else (spread.high, "larger")
            found.append(
                f"the posterior of {name} is at the {end} end of its range ({spread.low:g} to {spread.high:g}): widen "
                f"it, unless {beyond} values than {value:g} are impossible"
            )
    return found
