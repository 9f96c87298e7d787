"""What is settled before samples are drawn: method, number of steps, precision, and the plan where a time decides."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inverse.app.budget import seconds_of
from inverse.app.devices import moved
from inverse.app.options import ProblemOptions
from inverse.app.photo import Problem
from inverse.app.solve_text import show
from inverse.methods import Sampler
from inverse.plan import Decision, Plan, decide
from inverse.plan import plan as make_plan
from inverse.solution import Solution
from inverse.solve.checks import computes_in
from inverse.solve.unknown import check_method

STEPS = "n_steps"  # the attribute of a file: a second run within seconds must not choose another number


@dataclass(frozen=True)
class Settled:
    """A problem in the precision of its solve, the decision, and the plan that chose its steps, if one did: the
    problem's facts have been printed then."""

    problem: Problem
    decision: Decision
    chosen: Plan | None
    arguments: dict[str, Any]  # of `inverse.plan`

    def planned(self) -> Plan:
        """The plan that was made, or one for the settled problem."""
        return self.chosen or make_plan(self.problem.prior, **self.arguments)


def settle(problem: Problem, file: Path, asked: ProblemOptions) -> Settled:
    """Decide how to solve.

    Arguments: problem; file of samples that may exist, whose number of steps others must have too; asked.
    Raises: ValueError for options that exclude each other, and as `inverse.plan.decide`.
    """
    seconds = _seconds(asked, bool(problem.unknown))
    steps = asked.steps if seconds is None or asked.overwrite else _steps_of(file)
    operator, y = moved(problem.prior.device, problem.operator, problem.y)
    arguments: dict[str, Any] = {
        "operator": operator, "y": y, "n_samples": asked.samples, "method": asked.method, "n_steps": steps,
        "seed": asked.seed, "batch_size": None, "budget": None if seconds else asked.budget,
        "antithetic": asked.antithetic,
    }  # fmt: skip
    decision = decide(problem.prior, **arguments)
    if problem.unknown:
        check_method(decision.method, arguments["budget"])
    problem = _computing(problem, decision.method, asked.precision)
    chosen = None
    if seconds and steps is None:
        show(problem.facts)
        timed: dict[str, Any] = {**arguments, "budget": seconds}
        chosen = make_plan(problem.prior, **timed)
        decision = replace(decision, n_steps=chosen.n_steps, reason=chosen.reason)
    return Settled(problem, decision, chosen, arguments)


def _seconds(asked: ProblemOptions, unknown: bool) -> float | None:
    """The time of --budget, if that is one. Raises: ValueError with options that it replaces."""
    seconds = seconds_of(asked.budget)
    if seconds and (unknown or asked.steps is not None):
        other = "--unknown: give --steps" if unknown else f"--steps {asked.steps}: give one of them"
        raise ValueError(f"--budget {asked.budget} with {other}")
    return seconds


def _steps_of(file: Path) -> int | None:
    """The number of steps of samples in a file; None without a file."""
    kept = Solution.fact(file, STEPS)
    return None if kept is None else int(kept)


def _computing(problem: Problem, method: Sampler, precision: str) -> Problem:
    """The problem with its prior in the precision of the solve; samples depend on it."""
    prior = computes_in(problem.prior, method, precision)
    if prior is problem.prior:
        return problem
    shown = problem.facts | {"precision": "bfloat16 in the network, float32 elsewhere"}
    return replace(problem, prior=prior, identity=(*problem.identity, "bfloat16"), facts=shown)
