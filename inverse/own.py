"""One's own picture, or a measurement of it: what is to be solved, and the samples as they finish."""

import hashlib
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

import priors
from inverse.evaluation import activations
from inverse.plan import Decision, Plan
from inverse.quality import PoorFit
from inverse.reading import as_event, read_measurement, read_operator
from inverse.solution import Solution
from inverse.solve import solve
from operators import Operator, Resize, estimate_sigma
from priors import Prior, ScorePrior, Tiled
from priors.decoding import decode
from priors.terminal import printable

SIZED: dict[tuple[int, ...], str] = {(1, 28, 28): "fashion-mnist", (3, 32, 32): "cifar10"}  # pictures of a prior's
ANY_SIZE = {1: "natural-grey"}  # by channels; all others: "natural"
SIGMA, TILE = 0.05, 512  # of a picture that is measured here; pixels


@dataclass(frozen=True)
class Problem:
    """What is to be solved, and how each part of it was chosen.

    Attributes: prior; operator; y (1, *M); truth (1, *E), or None for a measurement from elsewhere; sigma; facts: what
    a user is told of picture, prior, operator, sigma and tiles, as texts.
    """

    prior: Prior
    operator: Operator
    y: Tensor
    truth: Tensor | None
    sigma: float
    facts: dict[str, str]

    def key(self, chosen: Plan | Decision, seed: int) -> str:
        """A name of the problem and of all that its samples depend on but their number."""
        how = (parts(chosen.method), chosen.n_steps, chosen.antithetic, seed)
        digest = hashlib.sha256(repr((how, self.sigma, self.facts)).encode())
        inner = self.prior.prior if isinstance(self.prior, Tiled) else self.prior
        weights = inner.state_dict().values() if isinstance(inner, ScorePrior) else ()
        for tensor in (self.y, *weights):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
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
) -> Problem:
    """The problem that a command line states. What it leaves open is chosen here, and said in `Problem.facts`.

    Arguments: path of a picture, or with ``measured`` of a measurement (.npy or a picture); operator: see
    `read_operator`; sigma: a number, "auto" (of a measurement: `operators.estimate_sigma`), or None for .05; prior: as
    `priors.load`, or None for the one of the picture's size; config: of it; seed: of the noise that a picture is
    measured with; resize: to the prior's size; tile: pixels of tiles, None for none where ``memory`` (bytes) is enough.
    Raises: FileNotFoundError; ValueError for what cannot be read, does not fit together or cannot be estimated.
    """
    if not measured and path.suffix.lower() == ".npy":
        raise ValueError(f"{path} is an array, no picture: pass --measured if it is the measurement itself")
    picture = None if measured else decode(path).opaque().ranged()
    given = read_measurement(path) if picture is None else as_event(picture, (None, None, None))
    if len(given) != 1:
        raise ValueError(
            f"{path} holds {len(given)} measurements: expected one, of shape (1, *M); solve them one by one"
        )
    shape = _shape_behind(operator, given) if measured else tuple(given.shape[1:])
    name, why = (prior, "as asked for") if prior else _prior_for(shape)
    p = priors.load(name, config=config)
    if shape is not None and not resize and getattr(p, "least_size", None) is not None:  # it takes the picture's size
        p = p.resized((p.event_shape[0], *shape[1:]))  # type: ignore[union-attr]
    number = None if sigma == "auto" else _number(SIGMA if sigma is None else sigma)
    op = read_operator(operator, 1.0 if number is None else number, p.event_shape)
    if number is None and not measured:
        raise ValueError("sigma auto is for a measurement, --measured: a picture is measured here, give it a number")
    if measured and given.ndim == 4 and len(op.measurement_shape(p.event_shape)) == 3:
        _check_channels(path, given, op.measurement_shape(p.event_shape)[0])
    how = "as asked for" if sigma else "the default: --sigma takes a number, or auto for a measurement"
    if number is None:
        number = round(estimate_sigma(given, op).mean().item(), 5)
        op, how = read_operator(operator, number, p.event_shape), "estimated from the measurement's smooth places"
    truth = None if picture is None else as_event(picture, p.event_shape, resize)
    y = given if truth is None else op.measure(truth, seed=seed)
    p, tiles = _tiled(p, tile, memory)
    notes = () if picture is None else picture.notes
    facts = {
        "picture": "; ".join([_described(path.name, given, p.event_shape, measured), *notes]),
        "prior": f"{name}, {why}; pictures of {' x '.join(map(str, p.event_shape[1:]))} pixels",
        "operator": f"{operator} ({type(op).__name__}), {' x '.join(map(str, y.shape[1:]))} numbers",
        "sigma": f"{number:.4g}, {how}",
        "tiles": tiles,
    }
    return Problem(p, op, y, truth, number, {name: printable(text) for name, text in facts.items()})


def parts(part: Any) -> Any:
    """What a method is composed of, as plain data: the same in every process."""
    if is_dataclass(part):
        return type(part).__name__, [(field.name, parts(getattr(part, field.name))) for field in fields(part)]
    if isinstance(part, tuple | list):
        return [parts(each) for each in part]
    named = getattr(part, "__qualname__", None)  # of functions, such as grids, whose repr has an address
    return repr(part) if named is None and type(part).__repr__ is not object.__repr__ else named or type(part).__name__


def finished(problem: Problem, chosen: Plan | Decision, seed: int, path: Path) -> Solution | None:
    """The samples of this very problem that a file holds, such as one of a run that was killed; None without a file.

    Raises: ValueError for a file that is truncated or no solution, and for one of another problem.
    """
    if not path.exists():
        return None
    found = Solution.load(path)  # says so where it is truncated, which is no other problem
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
    """The samples of a problem; a file holds all that are finished, and a second call goes on from those.

    Samples that weigh each other are drawn in one, others as many at a time as a batch holds.
    Arguments: problem; chosen (`Plan`); seed; path of the file (HDF5); facts: what else it should tell (see
    `Solution.save`); progress: a bar; on_samples: called with their number whenever the file has more.
    Raises: ValueError as `finished`.
    """
    solution = finished(problem, chosen, seed, path)
    while (done := 0 if solution is None else solution.samples.shape[1]) < chosen.n_samples:
        n = chosen.n_samples - done
        if not chosen.method.population.weighs:
            n = min(n, max(2, chosen.rows - chosen.rows % 2) if chosen.antithetic else chosen.rows)
        given = (problem.prior, problem.operator, problem.y, n, chosen.method, chosen.n_steps, seed, chosen.rows)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PoorFit)  # the command line examines all samples at the end
            more = solve(*given, progress=progress, first=done, antithetic=chosen.antithetic)
        more = replace(more, reason=chosen.reason)
        solution = more if solution is None else solution.followed_by(more)
        held = {"y": problem.y, "mean": solution.mean}
        if solution.samples.shape[1] > 1:
            held["std"] = solution.std
        if problem.truth is not None:
            held["truth"] = problem.truth
        told = {**problem.facts, "sigma_y": problem.sigma, "key": problem.key(chosen, seed)}
        solution.save(path, {**held, **told, **(facts or {})})
        on_samples(solution.samples.shape[1])
    assert solution is not None
    return solution


def _number(sigma: str | float) -> float:
    try:
        return float(sigma)
    except ValueError:
        raise ValueError(f"sigma = {sigma!r}: expected a number in units of y, or auto with --measured") from None


def _prior_for(shape: tuple[int, ...] | None) -> tuple[str, str]:
    if shape is None:
        raise ValueError("the operator does not tell the picture's size from its measurement: name a --prior")
    if shape in SIZED:
        return SIZED[shape], "chosen because it is of this very size"
    return ANY_SIZE.get(shape[0], "natural"), "chosen because it takes photographs of any size"


def _shape_behind(operator: str, y: Tensor) -> tuple[int, ...] | None:
    """Of the picture that y was measured of, where the operator can tell; of `Resize` the largest such picture."""
    shape = tuple(y.shape[1:])
    try:
        op = read_operator(operator, 1.0, shape)
        return op.largest(shape) if isinstance(op, Resize) else op.event_shape_of(shape)
    except ValueError:
        return None


def _check_channels(path: Path, y: Tensor, expected: int) -> None:
    if y.shape[1] != expected:
        raise ValueError(
            f"{path} has {y.shape[1]} channels, the measurement of such a picture has {expected}: give the file in "
            "that form; a grey measurement of a colour picture has the operator grayscale"
        )


def _described(name: str, given: Tensor, event_shape: tuple[int, ...], measured: bool) -> str:
    size = " x ".join(map(str, given.shape[1:]))
    if measured:
        return f"{name}, a measurement of {size}"
    turned = {(1, 3): ": grey becomes three channels alike", (3, 1): ": colour becomes grey, the mean of its channels"}
    return f"{name}, {size}" + turned.get((given.shape[1], event_shape[0]), "")


def _tiled(prior: Prior, tile: int | None, memory: float) -> tuple[Prior, str]:
    if tile is None:
        if getattr(prior, "least_size", None) is None or activations(prior) <= memory:
            return prior, "none: the whole picture at once"
        tile, why = TILE, f"because the whole picture would keep {activations(prior) / 1e9:.1f} GB for a gradient"
    else:
        why = "as asked for"
    tiled = Tiled(prior, tile)  # type: ignore[arg-type]
    return tiled, f"{tiled.tile} pixels and a margin of {tiled.margin}, {why}"
