"""Damaged picture files and arrays: a picture, or a ValueError with the file's name; nothing else, and not for long."""

import io
import resource
import time

import numpy as np
import pytest

from inverse.app.arguments import read_measurement
from priors.archives import entries
from priors.decoding import decode
from tests.priors.picture_files import (
    BYTES,
    PALETTE,
    RGB,
    RGB_WORDS,
    WORDS,
    cmyk,
    pages,
    png,
    press,
    saved,
    tiff,
    turned,
)

LONGEST, MOST = 20.0, 2e6  # seconds of one file, on a busy machine; kB of memory more than before


def npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz(save=np.savez) -> bytes:
    buffer, picture = io.BytesIO(), saved(RGB, "PNG")
    content = np.frombuffer(picture * 2, np.uint8)
    ends, names = np.array([0, len(picture), 2 * len(picture)]), np.array(["a", "b"])
    save(buffer, jpeg=content, offsets=ends, names=names, split=np.array([0, 0]))
    return buffer.getvalue()


SEEDS = {
    "png": [saved(RGB, "PNG"), png(RGB_WORDS, 2, 16), saved(PALETTE, "PNG", transparency=1), turned("PNG", 6)],
    "jpeg": [saved(RGB, "JPEG"), turned("JPEG", 6), cmyk(press())],
    "tiff": [saved(RGB, "TIFF", compression="tiff_lzw"), saved(BYTES, "TIFF", compression="jpeg"), tiff(BYTES)],
    "tiff of 16 bits": [
        tiff(WORDS), tiff(WORDS, compression="zlib"), tiff(RGB_WORDS, photometric="rgb", bigtiff=True),
        tiff(np.tile(WORDS, (4, 4)), tile=(16, 16)), tiff(np.stack([WORDS] * 3), imagej=True), tiff(WORDS / 65535),
    ],
    "gif": [saved(BYTES, "GIF"), pages("GIF")],
    "bmp": [saved(RGB, "BMP"), saved(PALETTE, "BMP"), saved(BYTES, "BMP", "1")],
    "webp": [saved(RGB, "WEBP", lossless=True), saved(RGB, "WEBP"), pages("WEBP")],
    "ppm": [saved(RGB, "PPM"), b"P2 3 2 9 0 1 2 3 4 5", b"Pf 3 2 -1.0 " + bytes(24)],
    "jpeg2000": [saved(RGB, "JPEG2000")],
    "avif": [saved(RGB, "AVIF")],
    "npy": [npy(RGB / 255), npy(np.zeros((1, 1, 6, 6), np.float32)), npy(np.array(["a"])), npy(np.zeros(3, ">f8"))],
    "npz": [npz(), npz(np.savez_compressed)],
}  # fmt: skip


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, or a part lost, doubled or of extreme numbers; headers more often than the rest."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        reach = min(len(data), 64) if rng.random() < 0.5 else len(data)
        at, n = int(rng.integers(reach)) if reach else 0, int(rng.integers(1, 9))
        kind = rng.integers(6)
        if kind == 0:
            data[at : at + n] = rng.bytes(len(data[at : at + n]))
        elif kind == 1:
            data[at : at + n] = rng.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * len(data[at : at + n])
        elif kind == 2:
            del data[at : at + int(rng.integers(1, 200))]
        elif kind == 3:
            data[at:at] = data[: int(rng.integers(1, 200))]
        elif kind == 4:
            data = data[: max(1, int(rng.integers(len(data) + 1)))]
        else:
            data[at : at + 1] = bytes([data[at] ^ (1 << int(rng.integers(8)))]) if data else b""
    return bytes(data)


def read(kind: str, content: bytes, path) -> None:
    path.write_bytes(content)
    if kind == "npy":
        read_measurement(path)
    elif kind == "npz":
        for _, encoded in entries(path, [0]):
            decode(encoded, str(path))
    else:
        decode(path).opaque().ranged()


def damage(kind: str, n: int, folder) -> dict[str, int]:
    """Read n damaged files; how many were read all the same and how many refused."""
    rng, counts = np.random.default_rng(len(kind)), {"read": 0, "refused": 0}
    path = folder / f"damaged.{kind if kind.startswith('np') else 'picture'}"
    for i in range(n):
        content = mutated(SEEDS[kind][i % len(SEEDS[kind])], rng)
        start = time.perf_counter()
        try:
            read(kind, content, path)
            counts["read"] += 1
        except ValueError as error:
            assert type(error) is ValueError and str(path) in str(error), (i, error)
            counts["refused"] += 1
        assert time.perf_counter() - start < LONGEST, i
    return counts


@pytest.mark.filterwarnings("ignore::priors.decoded.UncertainRange")
@pytest.mark.parametrize("n", [30, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", SEEDS)
def test_damaged_files_are_read_or_refused(kind, n, tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = damage(kind, n, tmp_path)
    assert counts["refused"] > n // 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST
