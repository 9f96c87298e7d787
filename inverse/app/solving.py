"""`inverse solve`: the posterior of a picture, a measurement, or each file in a folder."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path

import typer
from rich.text import Text

import priors
from inverse.app import series
from inverse.app.devices import moved
from inverse.app.figures import drawing
from inverse.app.files.volume import Volume
from inverse.app.options import SolveOptions
from inverse.app.page import page_of, write_folder
from inverse.app.photo import Problem, draw, finished, inferred, pictures_in, pose
from inverse.app.unknown_text import OF_BLUR, words
from inverse.examination import FEWEST_DRAWS, Examination, examine
from inverse.methods import Sampler
from inverse.plan import Decision, Plan, decide, span
from inverse.plan import plan as make_plan
from inverse.quality import psnr
from inverse.quality.instrument import doubtful
from inverse.solution import Solution
from inverse.solve.checks import computes_in
from inverse.solve.unknown import check_method, doubts, effort
from priors.decoded import Decoded
from priors.terminal import console, explained, printable, say

NODES = (10, 32)  # values of unknown parameters that are tried, in general


def solve(image: Path, out: Path, asked: SolveOptions) -> None:
    """Solve for a picture, or for each picture of a folder into its own subfolder; a failure does not stop the others.

    Raises: typer.Exit with status 2 after a failure, whose reason was printed.
    """
    with explained():
        volume = series.opened(image, asked.range is not None or asked.window is not None)
        if volume is not None:
            _solve_volume(volume, out, asked)
            return
        if asked.range is not None or asked.window is not None:
            raise ValueError(f"{image}: --range and --window are for NIfTI, FITS, DICOM and TIFF files; omit them")
        paths = pictures_in(image, asked.measured) if image.is_dir() else [image]
    failed = []
    for path in paths:
        if image.is_dir():
            say(f"{path.name}:", "bold")
        try:
            _solve_one(path, out / path.name if image.is_dir() else out, asked)
        except typer.Exit:  # the reason was printed
            failed.append(path.name)
    if failed:
        if image.is_dir():
            say(f"error: {len(failed)} of {len(paths)} failed: {', '.join(failed)}", "red")
        raise typer.Exit(2)


def _solve_volume(volume: Volume, out: Path, asked: SolveOptions) -> None:
    """Solve for every slice into a subfolder, as its own measurement, and write the results in the file's format."""
    units = priors.load(asked.prior, config=asked.config).units if asked.window == "prior" and asked.prior else None
    black, white, how = series.scale(volume, asked.range, asked.window, units)
    shown = series.pictures(volume, black, white, how)
    folders = [out / f"slice-{n:03d}" for n in range(len(shown))]
    _show({"file": f"{volume.path.name}, {volume.kind}: {len(shown)} slices", "range": how})
    for n, (picture, folder) in enumerate(zip(shown, folders, strict=True)):
        if len(shown) > 1:
            say(f"{picture.name}:", "bold")
        _solve_one(volume.path, folder, asked, picture, n)
    if asked.dry:
        return
    paths = series.write(volume, out, [Solution.load(folder / "solution.h5") for folder in folders], black, white)
    say(f"mean, standard deviation and samples in the format of {volume.path.name}: {', '.join(map(str, paths))}")


def _solve_one(image: Path, out: Path, asked: SolveOptions, picture: Decoded | None = None, number: int = 0) -> None:
    """Solve for one picture or measurement, or for a slice that was read, into a folder."""
    file = out / "solution.h5"
    with explained():
        problem = pose(
            image, asked.operator, asked.sigma, asked.prior, asked.config, asked.seed, asked.measured, asked.resize,
            asked.tile, asked.memory * 1e9, asked.size, asked.device, picture, number, asked.unknown,
            asked.processes,
        )  # fmt: skip
        if picture is not None:
            series.check_field(problem.operator, image)
        posed = (problem.prior, *moved(problem.prior.device, problem.operator, problem.y))
        given = (*posed, asked.samples, asked.method, asked.steps, asked.seed, None, asked.budget)
        decided = decide(*given, asked.antithetic)
        if problem.unknown:
            check_method(decided.method, asked.budget)
        problem = _computing(problem, decided.method, asked.precision)
        given = (problem.prior, *given[1:])
        if asked.overwrite and not asked.dry:
            file.unlink(missing_ok=True)
        held = None if asked.overwrite else finished(problem, decided, asked.seed, file)
    done = 0 if held is None else held.samples.shape[1]
    if problem.unknown and done < asked.samples:
        done = 0  # samples of unknown parameters are drawn in one solve
    why = {"why": decided.details} if asked.why and decided.details else {}
    _show(problem.facts | {"method": _method(decided)} | why)  # before the plan, which takes a moment
    if done >= asked.samples and page_of(out, file):
        _show({"samples": f"{asked.samples} requested, {done} already in {file}: nothing to do"})
        return
    with explained():
        chosen = make_plan(*given, asked.antithetic)
    _show(_told(chosen, done, out) | _inferring(problem, chosen))
    if asked.dry:
        return
    with explained():
        command = printable(shlex.join(["inverse", *sys.argv[1:]]))
        solution = draw(
            problem, chosen, asked.seed, file, {"command": command}, console.is_terminal,
            on_samples=lambda n: say(f"{n} of {asked.samples} samples in {file}"),
        )  # fmt: skip
        problem = inferred(problem, solution)
        checked = _examined(solution, problem)
        cautions = checked.warnings[0]
        found = {name: words(name, draws[0]) for name, draws in (solution.unknown or {}).items()}
        about = doubtful(problem.operator, problem.y)
        before = [*filter(None, [problem.caution, *about]), *_doubts(solution, problem)]  # printed already
        kept = [*before, *cautions]
        figures = _figures(solution, problem, chosen, checked) | problem.facts | {"command": command}
        figures = found | figures | found  # first, and in place of what was not known
        with drawing(out):
            title = printable(f"{picture.name if picture else image.name}: {asked.operator}")
            write_folder(out, title, solution, problem.y, problem.truth, figures, kept, problem.dtype)
    for name, text in found.items():
        say(f"{name}: {text}", "bold")
    if found.keys() & OF_BLUR.keys():
        say("the interval of a blur is too narrow on photographs, which have a blur of their own: see docs/unknown.md")
    if problem.truth is not None:
        say(f"PSNR of the posterior mean: {psnr(solution.mean, problem.truth).item():.2f} dB")
    say(
        f"{solution.nfe} evaluations + {solution.nvjp} backward passes per sample, {span(solution.seconds)} "
        f"(estimated: {_time(problem, chosen)}); see {out / 'index.html'}"
    )
    say(f"method: {solution.cite()}")
    for text in cautions:
        say(f"caution: {text}", "yellow")


def _computing(problem: Problem, method: Sampler, precision: str) -> Problem:
    """The problem with its prior in the precision of the solve; samples depend on it."""
    prior = computes_in(problem.prior, method, precision)
    if prior is problem.prior:
        return problem
    shown = problem.facts | {"precision": "bfloat16 in the network, float32 elsewhere"}
    return replace(problem, prior=prior, identity=(*problem.identity, "bfloat16"), facts=shown)


def _show(facts: dict[str, str]) -> None:
    for name, text in facts.items():
        console.print(Text.assemble((f"{name:>9}", "bold"), "  ", printable(text)), soft_wrap=True)


def _told(chosen: Plan, done: int, out: Path) -> dict[str, str]:
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


def _time(problem: Problem, chosen: Plan, left: float = 1.0) -> str:
    """The predicted time of all samples, or of a share of them; with unknown parameters an interval."""
    if problem.unknown is None:
        return span(chosen.seconds * left)
    each = chosen.seconds / chosen.n_samples
    few, many = (each * (n * effort(problem.prior).samples + chosen.n_samples) for n in NODES)
    return f"{span(few)} to {span(many)}"


def _inferring(problem: Problem, chosen: Plan) -> dict[str, str]:
    if problem.unknown is None:
        return {}
    names, each = ", ".join(problem.unknown), effort(problem.prior).samples
    before = f"{NODES[0]} to {NODES[1]} values of {names}, with {each} samples for each, come first"
    return {"time": f"about {_time(problem, chosen)}: {before}"}


def _doubts(solution: Solution, problem: Problem) -> list[str]:
    draws = {name: each[0] for name, each in (solution.unknown or {}).items()}
    return doubts(problem.unknown, draws) if problem.unknown else []


def _method(chosen: Plan | Decision) -> str:
    steps = f"{chosen.method.name}, {chosen.n_steps} steps"
    return f"{steps}; chosen: {chosen.reason}" if chosen.reason else f"{steps}, as requested"


def _figures(solution: Solution, problem: Problem, chosen: Plan, checked: Examination) -> dict[str, str]:
    """The figures on the page of a solution."""
    found = {}
    if problem.truth is not None:
        each = [psnr(x, problem.truth).item() for x in solution.samples.unbind(1)]
        found["PSNR of the mean"] = f"{psnr(solution.mean, problem.truth).item():.2f} dB"
        found["PSNR of one sample"] = f"{sum(each) / len(each):.2f} dB, the mean of {len(each)}"
    if checked.chi2 is not None:
        found["chi^2 of the residual"] = f"{checked.chi2.item():.3f}, about 1 if the samples explain the measurement"
    if solution.samples.shape[1] > 1:
        found["standard deviation"] = f"{solution.std.mean().item():.4f} per pixel, on average"
    return found | {
        "cost per sample": f"{solution.nfe} evaluations of the prior, {solution.nvjp} backward passes",
        "time": f"{span(solution.seconds)} for all samples; estimated before: {_time(problem, chosen)}",
        "method": _method(chosen),
        "paper": solution.cite(),
    }


def _examined(solution: Solution, problem: Problem) -> Examination:
    """The checks of a solution of one measurement; test images of a shipped prior serve as its draws."""
    operator, prior, y = problem.operator, problem.prior, problem.y
    able = {"linear", "gaussian"} <= operator.capabilities and prior.moments is not None
    name = problem.facts["prior"].partition(",")[0]
    pictures = priors.samples(name).floats() if able and name in priors.available() else y[:0]
    if len(pictures) < FEWEST_DRAWS:
        return examine(solution, operator, y)
    return examine(solution, operator, y, prior, pictures)
