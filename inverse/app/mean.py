"""The posterior mean alone, with its standard error: the quickest single picture."""

import math
import warnings
from dataclasses import dataclass, field

import torch
from torch import Tensor

from inverse.methods import Sampler
from inverse.solution import Solution, UncalibratedSpread
from inverse.solve import solve
from inverse.solve.checks import checked
from operators import Operator
from priors import Prior
from priors.arguments import count, number
from priors.wording import Concise

FIRST = 4  # samples: two pairs, the fewest that show their error
FREEDOM = 16  # degrees of freedom of a variance: events of fewer numbers take more pairs


@dataclass(frozen=True, repr=False)
class PosteriorMean(Concise):
    """An estimate of E[x0 | y].

    Attributes: mean (B, *E), data units; error (B,): its standard error, root mean square over the values of a picture,
    as a multiple of the posterior's standard deviation; n_samples; solution: the samples it is the mean of.
    """

    mean: Tensor
    error: Tensor
    n_samples: int
    solution: Solution = field(repr=False)


def posterior_mean(
    prior: Prior,
    operator: Operator,
    y: Tensor,
    error: float = 0.3,
    most: int = 32,
    *,
    method: str | Sampler = "auto",
    n_steps: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
    budget: str | None = None,
    precision: str = "float32",
) -> PosteriorMean:
    """E[x0 | y] to a given standard error, by as few samples as this takes.

    Formula: the mean of K / 2 antithetic pairs with half sums m and half differences h (see `solve`). Its squared
    standard error is Var m / (K / 2), the posterior's variance Var m + E h^2, both averaged over the picture. Two pairs
    are drawn, of events of few numbers d enough for (K / 2 - 1) d >= 16, then as many as these variances ask for. Where
    the posterior is nearly Gaussian Var m is small: 4 samples do the work of 10 to 100 independent ones. A relative
    error e costs 10 log10(1 + e^2) dB of PSNR against the exact posterior mean: .3 costs .37 dB, .1 costs .04 dB. Two
    pairs know their own error to a few percent for a picture, over whose values it is averaged; not where the posterior
    has modes that differ in all values at once, which two pairs can miss: then ask for a smaller error.
    Source: Hammersley & Morton 1956 (antithetic variates).
    The error is that of few samples alone. A method that does not sample the posterior has one of its own, of which
    `UncalibratedSpread` warns.
    Arguments: as `solve`; error (float > 0): the largest relative standard error; most (even int >= 4): the most
    samples. Methods that weight their samples, which "auto" may take for priors with a known density, draw ``most``
    independent ones at once.
    Returns: `PosteriorMean`; its `error` is larger than asked where ``most`` samples did not reach it.
    Raises: TypeError and ValueError as `solve`, and for error or most out of range.
    """
    error = number("error", error, "(0, inf)", "a multiple of the posterior's standard deviation, such as 0.3")
    most = count("most", most, FIRST, hint="two antithetic pairs")
    if most % 2:
        raise ValueError(f"most = {most}: expected an even number, as samples come in pairs")
    given = (prior, operator, y)
    choice, _ = checked(*given, most, method, n_steps, seed, batch_size, budget, 0, False)
    how = (choice.method, n_steps or choice.n_steps, seed, batch_size, progress)
    if not (choice.method.calibrated or choice.method.weighted):
        warnings.warn(
            f"the error of a mean of {choice.method.name!r} samples does not contain the method's own, which can be "
            "larger than the posterior's standard deviation; use 'mmps' or 'auto' where they serve",
            UncalibratedSpread,
            stacklevel=2,
        )
    if choice.method.weighted:
        found = solve(*given, most, *how, precision=precision)
        worth = found.ess if found.lineages is None else torch.minimum(found.ess, found.lineages.to(found.ess))
        return PosteriorMean(found.mean, worth.rsqrt(), most, found)
    drawn = min(most, 2 * max(FIRST // 2, 1 + math.ceil(FREEDOM / math.prod(prior.event_shape))))
    found = solve(*given, drawn, *how, antithetic=True, precision=precision)
    while True:
        reached = relative_error(found)
        wanted = 2 * math.ceil(drawn / 2 * min(float(reached.max()) / error, 1e6) ** 2)
        if wanted <= drawn or drawn == most:
            return PosteriorMean(found.mean, reached, drawn, found)
        more = min(wanted, most) - drawn
        found = found.followed_by(solve(*given, more, *how, first=drawn, antithetic=True, precision=precision))
        drawn += more


def relative_error(found: Solution) -> Tensor:
    """The relative standard error of the mean of antithetic pairs, (B,)."""
    a, b = found.samples[:, ::2].double(), found.samples[:, 1::2].double()
    sums, differences = ((a + b) / 2).var(1).flatten(1).mean(1), ((a - b) / 2).square().mean(1).flatten(1).mean(1)
    spread = (sums + differences).clamp_min(torch.finfo(torch.float64).tiny)
    return (sums / spread / (found.samples.shape[1] // 2)).sqrt()
