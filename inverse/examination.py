"""All checks of the samples of a solution at once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from inverse.auto import alternative
from inverse.methods import METHODS
from inverse.quality import misfit, predictive_p, prior_predictive_p, residual_chi2
from inverse.solution import Solution
from operators import Operator
from priors import Prior
from priors.arguments import rows
from priors.wording import Concise

EXTREME = 0.01  # p-value below which to warn; for residuals also above 1 - EXTREME
SLIGHT = 0.1  # deviation of chi^2 from 1 that is never reported
FEWEST_DRAWS = 99  # of the prior: with fewer, the p-value, at least 1 / (n + 1), cannot be below .01


@dataclass(frozen=True, repr=False)
class Examination(Concise):
    """The results of `examine`, one per measurement, and warnings.

    Attributes: chi2 (B,): mean squared residual of the samples relative to the noise variance, about 1; predictive_p
    (B,): p-value of the residual; ess (B,): effective sample size; lineages (B,) of particles; prior_p (B,): whether
    the prior covers y; each None if it is not available; warnings: per measurement, sentences with the fault and a
    remedy.
    """

    chi2: Tensor | None
    predictive_p: Tensor | None
    ess: Tensor
    lineages: Tensor | None
    prior_p: Tensor | None
    warnings: list[list[str]]


def examine(
    solution: Solution, operator: Operator, y: Tensor, prior: Prior | None = None, draws: Tensor | None = None
) -> Examination:
    """Check samples: residuals, weights, lineages, and whether the prior covers the measurement.

    These checks cannot detect a posterior that is too narrow, or a mode that no sample came near.
    Source: see `inverse.quality.residual_chi2`, `predictive_p`, `prior_predictive_p`, `Solution.check`.
    Arguments: solution; operator and y (B, *M) of the solve; prior and draws (n, *E): 99 or more of its samples, from
    `inverse.sample` (or pictures like its training set), to test whether the prior covers y; this needs `Prior.moments`
    and a linear operator.
    Returns: `Examination`.
    Raises: ValueError for another number of measurements, a prior without draws or draws without a prior, and as
    `prior_predictive_p`.
    """
    for name, value, kind in (("solution", solution, Solution), ("operator", operator, Operator), ("y", y, Tensor)):
        if not isinstance(value, kind):
            raise TypeError(f"{name} of type {type(value).__name__}: expected {kind.__module__}.{kind.__name__}")
    if not isinstance(prior, Prior | None):
        raise TypeError(f"prior of type {type(prior).__name__}: expected a priors.Prior, or None")
    if draws is not None:
        rows("draws", draws, tuple(solution.samples.shape[2:]))
    if y.ndim == 0:
        raise ValueError("y without axes: expected (B, *M), one measurement per solution")
    if len(y) != len(solution.samples):
        raise ValueError(f"{len(y)} measurements and a solution of {len(solution.samples)}: expected the same number")
    if (prior is None) != (draws is None):
        raise ValueError("a prior without draws, or draws without a prior: expected both, or neither")
    if draws is not None and len(draws) < FEWEST_DRAWS:
        raise ValueError(f"{len(draws)} draws of the prior: expected {FEWEST_DRAWS} or more, for a p-value below .01")
    operator.validate_y(y, tuple(solution.samples.shape[2:]))
    chi2 = predicted = covered = None
    operator = operator.at(tuple(solution.samples.shape[2:]))
    if "gaussian" in operator.noise.capabilities and bool((operator.noise.variance(y) > 0).all()):
        log_w = solution.log_weights
        each = torch.stack([residual_chi2(operator, y, x) for x in solution.samples.unbind(1)], 1)
        chi2 = (each * torch.softmax(log_w.double(), 1).to(each)).sum(1)
        predicted = predictive_p(operator, y, solution.samples, log_w)
    if prior is not None and draws is not None:
        covered = prior_predictive_p(prior, operator, y, draws)
    found = [[text] if text else [] for text in solution.check()]
    used = METHODS.get(solution.method)  # if it differentiates the denoiser, the denoiser is differentiable
    differentiable = prior.differentiable if prior is not None else used is not None and used.differentiates
    other = alternative(operator, tuple(solution.samples.shape[2:]), solution.method, differentiable)
    for b, texts in enumerate(found):
        # in a large picture with many values, the p-value is extreme for negligible residuals
        if predicted is not None and chi2 is not None:
            text = misfit(float(chi2[b]), float(predicted[b]), (1 - SLIGHT, 1 + SLIGHT), EXTREME, other)
            texts += [text] if text else []
        if covered is not None and covered[b] <= EXTREME:
            texts.append(
                f"the prior does not cover y (p = {float(covered[b]):.2g}): almost no sample of the prior has a "
                "measurement as far from the mean; use another prior, or check the units"
            )
    return Examination(chi2, predicted, solution.ess, solution.lineages, covered, found)
