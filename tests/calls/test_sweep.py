"""Every argument of the public surface, spoilt in every way."""

import re
import signal
import traceback
import warnings
from pathlib import Path

import pytest

import inverse
from tests.calls.good_inverse import of_inverse
from tests.calls.good_operators import of_operators
from tests.calls.good_priors import of_priors

ROOMS = {"operators": of_operators, "priors": of_priors, "inverse": of_inverse}
ROOT = str(Path(inverse.__file__).parents[1])
CLEAR = (ValueError, TypeError, FileNotFoundError, ArithmeticError)


class Hanging(BaseException):
    pass


def outcome(call) -> str:
    """ "accepted", "clear" or what is wrong with the way in which it was refused."""

    def late(*_):
        raise Hanging

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, 20)  # of this process's own time: what else the machine does is no matter
    try:
        call()
        return "accepted"
    except Hanging:
        return "it hangs"
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        named = "unexpected keyword argument" in str(error)
        if isinstance(error, CLEAR) and (named or (last.filename.startswith(ROOT) and "raise" in (last.line or ""))):
            return "clear"
        said = re.sub(r"\s+", " ", str(error))[:150]
        return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}: {said}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS)
def test_a_spoilt_argument_is_refused_or_serves(room):
    """Every argument of every public call, spoilt in every way: no raw error of torch or Python, and no hang."""

    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for good in ROOMS[room]():
            for argument, label, call in good.spoilt():
                found[f"{good.name}, {argument} = {label}"] = outcome(call)
    assert not {name: what for name, what in found.items() if what not in ("accepted", "clear")}
    assert list(found.values()).count("clear") > len(found) / 2
