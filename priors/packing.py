"""`inverse-pack`: picture files, or npz archives of encoded ones or of values, as one HDF5 file to train on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from priors.later import loaded, now
from priors.terminal import explained, printable, say

if TYPE_CHECKING or now():
    import numpy as np
    import torch

    from priors.arrays import open_npz
    from priors.data import rounded
    from priors.decoding import Decoded, decode
    from priors.files import regular
    from priors.pictures import Pictures, write
    from priors.units import Units

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)


@app.command()
@explained()
@loaded
def pack(
    sources: Annotated[list[Path], typer.Argument(help="folders of picture files, or npz archives")],
    out: Annotated[Path, typer.Option(help="the HDF5 file to write")],
    split: Annotated[list[int] | None, typer.Option(help="of archives with 'split': repeat for several")] = None,
    only: Annotated[list[str] | None, typer.Option(help="pictures of these names, or a text file of such")] = None,
    leave_out: Annotated[list[str] | None, typer.Option(help="not these names; a text file of such")] = None,
    name: Annotated[str, typer.Option(help="prefix of the group in the file, such as train")] = "",
    add: Annotated[bool, typer.Option(help="add a group to the file that is there, such as test to train")] = False,
    grey: Annotated[bool, typer.Option(help="one channel: the mean of the colours; grey pictures as they are")] = False,
    units: Annotated[
        tuple[str, float, float] | None,
        typer.Option(help="NAME ZERO ONE, such as HU -1024 3071: archives hold values of this unit, for 0 and 1"),
    ] = None,
    source: Annotated[str, typer.Option(help="where the pictures come from, for the file")] = "",
) -> None:
    """Pack the colour pictures of the sources, in their order; those with transparency, and grey ones unless --grey,
    are left out. With --units, the one-channel pictures of archives of physical values, in 16 bits."""
    meaning = Units(*units) if units else None
    grey = grey or meaning is not None
    wanted, unwanted = _names(only), _names(leave_out) or set()
    kept: dict[str, torch.Tensor] = {}
    for place in sources:
        for key, encoded in entries(place, split, meaning):
            if key in unwanted or (wanted is not None and key not in wanted):
                continue
            picture = _channels(
                encoded if isinstance(encoded, np.ndarray) else decode(encoded, f"{place}: {key}"), grey
            )
            if picture is None:
                continue
            if key in kept:
                raise ValueError(
                    f"two pictures are named {key!r}, one of them in {place}: rename it, or --leave-out both"
                )
            kept[key] = picture
    if not kept:
        kind = "grey or colour" if grey else "colour"
        raise ValueError(
            f"no {kind} picture in {[str(s) for s in sources]}: check --split, --only, --leave-out, --grey"
        )
    source = source or ", ".join(s.name for s in sources)
    source += f" ({meaning.name}: 0 is {meaning.zero:g}, 1 is {meaning.one:g})" if meaning else ""
    packed = Pictures(tuple(kept.values()), tuple(map(printable, kept)), printable(source))
    write(out, packed, name or None, add)
    say(f"{len(kept)} pictures in {out}")


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
        raise ValueError(f"{place}: expected a folder of pictures or an npz archive of encoded ones")
    with open_npz(place) as archive:
        if split and "split" not in archive:
            raise ValueError(f"{place} holds {sorted(archive)[:9]} and no 'split' to choose by: leave --split out")
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
            raise ValueError(f"{place} holds {len(kept)} pictures: expected 'names' and 'split' to be as many")
        for i, key in enumerate(names):
            if parts is None or parts[i] in split:  # type: ignore[operator]
                yield str(key), kept[i]


def _cut(archive: dict[str, np.ndarray], place: Path) -> tuple[list[bytes], np.ndarray]:
    """Encoded pictures of one array of bytes, and their names."""
    if missing := {"offsets", "names"} - set(archive):
        raise ValueError(
            f"{place} holds 'jpeg' without {sorted(missing)}: expected where each picture starts, and its name"
        )
    content, ends = archive["jpeg"].tobytes(), archive["offsets"]
    rising = ends.ndim == 1 and len(ends) > 1 and ends.dtype.kind in "iu" and bool((ends[1:] > ends[:-1]).all())
    if not rising or ends[0] < 0 or ends[-1] > len(content):
        raise ValueError(
            f"{place}: expected 'offsets' (n + 1,), whole numbers that rise from 0 to {len(content)} bytes"
        )
    return [content[start:end] for start, end in pairwise(map(int, ends))], archive["names"]


def _pixels(archive: dict[str, np.ndarray], units: Units, place: Path) -> np.ndarray:
    """The values of an archive as uint16 (n, H, W)."""
    name = units.name.lower()
    if name not in archive or archive[name].ndim != 3:
        raise ValueError(f"{place} holds {sorted(archive)[:9]}: expected '{name}' (n, H, W), as --units says")
    values = archive[name]
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise ValueError(f"{place}: expected '{name}' of finite real numbers, given dtype {values.dtype}")
    return rounded(units.image(torch.from_numpy(values.astype(np.float32))), torch.uint16).numpy()


def _channels(picture: Decoded | np.ndarray, grey: bool) -> torch.Tensor | None:
    """(C, H, W) of a picture, uint8 or uint16; None for one that is left out."""
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
    """Names, of which a text file stands for those in it: the last column of numbered lists, comments skipped."""
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
            raise ValueError(f"{entry} is no text: expected the names of pictures, one a line") from None
        lines = (line.split("#")[0].split() for line in text.splitlines())
        names |= {words[1] if len(words) > 1 else words[0] for words in lines if words}
    return names


if __name__ == "__main__":
    app()
