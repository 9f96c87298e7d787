"""--budget: a name for --method auto, or a time for all samples, of any method."""

import math
import re

UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600}


def seconds_of(text: str | None) -> float | None:
    """The seconds of a text such as 60s, 2min or 1.5h; None for names such as "fast", which `inverse.solve` checks.

    Raises: ValueError for numbers without a unit, and times that are not positive.
    """
    found = re.fullmatch(r"([0-9.+-][0-9.eE+-]*)\s*([a-zA-Z]*)", text or "")
    if found is None:
        return None
    try:
        number = float(found[1])
    except ValueError:
        number = math.nan
    if found[2] not in UNITS or not 0 < number * UNITS[found[2]] < math.inf:
        raise ValueError(
            f"--budget {text}: expected a positive time such as 60s, 2min or 1.5h, or a name such as fast or balanced"
        )
    return number * UNITS[found[2]]
