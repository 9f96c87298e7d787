"""All checks of the samples of a solution at once."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from inverse.auto import alternative
from inverse.methods import METHODS
from inverse.quality import (
    Agreement,
    agreement,
    judged,
    mean_chi2,
    misfit,
    predictive_p,
    prior_predictive_p,
    residual_chi2,
)
from inverse.quality.noise_model import noise_doubts
from inverse.solution import Solution
from operators import Operator
from operators.kspace import paired
from priors import Prior
from priors.arguments import flag, rows
from priors.wording import Concise

EXTREME = 0.01  # p-value below which to warn; for residuals also above 1 - EXTREME
SLIGHT, UNSURE = 0.1, 0.35  # deviation of chi^2 from 1 that is never reported: of a known sigma_y, of an estimated one
APART = 0.25  # posterior standard deviations between means, above which the mean is not certain
UNEQUAL = 1.25  # ratio of spreads beyond which intervals are not certain
FEWEST_DRAWS = 99  # of the prior: with fewer, the p-value, at least 1 / (n + 1), cannot be below .01


@dataclass(frozen=True, repr=False)
class Examination(Concise):
    """The results of `examine`, one per measurement, and warnings.

    Attributes: chi2 (B,): mean squared residual of the samples relative to the noise variance, about 1; of noise that
    is not Gaussian (counts), relative to that of simulated measurements (`inverse.quality.mean_chi2`); without noise,
    relative to the prior's least noise, if the prior is given;
    predictive_p (B,): p-value of the residual; ess (B,): effective sample size; lineages (B,) of particles;
    prior_p (B,): whether the prior covers y; agreement with another solution (`inverse.quality.Agreement`); each None
    if it is not available; warnings: per measurement, sentences with the fault and a remedy; summary: per measurement,
    a line for each check and one for each conclusion, the mean, intervals and modes: whether the checks support it.
    """

    chi2: Tensor | None
    predictive_p: Tensor | None
    ess: Tensor
    lineages: Tensor | None
    prior_p: Tensor | None
    agreement: Agreement | None
    warnings: list[list[str]]
    summary: list[str] = field(repr=False)


def examine(
    solution: Solution,
    operator: Operator,
    y: Tensor,
    prior: Prior | None = None,
    draws: Tensor | None = None,
    other: Solution | None = None,
    sigma_estimated: bool = False,
) -> Examination:
    """Check samples: residuals, noise model, weights, lineages, whether the prior covers y, and another solution.

    Without another solution these checks cannot detect a posterior that is too narrow or shares of modes that are
    wrong, and never a mode that no sample came near. ``print(examine(...).summary[0])`` shows all on one screen.
    Residuals of labels, and of a y without noise if no prior is given, are not checked, and the summary says so.
    Source: see `inverse.quality.residual_chi2`, `mean_chi2`, `predictive_p`, `prior_predictive_p`,
    `noise_model.noise_doubts`, `Solution.check`.
    Arguments: solution; operator and y (B, *M) of the solve; prior and draws (n, *E): 99 or more of its samples, from
    `inverse.sample` (or pictures like its training set), to test whether the prior covers y; this needs `Prior.moments`
    and a linear operator; other: a solution for the same measurements by another method, or another seed, with which
    to compare (`inverse.quality.agreement`); sigma_estimated: sigma_y was estimated from y, to 10 % or so, and a chi^2
    of 1 +- .35 is not reported. Weighted samples are compared by as many draws as they are worth.
    Returns: `Examination`.
    Raises: ValueError for another number of measurements, a prior without draws or draws without a prior, and as
    `prior_predictive_p` and `agreement`.
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
    y = paired(y, operator.complex_axis)
    if (prior is None) != (draws is None):
        raise ValueError("a prior without draws, or draws without a prior: expected both, or neither")
    if draws is not None and len(draws) < FEWEST_DRAWS:
        raise ValueError(f"{len(draws)} draws of the prior: expected {FEWEST_DRAWS} or more, for a p-value below .01")
    operator.validate_y(y, tuple(solution.samples.shape[2:]))
    chi2 = predicted = covered = None
    operator = operator.at(tuple(solution.samples.shape[2:]))
    log_w, noise = solution.log_weights, operator.noise
    gaussian = "gaussian" in noise.capabilities and bool((noise.variance(y) > 0).all())
    if gaussian:
        each = torch.stack([residual_chi2(operator, y, x) for x in solution.samples.unbind(1)], 1)
        chi2 = (each * torch.softmax(log_w.double(), 1).to(each)).sum(1)
        predicted = predictive_p(operator, y, solution.samples, log_w)
    elif not noise.noiseless or prior is not None:  # as `solve` does; without noise, relative to the prior's least
        figures = mean_chi2(operator, y, solution.samples, log_w, 0.0 if prior is None else prior.sde.least_noise)
        chi2, predicted = (None, None) if figures is None else figures
    if prior is not None and draws is not None:
        covered = prior_predictive_p(prior, operator, y, draws)
    found = [[text] if text else [] for text in solution.check()]
    used = METHODS.get(solution.method)  # if it differentiates the denoiser, the denoiser is differentiable
    differentiable = prior.differentiable if prior is not None else used is not None and used.differentiates
    instead = alternative(operator, tuple(solution.samples.shape[2:]), solution.method, differentiable)
    if chi2 is not None and predicted is not None:
        # in a large picture with many values, the p-value is extreme for negligible residuals
        tolerance = UNSURE if flag("sigma_estimated", sigma_estimated) else SLIGHT
        slight = (1 - tolerance, 1 + tolerance)
        texts = (
            [
                misfit(*pair, slight, EXTREME, instead, operator=operator)
                for pair in zip(chi2.tolist(), predicted.tolist(), strict=True)
            ]
            if gaussian
            else judged(operator, chi2, predicted, instead)
        )
        found = [before + ([text] if text else []) for before, text in zip(found, texts, strict=True)]
    for texts, doubt in zip(found, noise_doubts(operator, y, solution.samples, log_w), strict=True):
        texts += [doubt] if doubt else []
    for b, texts in enumerate(found):
        if covered is not None and covered[b] <= EXTREME:
            texts.append(
                f"the prior does not cover y (p = {float(covered[b]):.2g}): almost no sample of the prior has a "
                "measurement as far from the mean; use another prior, or check the units"
            )
    agreed = None if other is None else _agreement(solution, other)
    if agreed is not None and other is not None:
        for b in torch.nonzero(agreed.p_value <= EXTREME).flatten().tolist():
            found[b].append(
                f"{solution.method} and {other.method} disagree (p = {float(agreed.p_value[b]):.2g}): means are "
                f"{float(agreed.mean[b]):.2f} standard deviations apart, spreads {float(agreed.spread[b]):.2f} to 1; "
                "at least one does not sample the posterior: compare with 'exact', or with more steps"
            )
    unchecked = "y has no noise: give prior and draws" if noise.noiseless else "y has no residual, such as labels"
    result = Examination(chi2, predicted, solution.ess, solution.lineages, covered, agreed, found, [])
    return replace(result, summary=[_summary(result, solution, other, b, unchecked) for b in range(len(y))])


def _agreement(solution: Solution, other: Solution) -> Agreement:
    if not isinstance(other, Solution):
        raise TypeError(f"other of type {type(other).__name__}: expected an inverse.Solution")
    if solution.seed == other.seed:
        raise ValueError(
            f"both solutions have seed {solution.seed}: they share their random numbers, and agree for that reason; "
            "solve with another seed, such as seed=1"
        )
    block = 2 if solution.antithetic or other.antithetic else 1
    return agreement(*(_equally_weighted(s, block) for s in (solution, other)), block=block)


def _equally_weighted(solution: Solution, block: int) -> Tensor:
    """The samples, or as many draws of weighted ones as these are worth."""
    if not bool(solution.log_weights.any()):
        return solution.samples
    worth = int(solution.ess.min()) // block * block
    if worth < 4 * block:
        raise ValueError(f"weighted samples worth {float(solution.ess.min()):.1f}: expected at least {4 * block}")
    return solution.resample(worth)


def _summary(found: Examination, solution: Solution, other: Solution | None, b: int, unchecked: str) -> str:
    """One line per check and conclusion of measurement b; unchecked: why residuals are not, where they are not."""
    n = solution.samples.shape[1]
    lines = {"samples": f"{n} of {solution.method}, worth {float(found.ess[b]):.0f} equally weighted ones"}
    if found.chi2 is not None and found.predictive_p is not None:
        lines["residuals"] = f"chi^2 {float(found.chi2[b]):.2f}, 1 expected (p = {float(found.predictive_p[b]):.2g})"
    else:
        lines["residuals"] = f"not checked: {unchecked}"
    if found.prior_p is not None:
        lines["prior"] = f"covers y with p = {float(found.prior_p[b]):.2g}"
    apart, ratio, p = 0.0, 1.0, 1.0
    if found.agreement is not None and other is not None:
        apart, ratio, p = (float(x[b]) for x in (found.agreement.mean, found.agreement.spread, found.agreement.p_value))
        lines[other.method if other.method != solution.method else "other seed"] = (
            f"mean {apart:.2f} standard deviations away, spread 1 to {ratio:.2f} (p = {p:.2g})"
        )
    sound, compared = not found.warnings[b], found.agreement is not None
    intervals = solution.calibrated and 1 / UNEQUAL <= ratio <= UNEQUAL
    conclusions = {
        "mean": "supported" if sound and apart <= APART else "in doubt",
        "intervals": "supported" if sound and intervals else "in doubt",
        "modes": ("no disagreement seen" if compared else "not tested: give another solution") if sound else "in doubt",
    }
    lines |= conclusions | {f"warning {i}": text for i, text in enumerate(found.warnings[b], 1)}
    width = max(map(len, lines))
    return "\n".join(f"{name:>{width}}  {text}" for name, text in lines.items())
