"""Measurements of a problem: computed from its TOML, or read from a published set, bit for bit the same."""

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from inspect import signature
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import operators
import priors
from benchmarks.common import arrays
from benchmarks.suite.images import images_of
from benchmarks.suite.problems import Problem
from benchmarks.suite.threads import one_thread
from operators import GaussianNoise, Operator, PoissonNoise
from priors.files import reading
from priors.hdf5 import checksum

FORMAT = "inverse-bench measurements 1"
REMEDY = "it was cut short or changed: fetch it again"
NETWORK = "network."  # buffers of a classifier are not the measurement's: its weights are named, not copied
UNITS = "images in [0, 1], (B, C, H, W); y in the operator's units of such images"


@dataclass(frozen=True)
class Measurements:
    """Truths of a problem and their measurements.

    Attributes: problem; operator; truth (B, *E), image units; y (B, *M), in the operator's units; labels (B,) int64 or
    None.
    """

    problem: Problem
    operator: Operator
    truth: Tensor
    y: Tensor
    labels: Tensor | None = None

    def part(self, images: tuple[int, ...]) -> "Measurements":
        """Those of some images, with the operator of their rows."""
        index = torch.tensor(images)
        labels = None if self.labels is None else self.labels[index]
        return Measurements(self.problem, self.operator.rows(index), self.truth[index], self.y[index], labels)

    def to(self, device: torch.device) -> "Measurements":
        """The same on a device."""
        if device == self.y.device:
            return self
        labels = None if self.labels is None else self.labels.to(device)
        operator = copy.deepcopy(self.operator).to(device)
        return Measurements(self.problem, operator, self.truth.to(device), self.y.to(device), labels)

    @property
    def identity(self) -> str:
        """SHA-256 of truths, labels, y and the operator's buffers."""
        return checksum({"operator": json.dumps(self.problem.measured, sort_keys=True)}, self.arrays)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All numbers by name, those of the operator as operator/NAME."""
        found = {"truth": self.truth, "y": self.y} | ({} if self.labels is None else {"labels": self.labels})
        found |= {f"operator/{name}": value for name, value in buffers(self.operator).items()}
        return {name: value.cpu().numpy() for name, value in found.items()}


def make(problem: Problem, event_shape: tuple[int, ...]) -> Measurements:
    """Measure a problem's images.

    Arguments: problem; event_shape (E) of its prior. Where the operator is a noise-conditional classifier, y are the
    labels of the images.
    Raises: FileNotFoundError; ValueError for images or operator arguments that do not fit, and for images without
    labels where these are what is measured.
    """
    with one_thread():
        truth, labels = images_of(problem, event_shape)
        operator = make_operator(problem, event_shape)
        if "noisy_likelihood" not in operator.capabilities:
            return Measurements(problem, operator, truth, operator.measure(truth, seed=problem.seed), labels)
    if labels is None:
        raise ValueError(
            f"problem {problem.name}: the images of {problem.data!r} have no labels, and the operator measures labels"
        )
    return Measurements(problem, operator, truth, labels.clone(), labels)


def make_operator(problem: Problem, event_shape: tuple[int, ...]) -> Operator:
    """The operator that a problem names.

    Formula: operators.make(name, **arguments, noise=noise); with `recipe`, the classmethod of that name of what is
    registered, which is given event_shape where it takes one. The network of a classifier is loaded by its name.
    Raises: ValueError for unknown names and for arguments that the operator refuses, naming the problem.
    """
    arguments = dict(problem.operator)
    name, recipe = arguments.pop("name"), arguments.pop("recipe", None)
    try:
        factory = operators.get(name)
        if recipe is not None:
            if not callable(getattr(factory, recipe, None)):
                raise ValueError(f"recipe = {recipe!r}: {name!r} has no such classmethod")
            factory = getattr(factory, recipe)
        known = signature(factory).parameters
        if "event_shape" in known and recipe is not None:
            arguments["event_shape"] = tuple(event_shape)
        if isinstance(network := arguments.get("network"), str):
            arguments["network"] = priors.load_classifier(network)
        if problem.noise is not None:
            ((kind, level),) = problem.noise.items()
            arguments["noise"] = (GaussianNoise if kind == "gaussian" else PoissonNoise)(float(level))
        return factory(**arguments)
    except (TypeError, ValueError, FileNotFoundError) as error:
        raise ValueError(f"problem {problem.name}: operator = {dict(problem.operator)}: {error}") from None


def buffers(operator: Operator) -> Mapping[str, Tensor]:
    """The numbers that make an operator (masks, kernels, noise levels) by name."""
    return {name: b for name, b in operator.named_buffers() if not name.startswith(NETWORK)}


def write(measured: Measurements, path: str | Path) -> None:
    """Write a measurement set to HDF5, atomically: compressed in chunks of one image, with the problem inside."""
    attributes = {"problem": json.dumps(asdict(measured.problem), sort_keys=True), "units": UNITS}
    arrays.write(Path(path), FORMAT, measured.arrays, attributes)


def read(path: str | Path, problem: Problem, event_shape: tuple[int, ...]) -> Measurements:
    """The measurements of a problem from a published set; nothing is drawn.

    Arguments: path of what `write` wrote; problem: it must be the one that was measured, though it may ask for fewer
    images, lie elsewhere or have another title; event_shape (E) of its prior.
    Raises: FileNotFoundError; ValueError for a file that is truncated, foreign, changed, or of another problem.
    """
    missing = "make them with `inverse-bench measure CONFIG --out FOLDER`"
    path = Path(path)
    attributes, found, _ = arrays.read(path, FORMAT, "measurements", REMEDY, missing)
    with reading(path, "measurements", REMEDY):
        theirs = Problem(**json.loads(attributes["problem"]))
    _same(path, problem, theirs, found, event_shape)
    operator = make_operator(problem, event_shape)
    for name, buffer in buffers(operator).items():  # what the file says, whatever a random mask would be here
        buffer.copy_(torch.from_numpy(found[f"operator/{name}"]))
    truth, y = (torch.from_numpy(found[name][: problem.images]) for name in ("truth", "y"))
    labels = torch.from_numpy(found["labels"][: problem.images]) if "labels" in found else None
    return Measurements(problem, operator, truth, y, labels)


def _same(path: Path, ours: Problem, theirs: Problem, arrays: Mapping[str, np.ndarray], event_shape) -> None:
    remedy = "take the TOML that the set was made by, or measure anew"
    for key, value in ours.measured.items():
        if value != theirs.measured[key]:
            raise ValueError(f"{path}: {key} = {theirs.measured[key]!r}, problem {ours.name} has {value!r}: {remedy}")
    held = arrays["truth"].shape
    if tuple(held[1:]) != tuple(event_shape) or len(arrays["y"]) != held[0]:
        raise ValueError(f"{path}: images {held}: expected (B, *{tuple(event_shape)}), those of the prior; {remedy}")
    if held[0] < ours.images:
        raise ValueError(f"{path}: {held[0]} images, problem {ours.name} asks for {ours.images}: {remedy}")
