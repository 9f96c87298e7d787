"""`inverse batch`: the posteriors of many measurements in a file."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import typer
from torch import Tensor

import priors
from inverse.app.batch import BatchResults, solve_batch
from inverse.app.batch.sources import Source, source_of
from inverse.app.batch.work import launched
from inverse.app.devices import moved
from inverse.app.operator_text import Named, keys, named
from inverse.app.options import BatchOptions
from inverse.app.photo_shape import check_shape, prior_for, shape_behind, with_detectors
from inverse.methods import METHODS
from inverse.plan import plan as make_plan
from inverse.plan import span
from operators import GaussianNoise, Operator, estimate_sigma
from priors import Prior
from priors.terminal import console, explained, say

SIGMA = "sigma"  # the dataset with a noise level for each measurement


@dataclass(frozen=True)
class Stated:
    """Makes the operator of a block of measurements from its text and from arrays of the file.

    Attributes: stated: the text, parsed; event_shape (E); sigma: of the noise, None for the file's or an estimate of
    each measurement; varying: arguments that the file has for each measurement.
    """

    stated: Named
    event_shape: tuple[int, ...]
    sigma: float | None
    varying: tuple[str, ...] = ()

    def __call__(self, arrays: dict[str, Tensor]) -> Operator:
        own = {name: arrays[name] for name in self.varying}
        stated = replace(self.stated, values=self.stated.values | own)
        built = stated.build(1.0 if self.sigma is None else self.sigma, self.event_shape)
        if self.sigma is not None or "gaussian" not in built.noise.capabilities:
            return built
        level = arrays[SIGMA].float() if SIGMA in arrays else estimate_sigma(arrays["y"].float(), built)
        if not bool((level > 0).all()):
            raise ValueError(f"sigma = {level.tolist()}: expected numbers > 0; give --sigma, in units of y")
        built.noise = GaussianNoise(level)
        return built


def batch(file: Path, out: Path, asked: BatchOptions) -> None:
    """Solve for all measurements of a file, and report.

    Raises: typer.Exit with status 2 after an error or if measurements failed, whose reason was printed.
    """
    with explained():
        prior, stated, source = pose(file, asked)
        facts = f"{len(source):,} measurements"
        if stated.varying or SIGMA in source.names:
            facts += f", each with its own {' and '.join([*stated.varying, *[SIGMA] * (SIGMA in source.names)])}"
        others = (launched() or (0, 1, 0))[0] > 0  # of the processes of torchrun the first one speaks
        if not others:
            say(f"{file.name}: {facts}; operator {stated.stated.used()}")
        if asked.dry:
            return _tell_plan(prior, stated, source, asked)
        found = solve_batch(
            prior, stated, source, out, asked.samples, asked.method, asked.steps, asked.seed, budget=asked.budget,
            antithetic=asked.antithetic, precision=asked.precision, block=asked.block, quantiles=asked.quantiles,
            keep_samples=asked.keep_samples, processes=asked.processes, backend=asked.backend, device=asked.device,
            retry_failed=asked.retry_failed, overwrite=asked.overwrite,
        )  # fmt: skip
        if not others:
            _report(found)
        if found.failures:
            raise typer.Exit(2)
    return None


def pose(file: Path, asked: BatchOptions) -> tuple[Prior, Stated, Source]:
    """The prior, the operator and the measurements of a command line.

    Raises: FileNotFoundError; ValueError for what cannot be read or does not fit.
    """
    prior = priors.load(asked.prior, config=asked.config) if asked.prior else None
    read = read_measurements(file, asked.operator, prior, asked.size)
    prior = prior or priors.load(prior_for(read.shape)[0], config=asked.config)
    if prior.least_size is not None:  # the prior serves any size
        prior = prior.resized((prior.event_shape[0], *read.shape[1:]))
    stated, source = read.at(file, tuple(prior.event_shape), asked.sigma)
    return prior, stated, source


@dataclass(frozen=True)
class Measurements:
    """The measurements of a file, and what was measured.

    Attributes: stated: the text of the operator, parsed; source; y: the first measurement (1, *M); varying: arguments
    of the operator that the file has for each measurement; shape (C, H, W) of the pictures.
    """

    stated: Named
    source: Source
    y: Tensor
    varying: tuple[str, ...]
    shape: tuple[int, ...]

    def at(self, file: Path, event_shape: tuple[int, ...], sigma: str | None) -> tuple[Stated, Source]:
        """The operator of pictures of a size, and the measurements; sigma: as on the command line.

        Raises: ValueError for a text that is no number, and where the measurements are not of such pictures.
        """
        check_shape(file, self.y, self.stated.build(1.0, event_shape), event_shape, self.stated)
        level = None if sigma in (None, "auto") else _level(sigma)
        source = source_of(file, self.varying) if sigma is not None else self.source
        return Stated(self.stated, event_shape, level, self.varying), source


def read_measurements(file: Path, operator: str, prior: Prior | None, size: str | None) -> Measurements:
    """The measurements of an HDF5 or .npy file or a Zarr folder by an operator, as `inverse batch` takes them.

    Arguments: file; operator: text; prior: of one size, which is then the pictures', or None; size: text of --size.
    Raises: FileNotFoundError; ValueError for what cannot be read, and where the size is not determined.
    """
    name = re.split(r"[.:]", operator)[0]
    there = {pair.partition("=")[0] for pair in re.split(r",(?=\w+=)", operator.partition(":")[2])}
    source = source_of(file, sorted({*keys(name)} - there | {SIGMA}))  # the sigma of a blur's text is its kernel's
    first = source.read(0, 1)
    varying = tuple(n for n in source.names if n not in ("y", SIGMA))
    stated = named(operator, measured=True, known={n: first[n][0] for n in varying})
    shape = tuple(first["y"].shape[1:])
    if prior is not None and prior.least_size is None and shape == tuple(prior.event_shape):
        stated = stated.bordered("reflect")  # the prior's only size is that of the measurement
    stated = with_detectors(stated, shape, prior, size)
    shape = shape_behind(stated, shape, prior, size)
    return Measurements(stated, source, first["y"], varying, shape)


def levels(text: str) -> tuple[float, ...]:
    """Probabilities, separated by commas.

    Raises: typer.Exit for others.
    """
    with explained():
        try:
            return tuple(map(float, text.split(",")))
        except ValueError:
            raise ValueError(
                f"quantiles {text!r}: expected probabilities separated by commas, such as .05,.95"
            ) from None


def _level(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        raise ValueError(f"sigma = {text!r}: expected a number in units of y, or auto") from None


def _tell_plan(prior: Prior, stated: Stated, source: Source, asked: BatchOptions) -> None:
    arrays = source.read(0, 1)
    posed = moved(torch.device(prior.device), stated(arrays), arrays["y"])
    given = (asked.samples, asked.method, asked.steps, asked.seed, None, asked.budget, asked.antithetic)
    chosen = make_plan(prior, *posed, *given)
    say(f"method: {chosen.method.name}, {chosen.n_steps} steps")
    say(
        f"time: about {span(chosen.seconds * len(source))} of one process, by the first measurement alone; "
        f"memory of a process: about {chosen.bytes / 1e9:.2g} GB in addition"
    )


def _report(found: BatchResults) -> None:
    status = found.status.tolist()
    say(
        f"{status.count(1):,} of {len(found):,} measurements solved by {found.method}, {found.n_steps} steps: "
        f"{found.path}"
    )
    if found.method in METHODS:
        say(f"method: {METHODS[found.method].citation}")
    if cautions := found.cautions:
        more = f" (and {len(cautions) - 1} more)" if len(cautions) > 1 else ""
        console.print(f"caution: {cautions[0]}{more}", style="yellow", soft_wrap=True)
    for numbers, text in list(found.failures.items())[:5]:
        say(f"error: measurements {numbers.start} to {numbers.stop - 1}: {text}", "red")
    if found.failures:
        say("mend the cause and pass --retry-failed: only these are computed again", "red")
