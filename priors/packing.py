"""`inverse-pack`: picture files, or npz archives of encoded ones or of values, as one HDF5 file to train on."""

import io
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from priors.data import rounded
from priors.pictures import Pictures, write
from priors.units import Units

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)


@app.command()
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
            picture = _channels(_decoded(encoded, key), grey)
            if picture is not None:
                kept[key] = picture
    if not kept:
        kind = "grey or colour" if grey else "colour"
        raise typer.BadParameter(
            f"no {kind} picture in {[str(s) for s in sources]}: check --split, --only, --leave-out, --grey"
        )
    source = source or ", ".join(s.name for s in sources)
    source += f" ({meaning.name}: 0 is {meaning.zero:g}, 1 is {meaning.one:g})" if meaning else ""
    packed = Pictures(tuple(kept.values()), tuple(kept), source)
    write(out, packed, name or None, add)
    print(f"{len(kept)} pictures in {out}")


def entries(
    place: Path, split: list[int] | None = None, units: Units | None = None
) -> Iterator[tuple[str, bytes | np.ndarray]]:
    """(name, encoded picture) of a folder, by name, or of an npz archive, in its order; of values, (name, pixels).

    An archive has an array of bytes per picture, by its name; or all of them in ``jpeg``, cut at ``offsets`` (n + 1),
    with ``names`` (n,); or, with units, values (n, H, W) under the unit's name in small letters, with ``names`` or
    without. The last two may tell parts apart by ``split`` (n,) integers.
    Arguments: place (path); split: the parts to take; units: of the values, which become uint16 (H, W).
    Raises: FileNotFoundError; ValueError for a file of another kind.
    """
    if place.is_dir():
        for path in sorted(p for p in place.iterdir() if p.suffix.lower() in SUFFIXES):
            yield path.stem, path.read_bytes()
        return
    if not place.exists():
        raise FileNotFoundError(f"nothing at {place}: expected a folder of pictures or an npz archive")
    if place.suffix != ".npz":
        raise ValueError(f"{place}: expected a folder of pictures or an npz archive of encoded ones")
    with np.load(place) as archive:
        if units:
            kept = _pixels(archive, units, place)
            names = archive["names"] if "names" in archive else [f"{place.stem}-{i:05d}" for i in range(len(kept))]
        elif "jpeg" in archive:
            content, names = archive["jpeg"].tobytes(), archive["names"]
            kept = [content[start:end] for start, end in pairwise(archive["offsets"])]
        else:
            yield from ((key, archive[key].tobytes()) for key in archive.files)
            return
        parts = archive["split"] if split else None
        for i, key in enumerate(names):
            if parts is None or parts[i] in split:  # type: ignore[operator]
                yield str(key), kept[i]


def _pixels(archive, units: Units, place: Path) -> np.ndarray:
    """The values of an archive as uint16 (n, H, W)."""
    name = units.name.lower()
    if name not in archive or archive[name].ndim != 3:
        found = {key: archive[key].shape for key in archive.files}
        raise ValueError(f"{place} holds {found}: expected '{name}' (n, H, W), as --units says")
    values = torch.from_numpy(archive[name].astype(np.float32))
    return rounded(units.image(values), torch.uint16).numpy()


def _decoded(encoded: bytes | np.ndarray, name: str) -> np.ndarray:
    from skimage.io import imread

    if isinstance(encoded, np.ndarray):
        return encoded
    try:
        return imread(io.BytesIO(encoded))
    except Exception as error:  # whatever the reader of that format raises
        raise ValueError(f"{name} is no readable picture ({error}): leave it out or fetch it again") from None


def _channels(pixels: np.ndarray, grey: bool) -> torch.Tensor | None:
    """(C, H, W) of decoded pixels, (H, W, 3) or (H, W); None for a picture that is left out."""
    colour = pixels.ndim == 3 and pixels.shape[2] == 3
    if grey and colour:
        pixels = np.rint(pixels.mean(2)).astype(pixels.dtype)
    if grey and pixels.ndim == 2:
        return torch.from_numpy(pixels[None].copy())
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))) if colour and not grey else None


def _names(given: list[str] | None) -> set[str] | None:
    """Names, of which a text file stands for those in it: the last column of numbered lists, comments skipped."""
    if given is None:
        return None
    names = set()
    for entry in given:
        if not entry.endswith(".txt"):
            names.add(entry)
            continue
        lines = (line.split("#")[0].split() for line in Path(entry).read_text().splitlines())
        names |= {words[1] if len(words) > 1 else words[0] for words in lines if words}
    return names


if __name__ == "__main__":
    app()
