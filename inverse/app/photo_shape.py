"""The size of one's own picture: of which prior it is, and which picture is behind a measurement."""

import re
from pathlib import Path

from torch import Tensor

from inverse.app.operator_text import Named
from operators import Categorical, Operator, Resize
from operators.base import UnknownEventShape
from priors import Prior

SIZED: dict[tuple[int, ...], str] = {(1, 28, 28): "fashion-mnist", (3, 32, 32): "cifar10"}  # pictures of a prior's
ANY_SIZE = {1: "natural-grey"}  # by channels; all others: "natural"


def prior_for(shape: tuple[int, ...]) -> tuple[str, str]:
    if shape in SIZED:
        return SIZED[shape], "chosen because it is of this very size"
    if len(shape) != 3:
        raise ValueError(f"pictures of shape {shape}: no shipped prior is for such; name a --prior")
    return ANY_SIZE.get(shape[0], "natural"), "chosen because it takes photographs of any size"


def shape_behind(stated: Named, shape: tuple[int, ...], prior: Prior | None, size: str | None) -> tuple[int, ...]:
    """Of the picture behind a measurement of this shape: by --size, by a prior of one size, or by the operator.

    Raises: ValueError where none of them tells, and as the operator raises.
    """
    one_size = None if prior is None or prior.least_size is not None else tuple(prior.event_shape)
    if size is not None:
        asked = _size(size, shape, prior)
        if one_size not in (None, asked):
            raise ValueError(f"--size {size}: the prior's pictures are {one_size}; leave the option out")
        return asked
    if one_size is not None:
        return one_size
    if stated.takes_shape:
        try:
            fits = stated.build(1.0, shape).measurement_shape(shape) == shape
        except ValueError as error:
            raise ValueError(
                f"{error} (of a picture of the measurement's shape {shape}; --size names another)"
            ) from error
        if not fits:
            raise _unknown_size(stated, shape)
        return shape
    op = stated.build(1.0, None)
    if isinstance(op, Resize):  # several sizes have this measurement
        return op.largest(shape)
    try:
        return op.event_shape_of(shape)
    except UnknownEventShape:
        pass
    try:
        fits = op.measurement_shape(shape) == shape
    except Exception as error:  # whatever a `forward` raises on pictures that are not of its kind
        raise _unknown_size(stated, shape) from error
    if not fits:
        raise _unknown_size(stated, shape)
    return shape


def _unknown_size(stated: Named, shape: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"operator {stated.text!r} does not tell the picture's size from a measurement of shape {shape}: give --size "
        "HEIGHTxWIDTH (or CHANNELSxHEIGHTxWIDTH), or a --prior of one size"
    )


def _size(text: str, shape: tuple[int, ...], prior: Prior | None) -> tuple[int, ...]:
    """--size as (C, H, W); channels are those of the prior or of the measurement where it does not give them."""
    if not re.fullmatch(r"[1-9]\d{0,5}(x[1-9]\d{0,5}){1,2}", text):
        raise ValueError(f"--size {text!r}: expected HEIGHTxWIDTH or CHANNELSxHEIGHTxWIDTH in pixels, such as 480x640")
    sides = tuple(map(int, text.split("x")))
    if len(sides) == 3:
        return sides
    if prior is not None and len(prior.event_shape) == 3:
        return (prior.event_shape[0], *sides)
    if len(shape) == 3 and shape[0] in (1, 3):
        return (shape[0], *sides)
    raise ValueError(f"--size {text}: how many channels? Give --size 1x{text} for grey or 3x{text} for colour")


def check_shape(path: Path, y: Tensor, op: Operator, event_shape: tuple[int, ...]) -> None:
    expected, found = op.measurement_shape(event_shape), tuple(y.shape[1:])
    if found == expected or isinstance(op.noise, Categorical):  # labels have no axes
        return
    if len(found) == len(expected) == 3 and found[0] != expected[0]:
        raise ValueError(
            f"{path} has {found[0]} channels, the measurement of such a picture has {expected[0]}: give the file in "
            "that form; a grey measurement of a colour picture has the operator grayscale"
        )
    border = getattr(op, "boundary", None)
    raise ValueError(
        f"{path} is a measurement of shape {found}, and of pictures {event_shape} this operator makes {expected}: "
        + ("boundary=reflect is for a picture of the measurement's own size, or " if border == "valid" else "")
        + "give --size HEIGHTxWIDTH of the picture, or another --prior"
    )
