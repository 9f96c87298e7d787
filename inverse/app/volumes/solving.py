"""`inverse volume`: the posterior of a volume."""

import shlex
import sys
from pathlib import Path

from inverse.app.figures import drawing
from inverse.app.options import VolumeOptions
from inverse.app.page import page_of
from inverse.app.photo import draw, finished
from inverse.app.settled import STEPS, settle
from inverse.app.solve_text import method_of, show, told
from inverse.app.volumes.page import write_all
from inverse.app.volumes.posing import Posed, pose
from inverse.examination import examine
from inverse.plan import Plan, span
from inverse.quality.scale import outside
from inverse.solution import Solution
from priors.terminal import console, explained, printable, say


def solve(path: Path, out: Path, asked: VolumeOptions) -> None:
    """Solve for a volume into a folder.

    Raises: typer.Exit with status 2 after a failure, whose reason was printed.
    """
    with explained():
        posed = pose(path, asked)
        file = out / "solution.h5"
        settled = settle(posed.problem, file, asked)
        problem, decided = settled.problem, settled.decision
        held = None if asked.overwrite else finished(problem, decided, asked.seed, file)
        done = 0 if held is None else held.samples.shape[1]
        shown = {} if settled.chosen else problem.facts
        show(shown | {"method": method_of(decided, asked)})
        for text in posed.cautions:
            say(f"caution: {text}", "yellow")
        if done >= asked.samples and page_of(out, file):
            show({"samples": f"{asked.samples} requested, {done} already in {file}: nothing to do"})
            return
        chosen = settled.planned()
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
