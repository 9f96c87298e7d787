"""--operator of `inverse volume`: a cone beam; or a matrix along the axis, an operator on every slice, or both."""

import re
from dataclasses import dataclass
from typing import Any

from torch import Tensor

import operators
from inverse.app.operator_text import Named, named, spelled
from operators import AlongAxis, Composition, Operator, Slicewise
from operators.estimation import PICTURES

Shape = tuple[int, ...]
FORMS = "a cone_beam; or along_axis, an operator of pictures for every slice, or both in this order"


@dataclass(frozen=True)
class Chain:
    """Operators in the order in which they are applied.

    Attributes: volume: of a cone beam, or along the axis, None without; each: of every slice, None without.
    """

    volume: Named | None
    each: Named | None

    def build(self, sigma: float, event_shape: Shape) -> Operator:
        """The operator for volumes (1, D, H, W), with Gaussian noise of standard deviation sigma."""
        first = None if self.volume is None else self.volume.build(sigma, None)
        if self.each is None:
            assert first is not None
            return first.at(event_shape)
        slices = Slicewise(self.each.build(sigma, (event_shape[0], *event_shape[2:])))
        return (slices if first is None else Composition(slices, first)).at(event_shape)

    def used(self) -> str:
        """All arguments, given and default."""
        every = None if self.each is None else f"every slice by {self.each.used()}"
        return "; then ".join(filter(None, [self.volume and self.volume.used(), every]))

    @property
    def identity(self) -> tuple[Any, ...]:
        """What samples depend on besides tensors."""
        return tuple(part.identity for part in (self.volume, self.each) if part is not None)

    @property
    def cautions(self) -> list[str]:
        """Of operators drawn at random."""
        return [part.caution for part in (self.volume, self.each) if part is not None and part.caution]


def heads(texts: tuple[str, ...]) -> list[str]:
    """The names of operators of texts, in order.

    Raises: ValueError for an unknown name, and for operators that do not fit together.
    """
    found = [spelled(text.partition(":")[0].partition(".")[0]) for text in texts]
    for name in found:
        operators.get(name)
    kinds = ["volume" if name in operators.available(volumes=True) else "each" for name in found]
    if kinds not in (["volume"], ["each"], ["volume", "each"]) or (found[0] == "cone_beam" and len(found) > 1):
        raise ValueError(f"--operator {', '.join(found)}: expected {FORMS}")
    return found


def size_of(text: str | None) -> tuple[int, int, int] | None:
    """--size as (D, H, W). Raises: ValueError."""
    if text is None:
        return None
    if not re.fullmatch(r"[1-9]\d{0,4}(x[1-9]\d{0,4}){2}", text):
        raise ValueError(f"--size {text!r}: expected DEPTHxHEIGHTxWIDTH in voxels, such as 64x64x64")
    depth, height, width = map(int, text.split("x"))
    return depth, height, width


def cone_beam(text: str, size: Shape | None, detectors: Shape, pixel: float | None) -> Named:
    """The cone beam of a text, whose detector is that of the projections and whose volume is that of --size.

    Raises: ValueError without a size or a distance of detectors, and for two that disagree.
    """
    keys = set(re.findall(r"[:,](\w+)=", text))
    if size is None and "size" not in keys:
        raise ValueError(
            f"operator {text!r}: projections do not determine the size of the volume: give --size DEPTHxHEIGHTxWIDTH "
            "in voxels, such as --size 64x64x64"
        )
    if "spacing" not in keys:
        raise ValueError(
            f"operator {text!r} lacks spacing, the distance of neighbouring detectors in voxels (or rows,columns): "
            "divide that of the detector by the side of a voxel, as source and detector"
        )
    known: dict[str, Any] = {"detectors": detectors} | ({} if size is None else {"size": size})
    found = named(text, True, known | ({} if pixel is None else {"pixel": pixel}), volumes=True)
    if size is not None and (given := found.values["size"]) not in (size, *({size[0]} if len({*size}) == 1 else ())):
        raise ValueError(f"--size {'x'.join(map(str, size))} and size={given} in --operator: give one of them")
    return found


def along(text: str, measured: int, size: Shape | None) -> Named:
    """The matrix along the axis of a text, for so many measured slices.

    Without --size the first and the last measured slice are the ends of the volume.
    """
    if "matrix=" in text:
        return named(text, True, volumes=True)
    stated = named(text, True, {"depth": 1}, volumes=True)
    every = int(stated.values["every"])
    depth = (measured - 1) * every + 1 if size is None else size[0]
    stated = named(text, True, {"depth": depth}, volumes=True)
    seen = -(-int(stated.values["depth"]) // every)
    if seen != measured:
        raise ValueError(
            f"operator {text!r}: of {stated.values['depth']} slices every {every}. is measured, which are {seen}, but "
            f"the file has {measured}: give --size DEPTHxHEIGHTxWIDTH with a depth of {(measured - 1) * every + 1} to "
            f"{measured * every}, or another every"
        )
    return stated


def of_pictures(operator: Operator) -> bool:
    """Whether its measurements are pictures like slices, in the units of the volume."""
    if isinstance(operator, Composition):
        return of_pictures(operator.outer) and of_pictures(operator.inner)
    return isinstance(operator, AlongAxis) or (
        isinstance(operator, Slicewise) and isinstance(operator.operator, PICTURES)
    )


def sheet(operator: Operator, y: Tensor) -> Tensor:
    """The measurement (1, *M) as one picture (1, C, N h, w): its projections or slices below each other.

    For an estimate of their noise, which is looked for where a picture is smooth and so not at the seams.
    """
    each = y[0] if isinstance(operator, Slicewise | Composition) else y[0].movedim(1, 0)
    return each.movedim(0, 1).flatten(1, 2)[None]
