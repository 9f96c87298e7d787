"""Measurements of a problem: computed from its TOML, or read from a published set, bit for bit the same."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from inspect import signature
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import operators
import priors
from benchmarks.common.problems import Problem
from benchmarks.suite.images import images_of
from benchmarks.suite.problems import Spec
from operators import GaussianNoise, Operator, PoissonNoise
from priors import Prior, sealed
from priors.files import reading
from priors.hdf5 import checksum
from priors.threads import one_thread

FORMAT = "inverse-bench measurements 1"
REMEDY = "it was cut short or changed: fetch it again"
NETWORK = "network."  # buffers of a classifier are not the measurement's: its weights are named, not copied
BURIED = 10.0  # ratio of noise to measurement that is a mistake
UNITS = "images in [0, 1], (B, C, H, W); y in the operator's units of such images"


def make(spec: Spec, prior: Prior) -> Problem:
    """Measure the images that a specification names.

    Arguments: spec; prior, of which only the event shape is used. Where the operator is a noise-conditional
    classifier, y are the labels of the images.
    Raises: FileNotFoundError; ValueError for images or operator arguments that do not fit, and for images without
    labels where these are what is measured.
    """
    event_shape = tuple(prior.event_shape)
    with one_thread():
        truth, labels = images_of(spec, event_shape)
        operator = make_operator(spec, event_shape)
        if "noisy_likelihood" not in operator.capabilities:
            y = operator.measure(truth, seed=spec.seed)
            _check_noise(spec, operator, truth)
            return Problem(spec.name, prior, operator, y, truth, labels)
    if labels is None:
        raise ValueError(
            f"problem {spec.name}: the images of {spec.data!r} have no labels, and the operator measures labels"
        )
    return Problem(spec.name, prior, operator, labels.clone(), truth, labels)


def make_operator(spec: Spec, event_shape: tuple[int, ...]) -> Operator:
    """The operator that a specification names.

    Formula: operators.make(name, **arguments, noise=noise); with `recipe`, the classmethod of that name of what is
    registered, which is given event_shape where it takes one. The network of a classifier is loaded by its name.
    Raises: ValueError for unknown names and for arguments that the operator refuses, naming the spec.
    """
    arguments = dict(spec.operator)
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
        if spec.noise is not None:
            ((kind, level),) = spec.noise.items()
            arguments["noise"] = (GaussianNoise if kind == "gaussian" else PoissonNoise)(float(level))
        return factory(**arguments)
    except (TypeError, ValueError, FileNotFoundError) as error:
        raise ValueError(f"problem {spec.name}: operator = {dict(spec.operator)}: {error}") from None


def _check_noise(spec: Spec, operator: Operator, truth: Tensor) -> None:
    """Refuse, by a ValueError, noise under which nothing of the pictures is left: its level has other units."""
    with torch.no_grad():
        clean = operator(truth)
        size = float(clean.double().square().mean().sqrt())
        noise = float(operator.noise.variance(clean).double().mean().sqrt())
    if size > 0 and isinstance(operator.noise, GaussianNoise) and noise > BURIED * size:
        raise ValueError(
            f"problem {spec.name}: noise of standard deviation {noise:g}, and the root mean square of the measurements "
            f"without noise is {size:.3g}: pictures are in [0, 1], so divide a level of 0..255 by 255"
        )


def buffers(operator: Operator) -> Mapping[str, Tensor]:
    """The numbers that make an operator (masks, kernels, noise levels) by name."""
    return {name: b for name, b in operator.named_buffers() if not name.startswith(NETWORK)}


def numbers(problem: Problem) -> dict[str, np.ndarray]:
    """All numbers of a problem's measurements by name, those of the operator as operator/NAME."""
    found = {"truth": problem.truth, "y": problem.y}
    found |= {} if problem.labels is None else {"labels": problem.labels}
    found |= {f"operator/{name}": value for name, value in buffers(problem.operator).items()}
    return {name: value.cpu().numpy() for name, value in found.items()}


def identity(spec: Spec, problem: Problem) -> str:
    """SHA-256 of truths, labels, y, the operator's buffers, and the specification of the measurement."""
    return checksum({"operator": json.dumps(spec.measured, sort_keys=True)}, numbers(problem))


def write(spec: Spec, problem: Problem, path: str | Path) -> None:
    """Write a measurement set to HDF5, atomically: compressed in chunks of one image, with its specification inside."""
    attributes = {"problem": json.dumps(asdict(spec), sort_keys=True), "units": UNITS}
    sealed.write(Path(path), FORMAT, numbers(problem), attributes)


def read(path: str | Path, spec: Spec, prior: Prior) -> Problem:
    """A problem from a published measurement set; nothing is drawn.

    Arguments: path of what `write` wrote; spec: it must be the one that was measured, though it may ask for fewer
    images, be elsewhere or have another title; prior, of which only the event shape is used.
    Raises: FileNotFoundError; ValueError for a file that is truncated, foreign, changed, or of another problem.
    """
    missing = "make them with `inverse-bench measure CONFIG --out FOLDER`"
    path, event_shape = Path(path), tuple(prior.event_shape)
    attributes, found, _ = sealed.read(path, FORMAT, "measurements", REMEDY, missing)
    with reading(path, "measurements", REMEDY):
        theirs = Spec(**json.loads(attributes["problem"]))
    _check_same(path, spec, theirs, found, event_shape)
    operator = make_operator(spec, event_shape)
    for name, buffer in buffers(operator).items():  # the file's, whatever a random mask would be here
        buffer.copy_(torch.from_numpy(found[f"operator/{name}"]))
    truth, y = (torch.from_numpy(found[name][: spec.images]) for name in ("truth", "y"))
    labels = torch.from_numpy(found["labels"][: spec.images]) if "labels" in found else None
    return Problem(spec.name, prior, operator, y, truth, labels)


def _check_same(path: Path, ours: Spec, theirs: Spec, found: Mapping[str, np.ndarray], event_shape) -> None:
    remedy = "take the TOML that the set was made by, or measure anew"
    for name, value in ours.measured.items():
        if value != theirs.measured[name]:
            raise ValueError(f"{path}: {name} = {theirs.measured[name]!r}, problem {ours.name} has {value!r}: {remedy}")
    shape = found["truth"].shape
    if tuple(shape[1:]) != event_shape or len(found["y"]) != shape[0]:
        raise ValueError(f"{path}: images {shape}: expected (B, *{event_shape}), those of the prior; {remedy}")
    if shape[0] < ours.images:
        raise ValueError(f"{path}: {shape[0]} images, problem {ours.name} asks for {ours.images}: {remedy}")
