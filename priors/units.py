"""What image units mean where they have a meaning outside: Hounsfield units, kelvin, metres."""

from dataclasses import dataclass
from typing import Any

from priors.arguments import settings


@dataclass(frozen=True)
class Units:
    """A physical quantity that pictures show: zero at 0 in image units and one at 1, linear between.

    Arguments: name (of the unit, such as "HU"); zero and one (float): what 0 and 1 stand for, in that unit.
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
            raise ValueError(f"{self}: expected two finite values that differ, of 0 and of 1 in image units")

    def physical(self, x: Any) -> Any:
        """Image units to this unit; x a number, or a tensor or array (N, *E), and so is what comes back."""
        return self.zero + (self.one - self.zero) * x

    def image(self, value: Any) -> Any:
        """This unit to image units; value a number, or a tensor or array (N, *E), and so is what comes back."""
        return (value - self.zero) / (self.one - self.zero)
