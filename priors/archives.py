"""Folders of picture files and npz archives of encoded ones or of values, read and packed into one HDF5 file."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from priors.arrays import open_npz
from priors.data import floats, rounded
from priors.decoding import Decoded, decode
from priors.files import hdf5_path, regular
from priors.pictures import Pictures, write
from priors.terminal import printable, say
from priors.units import Units

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def pack(
    sources: list[Path], out: Path, split: list[int] | None, only: list[str] | None, leave_out: list[str] | None,
    name: str, add: bool, grey: bool, meaning: Units | None, source: str,
) -> None:  # fmt: skip
    """`inverse-pack`.

    Raises: ValueError for two pictures of one name and for none at all; as `entries` and `priors.pictures.write` raise.
    """
    out = hdf5_path(out, "set of pictures")
    grey = grey or meaning is not None
    wanted, unwanted = _names(only), _names(leave_out) or set()
    kept: dict[str, torch.Tensor] = {}
    left: list[str] = []
    for place in sources:
        for key, encoded in entries(place, split, meaning):
            if key in unwanted or (wanted is not None and key not in wanted):
                continue
            picture = _channels(
                encoded if isinstance(encoded, np.ndarray) else decode(encoded, f"{place}: {key}"), grey
            )
            if picture is None:
                left.append(key)
                continue
            if key in kept:
                raise ValueError(
                    f"two pictures have the name {key!r}, one of them in {place}: rename it, or --leave-out both"
                )
            kept[key] = picture
    if not kept:
        kind = "grey or colour" if grey else "colour"
        raise ValueError(
            f"no {kind} picture in {[str(s) for s in sources]}"
            + (f", {len(left)} of other kinds: for grey pictures pass --grey" if left and not grey else "")
            + "; check --split, --only and --leave-out"
        )
    source = source or ", ".join(s.name for s in sources)
    source += f" ({meaning.name}: 0 is {meaning.zero:g}, 1 is {meaning.one:g})" if meaning else ""
    packed = Pictures(tuple(kept.values()), tuple(map(printable, kept)), printable(source))
    write(out, packed, name or None, add)
    say(f"{len(kept)} pictures in {out}: {described(packed)}")
    if left:
        names = ", ".join(left[:3]) + (", ..." if len(left) > 3 else "")
        say(
            f"{len(left)} skipped, {names}: transparent" + ("" if grey else ", or grey: --grey accepts these"), "yellow"
        )


def described(packed: Pictures) -> str:
    """The statistics of pictures that a training recipe needs, with the names of its entries."""
    sizes = sorted(tuple(p.shape[1:]) for p in packed.pictures)
    n, total, squares = 0, 0.0, 0.0
    for picture in packed.pictures:
        values = floats(picture).double()
        n, total, squares = n + values.numel(), total + float(values.sum()), squares + float(values.square().sum())
    mean = total / n
    spread = max(squares / n - mean**2, 0.0) ** 0.5
    smallest, least = " x ".join(map(str, sizes[0])), min(min(size) for size in sizes)
    extent = smallest if sizes[0] == sizes[-1] else f"{smallest} to {' x '.join(map(str, sizes[-1]))}"
    return (
        f"{extent} pixels. In a recipe: [range] shift = {mean:.3g}, scale = {spread:.3g}; [network] image_channels = "
        f"{packed.channels}; [crops] size of at most {least}"
    )


def entries(
    place: Path, split: list[int] | None = None, units: Units | None = None
) -> Iterator[tuple[str, bytes | np.ndarray]]:
    """(name, encoded picture) of a folder, by name, or of an npz archive, in its order; of values, (name, pixels).

    An archive has an array of bytes per picture, by its name; or all of them in ``jpeg``, cut at ``offsets`` (n + 1),
    with ``names`` (n,); or, with units, values (n, H, W) under the unit's name in small letters, with ``names`` or
    without. The last two may tell parts apart by ``split`` (n,) integers.
    Arguments: place (path); split: the parts to take; units: of the values, which become uint16 (H, W).
    Raises: FileNotFoundError; ValueError for a file of another kind, and for an archive whose arrays do not fit
    together.
    """
    if place.is_dir():
        for path in sorted(p for p in place.iterdir() if p.suffix.lower() in SUFFIXES):
            yield path.stem, regular(path, "picture").read_bytes()
        return
    if not place.exists():
        raise FileNotFoundError(f"nothing at {place}: expected a folder of pictures or an npz archive")
    if place.suffix != ".npz":
        raise ValueError(f"{place}: expected a folder of pictures or an npz archive")
    with open_npz(place) as archive:
        if split and "split" not in archive:
            raise ValueError(f"{place} has {sorted(archive)[:9]} but no 'split': omit --split")
        if units:
            kept = _pixels(archive, units, place)
            names = archive["names"] if "names" in archive else [f"{place.stem}-{i:05d}" for i in range(len(kept))]
        elif "jpeg" in archive:
            kept, names = _cut(archive, place)
        else:
            yield from ((key, archive[key].tobytes()) for key in archive if key != "split")
            return
        parts = archive["split"] if split else None
        if len(names) != len(kept) or (parts is not None and parts.shape != (len(kept),)):
            raise ValueError(f"{place} has {len(kept)} pictures: expected 'names' and 'split' of the same length")
        for i, key in enumerate(names):
            if parts is None or parts[i] in split:
                yield str(key), kept[i]


def _cut(archive: dict[str, np.ndarray], place: Path) -> tuple[list[bytes], np.ndarray]:
    """Encoded pictures of one array of bytes, and their names."""
    if missing := {"offsets", "names"} - set(archive):
        raise ValueError(
            f"{place} has 'jpeg' without {sorted(missing)}: expected the offset and the name of each picture"
        )
    content, ends = archive["jpeg"].tobytes(), archive["offsets"]
    rising = ends.ndim == 1 and len(ends) > 1 and ends.dtype.kind in "iu" and bool((ends[1:] > ends[:-1]).all())
    if not rising or ends[0] < 0 or ends[-1] > len(content):
        raise ValueError(f"{place}: expected 'offsets' (n + 1,), increasing integers from 0 to {len(content)} bytes")
    return [content[start:end] for start, end in pairwise(map(int, ends))], archive["names"]


def _pixels(archive: dict[str, np.ndarray], units: Units, place: Path) -> np.ndarray:
    """The values of an archive as uint16 (n, H, W)."""
    name = units.name.lower()
    if name not in archive or archive[name].ndim != 3:
        raise ValueError(f"{place} has {sorted(archive)[:9]}: expected '{name}' (n, H, W), because of --units")
    values = archive[name]
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise ValueError(f"{place}: expected '{name}' of finite real values, given dtype {values.dtype}")
    return rounded(units.image(torch.from_numpy(values.astype(np.float32))), torch.uint16).numpy()


def _channels(picture: Decoded | np.ndarray, grey: bool) -> torch.Tensor | None:
    """(C, H, W) of a picture, uint8 or uint16; None for a skipped one."""
    if isinstance(picture, np.ndarray):
        return torch.from_numpy(picture[None].copy())
    colour = picture.values.ndim == 3
    if picture.alpha is not None or not (grey or colour):
        return None
    pixels = np.atleast_3d(picture.ranged().floats)
    pixels = pixels.mean(2, keepdims=True) if grey else pixels
    dtype = torch.uint8 if picture.values.dtype.kind in "bu" and picture.white <= 255 else torch.uint16
    return rounded(torch.from_numpy(pixels.transpose(2, 0, 1).copy()), dtype)


def _names(given: list[str] | None) -> set[str] | None:
    """Names; a text file is replaced by the names in it: the last column of numbered lists, comments skipped."""
    if given is None:
        return None
    names = set()
    for entry in given:
        if not entry.endswith(".txt"):
            names.add(entry)
            continue
        try:
            text = regular(entry, "list of names").read_text()
        except UnicodeDecodeError:
            raise ValueError(f"{entry} is not a text file: expected names of pictures, one per line") from None
        lines = (line.split("#")[0].split() for line in text.splitlines())
        names |= {words[1] if len(words) > 1 else words[0] for words in lines if words}
    return names
