"""The one reader of picture files: what a pixel's number means is known, or the file is refused with a remedy.

=================================  =====================================================================================
in the file                        in image units, where black is 0 and white is 1
=================================  =====================================================================================
1, 2, 4, 8 and 16 bits, unsigned   the number over the largest of so many bits; colours of 16 bits of PNG and TIFF
floating point                     as it is, in [0, 1]; another range is refused
signed, 32 and 64 bits             refused: the file does not tell which number is white
orientation (EXIF)                 the picture is turned as viewers show it
palette                            the colours that it stands for; grey, where all of them are
CMYK                               sRGB, by the file's profile or else as (1 - c) (1 - k)
colour profile of other pictures   not applied: numbers are taken as they are stored
transparency                       `Decoded.alpha`; `Decoded.opaque` refuses what is seen through
several pages or frames            refused
=================================  =====================================================================================
"""

import io
import warnings
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from priors.decoded import Decoded
from priors.files import regular
from priors.png import is_deep, read_deep

FORMATS = ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "PPM", "JPEG2000", "AVIF")
KNOWN = "a PNG, JPEG, TIFF, GIF, BMP, WebP, PPM, JPEG 2000 or AVIF file"
PNG, TIFF = b"\x89PNG", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the first bytes of such files
ORIENTATION, PROFILE = 274, 34675  # tags of EXIF and TIFF
MOST_PIXELS = 2**26


class _Refused(ValueError):
    """A message of ours, which needs no other around it."""


def decode(source: Path | bytes, name: str | None = None) -> Decoded:
    """One picture from a file or from its bytes, by the rules of this module.

    Arguments: source: path of a file, or its content; name: for messages, default the path.
    Returns: `Decoded`. Neither its transparency nor the range of floating-point numbers was looked at: see
    `Decoded.opaque` and `Decoded.ranged`.
    Raises: FileNotFoundError; ValueError for files that are not readable pictures or have several, more than 2^26
    pixels, and numbers whose meaning is not known.
    """
    if isinstance(source, bytes):
        name = name or "the picture"
    else:
        name = name or str(source)
        source = regular(source, "image").read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata; relevant problems are errors
            found = _tiff(source, name) if source.startswith(TIFF) else None
            found = found or _pillow(source, name)
    except _Refused as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # decoders raise many types
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{name} is not a readable picture ({reason:.200}): expected {KNOWN}") from None
    if not found.values.size:
        raise ValueError(f"{name} has no pixels: expected a picture")
    if found.values.dtype.kind == "f" and not np.isfinite(found.values).all():
        raise ValueError(f"{name} has values that are not finite: replace them before saving")
    alpha = found.alpha if found.alpha is not None and (found.alpha < 1).any() else None
    return replace(found, alpha=alpha)


def _check_size(name: str, height: int, width: int) -> None:
    if height * width > MOST_PIXELS:
        raise _Refused(f"{name} has {width} x {height} pixels, at most {MOST_PIXELS} are supported: crop or reduce it")


def _several(name: str, what: str) -> _Refused:
    return _Refused(f"{name} has several {what}: expected one picture; save the one you need to a separate file")


def _pillow(content: bytes, name: str, frames: bool = True) -> Decoded:
    """Everything that Pillow decodes without loss; frames: whether more than one is refused."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        image: Any = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise _Refused(f"{name} is not a readable picture (unknown format): expected {KNOWN}") from None
    except Image.DecompressionBombError:
        raise _Refused(f"{name} has more than {MOST_PIXELS} pixels: crop or reduce it") from None
    width, height = image.size
    _check_size(name, height, width)
    if frames and image.format != "MPO" and _has_second(image):  # MPO: a JPEG with previews after the picture
        raise _several(name, "frames")
    image.seek(0)
    place = image.getexif().get(ORIENTATION, 1)  # before loading: Pillow rotates TIFFs on loading
    image.load()
    place = max(place, image.getexif().get(ORIENTATION, 1))
    image = ImageOps.exif_transpose(image)
    notes = ["rotated by its EXIF orientation"] if place in _TURNS else []
    if image.mode == "CMYK":
        image, how = _from_cmyk(image, name)
        notes.append(how)
    elif profile := _profile(image):
        notes.append(f"its colour profile {profile!r} is not applied")
    if is_deep(content):
        values, alpha = _deep(content, image, name, place)
    else:
        values, alpha = _values(image, name, content.startswith((PNG, b"P2", b"P5")))
    white = 1.0 if values.dtype.kind in "bf" else float(np.iinfo(values.dtype).max)
    return Decoded(name, values, white, alpha, tuple(notes))


def _has_second(image: Any) -> bool:
    if not getattr(image, "is_animated", False):
        return False
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def _values(image: Any, name: str, sixteen: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels and alpha of an image; sixteen: whether mode I means 16 bits."""
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and sixteen):
        if "transparency" in image.info:
            raise _Refused(f"{name} has 16 bits and a transparent grey level: save it without transparency")
        return np.asarray(image).astype(np.uint16), None
    if mode in ("1", "F"):
        return np.asarray(image), None
    if mode in ("P", "PA", "RGBA", "LA", "RGB", "L"):
        if image.has_transparency_data:
            grey = mode in ("LA", "L")
            both = np.asarray(image.convert("LA" if grey else "RGBA"))
            return (both[..., 0] if grey else both[..., :3]), both[..., -1] / 255
        pixels = np.asarray(image.convert("RGB") if mode.startswith("P") else image)
        grey = mode == "P" and bool((pixels == pixels[..., :1]).all())  # GIF stores grey pictures with a palette
        return (pixels[..., 0] if grey else pixels), None
    raise _Refused(f"{name} has pixels of mode {mode!r}: expected grey or RGB; convert it, and save 8 or 16 bits")


def _deep(content: bytes, image: Any, name: str, place: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels and alpha of a PNG of 16 bits in several channels; place: its EXIF orientation."""
    if "transparency" in image.info:
        raise _Refused(f"{name} has 16 bits and a transparent colour: save it without transparency")
    pixels = read_deep(content)
    pixels = np.ascontiguousarray(_TURNS[place](pixels)) if place in _TURNS else pixels
    if pixels.shape[2] == 3:
        return pixels, None
    return (pixels[..., :3] if pixels.shape[2] == 4 else pixels[..., 0]), pixels[..., -1] / 65535


def _from_cmyk(image: Any, name: str) -> tuple[Any, str]:
    from PIL import ImageCms

    if not (profile := image.info.get("icc_profile")):
        return image.convert("RGB"), "CMYK without a profile, converted to RGB by (1 - c) (1 - k)"
    try:
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, io.BytesIO(profile), target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
        raise _Refused(
            f"{name} is CMYK, and its colour profile cannot be used ({error}): convert it to RGB first"
        ) from None
    return converted, "CMYK, converted to sRGB by the file's profile"


def _profile(image: Any) -> str:
    """The name of a colour profile that is not sRGB; empty where there is none."""
    from PIL import ImageCms

    if not (content := image.info.get("icc_profile")):
        return ""
    try:
        found = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(content))).strip()
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return "(unreadable)"
    return "" if "srgb" in found.lower() else found


def _tiff(content: bytes, name: str) -> Decoded | None:
    """A TIFF of more than 8 bits, or of another compression than Pillow's; None for one that is Pillow's."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(content)) as file:
        first: list[Any] = [file.pages[i] for i in range(min(len(file.pages), 8))]
        pages = [page for page in first if not page.is_reduced]
        if not pages:
            raise _Refused(f"{name} has no picture in full size: save it again")
        page: Any = pages[0]
        if len(pages) > 1 or len(file.pages) > 8 or page.axes not in ("YX", "YXS", "SYX"):
            raise _several(name, "pages")
        if len(file.series) > 0 and np.prod(file.series[0].shape, dtype=float) > np.prod(page.shape, dtype=float):
            raise _several(name, "pages")
        _check_size(name, page.imagelength, page.imagewidth)
        bits, kind = page.bitspersample, np.dtype(page.dtype).kind if page.dtype is not None else "?"
        if kind not in "bufc" or kind == "c" or (kind == "u" and bits > 16):
            raise _Refused(
                f"{name} has pixels of {bits} bits, {_KINDS.get(kind, 'of an unknown kind')}, and no defined "
                "white: save (x - black) / (white - black) in floating point, or unsigned integers of 8 or "
                "16 bits"
            )
        if kind in "bu" and bits <= 8:
            return replace(_pillow(content, name, frames=False), white_is_zero=page.photometric == 0)
        grey, rgb = page.photometric in (0, 1), page.photometric == 2
        if not grey and not rgb:
            raise _Refused(f"{name} has {bits} bits and the colour space {page.photometric!r}: save it as grey or RGB")
        if bits != 8 * np.dtype(page.dtype).itemsize:
            raise _Refused(f"{name} has packed values of {bits} bits: save it with 8 or 16 bits")
        if page.compression not in (1, 8, 32773, 32946):
            if grey and page.photometric == 1 and page.samplesperpixel == 1 and (kind, bits) in (("u", 16), ("f", 32)):
                return _pillow(content, name, frames=False)
            raise _Refused(f"{name} has the compression {page.compression!r}: save it uncompressed, or with deflate")
        _check_segments(page, content, name)
        values = page.asarray()
        values = np.moveaxis(values, 0, -1) if page.axes == "SYX" else values
        return _of_tiff(page, values, name)


_KINDS = {"i": "signed", "u": "unsigned", "c": "complex"}


def _of_tiff(page: Any, values: np.ndarray, name: str) -> Decoded:
    colours = 3 if page.photometric == 2 else 1
    samples = values.shape[2] if values.ndim == 3 else 1
    if samples not in (colours, colours + 1):
        raise _Refused(f"{name} has {samples} samples per pixel: expected grey, RGB, or one of these with transparency")
    white = 1.0 if values.dtype.kind == "f" else float(2**page.bitspersample - 1)
    values = values if values.ndim == 3 else values[..., None]
    alpha = values[..., colours] / white if samples > colours else None
    values = values[..., 0] if colours == 1 else values[..., :3]
    values = (white - values).astype(values.dtype) if page.photometric == 0 else values
    tag = page.tags.get(ORIENTATION)
    place, notes = (1 if tag is None else int(tag.value)), []
    if place in _TURNS:
        values = np.ascontiguousarray(_TURNS[place](values))
        alpha = None if alpha is None else np.ascontiguousarray(_TURNS[place](alpha))
        notes.append("rotated by its EXIF orientation")
    if PROFILE in page.tags:
        notes.append("its colour profile is not applied")
    native = values.dtype.newbyteorder("=")
    values = np.asarray(values, native)
    return Decoded(name, values, white, alpha, tuple(notes), page.photometric == 0)


_TURNS = {  # EXIF orientation: the operation that makes the picture upright
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


def _check_segments(page: Any, content: bytes, name: str) -> None:
    """Refuse segments that lie outside the file, where tifffile reads zeros, or unpack to more than their pixels."""
    itemsize = np.dtype(page.dtype).itemsize
    inside = page.chunks if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    share = 1 if page.planarconfig == 2 else page.samplesperpixel
    most = min(int(np.prod(inside, dtype=float)), MOST_PIXELS) * share * itemsize
    for start, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if start + count > len(content):
            raise _Refused(f"{name} is truncated: it ends at byte {len(content)} of {start + count}")
        if page.compression in (8, 32946):
            unpacked = zlib.decompressobj().decompress(content[start : start + count], most + 1)
            if len(unpacked) > most:
                raise _Refused(f"{name} unpacks to more than its {page.imagewidth} x {page.imagelength} pixels")
    if page.compression == 1 and sum(page.databytecounts) < int(np.prod(page.shape, dtype=float)) * itemsize:
        raise _Refused(f"{name} is truncated: its pixels need more bytes than it has")
