"""A decoded picture: its values, their range, and metadata of the file."""

import warnings
from dataclasses import dataclass

import numpy as np

OVERSHOOT = 0.1  # accepted beyond [0, 1], as after interpolation
FAINT = 16  # integer pictures whose maximum is below 1 / 16 of white may have fewer bits than the file


class UncertainRange(UserWarning):
    """A picture uses so little of its range that its values may have another meaning, such as 12 bits in 16."""


@dataclass(frozen=True)
class Decoded:
    """A picture as its file has it.

    Attributes: name (of the file); values (H, W) or (H, W, 3): uint8, uint16, bool or floating point; white: the number
    that is 1 in image units; alpha (H, W) in [0, 1], 1 where the picture is opaque, or None where all of it is; notes:
    what was done with it, as texts; white_is_zero: the file states so, and numbers were turned round.
    """

    name: str
    values: np.ndarray
    white: float
    alpha: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    white_is_zero: bool = False

    @property
    def floats(self) -> np.ndarray:
        """In image units, float64 (H, W) or (H, W, 3)."""
        return self.values.astype(np.float64) / self.white

    def opaque(self) -> "Decoded":
        """The picture, if nothing of it is transparent.

        Raises: ValueError.
        """
        if self.alpha is not None:
            raise ValueError(
                f"{self.name} is transparent in {np.mean(self.alpha < 1):.0%} of its pixels, and the background "
                "is unknown: save it on a background, without transparency"
            )
        return self

    def ranged(self) -> "Decoded":
        """The picture, if its floating-point values are in image units; warns of integers that use little of theirs.

        Raises: ValueError for values outside [0, 1], or too small for a picture in image units.
        """
        low, high = float(self.values.min()), float(self.values.max())
        if self.values.dtype.kind == "f":
            if low < -OVERSHOOT or high > 1 + OVERSHOOT or 0 < high < 1 / 255:
                raise ValueError(
                    f"{self.name} has floating-point values from {low:.4g} to {high:.4g}: expected 0 for black and "
                    "1 for white; save (x - black) / (white - black), such as x / 255 for values up to 255"
                )
        elif 0 < high < self.white / FAINT:
            warnings.warn(
                f"{self.name}: its largest value is {high:g}, but {self.white:g} is white: if it has fewer bits than "
                f"the file, such as 12 in 16, save it scaled up",
                UncertainRange,
                stacklevel=3,
            )
        return self
