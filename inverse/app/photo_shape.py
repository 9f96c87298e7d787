"""The prior for a picture's size, and the picture's size for a measurement."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from inverse.app.measured import fitted, of_pictures
from inverse.app.operator_text import Named
from operators import Categorical, Operator, Resize
from operators.base import UnknownEventShape
from priors import Prior

SIZED: dict[tuple[int, ...], str] = {(1, 28, 28): "fashion-mnist", (3, 32, 32): "cifar10"}  # priors of one size
_AXES = {"radon": "views, detectors", "fan_beam": "views, detectors"}
ANY_SIZE = {1: "natural-grey"}  # by channels; all others: "natural"


def prior_for(shape: tuple[int, ...]) -> tuple[str, str]:
    if shape in SIZED:
        return SIZED[shape], "chosen because it is trained on this size"
    if len(shape) != 3:
        raise ValueError(
            f"pictures of shape {shape}: no shipped prior has this many channels; give the picture's --size "
            "(CHANNELSxHEIGHTxWIDTH) if this is the shape of the measurement, or a --prior"
        )
    return ANY_SIZE.get(shape[0], "natural"), "chosen because it takes photographs of any size"


def arrangement(shape: tuple[int, ...], stated: Named, prior: Prior | None, size: str | None) -> tuple[int, ...]:
    """The shape (N, *M) of an array of measurements, decided by the number of axes of the operator's measurements.

    With one axis more than a measurement, the first axis are the N measurements. With fewer axes it is one measurement,
    whose missing leading axes are 1: a sinogram (views, detectors) becomes (1, 1, views, detectors). With as many axes
    it is one measurement, unless its first axis is not that of a measurement and may be N measurements of one channel.
    Arguments: shape of the array; stated: the operator; prior, or None; size: text of --size.
    """
    known = list(_measured_shapes(shape, stated, prior, size))
    if not known:
        return shape
    axes, leading = len(known[0]), {one[0] for one in known if one}
    if len(shape) > axes:
        return shape
    if len(shape) == axes > 1 and shape[0] not in leading and 1 in leading:
        return (shape[0], 1, *shape[1:])
    return (*(1,) * (axes + 1 - len(shape)), *shape)


def with_detectors(stated: Named, shape: tuple[int, ...], prior: Prior | None, size: str | None) -> Named:
    """The operator with the file's number of detectors, where its text leaves it out (`measured.fitted`).

    Arguments: as of `arrangement`. Raises: ValueError as `fitted`, and for a wrong --size.
    """
    one_size = None if prior is None or prior.least_size is not None else tuple(prior.event_shape)
    return fitted(stated, shape, one_size if size is None else _size(size, (1, 1, 1), prior))


def arranged(shape: tuple[int, ...], stated: Named, prior: Prior | None, size: str | None) -> tuple[int, ...]:
    """As `arrangement`, for an array that may have many measurements, with the operator that it fits.

    Raises: ValueError, once for all of them, if the operator measures others.
    """
    stated = with_detectors(stated, shape, prior, size)
    count, *one = arrangement(shape, stated, prior, size)
    if count > 1:
        try:
            shape_behind(stated, tuple(one), prior, size)
        except ValueError as error:
            raise ValueError(
                f"{error}; the array of shape {shape} was taken as {count} measurements of shape {tuple(one)}"
            ) from error
    return (count, *one)


def _measured_shapes(
    shape: tuple[int, ...], stated: Named, prior: Prior | None, size: str | None
) -> Iterator[tuple[int, ...]]:
    """Shapes of measurements of the prior's pictures, or of grey and of colour ones. Their last axes may be of another
    size than those of the measurements that are given."""
    if prior is not None and prior.least_size is None:
        events = [[tuple(prior.event_shape)]]
    else:
        sides = [(64, 64), *([shape[-2:]] if len(shape) > 1 else [])]
        if size is not None:
            sides.insert(0, _size(size, (1, 1, 1), prior)[-2:])
        channels = (1, 3) if prior is None else (prior.event_shape[0],)
        events = [[(c, *each) for each in sides] for c in channels]
    found = False
    for tried in events:
        for event in tried:
            with suppress(Exception):  # `forward` can raise anything on a picture of the wrong shape
                op = stated.build(1.0, event)
                yield () if isinstance(op.noise, Categorical) else op.measurement_shape(op.event_shape or event)
                found = True
                break
    if not found:
        for given in [(c, *shape[-2:]) for c in (1, 3)]:  # an operator of one size that is not stated as its event
            with suppress(Exception):
                op = stated.build(1.0, None)
                yield op.measurement_shape(op.event_shape_of(given) if op.event_shape is None else op.event_shape)


def shape_behind(stated: Named, shape: tuple[int, ...], prior: Prior | None, size: str | None) -> tuple[int, ...]:
    """The event shape for a measurement shape: from --size, from a prior of one size, or from the operator.

    Raises: ValueError if none of them determines it, and as the operator raises.
    """
    one_size = None if prior is None or prior.least_size is not None else tuple(prior.event_shape)
    if size is not None:
        asked = _size(size, shape, prior)
        if one_size not in (None, asked):
            raise ValueError(f"--size {size}: this prior only takes {one_size}; omit the option")
        return asked
    if one_size is not None:
        return one_size
    if stated.takes_shape:
        try:
            fits = stated.build(1.0, shape).measurement_shape(shape) == shape
        except ValueError as error:
            raise ValueError(
                f"{error} (assuming a picture of the measurement's shape {shape}; set another by --size)"
            ) from error
        if not fits:
            raise _unknown_size(stated, shape)
        return shape
    op = stated.build(1.0, None)
    if isinstance(op, Resize):  # several sizes give the same measurement
        return op.largest(shape)
    try:
        return op.event_shape_of(shape)
    except UnknownEventShape:
        pass
    try:
        fits = op.measurement_shape(shape) == shape
    except Exception as error:  # `forward` can raise anything on a picture of the wrong shape
        raise _unknown_size(stated, shape) from error
    if not fits:
        raise _unknown_size(stated, shape)
    return shape


def sized(prior: Prior, size: str) -> Prior:
    """A prior for pictures of --size.

    Raises: ValueError for a size that it does not serve.
    """
    return prior.resized(_size(size, tuple(prior.event_shape), prior))


def _unknown_size(stated: Named, shape: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"operator {stated.text!r}: a measurement of shape {shape} does not determine the picture's size: give --size "
        "HEIGHTxWIDTH (or CHANNELSxHEIGHTxWIDTH), or a --prior of one size"
    )


def _size(text: str, shape: tuple[int, ...], prior: Prior | None) -> tuple[int, ...]:
    """--size as (C, H, W); if it has no channels, they are those of the prior or of the measurement."""
    if not re.fullmatch(r"[1-9]\d{0,5}(x[1-9]\d{0,5}){1,2}", text):
        raise ValueError(f"--size {text!r}: expected HEIGHTxWIDTH or CHANNELSxHEIGHTxWIDTH in pixels, such as 480x640")
    sides = tuple(map(int, text.split("x")))
    if len(sides) == 3:
        return sides
    if prior is not None and len(prior.event_shape) == 3:
        return (prior.event_shape[0], *sides)
    if len(shape) == 3 and shape[0] in (1, 3):
        return (shape[0], *sides)
    raise ValueError(f"--size {text}: the number of channels is missing: give 1x{text} for grey or 3x{text} for colour")


def check_shape(path: Path, y: Tensor, op: Operator, event_shape: tuple[int, ...], stated: Named) -> None:
    expected, found = op.measurement_shape(event_shape), tuple(y.shape[1:])
    if found == expected or isinstance(op.noise, Categorical):  # labels have no axes
        return
    if not of_pictures(stated.text) and len(found) == len(expected) == 3 and found[0] > 1 == expected[0]:
        raise ValueError(
            f"{path} has {found[0]} channels, but this operator measures one: {found[0]} measurements are an array of "
            f"shape {(found[0], 1, *found[1:])}, (measurements, 1, {_AXES.get(stated.name, 'rows, columns')})"
        )
    if len(found) == len(expected) == 3 and found[0] != expected[0]:
        raise ValueError(
            f"{path} has {found[0]} channels, but this operator measures {expected[0]}: convert the file; for a grey "
            "measurement of a colour picture, use the operator grayscale"
        )
    border = getattr(op, "boundary", None)
    raise ValueError(
        f"{path} has the shape {found}, but the operator maps pictures {event_shape} to {expected}: "
        + ("use boundary=reflect if picture and measurement have the same size, or " if border == "valid" else "")
        + "give the picture's --size HEIGHTxWIDTH, or another --prior"
    )
