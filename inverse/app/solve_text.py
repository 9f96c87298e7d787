"""What `inverse solve` prints of its plan."""

from pathlib import Path

from rich.text import Text

from inverse.app.options import ProblemOptions
from inverse.app.photo import Problem
from inverse.plan import Decision, Plan, span
from inverse.solve.unknown import effort
from priors.terminal import console, printable

NODES = (10, 32)  # values of unknown parameters that are tried, in general


def show(facts: dict[str, str]) -> None:
    """Print what is known of a problem or a plan, a line each."""
    for name, text in facts.items():
        console.print(Text.assemble((f"{name:>9}", "bold"), "  ", printable(text)), soft_wrap=True)


def told(chosen: Plan, done: int, out: Path) -> dict[str, str]:
    """The cost of a plan whose first ``done`` samples are finished."""
    left = max(0, chosen.n_samples - done)
    there = f", {min(done, chosen.n_samples)} of them already finished" if done else ""
    return {
        "samples": f"{chosen.n_samples}{there}; {chosen.rows} at a time{', in antithetic pairs' * chosen.antithetic}",
        "cost": f"{chosen.nfe} evaluations of the prior + {chosen.nvjp} backward passes per sample",
        "time": f"about {span(chosen.seconds * left / chosen.n_samples)}",
        "memory": f"about {chosen.bytes / 1e9:.2g} GB of additional memory",
        "folder": str(out),
    }


def time_of(problem: Problem, chosen: Plan, left: float = 1.0) -> str:
    """The predicted time of all samples, or of a share of them; with unknown parameters an interval."""
    if problem.unknown is None:
        return span(chosen.seconds * left)
    each = chosen.seconds / chosen.n_samples
    few, many = (each * (n * effort(problem.prior).samples + chosen.n_samples) for n in NODES)
    return f"{span(few)} to {span(many)}"


def inferring(problem: Problem, chosen: Plan) -> dict[str, str]:
    if problem.unknown is None:
        return {}
    names, each = ", ".join(problem.unknown), effort(problem.prior).samples
    before = f"{NODES[0]} to {NODES[1]} values of {names}, with {each} samples for each, come first"
    return {"time": f"about {time_of(problem, chosen)}: {before}"}


def method_of(chosen: Plan | Decision, asked: ProblemOptions) -> str:
    requested = ", as requested" if asked.steps is not None or not chosen.reason else ""
    steps = f"{chosen.method.name}, {chosen.n_steps} steps{requested}"
    return f"{steps}; chosen: {chosen.reason}" if chosen.reason else steps
