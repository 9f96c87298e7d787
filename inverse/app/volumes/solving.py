"""`inverse volume`: the posterior of a volume."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path

from inverse.app.budget import seconds_of
from inverse.app.devices import moved
from inverse.app.figures import drawing
from inverse.app.options import VolumeOptions
from inverse.app.page import page_of
from inverse.app.photo import Problem, draw, finished
from inverse.app.solve_text import method_of, show, told
from inverse.app.volumes.page import write_all
from inverse.app.volumes.posing import Posed, pose
from inverse.examination import examine
from inverse.plan import Decision, Plan, decide, span
from inverse.plan import plan as make_plan
from inverse.quality.scale import outside
from inverse.solution import Solution
from inverse.solve.checks import computes_in
from priors.terminal import console, explained, printable, say

STEPS = "n_steps"  # the attribute of a file: a second run within seconds must not choose another number


def solve(path: Path, out: Path, asked: VolumeOptions) -> None:
    """Solve for a volume into a folder.

    Raises: typer.Exit with status 2 after a failure, whose reason was printed.
    """
    with explained():
        posed = pose(path, asked)
        problem, decided, chosen = _decided(posed.problem, out, asked)
        file = out / "solution.h5"
        held = None if asked.overwrite else finished(problem, decided, asked.seed, file)
        done = 0 if held is None else held.samples.shape[1]
        show(problem.facts | {"method": method_of(decided, asked)})
        for text in posed.cautions:
            say(f"caution: {text}", "yellow")
        if done >= asked.samples and page_of(out, file):
            show({"samples": f"{asked.samples} requested, {done} already in {file}: nothing to do"})
            return
        chosen = chosen or _planned(problem, asked, decided.n_steps)
        show(told(chosen, done, out))
        if asked.dry:
            return
        if asked.overwrite:
            file.unlink(missing_ok=True)
        out.mkdir(parents=True, exist_ok=True)
        command = printable(shlex.join(["inverse", *sys.argv[1:]]))
        solution = draw(
            problem, chosen, asked.seed, file, {"command": command, STEPS: chosen.n_steps}, console.is_terminal,
            on_samples=lambda n: say(f"{n} of {asked.samples} samples in {file}"),
        )  # fmt: skip
        checked = examine(solution, problem.operator, problem.y, sigma_estimated=problem.estimated)
        after = [*checked.warnings[0], *filter(None, outside(problem.prior, problem.operator, solution.mean))]
        figures = _figures(posed, solution, chosen, asked)
        if checked.chi2 is not None:
            told_chi2 = f"{checked.chi2.item():.3f}, about 1 if the samples explain the measurement"
            figures = {"chi^2 of the residual": told_chi2} | figures
        with drawing(out):
            title, cautions = printable(f"{path.name}: {asked.operator}"), [*posed.cautions, *after]
            paths = write_all(out, title, posed, solution, figures | problem.facts | {"command": command}, cautions)
            say(f"volumes: {', '.join(str(each) for each in paths)}")
    say(
        f"{solution.nfe} evaluations + {solution.nvjp} backward passes per sample, {span(solution.seconds)} "
        f"(estimated: {span(chosen.seconds)}); see {out / 'index.html'}"
    )
    say(f"method: {solution.cite()}")
    for text in after:
        say(f"caution: {text}", "yellow")


def _decided(problem: Problem, out: Path, asked: VolumeOptions) -> tuple[Problem, Decision, Plan | None]:
    """The problem in its precision, the settings, and the plan where a time was needed for them."""
    seconds, steps, chosen = seconds_of(asked.budget), asked.steps, None
    if seconds and steps is not None:
        raise ValueError(f"--budget {asked.budget} with --steps {steps}: give one of them")
    if seconds and not asked.overwrite and (kept := Solution.fact(out / "solution.h5", STEPS)) is not None:
        steps = int(kept)
    budget = None if seconds else asked.budget
    measured = moved(problem.prior.device, problem.operator, problem.y)
    given = (problem.prior, *measured, asked.samples, asked.method)
    decided = decide(*given, steps, asked.seed, None, budget, asked.antithetic)
    prior = computes_in(problem.prior, decided.method, asked.precision)
    if prior is not problem.prior:
        facts = problem.facts | {"precision": "bfloat16 in the network, float32 elsewhere"}
        problem = replace(problem, prior=prior, identity=(*problem.identity, "bfloat16"), facts=facts)
    if seconds and steps is None:
        chosen = make_plan(problem.prior, *given[1:], None, asked.seed, None, seconds, asked.antithetic)
        decided = replace(decided, n_steps=chosen.n_steps, reason=chosen.reason)
    return problem, decided, chosen


def _planned(problem: Problem, asked: VolumeOptions, steps: int) -> Plan:
    budget = None if seconds_of(asked.budget) else asked.budget
    measured = moved(problem.prior.device, problem.operator, problem.y)
    given = (problem.prior, *measured, asked.samples, asked.method, steps, asked.seed, None, budget, asked.antithetic)
    return make_plan(*given)


def _figures(posed: Posed, solution: Solution, chosen: Plan, asked: VolumeOptions) -> dict[str, str]:
    units, found = posed.units, {}
    size = abs(units.one - units.zero)
    if solution.samples.shape[1] > 1:
        found["standard deviation"] = f"{size * solution.std.mean().item():.4g} {units.name} per voxel, on average"
    if posed.baseline is not None:
        apart = (solution.mean - posed.baseline[0]).square().mean().sqrt().item()
        found["mean minus baseline"] = f"{size * apart:.4g} {units.name}, root mean square"
    return found | {
        "cost per sample": f"{solution.nfe} evaluations of the prior, {solution.nvjp} backward passes",
        "time": f"{span(solution.seconds)} for all samples; estimated before: {span(chosen.seconds)}",
        "method": method_of(chosen, asked),
        "paper": solution.cite(),
    }
