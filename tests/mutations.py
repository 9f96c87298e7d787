"""Files as a disk, a transfer or an attacker leaves them: seeded changes of their bytes."""

import faulthandler
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS = 30  # that reading one small file may take on a busy machine


class Hang(BaseException):
    """Reading did not end; no Exception, so that no reader takes it for one of its own."""


@contextmanager
def limited(seconds: float = SECONDS) -> Iterator[None]:
    """A block that is interrupted where it takes longer."""

    def stop(*_):
        raise Hang(f"not read in {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(3 * seconds, exit=True)  # within a library, where no signal is answered
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def flipped(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def truncated(data: bytearray, rng: random.Random) -> bytearray:
    return data[: rng.randrange(len(data))]


def zeroed(data: bytearray, rng: random.Random) -> bytearray:
    start, end = _span(data, rng)
    data[start:end] = bytes(end - start)
    return data


def spliced(data: bytearray, rng: random.Random) -> bytearray:
    """A part of it in another place, over what is there or between."""
    start, end = _span(data, rng)
    place = rng.randrange(len(data))
    over = rng.random() < 0.5
    data[place : place + (end - start if over else 0)] = data[start:end]
    return data


def scrambled(data: bytearray, rng: random.Random) -> bytearray:
    start, end = _span(data, rng)
    data[start:end] = rng.randbytes(end - start)
    return data


def missing(data: bytearray, rng: random.Random) -> bytearray:
    start, end = _span(data, rng)
    del data[start:end]
    return data


def extreme(data: bytearray, rng: random.Random) -> bytearray:
    """A field of 1 to 8 bytes all ones: sizes, counts and offsets become as large as can be."""
    start = rng.randrange(len(data))
    size = rng.choice((1, 2, 4, 8))
    data[start : start + size] = b"\xff" * size
    return data


MUTATIONS: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (
    flipped, flipped, truncated, zeroed, spliced, scrambled, missing, extreme,
)  # fmt: skip


def mutated(data: bytes, seed: int) -> bytes:
    """One of the changes, the same for the same seed; half of them near the start, where headers are."""
    rng = random.Random(seed)
    change = rng.choice(MUTATIONS)
    if len(data) > 4096 and change is not truncated and rng.random() < 0.5:
        return bytes(change(bytearray(data[:2048]), rng)) + data[2048:]
    return bytes(change(bytearray(data), rng))


def _span(data: bytearray, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice((1, 4, 16, 64, 512)))
