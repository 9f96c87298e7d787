"""Picture files of every kind, made by the libraries of their formats: what is in them, and what should be read."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tifffile
from PIL import Image, ImageCms

H, W = 6, 9
RAMP = np.linspace(0, 1, H * W).reshape(H, W)
BYTES = np.rint(RAMP * 255).astype(np.uint8)
WORDS = np.rint(RAMP * 65535).astype(np.uint16)
RGB = np.stack([BYTES, BYTES[::-1], BYTES[:, ::-1]], -1)
RGB_WORDS = np.stack([WORDS, WORDS[::-1], WORDS[:, ::-1]], -1)
OPAQUE, HOLES = np.full((H, W), 255, np.uint8), np.where(RAMP < 0.5, 255, 0).astype(np.uint8)
TURNS = {  # EXIF orientation: what is stored of a picture that is seen upright
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[:, ::-1],
}


@dataclass(frozen=True)
class Kind:
    """A file: how to make its bytes, the picture that it is of (in [0, 1]), and by how much it may differ."""

    make: Callable[[], bytes]
    expected: np.ndarray
    within: float = 1e-6


def saved(pixels, form: str, mode: str | None = None, **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.ascontiguousarray(pixels))
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, form, **options)
    return buffer.getvalue()


def tiff(pixels, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.ascontiguousarray(pixels), **options)
    return buffer.getvalue()


def png(pixels: np.ndarray, colour: int, bits: int, extra: bytes = b"") -> bytes:
    """A PNG of any depth, as Pillow does not write all of them; pixels (H, W) or (H, W, samples)."""
    if bits < 8:
        lines = [np.packbits(np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - bits :]) for row in pixels]
    else:
        lines = list(pixels.astype(">u2" if bits == 16 else "u1"))
    raw = b"".join(b"\0" + line.tobytes() for line in lines)
    header = struct.pack(">IIBBBBB", *pixels.shape[1::-1], bits, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), extra, chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def turned(form: str, place: int) -> bytes:
    exif = Image.Exif()
    exif[274] = place
    options = {"quality": 100, "subsampling": 0} if form == "JPEG" else {}
    options |= {"lossless": True} if form == "WEBP" else {}
    return saved(TURNS[place](RGB), form, exif=exif, **options)


def cmyk(profile: bytes | None = None) -> bytes:
    """A JPEG of four inks, each at most half."""
    inks = np.stack([BYTES // 2, BYTES[::-1] // 2, BYTES[:, ::-1] // 2, BYTES // 2], -1)
    image = Image.frombytes("CMYK", (W, H), inks.tobytes())
    return saved(image, "JPEG", quality=100, subsampling=0, **({"icc_profile": profile} if profile else {}))


def of_inks() -> np.ndarray:
    c, m, y, k = (a / 255 for a in (BYTES // 2, BYTES[::-1] // 2, BYTES[:, ::-1] // 2, BYTES // 2))
    return np.stack([(1 - c) * (1 - k), (1 - m) * (1 - k), (1 - y) * (1 - k)], -1)


def black_ink(profile: bytes) -> bytes:
    inks = np.zeros((H, W, 4), np.uint8)
    inks[..., 3] = 128
    return saved(Image.frombytes("CMYK", (W, H), inks.tobytes()), "JPEG", quality=100, icc_profile=profile)


def press() -> bytes:
    """An ICC profile (version 2) of a press whose colours, in L*a*b*, are L* = 100 (1 - k), linear in its black ink."""
    ramp = bytes(range(256))
    grid = b"".join(bytes([0 if index & 1 else 255, 128, 128]) for index in range(16))  # black varies fastest
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0])
    table += struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9))) + ramp * 4 + grid + ramp * 3
    text = b"desc\0\0\0\0" + struct.pack(">I", 6) + b"press\0" + b"\0" * 78
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    parts = {b"A2B0": table, b"desc": text, b"wtpt": white, b"cprt": b"text\0\0\0\0none\0"}
    directory, body, start = struct.pack(">I", len(parts)), b"", 128 + 4 + 12 * len(parts)
    for name, content in parts.items():
        content += b"\0" * (-len(content) % 4)
        directory += name + struct.pack(">II", start + len(body), len(content))
        body += content
    size = 128 + len(directory) + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"none", 0x02100000, b"prtr", b"CMYK", b"Lab ") + struct.pack(
        ">6H", *[1] * 6
    )
    head += b"acsp" + b"\0" * 28 + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + directory + body


def grey_of(lightness: float) -> float:
    """sRGB of a grey of this L*."""
    y = ((lightness + 16) / 116) ** 3
    return 12.92 * y if y < 0.0031308 else 1.055 * y ** (1 / 2.4) - 0.055


def pages(form: str, n: int = 3) -> bytes:
    images = [Image.fromarray(np.roll(BYTES, i, 1)) for i in range(n)]
    return saved(images[0], form, save_all=True, append_images=images[1:])


def with_preview() -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(WORDS)
        file.write(WORDS[::2, ::2], subfiletype=1)
    return buffer.getvalue()


PALETTE = Image.fromarray(RGB).quantize(8)
WIDE_GAMUT = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
BEFORE = png(RGB, 2, 8)

ACCEPTED: dict[str, Kind] = {
    "PNG, grey": Kind(lambda: saved(BYTES, "PNG"), BYTES / 255),
    "PNG, colour": Kind(lambda: saved(RGB, "PNG"), RGB / 255),
    "PNG, grey stored as colour": Kind(lambda: saved(BYTES, "PNG", "RGB"), np.stack([BYTES] * 3, -1) / 255),
    "PNG, 1 bit": Kind(lambda: saved(HOLES, "PNG", "1"), HOLES / 255),
    "PNG, 2 bits": Kind(lambda: png(BYTES // 64, 0, 2), (BYTES // 64) / 3),
    "PNG, 4 bits": Kind(lambda: png(BYTES // 16, 0, 4), (BYTES // 16) / 15),
    "PNG, 16 bits": Kind(lambda: saved(WORDS, "PNG"), WORDS / 65535),
    "PNG, colour of 16 bits": Kind(lambda: png(RGB_WORDS, 2, 16), RGB_WORDS / 65535),
    "PNG, colour of 16 bits with opaque alpha": Kind(
        lambda: png(np.dstack([RGB_WORDS, np.full((H, W), 65535)]), 6, 16), RGB_WORDS / 65535
    ),
    "PNG, 16 bits with opaque alpha": Kind(
        lambda: png(np.dstack([WORDS, np.full((H, W), 65535)]), 4, 16), WORDS / 65535
    ),
    "PNG, palette": Kind(lambda: saved(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB")) / 255),
    "PNG, opaque alpha": Kind(lambda: saved(np.dstack([RGB, OPAQUE]), "PNG"), RGB / 255),
    "PNG, grey and opaque alpha": Kind(lambda: saved(np.dstack([BYTES, OPAQUE]), "PNG"), BYTES / 255),
    "PNG, another colour space": Kind(lambda: saved(RGB, "PNG", icc_profile=WIDE_GAMUT), RGB / 255),
    "APNG of one frame": Kind(lambda: saved(RGB, "PNG", save_all=True), RGB / 255),
    "JPEG": Kind(lambda: saved(BYTES, "JPEG", quality=100), BYTES / 255, 0.02),
    "JPEG, CMYK": Kind(cmyk, of_inks(), 0.05),
    "JPEG, CMYK by its profile": Kind(
        lambda: black_ink(press()), np.full((H, W, 3), grey_of(100 * (1 - 128 / 255))), 0.02
    ),
    "TIFF, grey": Kind(lambda: tiff(BYTES), BYTES / 255),
    "TIFF, colour": Kind(lambda: tiff(RGB, photometric="rgb"), RGB / 255),
    "TIFF, colour in planes": Kind(
        lambda: tiff(np.moveaxis(RGB_WORDS, -1, 0), photometric="rgb", planarconfig="separate"), RGB_WORDS / 65535
    ),
    "TIFF, 1 bit": Kind(lambda: saved(HOLES, "TIFF", "1"), HOLES / 255),
    "TIFF, white is 0, 1 bit": Kind(lambda: tiff(HOLES > 0), 1 - HOLES / 255),
    "TIFF, 16 bits": Kind(lambda: tiff(WORDS), WORDS / 65535),
    "TIFF, 16 bits, big-endian": Kind(lambda: tiff(WORDS, byteorder=">"), WORDS / 65535),
    "TIFF, 16 bits, deflated": Kind(lambda: tiff(WORDS, compression="zlib"), WORDS / 65535),
    "TIFF, 16 bits, by LZW": Kind(lambda: saved(WORDS, "TIFF", compression="tiff_lzw"), WORDS / 65535),
    "TIFF, 16 bits, tiled": Kind(lambda: tiff(np.tile(WORDS, (4, 4)), tile=(16, 16)), np.tile(WORDS, (4, 4)) / 65535),
    "TIFF, colour of 16 bits": Kind(lambda: tiff(RGB_WORDS, photometric="rgb"), RGB_WORDS / 65535),
    "TIFF, 16 bits with opaque alpha": Kind(
        lambda: tiff(np.dstack([WORDS, WORDS * 0 + 65535]), photometric="minisblack", extrasamples=["unassalpha"]),
        WORDS / 65535,
    ),
    "TIFF, white is 0": Kind(lambda: tiff(BYTES, photometric="miniswhite"), 1 - BYTES / 255),
    "TIFF, white is 0, 16 bits": Kind(lambda: tiff(WORDS, photometric="miniswhite"), 1 - WORDS / 65535),
    "TIFF, floating point": Kind(lambda: tiff(RAMP.astype(np.float32)), RAMP),
    "TIFF, double precision": Kind(lambda: tiff(RAMP), RAMP),
    "TIFF, half precision": Kind(lambda: tiff(RAMP.astype(np.float16)), RAMP, 1e-3),
    "TIFF, floating point, deflated": Kind(lambda: tiff(RAMP.astype(np.float32), compression="zlib"), RAMP),
    "TIFF, by LZW": Kind(lambda: saved(RGB, "TIFF", compression="tiff_lzw"), RGB / 255),
    "TIFF, as JPEG": Kind(lambda: saved(BYTES, "TIFF", compression="jpeg", quality=100), BYTES / 255, 0.02),
    "TIFF, CMYK": Kind(lambda: saved(RGB, "TIFF", "CMYK"), RGB / 255),
    "TIFF with a preview": Kind(with_preview, WORDS / 65535),
    "TIFF of ImageJ": Kind(lambda: tiff(WORDS, imagej=True), WORDS / 65535),
    "BigTIFF": Kind(lambda: tiff(WORDS, bigtiff=True), WORDS / 65535),
    "GIF": Kind(lambda: saved(BYTES, "GIF"), BYTES / 255),
    "GIF, colour": Kind(lambda: saved(PALETTE, "GIF"), np.asarray(PALETTE.convert("RGB")) / 255),
    "BMP": Kind(lambda: saved(RGB, "BMP"), RGB / 255),
    "BMP, grey": Kind(lambda: saved(BYTES, "BMP"), BYTES / 255),
    "WebP": Kind(lambda: saved(RGB, "WEBP", lossless=True), RGB / 255),
    "PGM": Kind(lambda: saved(BYTES, "PPM"), BYTES / 255),
    "PGM of 10 bits": Kind(
        lambda: b"P5 %d %d 1023\n" % (W, H) + np.rint(RAMP * 1023).astype(">u2").tobytes(), RAMP, 1e-3
    ),
    "PPM": Kind(lambda: saved(RGB, "PPM"), RGB / 255),
    "JPEG 2000": Kind(lambda: saved(RGB, "JPEG2000", irreversible=False), RGB / 255),
    **{f"JPEG, orientation {n}": Kind(lambda n=n: turned("JPEG", n), RGB / 255, 0.06) for n in TURNS},
    **{f"PNG, orientation {n}": Kind(lambda n=n: turned("PNG", n), RGB / 255) for n in (3, 6)},
    **{f"WebP, orientation {n}": Kind(lambda n=n: turned("WEBP", n), RGB / 255) for n in (5, 8)},
    **{
        f"TIFF, orientation {n}": Kind(
            lambda n=n: tiff(TURNS[n](RGB), photometric="rgb", extratags=[(274, "H", 1, n, False)]), RGB / 255
        )
        for n in TURNS
    },
    **{
        f"TIFF of 16 bits, orientation {n}": Kind(
            lambda n=n: tiff(TURNS[n](WORDS), extratags=[(274, "H", 1, n, False)]), WORDS / 65535
        )
        for n in TURNS
    },
}


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {  # bytes, and what the message says
    "empty": (lambda: b"", "unknown format"),
    "a text": (lambda: b"hello", "unknown format"),
    "SVG": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unknown format"),
    "PostScript, which would be run": (
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "unknown format",
    ),
    "ten pages": (lambda: tiff(np.stack([BYTES] * 10)), "several pages"),
    "ten pages of 16 bits": (lambda: tiff(np.stack([WORDS] * 10)), "several pages"),
    "three pages by Pillow": (lambda: pages("TIFF"), "several pages"),
    "an ImageJ stack": (lambda: tiff(np.stack([WORDS] * 10), imagej=True), "several pages"),
    "a volume": (lambda: tiff(np.stack([WORDS] * 16), volumetric=True, tile=(16, 16, 16)), "several pages"),
    "animated GIF": (lambda: pages("GIF"), "several frames"),
    "animated WebP": (lambda: pages("WEBP"), "several frames"),
    "animated PNG": (lambda: pages("PNG"), "several frames"),
    "signed 8 bits": (lambda: tiff((BYTES // 2).astype(np.int8)), "8 bits, signed"),
    "signed 16 bits": (lambda: tiff(WORDS.astype(np.int16)), "16 bits, signed"),
    "signed 32 bits": (lambda: tiff(WORDS.astype(np.int32)), "32 bits, signed"),
    "unsigned 32 bits": (lambda: tiff(WORDS.astype(np.uint32) * 65537), "32 bits, unsigned"),
    "unsigned 64 bits": (lambda: tiff(WORDS.astype(np.uint64)), "64 bits, unsigned"),
    "packed 12 bits": (lambda: retagged(tiff(WORDS), {258: 12}), "packed values of 12 bits"),
    "complex": (lambda: tiff(RAMP.astype(np.complex64)), "complex"),
    "five samples": (lambda: tiff(np.dstack([WORDS] * 5), photometric="minisblack"), "several pages|5 samples"),
    "floats of 20 to 220": (lambda: tiff((20 + 200 * RAMP).astype(np.float32)), "from 20 to 220.*x / 255"),
    "floats of -1 to 1": (lambda: tiff((2 * RAMP - 1).astype(np.float32)), "from -1 to 1"),
    "floats of 1e-9": (lambda: tiff((5e-9 * RAMP).astype(np.float32)), "from 0 to 5e-09"),
    "PFM of 0 to 200": (
        lambda: b"Pf\n%d %d\n-1.0\n" % (W, H) + (200 * RAMP).astype("<f4").tobytes(),
        "from 0 to 200",
    ),
    "not finite": (lambda: tiff(np.where(RAMP > 0.5, np.nan, RAMP).astype(np.float32)), "not finite"),
    "transparent": (lambda: saved(np.dstack([RGB, HOLES]), "PNG"), "transparent in 50%"),
    "transparent grey": (lambda: saved(np.dstack([BYTES, HOLES]), "PNG"), "transparent in 50%"),
    "a transparent colour": (
        lambda: png(RGB, 2, 8, chunk(b"tRNS", struct.pack(">3H", *map(int, RGB[0, 0])))),
        "transparent in",
    ),
    "a transparent palette": (lambda: saved(PALETTE, "PNG", transparency=0), "transparent in"),
    "transparent colour of a PNG, 16 bits": (
        lambda: png(RGB_WORDS, 2, 16, chunk(b"tRNS", struct.pack(">3H", *map(int, RGB_WORDS[0, 0])))),
        "16 bits and a transparent colour",
    ),
    "transparent PNG, 16 bits": (
        lambda: png(np.dstack([RGB_WORDS, HOLES.astype(np.uint16) * 257]), 6, 16),
        "transparent in .* of its pixels",
    ),
    "transparent, 16 bits": (
        lambda: tiff(np.dstack([WORDS, HOLES.astype(np.uint16) * 257]), photometric="minisblack", extrasamples=[2]),
        "transparent in 50%",
    ),
    "transparent WebP": (lambda: saved(np.dstack([RGB, HOLES]), "WEBP", lossless=True), "transparent in 50%"),
    "L*a*b*": (lambda: saved(Image.new("LAB", (W, H)), "TIFF"), "'LAB'"),
    "a bad profile of CMYK": (lambda: cmyk(b"nothing"), "CMYK, and its colour profile"),
    "truncated PNG": (lambda: saved(RGB, "PNG")[:-60], "not a readable picture"),
    "truncated JPEG": (lambda: saved(np.tile(RGB, (9, 9, 1)), "JPEG")[:-900], "not a readable picture"),
    "truncated TIFF": (lambda: tiff(np.tile(WORDS, (9, 9)))[:-900], "truncated|not a readable picture"),
    "truncated BMP": (lambda: saved(RGB, "BMP")[:-60], "not a readable picture"),
    "truncated GIF": (lambda: saved(np.tile(BYTES, (9, 9)), "GIF")[:-900], "not a readable picture"),
    "truncated WebP": (lambda: saved(RGB, "WEBP")[:-30], "not a readable picture"),
    "no width": (lambda: png(RGB[:, :0], 2, 8), "not a readable picture|no pixels"),
    "a bomb of 100,000 x 100,000": (
        lambda: BEFORE[:16] + struct.pack(">II", 100_000, 100_000) + BEFORE[24:],
        "pixels|not a readable picture",
    ),
    "a TIFF of 72 million pixels in 1 kB": (
        lambda: retagged(tiff(WORDS), {256: 9000, 257: 8000}),
        "9000 x 8000 pixels, at most",
    ),
    "a TIFF that unpacks to more than it shows": (lambda: tiff_bomb(), "unpacks to more"),
}


def tiff_bomb() -> bytes:
    """A strip of 6 x 9 words whose deflated stream holds 30 MB."""
    long, content = zlib.compress(bytes(30_000_000), 9), tiff(WORDS, compression="zlib", rowsperstrip=H)
    return retagged(content, {273: len(content), 279: len(long)}) + long


def retagged(content: bytes, values: dict[int, int]) -> bytes:
    """A TIFF of one page, little-endian, with other values of some tags."""
    changed = bytearray(content)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        tags = file.pages[0].tags  # type: ignore[union-attr]
        for tag, value in values.items():
            struct.pack_into({3: "<H", 4: "<I"}[int(tags[tag].dtype)], changed, tags[tag].valueoffset, value)
    return bytes(changed)
