"""Physical units of image values: Hounsfield units, kelvin, metres."""

from dataclasses import dataclass
from typing import Any

from priors.arguments import settings


@dataclass(frozen=True)
class Units:
    """A physical unit, linear in image units.

    Arguments: name (of the unit, such as "HU"); zero and one (float): the physical values of 0 and 1 in image units.
    Raises: ValueError for values that are not finite, or the same.
    """

    name: str
    zero: float
    one: float

    def __post_init__(self):
        if not isinstance(self.name, str):
            raise TypeError(f"name = {self.name!r:.60}: expected the unit's name, such as 'HU'")
        settings(self, zero="(-inf, inf)", one="(-inf, inf)")
        if self.zero == self.one:
            raise ValueError(f"{self}: expected two different finite values, for 0 and 1 in image units")

    def physical(self, x: Any) -> Any:
        """Convert from image units; x is a number, or a tensor or array (N, *E), and so is the result."""
        return self.zero + (self.one - self.zero) * x

    def image(self, value: Any) -> Any:
        """Convert to image units; value is a number, or a tensor or array (N, *E), and so is the result."""
        return (value - self.zero) / (self.one - self.zero)
