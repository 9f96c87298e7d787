"""`inverse solve` on a picture or a measurement of it: the problem to solve, and its samples as they finish."""

import hashlib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import priors
from inverse.app.arguments import as_event, measured_picture, read_measurement
from inverse.app.devices import solve_there
from inverse.app.measured import check_phase, floating, numbers, of_pictures, scale, untested
from inverse.app.measured import described as described_file
from inverse.app.noise_text import described, estimated_level, is_noise, level_of, read_noise
from inverse.app.operator_text import named
from inverse.app.photo_shape import arrangement, check_shape, prior_for, shape_behind, with_detectors
from inverse.app.unknown_text import unknowns
from inverse.costs.evaluation import activations
from inverse.methods import composition
from inverse.plan import Decision, Plan
from inverse.quality import PoorFit
from inverse.quality.instrument import DoubtfulInstrument
from inverse.solution import Solution
from inverse.solve.unknown import Range
from inverse.solve.unknown.family import Make
from operators import Masking, Operator
from priors import Prior, ScorePrior, Slices, Tiled
from priors.decoding import Decoded, decode
from priors.heap import separate_blocks
from priors.terminal import printable

SIGMA, TILE = 0.05, 512  # default noise level for a picture that is degraded here; tile size in pixels


@dataclass(frozen=True)
class Problem:
    """A problem, and how each part of it was chosen.

    Attributes: prior; operator; y (1, *M); truth (1, *E), or None for an existing measurement; sigma; facts:
    descriptions of picture, prior, operator, sigma and tiles for the user; identity: what the samples depend on besides
    the tensors of prior and operator, y and sigma; dtype: of the picture's file, such as "uint16"; caution: if the
    operator was drawn at random; number: of the measurement among others, such as that of a slice; estimated: sigma was
    estimated from y; unknown: ranges of the parameters that are not known, of which ``make`` is the operator
    (``operator`` is that in the middle of the ranges).
    """

    prior: Prior
    operator: Operator
    y: Tensor
    truth: Tensor | None
    sigma: float
    facts: dict[str, str]
    identity: tuple[Any, ...] = ()
    dtype: str = "uint8"
    caution: str = ""
    number: int = 0
    estimated: bool = False
    unknown: dict[str, Range] | None = None
    make: Make | None = None

    def key(self, chosen: Plan | Decision, seed: int) -> str:
        """A key of the problem: a hash of all that its samples depend on, except their number."""
        how = (composition(chosen.method), chosen.n_steps, chosen.antithetic, seed)
        digest = hashlib.sha256(repr((how, self.sigma, self.identity)).encode())
        inner = self.prior.prior if isinstance(self.prior, Tiled | Slices) else self.prior
        weights = inner.state_dict().values() if isinstance(inner, ScorePrior) else ()
        for tensor in (self.y, *weights, *self.operator.state_dict().values()):
            plain = tensor.float() if tensor.dtype == torch.bfloat16 else tensor  # numpy has no bfloat16
            digest.update(plain.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def pose(
    path: Path,
    operator: str,
    sigma: str | None = None,
    prior: str | None = None,
    config: str | None = None,
    seed: int = 0,
    measured: bool = False,
    resize: bool = False,
    tile: int | None = None,
    memory: float = math.inf,
    size: str | None = None,
    device: str | None = None,
    picture: Decoded | Tensor | None = None,
    number: int = 0,
    unknown: Sequence[str] = (),
    processes: int = 1,
) -> Problem:
    """The problem of a command line. Choices made here are described in `Problem.facts`.

    Arguments: path of a picture, or with ``measured`` of a measurement (.npy or a picture); operator: see
    `inverse.app.operator_text.named`; sigma: a number, "auto" (measurements only: `operators.estimate_sigma`), another
    noise (see `inverse.app.noise_text.read_noise`), or None for auto with ``measured`` and .05 otherwise; prior: as
    `priors.load`, or None to choose by size; config: of the prior; seed: of the simulated noise; resize: to the prior's
    size; tile: tile size in pixels, None for no tiles if ``memory`` (bytes) suffices; size: of the image, HEIGHTxWIDTH
    or CHANNELSxHEIGHTxWIDTH, None if operator or prior determine it; device: of the prior, everything else is on the
    CPU; picture: the file's content, if it was read before, such as one picture of a stack, or a measurement (1, *M);
    number: of the measurement among others, which have noise of their own; unknown: texts of --unknown (see
    `inverse.app.unknown_text.unknowns`); processes: that evaluate tiles.
    Raises: FileNotFoundError; ValueError for input that cannot be read, is inconsistent, or does not allow an estimate.
    """
    row = picture if isinstance(picture, Tensor) else None
    if not measured and (row is not None or (picture is None and path.suffix.lower() == ".npy")):
        raise ValueError(f"{path} is an array, not a picture: pass --measured if it is the measurement y")
    if not measured and (size is not None or sigma == "auto"):
        what = "--size" if size is not None else "sigma auto"
        raise ValueError(
            f"{what} requires --measured: without it the measurement is simulated, and --sigma takes a number"
        )
    inferred = unknowns(unknown, operator, sigma, measured) if unknown else None
    stated = inferred.stated if inferred else named(operator, measured)
    read = picture is not None
    if isinstance(picture, Tensor):
        picture = None
    elif picture is None and path.suffix.lower() != ".npy":
        picture = decode(path).opaque()
    picture = numbers(picture, stated) if measured and picture is not None else picture
    given = _given(path, picture, measured or read) if row is None else row
    p = priors.load(prior, config=config, device=device) if prior else None
    if measured:
        check_phase(stated)
        given, stated = floating(given, stated), with_detectors(stated, tuple(given.shape), p, size)
    if row is None and picture is None:
        given = given.reshape(arrangement(tuple(given.shape), stated, p, size))
    if inferred and not of_pictures(operator):
        inferred = unknowns(unknown, operator, sigma, measured, scale(given))
    if len(given) != 1:
        raise ValueError(f"{path} has {len(given)} measurements: expected one, of shape (1, *M); solve them one by one")
    shape = tuple(given.shape[1:])
    if measured:
        if p is not None and p.least_size is None and shape == tuple(p.event_shape):
            stated = stated.bordered("reflect")  # the prior's only size is that of the measurement
        shape = shape_behind(stated, shape, p, size)
    name, why = (prior, "as requested") if prior else prior_for(shape)
    p = p or priors.load(name, config=config, device=device)
    if not resize and p.least_size is not None:  # the prior serves any size
        p = p.resized((p.event_shape[0], *shape[1:]))
    free = inferred.noise if inferred else None  # a noise with unknown parameters
    other = free or (read_noise(sigma) if sigma and is_noise(sigma) else None)
    estimated = measured and sigma in (None, "auto") and free is None
    level = 1.0 if estimated or other else level_of(SIGMA if sigma is None else sigma)
    op = stated.build(level, p.event_shape)
    op = op.with_noise(other) if other else op
    if measured:
        check_shape(path, given, op, p.event_shape, stated)
        op.validate_y(given, tuple(p.event_shape))
    how = "as requested" if sigma else "the default for a simulated measurement: set it by --sigma"
    if free:
        level, how = 0.0, f"inferred, with {type(free).__name__}"
    elif "gaussian" not in op.noise.capabilities:
        level = 0.0
    elif estimated:
        level, how = estimated_level(path, given, op, read, p)
        op = stated.build(level, p.event_shape)
    truth = None if measured or picture is None else as_event(picture, p.event_shape, resize)
    y = given if truth is None else op.measure(truth, seed=seed + number)
    p, tiles = _tiled(p, tile, memory, processes)
    notes, file = () if picture is None else picture.notes, picture.name if read and picture else path.name
    file += f", measurement {number}" if row is not None else ""
    facts = {
        "picture": "; ".join([described_file(file, given, p.event_shape, measured), *notes]),
        "prior": f"{name}, {why}; pictures of {' x '.join(map(str, p.event_shape[1:]))} pixels",
        "operator": f"{operator}: {stated.used()}; {_numbers(op, y)}{untested(op) if measured else ''}",
        **_noise(op, level, how, free is not None),
        "tiles": tiles,
    }
    if inferred:
        facts["inferred"] = "; ".join(inferred.texts())
    facts = {name: printable(text) for name, text in facts.items()}
    identity = (name, config, tuple(p.event_shape), stated.identity, p.tile if isinstance(p, Tiled) else None)
    identity += (number,) if number else ()
    identity += (repr(op.noise),) if other else ()
    dtype = "uint8" if picture is None else picture.values.dtype.name
    caution = stated.caution if measured else ""
    posed = Problem(p, op, y, truth, level, facts, identity, dtype, caution, number, estimated)
    if inferred is None:
        return posed
    make = inferred.operator(stated, op.noise, tuple(p.event_shape))
    identity = (*identity, tuple(inferred.ranges.items()))
    return replace(posed, identity=identity, unknown=inferred.ranges, make=make)


def _noise(operator: Operator, level: float, how: str, free: bool) -> dict[str, str]:
    """What is printed of the noise: its standard deviation, or a description of one that has no single level."""
    if "gaussian" not in operator.noise.capabilities:
        return {"noise": how if free else described(operator.noise)}
    return {"sigma": how if free else f"{level:.4g}, {how}"}


def inferred(problem: Problem, solution: Solution) -> Problem:
    """The problem with the operator at the medians of the unknown parameters; itself if there are none."""
    if problem.make is None or solution.unknown is None:
        return problem
    medians = {name: float(draws[0].double().median()) for name, draws in solution.unknown.items()}
    return replace(problem, operator=problem.make(**medians), sigma=medians.get("sigma", problem.sigma))


def _numbers(operator: Operator, y: Tensor) -> str:
    """Size of the measurement and the share that was measured, which shows an inverted mask."""
    text = f"{' x '.join(map(str, y.shape[1:]))} values"
    if operator.support is None:
        return text
    share = float(operator.support.double().mean())
    masked = ", where the mask is 1 or white" if isinstance(operator, Masking) else ""
    return f"{text}, {share:.0%} of them measured{masked}"


def _given(path: Path, picture: Decoded | None, measured: bool) -> Tensor:
    """The file's content: a picture to degrade (1, C, H, W), or a measurement (B, *M)."""
    if picture is None:
        return read_measurement(path)
    return measured_picture(picture) if measured else as_event(picture.ranged(), (None, None, None))


def finished(problem: Problem, chosen: Plan | Decision, seed: int, path: Path) -> Solution | None:
    """The samples of this problem in a file, such as one of an interrupted run; None without a file.

    Raises: ValueError for a truncated file, one that is not a solution, or one of another problem.
    """
    if not path.exists():
        return None
    found = Solution.load(path)  # a truncated file raises its own error
    if Solution.fact(path, "key") != problem.key(chosen, seed):
        raise ValueError(f"{path} holds samples of another problem: choose another --out, or pass --overwrite")
    return found


def draw(
    problem: Problem,
    chosen: Plan,
    seed: int,
    path: Path,
    facts: dict[str, Any] | None = None,
    progress: bool = True,
    on_samples: Callable[[int], None] = lambda n: None,
) -> Solution:
    """Draw the samples of a problem, saving finished ones to a file; a second call resumes from it.

    Samples with relative weights are drawn in one batch, others in batches of ``chosen.rows``.
    Arguments: problem; chosen (`Plan`); seed; path of the file (HDF5); facts: further metadata (see `Solution.save`);
    progress: show a bar; on_samples: called with the number of samples after each save.
    Raises: ValueError as `finished`.
    """
    solution = finished(problem, chosen, seed, path)
    while (done := 0 if solution is None else solution.samples.shape[1]) < chosen.n_samples:
        n = chosen.n_samples - done
        if problem.unknown:  # their draws belong to one solve
            n, done = chosen.n_samples, 0
        elif not chosen.method.weighted:
            n = min(n, max(2, chosen.rows - chosen.rows % 2) if chosen.antithetic else chosen.rows)
        measured = (problem.make or problem.operator, problem.y)
        given = (problem.prior, *measured, n, chosen.method, chosen.n_steps, seed, chosen.rows)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PoorFit)  # the command line examines all samples at the end
            if solution is not None:  # once
                warnings.simplefilter("ignore", DoubtfulInstrument)
            more = solve_there(
                *given, progress=progress, first=done, antithetic=chosen.antithetic,
                numbers=[problem.number] if problem.number else None, unknown=problem.unknown, noise_checks=False,
            )  # fmt: skip
        more = replace(more, reason=chosen.reason)
        solution = more if solution is None or problem.unknown else solution.followed_by(more)
        held = {"y": problem.y, "mean": solution.mean}
        if solution.samples.shape[1] > 1:
            held["std"] = solution.std
        if problem.truth is not None:
            held["truth"] = problem.truth
        told = {**problem.facts, "sigma_y": inferred(problem, solution).sigma, "key": problem.key(chosen, seed)}
        solution.save(path, {**held, **told, **(facts or {})})
        on_samples(solution.samples.shape[1])
    assert solution is not None
    return solution


def _tiled(prior: Prior, tile: int | None, memory: float, processes: int) -> tuple[Prior, str]:
    if tile is None and processes > 1:
        tile, why = TILE, "for several processes"
    elif tile is None:
        if prior.least_size is None or activations(prior) <= memory:
            return prior, "none: the whole picture at once"
        tile, why = TILE, f"because a gradient of the whole picture needs {activations(prior) / 1e9:.1f} GB"
    else:
        why = "as requested"
    separate_blocks()  # memory matters here
    tiled = Tiled(prior, tile, processes)
    by = f"; {processes} processes" if processes > 1 else ""
    return tiled, f"{tiled.tile} pixels with a margin of {tiled.margin}, {why}{by}"
