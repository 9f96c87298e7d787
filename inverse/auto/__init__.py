"""method="auto": the choice of a method by what the oracle measured, kept beside the code as evidence.json."""

import difflib
import json
from dataclasses import replace
from functools import lru_cache
from math import log, prod
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from inverse.auto.unmeasured import BUDGETS, FALLBACK, Choice, fallback, not_gaussian, public, through_decoder
from inverse.guidance import MMPS
from inverse.methods import METHODS, Sampler
from operators import Operator

EVIDENCE, NETWORKS = (Path(__file__).parent.with_name(name) for name in ("evidence.json", "evidence_networks.json"))
SLACK = 1.05  # a few passes more than the budget are no reason to take a worse method
# what the oracle measures for "auto" besides every method: the same guidance at other costs
VARIANTS = {
    "mmps, fast": replace(METHODS["mmps"], n_steps=9),
    "mmps, exact": replace(METHODS["mmps"], guidance=MMPS(5, complete=False), n_steps=100),
    "pivot, fast": replace(
        METHODS["pivot"],
        first=replace(METHODS["mmps"], head=4.0),
        second=replace(METHODS["mmps"], guidance=MMPS(1, complete=False)),
        n_steps=8,
        share=5 / 8,
        covariances=0.03,
        nodes=4,
    ),
}
# what is measured on trained networks besides: `inverse-bench run efficiency`
NETWORK_VARIANTS = {"mmps, one pass": replace(METHODS["mmps"], guidance=MMPS(1), n_steps=10)}
SAME = 1e-9  # difference of logarithms of equal numbers, by rounding
NEAR = 1.05  # distance to exact posteriors of settings of one method, between which chance decides
TIED = 1.01  # CRPS of settings that count as equally accurate on networks, relative to the best


@lru_cache(maxsize=1)
def evidence() -> list[dict[str, Any]]:
    """The rows of evidence.json, made by ``inverse-bench run oracle``: plain data.

    Keys: candidate (a name in METHODS or VARIANTS), problem, measured (numbers per measurement), n_steps, passes
    (evaluations and backward passes per sample), samples, ratio (sliced W1 relative to exact draws).
    """
    return json.loads(EVIDENCE.read_text()) if EVIDENCE.exists() else []


@lru_cache(maxsize=1)
def networks() -> list[dict[str, Any]]:
    """The rows of evidence_networks.json, made by ``inverse-bench run efficiency``: plain data.

    Keys: as `evidence`, of candidates in METHODS or NETWORK_VARIANTS, and values (numbers per image); the ratio is that
    of the CRPS to the best candidate's.
    """
    return json.loads(NETWORKS.read_text()) if NETWORKS.exists() else []


def choose(
    operator: Operator,
    event_shape: tuple[int, ...],
    n_samples: int = 8,
    budget: str = "balanced",
    differentiable: bool = True,
    network: bool = False,
) -> Choice:
    """The measured method that came nearest to exact posteriors on problems like this one.

    Formula: least geometric mean of sliced W1 over that of the best candidate on the same problem, over the problems
    with the nearest number of measurements, on a log scale within a factor 4, among the candidates that the operator
    can serve and that kept to the budget on the nearest ones; of settings of one method that differ by less than 5 %,
    the one with most steps. Of a problem that was measured with several numbers of samples, the largest up to n_samples
    counts; methods that weight particles are considered only for at least as many samples as they were measured with.
    Of a trained network no posterior is known: up to the balanced budget the choice is the cheapest setting whose CRPS
    is within 1 % of the best on the shipped prior with the nearest number of values per image.
    Arguments: operator; event_shape (E); n_samples; budget: "fast" (30 evaluations and backward passes per sample),
    "balanced" (100) or "exact" (what is nearest at any cost); differentiable: `Prior.differentiable` of the prior;
    network: whether the prior's density is not known in closed form (`Prior.has_log_prob`).
    Raises: ValueError for an unknown budget, or where no method serves the operator.
    """
    if not isinstance(budget, str) or budget not in BUDGETS:
        seconds = "; for seconds: plan = inverse.plan(..., budget=60.0), then solve(..., plan.method, plan.n_steps)"
        raise ValueError(f"budget {budget!r:.60}: expected one of {sorted(BUDGETS)}{seconds}")
    numbers = prod(operator.known_shape(event_shape))
    known = (METHODS | VARIANTS).items()
    candidates = {name: m for name, m in known if serves(m, operator, differentiable, numbers)}
    if found := through_decoder(candidates, operator, numbers, n_samples, budget):
        return found
    if "generalized_linear" in operator.capabilities and not {"linear", "gaussian"} <= operator.capabilities:
        found = not_gaussian(candidates, operator, numbers, n_samples, budget)
        return found or fallback(candidates, operator, budget, differentiable)
    if network and budget != "exact" and (found := _on_networks(operator, event_shape, budget, differentiable)):
        return found
    rows, nearest = (
        ([], []) if "noisy_likelihood" in operator.capabilities else _alike(operator, event_shape, n_samples)
    )
    ratios: dict[tuple[str, int], dict[str, float]] = {}
    over_budget = {(row["candidate"], row["n_steps"]) for row in nearest if row["passes"] > SLACK * BUDGETS[budget]}
    for row in rows:
        method = candidates.get(row["candidate"])
        over = row["passes"] > SLACK * BUDGETS[budget] or (row["candidate"], row["n_steps"]) in over_budget
        if method is None or not method.samples or over:
            continue
        if method.coupled and n_samples < row["samples"]:
            continue
        ratios.setdefault((row["candidate"], row["n_steps"]), {})[row["problem"]] = max(row["ratio"], 1e-3)
    if ratios:
        problems = {problem for found in ratios.values() for problem in found}
        best = {p: min(found[p] for found in ratios.values() if p in found) for p in problems}
        # relative to the best there: problems differ in difficulty, and not every candidate was measured on all
        scores = {key: geometric_mean(r / best[p] for p, r in found.items()) for key, found in ratios.items()}
        least = min(scores, key=lambda key: scores[key])
        of = candidates[least[0]].name
        same = (key for key in scores if candidates[key[0]].name == of and scores[key] <= NEAR * scores[least])
        name, steps = max(same, key=lambda key: key[1])
        found = ratios[name, steps]
        reason = f"the most accurate method for {public(operator)} within the {budget} budget, by our measurements"
        details = (
            f"measured against exact posteriors on {len(found)} problems of about this many numbers: error (sliced "
            "Wasserstein distance) as a multiple of that between two exact sets of samples: "
            + ", ".join(f"{ratio:.2f} on {problem}" for problem, ratio in sorted(found.items()))
            + "; see benchmarks/results/oracle.json"
        )
        return Choice(candidates[name], steps, reason, details)
    return fallback(candidates, operator, budget, differentiable)


def _on_networks(operator: Operator, event_shape: tuple[int, ...], budget: str, differentiable: bool) -> Choice | None:
    """The cheapest of the most accurate settings on a shipped prior with images of about this size, or None."""
    if "noisy_likelihood" in operator.capabilities or not networks():
        return None
    numbers, known = prod(operator.known_shape(event_shape)), METHODS | NETWORK_VARIANTS
    rows = _nearest(networks(), "values", prod(event_shape), SAME)
    rows = _nearest(rows, "measured", operator.measured_numbers(event_shape), log(4))
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        if serves(known[row["candidate"]], operator, differentiable, numbers):
            found.setdefault((row["candidate"], row["n_steps"]), []).append(row)
    most = SLACK * BUDGETS[budget]
    scores = {
        key: geometric_mean(row["ratio"] for row in of)
        for key, of in found.items()
        if max(row["passes"] for row in of) <= most
    }
    if not scores:
        return None
    tied = [key for key, score in scores.items() if score <= TIED * min(scores.values())]
    name, steps = min(tied, key=lambda key: max(row["passes"] for row in found[key]))
    reason = f"the cheapest of the most accurate settings for {public(operator)} within the {budget} budget"
    details = (
        "measured on shipped priors: CRPS relative to the most accurate setting: "
        + ", ".join(f"{row['ratio']:.3f} on {row['problem']}" for row in found[name, steps])
        + "; see benchmarks/results/efficiency.md"
    )
    return Choice(known[name], steps, reason, details)


def _nearest(rows: list[dict[str, Any]], name: str, value: float, more: float) -> list[dict[str, Any]]:
    """The rows whose number ``name`` is nearest to a value on a log scale, and those up to ``more`` further away."""
    away = [abs(log(row[name]) - log(value)) for row in rows]
    least = min(away, default=0.0)
    return [row for row, distance in zip(rows, away, strict=True) if distance <= least + more]


def serves(method: Sampler, operator: Operator, differentiable: bool = True, numbers: int = 0) -> bool:
    """Whether a method is conditional and has what it needs of the operator, of a measurement of so many numbers and of
    the prior (differentiable)."""
    able = (differentiable or not method.differentiates) and numbers <= method.largest
    return able and method.conditional and method.needs <= operator.capabilities


def alternative(operator: Operator, event_shape: tuple[int, ...], used: str, differentiable: bool) -> str:
    """The name of a method to try where ``used`` failed, one that can serve; "" where there is none.

    Nor is there one for a method whose spread is right: what else would serve is an approximation. For "mmps-wiener"
    it is "mmps"."""
    if used in METHODS and METHODS[used].calibrated:
        return ""
    numbers = prod(operator.known_shape(event_shape))
    named = ("mmps",) if used == "mmps-wiener" else (name for name in FALLBACK if name != used)
    return next((name for name in named if serves(METHODS[name], operator, differentiable, numbers)), "")


def _able(operator: Operator, event_shape: tuple[int, ...], differentiable: bool) -> list[str]:
    """The names of the methods that serve, for the text of a refusal."""
    numbers = prod(operator.known_shape(event_shape))
    return sorted(name for name, m in METHODS.items() if serves(m, operator, differentiable, numbers))


def _alike(
    operator: Operator, event_shape: tuple[int, ...], n: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The evidence on problems of about as many measurements as are nearest, and on the nearest alone."""
    m = operator.measured_numbers(event_shape)
    counts: dict[str, set[int]] = {}
    for row in evidence():
        counts.setdefault(row["problem"], set()).add(row["samples"])
    # relative to as many exact draws, so that figures of different numbers of samples do not compare
    compared = {p: max((k for k in found if k <= n), default=min(found)) for p, found in counts.items()}
    rows = [row for row in evidence() if row["samples"] == compared[row["problem"]]]
    return _nearest(rows, "measured", m, log(4)), _nearest(rows, "measured", m, SAME)


def resolve(
    method: str | Sampler,
    operator: Operator,
    event_shape: tuple[int, ...],
    n_samples: int = 8,
    budget: str | None = None,
    differentiable: bool = True,
    network: bool = False,
) -> Choice:
    """A name from METHODS, "auto" or a composition, checked against the operator.

    Arguments: method; operator; event_shape (E); n_samples; budget: as `choose`, for "auto" alone; differentiable:
    `Prior.differentiable` of the prior; network: as `choose`.
    Raises: TypeError for another type; ValueError for an unknown name, an operator or a prior that the method cannot
    serve, or a budget with a method that was named.
    """
    if isinstance(method, str):
        if method == "auto":
            budget = "balanced" if budget is None else budget
            return choose(operator, event_shape, n_samples, budget, differentiable, network)
        if method not in METHODS:
            close = difflib.get_close_matches(method.lower(), METHODS, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(f"method {method!r}{hint}: expected 'auto', a Method or one of {sorted(METHODS)}")
        method = METHODS[method]
    if not isinstance(method, Sampler):
        raise TypeError(f"method of type {type(method).__name__}: expected a name or an inverse.Method")
    if budget is not None:
        raise ValueError(f"budget = {budget!r} with method {method.name!r}: a budget is for 'auto'; give n_steps")
    if not method.conditional:
        raise ValueError(f"method {method.name!r} ignores y: use it with sample(), or choose a guided method here")
    if missing := method.needs - operator.capabilities:
        raise ValueError(
            f"method {method.name!r} needs an operator that is {sorted(missing)}; {type(operator).__name__} is "
            f"{sorted(operator.capabilities)}: methods that serve it are {_able(operator, event_shape, differentiable)}"
        )
    if method.differentiates and not differentiable:
        able = _able(operator, event_shape, differentiable)
        raise ValueError(
            f"method {method.name!r} needs the derivative of the prior's denoiser, and this one has none: take 'auto' "
            f"or one that serves {type(operator).__name__} without it, {able}; or let the denoiser compute in torch "
            "and record gradients"
        )
    return Choice(method, method.n_steps, "")
