"""`inverse calibrate`: a calibration with a picture, a text and a file."""

import torch
import typer
from torch import Tensor

import priors
from inverse.app.arguments import read_images
from inverse.app.calibration import calibrate
from inverse.app.devices import moved
from inverse.app.figures import drawing
from inverse.app.noise_text import is_noise, read_noise
from inverse.app.operator_text import named
from inverse.app.options import CalibrateOptions
from inverse.app.photo_shape import sized
from inverse.app.stack import pictures_in
from inverse.methods import METHODS
from inverse.plan import plan, span
from operators import Operator
from priors import Prior
from priors.arguments import count
from priors.files import atomic
from priors.terminal import console, explained, printable, say


def run(asked: CalibrateOptions) -> None:
    """Calibrate, print the verdict and write calibration.png, .txt and .h5.

    Raises: typer.Exit with status 1 where a test fails, 2 after an error, whose reason was printed.
    """
    with explained():
        count("--draws", asked.draws, 2)
        count("--samples", asked.samples)
        count("--processes", asked.processes)
        prior, operator = posed(asked)
        truths = _truths(asked, prior)
        n = asked.draws if truths is None else len(truths)
        _tell_plan(prior, operator, n, asked)
        if asked.dry:
            return
        found = calibrate(
            prior, operator, asked.method, n, asked.samples, asked.steps, asked.seed, truths=truths,
            work=asked.out / "work", resolution=asked.resolution, budget=asked.budget, precision=asked.precision,
            processes=asked.processes, overwrite=asked.overwrite, progress=console.is_terminal,
        )  # fmt: skip
        found.save(asked.out / "calibration.h5")
        text = found.summary()
        with atomic(asked.out / "calibration.txt") as temporary:
            temporary.write_text(printable(text) + "\n", encoding="utf-8")
        with drawing(asked.out / "calibration.png"):
            found.draw(asked.out / "calibration.png", printable(f"{asked.prior}, {asked.operator}: {found.method}"))
    say(text)
    if found.method in METHODS:
        say(f"method: {METHODS[found.method].citation}")
    say(f"see {asked.out / 'calibration.png'}")
    if not found.passed:
        raise typer.Exit(1)


def posed(asked: CalibrateOptions) -> tuple[Prior, Operator]:
    """The prior and the operator of a command line.

    Raises: FileNotFoundError; ValueError for what cannot be read or does not fit.
    """
    prior = priors.load(asked.prior, config=asked.config, device=asked.device)
    if asked.size is not None:
        prior = sized(prior, asked.size)
    stated = named(asked.operator, measured=False)
    other = is_noise(asked.sigma)
    operator = stated.build(1.0 if other else _level(asked.sigma), tuple(prior.event_shape))
    return prior, operator.with_noise(read_noise(asked.sigma)) if other else operator


def _truths(asked: CalibrateOptions, prior: Prior) -> Tensor | None:
    if asked.truths is None:
        return None
    files = pictures_in(asked.truths) if asked.truths.is_dir() else [asked.truths]
    return read_images(files, tuple(prior.event_shape), None, asked.resize, asked.draws)[1]


def _level(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"sigma = {text!r}: expected a number in units of y, or a noise such as poisson:100") from None


def _tell_plan(prior: Prior, operator: Operator, n: int, asked: CalibrateOptions) -> None:
    y = operator.measure(torch.full((1, *prior.event_shape), 0.5), seed=0)
    posed = moved(prior.device, operator, y)
    chosen = plan(prior, *posed, asked.samples, asked.method, asked.steps, asked.seed, None, asked.budget)
    why = f"; chosen: {chosen.reason}" if chosen.reason else ""
    say(f"method: {chosen.method.name}, {chosen.n_steps} steps{why}")
    drawn = "; drawing the truths takes time besides" if asked.truths is None else ""
    say(f"time: about {span(chosen.seconds * n)} of one process for {n} x {asked.samples} samples{drawn}")
