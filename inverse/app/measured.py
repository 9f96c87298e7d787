"""What the numbers of a measurement's file are to its operator: sinograms and their detectors, integers, and scale."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

import operators
from inverse.app.operator_text import Named, takes
from operators import (
    Bayer,
    CompressedSensing,
    Downsampling,
    FanBeam,
    Fourier,
    LinearMap,
    NonCartesian,
    Operator,
    PhaseRetrieval,
    Radon,
    Resize,
)
from operators.tomography import Tomography
from priors.decoded import Decoded

NO_PICTURES = (Radon, FanBeam, Fourier, NonCartesian, PhaseRetrieval, CompressedSensing, LinearMap)
FITTED = ", as many as the file has"


def of_pictures(operator: str) -> bool:
    """Whether the measurements of the operator of a text are pictures, whose white is 1; not line integrals or k-space.

    Raises: ValueError for an unknown operator.
    """
    found = operators.get(operator.partition(":")[0].partition(".")[0])
    return not (isinstance(found, type) and issubclass(found, NO_PICTURES))


def numbers(picture: Decoded, stated: Named) -> Decoded:
    """A picture file that is a measurement: integers of what is no picture are taken as they are, which its notes say.

    The largest integer of a file is white in a picture; of line integrals or k-space it is no unit.
    """
    if picture.values.dtype.kind == "f" or of_pictures(stated.text):
        return picture
    note = f"its integers, up to {picture.values.max():g}, are taken as they are, in units of y"
    values = picture.values.astype(np.float32)
    return replace(picture, values=values, white=1.0, notes=(*picture.notes, note))


def floating(y: Tensor, stated: Named) -> Tensor:
    """Integers (B, *M) of what is no picture, in floating point; other tensors as they are."""
    return y if y.is_floating_point() or y.is_complex() or of_pictures(stated.text) else y.to(torch.float32)


def scale(y: Tensor) -> float:
    """The root mean square of the entries of y that are not 0, which those that were not measured are."""
    seen = y[(y != 0) & y.isfinite()].double()
    return float(seen.square().mean().sqrt()) if len(seen) else 1.0


def fitted(stated: Named, shape: tuple[int, ...], event_shape: tuple[int, ...] | None) -> Named:
    """An operator of views and detectors with as many detectors as a file's array (..., views, detectors) has, where
    the text leaves them out.

    Arguments: stated; shape of the array; event_shape: of the pictures, None if only ``stated`` may know it.
    Raises: ValueError for an array that is transposed, or of another number of views or of stated detectors.
    """
    if "detectors" not in takes(stated.factory) or len(shape) < 2:
        return stated
    op = stated.build(1.0, None)
    if not isinstance(op, Tomography):
        return stated
    views, seen = shape[-2:]
    asked, size = len(op.angles), (op.size, op.size) if isinstance(op.size, int) else op.size
    size = event_shape[-2:] if size is None and event_shape is not None else size
    expected = None if size is None else op.measurement_shape((1, *size))[-1]
    name = stated.text.partition(":")[0]
    has = f"the file has {views} x {seen} values, (views, detectors)"
    if views != asked:
        usual = "detectors" if expected is None else f"{expected} detectors"
        transposed = "; it seems transposed: save the array's transpose, numpy.save(FILE, numpy.load(FILE).T)"
        remedy = transposed if seen == asked else f": give one angle for each view, angles={views}"
        raise ValueError(f"{has}, but {stated.text!r} measures {asked} views of {usual}{remedy}")
    if expected is None or expected == seen:
        return stated
    if "detectors" in stated.values or stated.constructor == "skimage":
        other = "the other circle=true or circle=false, or another size" if stated.constructor else f"detectors={seen}"
        raise ValueError(f"{has}, but {stated.text!r} measures {expected} detectors: give {other}")
    said = f"{seen}{FITTED} (by default {expected}), " + (
        "spacing as stated" if name == "fan_beam" else "a pixel apart"
    )
    return replace(stated, values=stated.values | {"detectors": seen}, files=(stated.files or {}) | {"detectors": said})


def check_phase(stated: Named) -> None:
    """Refuse single pixels whose place is not stated: a wrong one moves the picture, which nothing in y shows.

    Raises: ValueError that names the places of usual programs.
    """
    if stated.values.get("kernel") != "nearest" or "offset" not in takes(stated.factory) or "offset" in stated.values:
        return
    factor = stated.values.get("factor", 4)
    raise ValueError(
        f"operator {stated.text!r} takes one pixel of {factor:g}, but not which: add offset=0 for x[::{factor:g}] and "
        f"the nearest of OpenCV and torch, or offset={factor // 2:g} for Pillow's"
    )


def untested(operator: Operator) -> str:
    """What no check tells of a measurement by an operator, with the symptom; "" if nothing of it is known."""
    if isinstance(operator, Downsampling):
        return (
            "; not tested: single pixels x[::k, ::k] in place of means (a soft picture, moved by half a pixel): "
            "resize:kernel=nearest,offset=0"
        )
    if isinstance(operator, Resize) and operator.kernel == "nearest":
        return f"; not tested: pixels {operator.offset:g}, ... or others, which moves the picture; means of blocks"
    if isinstance(operator, Resize):
        return "; not tested: another offset, which moves the picture; small pictures, and means of blocks, hardly"
    if isinstance(operator, Bayer):
        turned = operator.pattern[::-1]
        return f"; hardly tested: pattern {turned}, with red and blue exchanged (look at the colours)"
    if isinstance(operator, Tomography):
        return "; not tested: line integrals 10 % off (so is tissue), blur of the detector (soft edges)"
    return ""


def described(name: str, given: Tensor, event_shape: tuple[int, ...], measured: bool) -> str:
    """A file's name and the size of its content, of a picture (1, C, H, W) or a measurement (1, *M)."""
    size = " x ".join(map(str, given.shape[1:]))
    if measured:
        behind = (
            "" if tuple(given.shape[1:]) == event_shape else f" of a picture of {' x '.join(map(str, event_shape))}"
        )
        return f"{name}, a measurement of {size}{behind}"
    turned = {(1, 3): ": grey is repeated in three channels", (3, 1): ": colour is averaged to grey"}
    return f"{name}, {size}" + turned.get((given.shape[1], event_shape[0]), "")
