"""Samples of a picture together with unknown parameters of its measurement."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor

from inverse.auto import resolve, serves
from inverse.methods import METHODS, Sampler
from inverse.quality.scale import ImplausibleScale
from inverse.solution import Solution
from inverse.solve.checks import check_pairs, through
from inverse.solve.unknown.blind import blindly
from inverse.solve.unknown.doubts import doubts
from inverse.solve.unknown.family import Family, Make, family
from inverse.solve.unknown.inference import FORMULA, NETWORK, Effort, UncertainParameters, infer
from inverse.solve.unknown.kernels import KernelPrior, checked_blur
from inverse.solve.unknown.ranges import Range, ranges
from operators import Operator
from priors import Prior, RowRNG
from priors.arguments import flag

DRAWS = 1000  # of the parameters, besides those of the samples
MANY = 1000  # samples: "auto" takes methods that weight them only where there are many
STREAM = 2**62  # of the random numbers of the parameters; those of samples count from 0

Solve = Callable[..., Solution]  # (operator, y, n_samples=, first=, numbers=, antithetic=)


def jointly(
    solver: Solve,
    prior: Prior,
    operator: Operator | Make,
    y: Tensor,
    unknown: Any,
    n_samples: int,
    method: str | Sampler,
    seed: int,
    budget: str | None,
    first: int,
    antithetic: bool,
    numbers: list[int],
    bar: Callable[[int], Any],
) -> Solution:
    """Samples of p(x0, theta | y): theta from p(theta | y) by `infer`, then x0 from p(x0 | y, theta) by ``solver``.

    Arguments: as `inverse.solve`; solver: `solve` of this prior, method and seed; bar: a context of so many steps,
    which yields a function that advances by one.
    Raises: TypeError or ValueError for unknown parameters that are no ranges, or not the operator's, for methods that
    weight samples, and for samples that go on where another solve ended.
    """
    if len(y) == 0:
        raise ValueError(f"y of shape {tuple(y.shape)}: expected at least one measurement")
    if first != 0:
        raise ValueError(f"first = {first}: expected 0 with unknown parameters, whose draws belong to one solve")
    if flag("antithetic", antithetic):
        check_pairs(n_samples)
    check_method(method, budget)
    kernel, spread = divided(unknown)
    if kernel is not None:
        if antithetic:
            raise ValueError("antithetic with an unknown kernel: each sample has a kernel of its own: leave it out")
        blur = checked_blur(operator, kernel, tuple(prior.event_shape), y)
        solver = partial(solver, **unweighted(prior, blur, method, budget))
        given = (kernel, spread.get("sigma"), n_samples, seed, numbers, prior.has_log_prob)
        return blindly(solver, blur, y, *given, bar)
    operators = family(operator, spread)
    spent = effort(prior)
    middle = operators.at(torch.full((len(spread),), 0.5))
    solver = partial(solver, **unweighted(prior, middle, method, budget))
    found = [
        _one(solver, replace(operators, row=b), y[b : b + 1], n_samples, seed, antithetic, number, spent, bar)
        for b, number in enumerate(numbers)
    ]
    unknown = {name: torch.cat([(one.unknown or {})[name] for one in found]) for name in spread}
    doubted: dict[str, None] = {}
    for b in range(len(found)):
        doubted |= dict.fromkeys(doubts(spread, {name: draws[b] for name, draws in unknown.items()}))
    for text in doubted:
        warnings.warn(text, UncertainParameters, stacklevel=4)
    return replace(
        found[0],
        samples=torch.cat([one.samples for one in found]),
        log_weights=torch.cat([one.log_weights for one in found]),
        seconds=sum(one.seconds for one in found),
        nfe=round(sum(one.nfe for one in found) / len(found)),
        nvjp=round(sum(one.nvjp for one in found) / len(found)),
        numbers=torch.tensor(numbers, device=y.device),
        unknown=unknown,
    )


def divided(unknown: Any) -> tuple[KernelPrior | None, dict[str, Range]]:
    """The prior of an unknown kernel, if there is one, and the ranges of other parameters.

    Raises: TypeError or ValueError, as `ranges`, for a kernel of another name, for "kernel" without a `KernelPrior`,
    and for other parameters than "sigma" besides.
    """
    if not isinstance(unknown, Mapping):
        return None, ranges(unknown)
    kernels = [name for name, given in unknown.items() if isinstance(given, KernelPrior)]
    if not kernels and "kernel" not in unknown:
        return None, ranges(unknown)
    if kernels != ["kernel"]:
        raise TypeError(
            f"unknown = {unknown!r:.80}: expected the name 'kernel' with an inverse.KernelPrior, such as "
            '{"kernel": inverse.KernelPrior(size=15)}'
        )
    rest = {name: given for name, given in unknown.items() if name != "kernel"}
    spread = ranges(rest) if rest else {}
    if set(spread) - {"sigma"} or any(one.low <= 0 for one in spread.values()):
        raise ValueError(
            f"unknown: {', '.join(rest)} besides a kernel: expected only 'sigma', with a range above 0, or nothing"
        )
    return unknown["kernel"], spread


def effort(prior: Prior) -> Effort:
    """How much is spent on unknown parameters with a prior."""
    return FORMULA if prior.has_log_prob else NETWORK


def check_method(method: str | Sampler, budget: str | None) -> None:
    """Refuse, by a ValueError, what weights its samples; arguments as `inverse.solve`."""
    known = METHODS.get(method) if isinstance(method, str) else method
    if budget == "exact" or (known is not None and known.weighted):
        raise ValueError(
            f"method {method if known is None else known.name!r}, budget {budget!r}: they weight their samples, and "
            "with unknown parameters each has its own operator: take a method without weights, such as 'mmps' or "
            "'ep', or 'auto'"
        )


def unweighted(prior: Prior, operator: Operator, method: str | Sampler, budget: str | None) -> dict[str, Any]:
    """Arguments of `solve` in place of "auto", where that would choose a method that weights its samples."""
    if method != "auto":
        return {}
    event_shape = tuple(prior.event_shape)
    operator = through(prior, operator).at(event_shape)
    able = prior.differentiable
    chosen = resolve(method, operator, event_shape, MANY, budget, able, not prior.has_log_prob)
    names = [name for name in ("mmps", "ep") if serves(METHODS[name], operator, able)]
    return {"method": names[0], "budget": None} if chosen.method.weighted and names else {}


def _one(
    solver: Solve,
    operators: Family,
    y: Tensor,
    n_samples: int,
    seed: int,
    antithetic: bool,
    number: int,
    effort: Effort,
    bar: Callable[[int], Any],
) -> Solution:
    """Of one measurement y (1, *M)."""
    spent = torch.zeros(3, dtype=torch.float64)  # evaluations, backward passes and seconds at all nodes

    def draw(operator: Operator, first: int, n: int) -> Solution:
        solution = solver(operator, y, n_samples=n, first=first, numbers=[number], antithetic=True, noise_checks=False)
        spent.add_(torch.tensor([solution.nfe * n, solution.nvjp * n, solution.seconds]))
        return solution

    with bar(effort.nodes) as advance:
        inference = infer(operators, y, effort, draw, advance)
    rng = RowRNG(seed, [(number, STREAM)], dtype=torch.float64)
    group = 2 if antithetic else 1
    own = inference.density.draw(n_samples // group, rng).repeat_interleave(group, 0)
    draws = torch.cat([own, inference.density.draw(DRAWS, rng)])
    parts = []
    with bar(n_samples // group) as advance, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for k in range(0, n_samples, group):
            operator = operators.at(own[k])
            how = {"numbers": [number], "antithetic": antithetic} | ({"noise_checks": False} if k else {})
            parts.append(solver(operator, y, n_samples=group, first=k, **how))
            advance()
    for category, message in {w.category: w.message for w in reversed(caught)}.items():  # of each kind the first
        if not (category is ImplausibleScale and "peak" in operators.ranges):  # fractions of counts are expected
            warnings.warn(message, category, stacklevel=5)
    whole = reduce(Solution.followed_by, parts)
    if not whole.calibrated:
        warnings.warn(
            f"samples of {whole.method!r} do not have the posterior's spread, on which unknown parameters depend: take "
            "'mmps' or 'ep', if these serve",
            UncertainParameters,
            stacklevel=5,
        )
    thetas = [operators.values(u) for u in draws]
    return replace(
        whole,
        nfe=whole.nfe + round(float(spent[0]) / n_samples),
        nvjp=whole.nvjp + round(float(spent[1]) / n_samples),
        seconds=whole.seconds + float(spent[2]),
        unknown={name: torch.tensor([[theta[name] for theta in thetas]], device=y.device) for name in operators.ranges},
    )
