"""The problem of `inverse volume`: what was measured, by what operator, the prior of slices, and the baseline."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import priors
from inverse.app import series
from inverse.app.files.volume import Volume
from inverse.app.noise_text import described, is_noise, level_of, read_noise
from inverse.app.operator_text import named
from inverse.app.options import VolumeOptions
from inverse.app.photo import Problem
from inverse.app.photo_shape import arrangement, prior_for, shape_behind
from inverse.app.volumes.baseline import baseline, coupling, doubts, places
from inverse.app.volumes.files import read, stack_of
from inverse.app.volumes.text import Chain, along, cone_beam, heads, of_pictures, sheet, size_of
from operators import AlongAxis, ConeBeam, Operator, attenuation, estimate_sigma
from priors import Prior, Slices, Units
from priors.terminal import printable

SHIPPED = "ct"  # the prior of a cone beam
INDEPENDENT = "none"  # --coupling: slices are independent


@dataclass(frozen=True)
class Posed:
    """A problem of a volume.

    Attributes: problem; baseline (1, C, D, H, W) and its name, or None; units: of the results; form: path of the file
    that came in; stack: its slices, if the volume replaces them; cautions: before the solve; places: of the first
    measured slice in the volume, and the distance of measured slices.
    """

    problem: Problem
    baseline: tuple[Tensor, str] | None
    units: Units
    form: Path
    stack: Volume | None
    cautions: list[str]
    places: tuple[float, float] = (0.0, 1.0)


def pose(path: Path, asked: VolumeOptions) -> Posed:
    """The problem of a command line; choices made here are described in `Problem.facts`.

    Raises: FileNotFoundError; ValueError for input that cannot be read or is inconsistent.
    """
    names, size = heads(asked.operators), size_of(asked.size)
    values, stack = read(path)
    cone = names[0] == "cone_beam"
    name, why = (asked.prior, "as requested") if asked.prior else _prior(cone)
    prior = priors.load(name, config=asked.config, device=asked.device)
    if len(prior.event_shape) != 3 or prior.event_shape[0] != 1:
        raise ValueError(f"--prior {name}: events {tuple(prior.event_shape)}: expected a prior of grey pictures")
    chain, y, event_shape = (_projections if cone else _stack)(path, asked, values, size, prior)
    prior = _resized(prior, name, event_shape)
    op = chain.build(1.0, event_shape)
    scaled, black, white, how = of_pictures(op), 0.0, 1.0, ""
    if scaled and stack is None and values.dtype.kind == "f" and asked.range is None and asked.window is None:
        how = "image units, in which 0 is black and 1 is white"
        scaled = False
    elif scaled:
        window = prior.units if asked.window == "prior" else None
        black, white, how = series.scale(stack_of(path, values, stack), asked.range, asked.window, window)
        y = (y - black) / (white - black)
    elif asked.range is not None or asked.window is not None:
        raise ValueError("--range and --window set black and white of slices; these are not pictures: omit the option")
    if asked.attenuation is not None:
        y, how = _integrals(y, op, prior.units, asked.attenuation)
    y = y.float()
    op, level, source, estimated = _noisy(chain, op, y, asked)
    op.validate_y(y, event_shape)
    found = baseline(op, y)
    tau, chosen = _coupling(asked.coupling, op, y, level)
    problem_of = Slices(prior, event_shape[1], coupling=tau)
    facts = {
        "file": f"{path.name}: {' x '.join(map(str, values.shape))} values" + (f"; {how}" if how else ""),
        "volume": f"{' x '.join(map(str, event_shape[1:]))} voxels (slices, rows, columns)",
        "prior": f"{name}, {why}; slices of {' x '.join(map(str, event_shape[2:]))} pixels",
        "coupling": f"{tau or 'none'}, {chosen}",
        "operator": f"{asked.operator}: {chain.used()}",
        **({"sigma": f"{level:.4g}, {source}"} if level else {"noise": source}),
        "baseline": "none for this operator" if found is None else found[1],
    }
    identity = ("volume", name, asked.config, event_shape, chain.identity, tau, black, white, repr(op.noise))
    units = Units("", black, white) if scaled else (prior.units or Units("", 0.0, 1.0))
    facts = {key: printable(text) for key, text in facts.items()}
    problem = Problem(problem_of, op, y, None, level, facts, identity, "float32", "", 0, estimated)
    return Posed(problem, found, units, path, stack if scaled else None, [*chain.cautions, *doubts(op, y)], places(op))


def _prior(cone: bool) -> tuple[str, str]:
    return (SHIPPED, "chosen because the operator is CT") if cone else prior_for((1, 0, 0))


def _projections(
    path: Path, asked: VolumeOptions, values: Any, size: tuple[int, ...] | None, prior: Prior
) -> tuple[Chain, Tensor, tuple[int, ...]]:
    """The chain of a cone beam, projections (1, 1, views, rows, columns), and the event shape."""
    shape = values.shape
    if math.prod(shape[:-3]) != 1:
        raise ValueError(f"{path} has the shape {shape}: expected projections (views, rows, columns) of one volume")
    views, *seen = shape[-3:]
    pixel = None
    if asked.attenuation is not None:
        low, high = _attenuations(prior.units)
        pixel = (high - low) * asked.attenuation
    stated = cone_beam(asked.operators[0], size, tuple(seen), pixel)
    op = stated.build(1.0, None)
    assert isinstance(op, ConeBeam)
    angles = len(op.angles)
    if angles != views:
        places = [axis for axis, n in enumerate(shape[-3:]) if n == angles]
        moved = f"the views are axis {places[0]}: save numpy.moveaxis(y, {places[0]}, 0)" if places else ""
        raise ValueError(
            f"{path} has {views} views of {seen[0]} x {seen[1]} detectors, but the operator has {angles} angles: "
            + (moved or "give one angle for each view, angles=FILE.npy or their number over a whole turn")
        )
    if op.detectors != tuple(seen):
        raise ValueError(f"{path} has {seen[0]} x {seen[1]} detectors, the operator {op.detectors}: omit detectors=")
    assert op.size is not None
    sides = (op.size,) * 3 if isinstance(op.size, int) else tuple(op.size)
    return Chain(stated, None), torch.from_numpy(values).double().reshape(1, 1, *shape[-3:]), (1, *sides)


def _stack(
    path: Path, asked: VolumeOptions, values: Any, size: tuple[int, ...] | None, prior: Prior
) -> tuple[Chain, Tensor, tuple[int, ...]]:
    """The chain of slices that are measured, the measurement (1, *M), and the event shape."""
    texts, names = asked.operators, heads(asked.operators)
    each = None if names[-1] == "along_axis" else named(texts[-1], True)
    plane = None if size is None else f"{size[1]}x{size[2]}"
    shape = values.shape
    if each is None:
        if math.prod(shape[:-3]) != 1:
            raise ValueError(f"{path} has the shape {shape}: expected grey slices (N, H, W)")
        slices = torch.from_numpy(values).double().reshape(-1, 1, *shape[-2:])
        event = tuple(slices.shape[1:])
        if size is not None and event[1:] != tuple(size[1:]):
            raise ValueError(
                f"{path} has slices of {event[1]} x {event[2]} pixels, --size {asked.size} states {size[1]} x {size[2]}"
                f": the axis of the slices comes first; save numpy.moveaxis(y, AXIS, 0), or give another --size"
            )
    else:
        shape = arrangement(shape, each, prior, plane)
        slices = torch.from_numpy(values).double().reshape(shape)
        one_size = prior if prior.least_size is None else None
        event = tuple(shape_behind(each, tuple(shape[1:]), one_size, None if plane is None else f"1x{plane}"))
        expected = each.build(1.0, event)
        series.check_field(expected, path)
        if (found := tuple(expected.at(event).measurement_shape(event))) != tuple(shape[1:]):
            raise ValueError(
                f"{path} has slices of the shape {tuple(shape[1:])}, but the operator maps pictures {event} to {found}"
                ": the axis of the slices comes first; save numpy.moveaxis(y, AXIS, 0), or give --size "
                "DEPTHxHEIGHTxWIDTH"
            )
    if len(names) == 1 and each is not None:
        volume, depth = None, len(slices)
        if size is not None and size[0] != depth:
            raise ValueError(
                f"{path} has {depth} slices, --size {asked.size} states {size[0]}: for slices that were left out, "
                "begin with --operator along_axis:sigma=0.8,every=2"
            )
    else:
        volume = along(texts[0], len(slices), size)
        built = volume.build(1.0, None)
        assert isinstance(built, AlongAxis)
        seen, depth = built.matrix.shape
        if seen != len(slices):
            raise ValueError(f"{path} has {len(slices)} slices, but the matrix measures {seen}: give one row for each")
    y = slices.movedim(0, 1)[None] if each is None else slices[None]
    return Chain(volume, each), y, (event[0], depth, *event[1:])


def _resized(prior: Prior, name: str, event_shape: tuple[int, ...]) -> Prior:
    slice_shape = (1, *event_shape[2:])
    if prior.least_size is not None:
        return prior.resized(slice_shape)
    if tuple(prior.event_shape) != slice_shape:
        raise ValueError(f"--prior {name} only takes slices {tuple(prior.event_shape)[1:]}, not {slice_shape[1:]}")
    return prior


def _noisy(chain: Chain, op: Operator, y: Tensor, asked: VolumeOptions) -> tuple[Operator, float, str, bool]:
    """The operator with its noise, its standard deviation (0 if it is not Gaussian), how it is known, and whether it
    was estimated."""
    if is_noise(asked.sigma):
        noise = read_noise(asked.sigma or "")
        return op.with_noise(noise), 0.0, described(noise), False
    if asked.sigma not in (None, "auto"):
        level = level_of(asked.sigma or "")
        return chain.build(level, tuple(op.event_shape or ())), level, "as requested", False
    if not (isinstance(op, ConeBeam) or of_pictures(op)):
        raise ValueError(
            "--sigma auto: the noise of these measurements cannot be estimated, as they are not known to be pictures "
            "with white noise: give --sigma as a number, in units of y"
        )
    level = float(f"{float(estimate_sigma(sheet(op, y))):.4g}")
    if not level > 0:
        raise ValueError("neither noise nor rounding was found: give --sigma a number, in units of y")
    what = "projections" if isinstance(op, ConeBeam) else "slices"
    return chain.build(level, tuple(op.event_shape or ())), level, f"estimated from smooth regions of the {what}", True


def _coupling(text: str, op: Operator, y: Tensor, level: float) -> tuple[float | None, str]:
    if text == "auto":
        return coupling(op, y, level)
    if text == INDEPENDENT:
        return None, "slices are independent, as requested"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(
            f"--coupling {text}: expected auto, {INDEPENDENT}, or the root mean square difference of neighbouring "
            "slices in image units, such as 0.02"
        )
    return value, "as requested"


def _attenuations(units: Units | None) -> tuple[float, float]:
    """The attenuation per mm of image values 0 and 1."""
    if units is None or units.name != "HU":
        raise ValueError("--attenuation needs a prior in HU, such as --prior ct")
    return attenuation(units.zero), attenuation(units.one)


def _integrals(y: Tensor, op: Operator, units: Units | None, mm: float) -> tuple[Tensor, str]:
    """Line integrals of attenuation, without those of pixels of value 0."""
    if not isinstance(op, ConeBeam):
        raise ValueError("--attenuation is for the operator cone_beam: for others see docs/ct.md")
    low, high = _attenuations(units)
    empty = op(torch.full((1, *(op.event_shape or ())), low / (high - low)))
    return y - empty, f"line integrals of attenuation, voxels of {mm:g} mm"
