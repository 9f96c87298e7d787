"""`inverse solve`: the posterior of a picture, a measurement, or each file in a folder."""

import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import typer
from torch import Tensor

import priors
from inverse.app import series
from inverse.app.figures import drawing
from inverse.app.files.volume import Volume
from inverse.app.measured import of_pictures
from inverse.app.operator_text import named
from inverse.app.options import SolveOptions
from inverse.app.page import page_of, write_folder
from inverse.app.photo import Problem, draw, finished, inferred, pose
from inverse.app.photo_shape import arranged
from inverse.app.settled import STEPS, settle
from inverse.app.solve_text import inferring, method_of, show, time_of, told
from inverse.app.stack import Stack, opened_stack, pictures_in
from inverse.app.suspicions import of_noise, of_operator
from inverse.app.unknown_text import OF_BLUR, unknowns, words
from inverse.app.variants import exchanged
from inverse.examination import FEWEST_DRAWS, Examination, examine
from inverse.plan import Plan, span
from inverse.quality import psnr
from inverse.quality.grain import grainy
from inverse.quality.instrument import doubtful
from inverse.quality.scale import outside
from inverse.solution import Solution
from inverse.solve.unknown import doubts
from priors.decoded import Decoded
from priors.terminal import console, explained, printable, say


def solve(image: Path, out: Path, asked: SolveOptions) -> None:
    """Solve for a picture, or for each picture of a folder or a stack into its own subfolder; a failure does not stop
    the others.

    Raises: typer.Exit with status 2 after a failure, whose reason was printed.
    """
    with explained():
        series_there = image.is_dir() and series.is_series(image)
        paths = pictures_in(image, asked.measured) if image.is_dir() and not series_there else None
    if paths is None:
        _solve_file(image, out, asked)
        return
    each = {path.name: (lambda path=path: _solve_file(path, out / path.name, asked)) for path in paths}
    _solve_each(each)


def _solve_each(each: dict[str, Callable[[], None]]) -> None:
    """Solve one after the other, by name, and report those that failed at the end."""
    failed = []
    for name, solve_it in each.items():
        if len(each) > 1:
            say(f"{name}:", "bold")
        try:
            solve_it()
        except typer.Exit:  # the reason was printed
            failed.append(name)
    if failed:
        if len(each) > 1:
            say(f"error: {len(failed)} of {len(each)} failed: {', '.join(failed)}", "red")
        raise typer.Exit(2)


def _solve_file(path: Path, out: Path, asked: SolveOptions) -> None:
    """Solve for the picture or measurement of a file, or for each of its slices or pictures."""
    scaled = asked.range is not None or asked.window is not None
    with explained():
        stack = None if scaled else opened_stack(path, asked.measured, partial(_arranged, asked))
        volume = series.opened(path, scaled) if stack is None else None
        if volume is None and scaled:
            raise ValueError(f"{path}: --range and --window are for NIfTI, FITS, DICOM, TIFF and OME-Zarr; omit them")
    if volume is not None:
        _solve_volume(volume, out, asked)
    elif stack is not None:
        _solve_stack(stack, out, asked)
    else:
        _solve_one(path, out, asked)


def _arranged(asked: SolveOptions, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape (N, *M) of an array of measurements."""
    free = unknowns(asked.unknown, asked.operator, asked.sigma, True) if asked.unknown else None
    stated = free.stated if free else named(asked.operator, True)
    prior = priors.load(asked.prior, config=asked.config) if asked.prior else None
    return arranged(shape, stated, prior, asked.size)


def _solve_stack(stack: Stack, out: Path, asked: SolveOptions) -> None:
    """Solve for every picture of a stack into a subfolder, each with its own noise."""

    def solve_page(number: int, folder: Path) -> None:
        with explained():
            page = stack.read(number)
        _solve_one(stack.path, folder, asked, page, number)

    if stack.count == 1:
        solve_page(0, out)
        return
    show({"file": f"{stack.path.name}: {stack.count} {stack.what}s"})
    folders = [out / f"{stack.what}-{n:03d}" for n in range(stack.count)]
    _solve_each({stack.name(n): partial(solve_page, n, folder) for n, folder in enumerate(folders)})


def _solve_volume(volume: Volume, out: Path, asked: SolveOptions) -> None:
    """Solve for every slice into a subfolder, as its own measurement, and write the results in the file's format."""
    with explained():
        units = priors.load(asked.prior, config=asked.config).units if asked.window == "prior" and asked.prior else None
        black, white, how = series.scale(volume, asked.range, asked.window, units)
        shown = series.pictures(volume, black, white, how)
    folders = [out / f"slice-{n:03d}" for n in range(len(shown))]
    show({"file": f"{volume.path.name}, {volume.kind}: {len(shown)} slices", "range": how})
    each = enumerate(zip(shown, folders, strict=True))
    _solve_each({one.name: partial(_solve_one, volume.path, folder, asked, one, n, True) for n, (one, folder) in each})
    if asked.dry:
        return
    with explained():
        solved = [Solution.load(folder / "solution.h5") for folder in folders]
        paths = series.write(volume, out, solved, black, white)
    say(f"mean, standard deviation and samples in the format of {volume.path.name}: {', '.join(map(str, paths))}")


def _solve_one(
    image: Path, out: Path, asked: SolveOptions, picture: Decoded | Tensor | None = None, number: int = 0,
    is_slice: bool = False,
) -> None:  # fmt: skip
    """Solve for one picture or measurement, or for one of a stack or volume that was read, into a folder."""
    file = out / "solution.h5"
    with explained():
        problem = pose(
            image, asked.operator, asked.sigma, asked.prior, asked.config, asked.seed, asked.measured, asked.resize,
            asked.tile, asked.memory * 1e9, asked.size, asked.device, picture, number, asked.unknown,
            asked.processes,
        )  # fmt: skip
        if is_slice:
            series.check_field(problem.operator, image)
        if asked.overwrite and not asked.dry:
            file.unlink(missing_ok=True)
        settled = settle(problem, file, asked)
        problem, decided = settled.problem, settled.decision
        held = None if asked.overwrite else finished(problem, decided, asked.seed, file)
    done = 0 if held is None else held.samples.shape[1]
    if problem.unknown and done < asked.samples:
        done = 0  # samples of unknown parameters are drawn in one solve
    why = {"why": decided.details} if asked.why and decided.details else {}
    shown = {} if settled.chosen else problem.facts
    show(shown | {"method": method_of(decided, asked)} | why)  # before the plan, which takes a moment
    if done >= asked.samples and page_of(out, file):
        show({"samples": f"{asked.samples} requested, {done} already in {file}: nothing to do"})
        return
    with explained():
        chosen = settled.planned()
    show(told(chosen, done, out) | inferring(problem, chosen))
    with explained():
        noise = of_noise(problem, asked)
    if asked.dry:
        return
    with explained():
        command = printable(shlex.join(["inverse", *sys.argv[1:]]))
        suspicion = of_operator(problem, done, asked)
        solution = draw(
            problem, chosen, asked.seed, file, {"command": command, STEPS: chosen.n_steps}, console.is_terminal,
            on_samples=lambda n: say(f"{n} of {asked.samples} samples in {file}"),
        )  # fmt: skip
        problem = inferred(problem, solution)
        checked = _examined(solution, problem)
        count = solution.samples.shape[1]
        cautions = [*checked.warnings[0], *filter(None, outside(problem.prior, problem.operator, solution.mean, count))]
        cautions += filter(None, grainy(problem.prior, solution.samples))
        if asked.measured:
            cautions += filter(None, [exchanged(problem.prior, problem.operator, solution.samples[0, :2])])
        found = {
            name: words(name, draws[0], of_pictures(asked.operator)) for name, draws in (solution.unknown or {}).items()
        }
        about = doubtful(problem.operator.at(problem.prior.event_shape), problem.y)
        before = [
            *filter(None, [problem.caution, noise, suspicion, *about]),
            *_doubts(solution, problem),
        ]  # printed already
        kept = [*before, *cautions]
        figures = _figures(solution, problem, chosen, checked, asked) | problem.facts | {"command": command}
        figures = found | figures | found  # first, and in place of what was not known
        with drawing(out):
            name = picture.name if isinstance(picture, Decoded) else image.name
            title = printable(f"{name}: {asked.operator}")
            form = image.suffix.lower()
            write_folder(out, title, solution, problem.y, problem.truth, figures, kept, problem.dtype, form)
    for name, text in found.items():
        say(f"{name}: {text}", "bold")
    if found.keys() & OF_BLUR.keys():
        say("the interval of a blur is too narrow on photographs, which have a blur of their own: see docs/unknown.md")
    if problem.truth is not None:
        say(f"PSNR of the posterior mean: {psnr(solution.mean, problem.truth).item():.2f} dB")
    say(
        f"{solution.nfe} evaluations + {solution.nvjp} backward passes per sample, {span(solution.seconds)} "
        f"(estimated: {time_of(problem, chosen)}); see {out / 'index.html'}"
    )
    say(f"method: {solution.cite()}")
    for text in cautions:
        say(f"caution: {text}", "yellow")


def _doubts(solution: Solution, problem: Problem) -> list[str]:
    draws = {name: each[0] for name, each in (solution.unknown or {}).items()}
    return doubts(problem.unknown, draws) if problem.unknown else []


def _figures(
    solution: Solution, problem: Problem, chosen: Plan, checked: Examination, asked: SolveOptions
) -> dict[str, str]:
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
        "time": f"{span(solution.seconds)} for all samples; estimated before: {time_of(problem, chosen)}",
        "method": method_of(chosen, asked),
        "paper": solution.cite(),
    }


def _examined(solution: Solution, problem: Problem) -> Examination:
    """The checks of a solution of one measurement; test images of a shipped prior serve as its draws."""
    operator, prior, y = problem.operator, problem.prior, problem.y
    able = {"linear", "gaussian"} <= operator.capabilities and prior.moments is not None
    name = problem.facts["prior"].partition(",")[0]
    pictures = priors.samples(name).floats() if able and name in priors.available() else y[:0]
    if len(pictures) < FEWEST_DRAWS:
        return examine(solution, operator, y, sigma_estimated=problem.estimated)
    return examine(solution, operator, y, prior, pictures, sigma_estimated=problem.estimated)
