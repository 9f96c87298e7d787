"""A prior from measurements alone: expectation maximisation, of a Gaussian in closed form and then of a network."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inverse.app.batch import solve_batch
from inverse.app.batch.job import MakeOperator, check_one_each, operator_of
from inverse.app.batch.sources import Source, source_of
from inverse.app.devices import moved
from inverse.methods import Sampler
from operators import LinearOperator, Operator
from priors import SDE, Gaussian, Prior, ScorePrior, checkpoints
from priors.arguments import count
from priors.data import ImageSet, rounded
from priors.files import atomic
from priors.parsing import read_json
from priors.recipes import checked as checked_recipe
from priors.recipes import made, objective, read_recipe
from priors.runs import hardware
from priors.sde import from_spec
from priors.terminal import say
from priors.training import STATE, Trainer, TrainingConfig

LARGEST = 1600  # values of a picture whose covariance is stored
BLOCK = 256  # measurements that are read at once
SETTINGS = "learning.json"
FLOOR = 1e-6  # least eigenvalue of the covariance, relative to the mean

Shape = tuple[int, ...]
Parts = tuple[Tensor, Tensor, Tensor]  # A (m, d), noise variance (m,) and y (k, m) of measurements with one operator


def learn_gaussian(
    operator: Operator | MakeOperator,
    y: Tensor | str | Path | Source,
    sde: SDE,
    event_shape: Shape | None = None,
    steps: int = 30,
) -> Gaussian:
    """The Gaussian prior under which the measurements are most probable.

    Formula: expectation maximisation. E: of each measurement K = C A'(A C A' + S)^-1, m = mu + K (y - A mu) and V = C -
    K A C; M: mu = average of m, C = average of V + (m - mu)(m - mu)'. Every step increases the likelihood.
    Source: Dempster, Laird & Rubin 1977; Rozet et al. 2024, appendix, for masks and blurs.
    Arguments: operator (linear, Gaussian noise), y (n, *M): as `inverse.solve_batch`, with different operators for
    different measurements where one alone does not determine a picture; sde (SDE) of the prior that is returned;
    event_shape E, default the operator's; steps (int >= 1).
    Returns: `priors.Gaussian` with events E.
    Raises: ValueError for other operators, and pictures of more than 1,600 values.
    """
    source, shape = source_of(y), _shape(operator, event_shape)
    d = math.prod(shape)
    if d > LARGEST:
        raise ValueError(f"pictures of {d} values: expected at most {LARGEST}, as a covariance has {d} x {d} numbers")
    check_one_each(operator, source)
    parts = list(_parts(operator, source, shape))
    mean, covariance = _first_guess(parts, d)
    for _ in range(count("steps", steps)):
        mean, covariance, _ = _step(parts, mean, covariance)
    return Gaussian(mean, covariance, sde, shape)


def learn_prior(
    recipe: str | dict[str, Any],
    operator: Operator | MakeOperator,
    y: Tensor | str | Path | Source,
    out: str | Path,
    event_shape: Shape | None = None,
    rounds: int = 4,
    start: Prior | None = None,
    *,
    n_samples: int = 1,
    method: str | Sampler = "auto",
    n_steps: int | None = None,
    budget: str | None = "fast",
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    processes: int = 1,
    device: str = "cpu",
    progress: bool = True,
) -> ScorePrior:
    """A prior of pictures that nobody has seen whole, from their measurements.

    Formula: expectation maximisation: samples of p(x | y) for every measurement by the present prior, then a network
    trained on them, which starts from the last round's. The first prior is `learn_gaussian`.
    Source: Rozet, Andry, Lanusse & Louppe 2024, "Learning diffusion priors from observations by expectation
    maximization".
    Arguments: recipe: a training recipe (a TOML file, a name in priors/configs, or the dict); operator and y (n, *M):
    as `inverse.solve_batch`; out: a folder, with the samples and the checkpoint of each round; a call that was killed
    continues there; event_shape E, default the operator's; rounds (int >= 1) of a network; start: the first prior
    instead, such as one of similar pictures, needed for pictures of more than 1,600 values; n_samples per measurement;
    method, n_steps, budget: of the solves; minutes and steps: of each training, in place of the recipe's; seed;
    processes: of the solves; device: of the training.
    Pictures have values in [0, 1], to which samples are clamped.
    Returns: the last round's prior, as ``priors.load(out / "round-4" / "prior")``.
    Raises: TypeError and ValueError as `solve_batch`, for a recipe that is wrong or has [crops], and for a folder of
    other settings; RuntimeError if solves failed.
    """
    recipe = read_recipe(recipe) if isinstance(recipe, str) else checked_recipe(recipe)
    if not isinstance(start, Prior | None):
        raise TypeError(f"start of type {type(start).__name__}: expected a priors.Prior, such as priors.load(...)")
    overrides = {k: v for k, v in {"minutes": minutes, "steps": steps, "seed": seed}.items() if v is not None}
    recipe = recipe | {"training": recipe["training"] | overrides}
    source, out = source_of(y), Path(out)
    shape = _shape(operator, event_shape or (None if start is None else tuple(start.event_shape)))
    _checked(recipe, operator, source, shape, n_samples, device)
    _same(out, recipe | {"seed": seed, "n_samples": n_samples})
    prior = start
    for number in range(1, count("rounds", rounds) + 1):
        folder = out / f"round-{number}"
        prior = prior or learn_gaussian(operator, source, from_spec(recipe["sde"]), shape)
        found = solve_batch(
            prior, operator, source, folder / "posterior.h5", n_samples, method, n_steps, seed + number,
            progress=progress, budget=budget if method == "auto" else None, keep_samples=True, processes=processes,
        )  # fmt: skip
        if found.failures:
            numbers, text = next(iter(found.failures.items()))
            raise RuntimeError(f"round {number}: measurements {numbers.start} to {numbers.stop - 1} failed: {text}")
        pixels = rounded(found.samples[:].flatten(0, 1), torch.uint16)
        images = ImageSet(pixels, source=f"posterior samples of round {number}, of measurements alone")
        prior = trained(recipe, images, folder / "prior", out / f"round-{number - 1}" / "prior", device)
        if progress:
            say(f"round {number} of {rounds}: {folder / 'prior'}")
    assert isinstance(prior, ScorePrior)  # of the last round
    return prior


def trained(
    recipe: dict[str, Any], images: ImageSet, out: Path, start: Path | None = None, device: str = "cpu"
) -> ScorePrior:
    """A recipe's network trained on pictures, from the weights in the folder ``start`` if there are some; a training
    that was interrupted continues."""
    config = made("training", TrainingConfig, recipe["training"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        learnt = objective(recipe, images)
    if start is not None and start.exists():
        checkpoints.start_from(learnt.network, start, "prior")
    notes = {
        "data": f"{recipe['name']}: {images.source}",
        "licence": recipe["licence"],
        "command": "inverse.learn_prior",
        "hardware": hardware(device),
        "torch": torch.__version__,
    }
    trainer = Trainer(learnt, images, config, out, device, notes)
    if (out / STATE).exists():
        trainer.resume()
    trainer.run()
    return checkpoints.load_folder(out, "prior")


def _parts(operator: Operator | MakeOperator, source: Source, shape: Shape) -> Iterator[Parts]:
    """The measurements as linear equations: all at once where they share an operator, else one by one."""
    d = math.prod(shape)
    for begin in range(0, len(source), BLOCK):
        end = min(begin + BLOCK, len(source))
        arrays = source.read(begin, end)
        block = operator_of(operator, arrays, begin, end).at(shape)
        block, y = moved(torch.device("cpu"), block, arrays["y"])  # double precision, which some devices lack
        block.validate_y(y, shape)
        if not isinstance(block, LinearOperator) or "gaussian" not in block.capabilities:
            raise ValueError(
                f"{type(block).__name__} with {block.noise!r}: expected a linear operator with Gaussian noise; give "
                "`start`, the first prior, for others"
            )
        for j in [None] if block.batch is None else range(len(y)):
            rows = torch.zeros(d, dtype=torch.long) if j is None else torch.full((d,), j)
            one = block if j is None else block.rows(rows)
            matrix = one(torch.eye(d).view(d, *shape)).double()
            seen = y if j is None else y[j : j + 1]
            measured = one.support
            kept = torch.ones_like(matrix[:1], dtype=torch.bool) if measured is None else measured
            kept = kept.broadcast_to(matrix.shape)[0].flatten()
            variance = one.noise.variance(matrix).double()[0].flatten()
            yield matrix.flatten(1).T[kept], variance[kept], seen.double().flatten(1)[:, kept]


def _first_guess(parts: list[Parts], d: int) -> tuple[Tensor, Tensor]:
    """The mean of least squares, with a little ridge, and the variance that explains the residuals."""
    gram, right = torch.zeros(d, d, dtype=torch.float64), torch.zeros(d, dtype=torch.float64)
    for a, variance, y in parts:
        gram += len(y) * (a.T / variance.clamp_min(1e-12)) @ a
        right += (a.T / variance.clamp_min(1e-12)) @ y.sum(0)
    ridge = 1e-3 * gram.diagonal().mean() * torch.eye(d, dtype=torch.float64)
    mean = torch.linalg.solve(gram + ridge, right)
    squares = sum(float((y - a @ mean).square().sum() - len(y) * variance.sum()) for a, variance, y in parts)
    gains = sum(len(y) * float(a.square().sum()) for a, _, y in parts)
    return mean, max(squares / gains, 1e-4) * torch.eye(d, dtype=torch.float64)


def _step(parts: list[Parts], mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor, float]:
    """One step of expectation maximisation, and log p of all measurements before it, up to a constant."""
    d, n, log_p = len(mean), 0, 0.0
    total, spread = torch.zeros(d, dtype=torch.float64), torch.zeros(d, d, dtype=torch.float64)
    for a, variance, y in parts:
        ac = a @ covariance
        lower = torch.linalg.cholesky(ac @ a.T + torch.diag(variance.clamp_min(1e-12)))
        gain = torch.cholesky_solve(ac, lower).T  # (d, m)
        away = y - a @ mean
        moved = away @ gain.T  # m - mu
        total += moved.sum(0)
        spread += len(y) * (covariance - gain @ ac) + moved.T @ moved
        n += len(y)
        white = torch.linalg.solve_triangular(lower, away.T, upper=False)
        log_p -= float(0.5 * white.square().sum() + len(y) * lower.diagonal().log().sum())
    shift = total / n
    values, basis = torch.linalg.eigh(spread / n - torch.outer(shift, shift))
    values = values.clamp_min(FLOOR * float(values.mean()))
    return mean + shift, (basis * values) @ basis.T, log_p


def _checked(
    recipe: dict[str, Any], operator: Operator | MakeOperator, source: Source, shape: Shape, n_samples: int, device: str
) -> None:
    """Refuse what a training would refuse, before anything is solved."""
    check_one_each(operator, source)
    if recipe["kind"] != "prior":
        raise ValueError(f"a recipe of kind {recipe['kind']!r}: expected 'prior'")
    if "crops" in recipe:
        raise ValueError("the recipe has [crops]: remove it, as the samples have one size")
    config = made("training", TrainingConfig, recipe["training"])
    config.check_size(len(source) * count("n_samples", n_samples))
    with torch.random.fork_rng(devices=[]):
        objective(recipe, ImageSet(torch.zeros(1, *shape, dtype=torch.uint16)))
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device = {device!r}: expected one that torch has here, such as 'cpu'") from error


def _same(out: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder of other settings; a new folder gets a note of these."""
    path = out / SETTINGS
    settings = json.loads(json.dumps(settings))  # as they are read
    if path.exists():
        given, known = _flat(settings), _flat(read_json(path, "settings of learn_prior", "remove the folder"))
        if differing := [key for key in sorted(given.keys() | known.keys()) if given.get(key) != known.get(key)]:
            raise ValueError(
                f"{out} was made with other settings, {', '.join(differing)}: give another folder, or the settings as "
                "they were"
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(settings, indent=1) + "\n")


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """The entries of sections by "section.name", and the others."""
    sections = {name: value if isinstance(value, dict) else {"": value} for name, value in settings.items()}
    return {f"{a}.{b}".rstrip("."): value for a, section in sections.items() for b, value in section.items()}


def _shape(operator: Operator | MakeOperator, given: Shape | None) -> Shape:
    known = given or (operator.event_shape if isinstance(operator, Operator) else None)
    if known is None:
        raise ValueError("the operator does not determine the pictures' shape: give event_shape, such as (1, 28, 28)")
    return tuple(known)
