"""How a bad call should be refused."""

from collections.abc import Callable
from typing import Any

import pytest


def refused(name: str, act: Callable[[], Any], *words: str) -> None:
    """Assert that a call is refused at once, by an error that names what was wrong.

    Arguments: name: of the call; act: the call; words: of its message.
    """
    with pytest.raises((ValueError, TypeError)) as caught:
        act()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{name}: {caught.value}"
