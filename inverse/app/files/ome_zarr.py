"""OME-Zarr, version 0.4 on Zarr format 2 and version 0.5 on format 3: pictures and volumes with the size of pixels."""

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inverse.app.files.volume import Volume, check_values
from priors.files import FileError, atomic_folder
from priors.zarr_folders import Zarr, ZarrArray, opened

KIND = "OME-Zarr"
WHAT = "OME-Zarr image"
REMEDY = "copy or export the folder again"
VERSIONS = {2: "0.4", 3: "0.5"}  # by the format of Zarr
ENDINGS = (".ome.zarr", ".zarr")
PYRAMID = ("type", "metadata")  # of a multiscales entry: how lower levels were made, which are not written
SIDES = (1, 1024, 1024)  # of a chunk, at most, along the last three axes


def is_image(path: Path) -> bool:
    """Whether a Zarr folder states that it is of OME.

    Raises: as `priors.zarr_folders.opened`.
    """
    with opened(path, WHAT, REMEDY) as folder:
        return "ome" in folder.attributes() or "multiscales" in folder.attributes()


def read(path: Path) -> Volume:
    """The slices of the level of full resolution, along all axes but y and x.

    Raises: FileNotFoundError; ValueError without zarr; FileError for other Zarr folders, damaged ones, paths that leave
    the folder, and images of several channels.
    """
    with opened(path, WHAT, REMEDY) as folder:
        attributes, form = folder.attributes(), folder.form()
        held = _multiscales(path, folder, attributes, form)
        axes = _axes(path, held)
        entry, array = _full(path, folder, held, len(axes))
        many = [n for axis, n in zip(axes, array.shape, strict=True) if _is_channel(axis) and n > 1]
        if many:
            raise FileError(f"{path} has {many[0]} channels: expected grey slices; save each channel as its own image")
        check_values(path, KIND, array.dtype, array.shape)
        values = folder.array(array.name)
    lead = values.shape[:-2]
    names = tuple(f"slice {','.join(map(str, i)) or '0'}" for i in np.ndindex(lead))
    white = float(np.iinfo(values.dtype).max) if values.dtype.kind == "u" and values.dtype.itemsize <= 2 else None
    ending = next((e for e in ENDINGS if path.name.lower().endswith(e)), ENDINGS[0])

    def write(folder: Path, name: str, slices: np.ndarray, spread: bool) -> Path:
        return _write(folder / f"{name}{ending}", slices.reshape(*lead, *slices.shape[1:]), spread, None)

    def deepen(folder: Path, name: str, slices: np.ndarray, spread: bool, first: float, every: float) -> Path:
        shape = [len(slices) if axis == deep[0] else 1 for axis in range(len(lead))]
        made = slices.reshape(*shape, *slices.shape[1:])
        return _write(folder / f"{name}{ending}", made, spread, (deep[0], -first / every, 1 / every))

    def _write(target: Path, made: np.ndarray, spread: bool, along: tuple[int, float, float] | None) -> Path:
        moves = [along] if along is not None else []
        for axis in (-2, -1):
            step = values.shape[axis] / made.shape[axis]
            moves.append((len(axes) + axis, (step - 1) / 2, step))
        return write_image(target, made, form, _like(attributes, held, entry, moves, spread), array)

    deep = [axis for axis in range(len(lead)) if axes[axis]["name"] == "z"]
    alone = len(deep) == 1 and all(n == 1 for axis, n in enumerate(lead) if axis != deep[0])
    return Volume(
        path, KIND, values.astype(np.float64).reshape(-1, *values.shape[-2:]), names, write,
        bounds=None if white is None else (0.0, white), window=_window(_of_ome(attributes)),
        deepen=deepen if alone else None,
    )  # fmt: skip


def write_image(target: Path, values: np.ndarray, form: int, attributes: dict[str, Any], like: ZarrArray) -> Path:
    """Write an image of one level as a Zarr folder, in one step.

    Arguments: target (path); values; form: of Zarr, 2 or 3; attributes: of the folder; like: the array that came in,
    whose name and attributes are kept.
    Returns: the path.
    """
    import zarr

    sides = [*[1] * max(0, values.ndim - 3), *SIDES[-values.ndim :]]
    how: dict[str, Any] = {"chunk_key_encoding": {"name": "v2", "separator": "/"}} if form == 2 else {}
    if form == 3:
        how = {"dimension_names": [axis["name"] for axis in attributes["ome"]["multiscales"][0]["axes"]]}
    with atomic_folder(target) as temporary:
        zarr.create_group(str(temporary), zarr_format=2 if form == 2 else 3, attributes=attributes)
        zarr.create_array(
            str(temporary), name=like.name, data=np.ascontiguousarray(values, np.float32),
            chunks=tuple(map(min, sides, values.shape)), zarr_format=2 if form == 2 else 3, attributes=like.attributes,
            **how,
        )  # fmt: skip
    return target


def _of_ome(attributes: dict[str, Any]) -> dict[str, Any]:
    """Where the metadata of OME are: of version 0.5 under "ome", before among all attributes."""
    return attributes["ome"] if isinstance(attributes.get("ome"), dict) else attributes


def _multiscales(path: Path, folder: Zarr, attributes: dict[str, Any], form: int) -> dict[str, Any]:
    """The first entry of multiscales."""
    ome = _of_ome(attributes)
    held = ome.get("multiscales")
    if held is None and folder.datasets() == [""]:
        raise FileError(f"{path} is one array of Zarr, without metadata of OME: expected the folder of the whole image")
    if held is None:
        inside = [n for n in folder.names() if "multiscales" in _of_ome(folder.attributes(n))]
        what = f"give one of the images in it, such as {path / inside[0]}" if inside else (
            "if it holds measurements y, pass --measured, or use `inverse batch`"
        )  # fmt: skip
        raise FileError(f"{path} has no metadata 'multiscales', and is no OME-Zarr image: {what}")
    if not (isinstance(held, list) and held and isinstance(held[0], dict)):
        raise FileError(f"{path}: multiscales is no list of images: {REMEDY}")
    version = ome.get("version") if form == 3 else held[0].get("version", VERSIONS[2])
    if str(version) != VERSIONS[form] or (form == 3 and ome is attributes):
        raise FileError(
            f"{path} is of version {str(version)[:20]!r} on Zarr format {form}: expected 0.4 on format 2, or 0.5 on "
            "format 3, with its metadata under 'ome'; convert it, for example by ome-zarr-py"
        )
    return held[0]


def _axes(path: Path, held: dict[str, Any]) -> list[dict[str, Any]]:
    axes = held.get("axes")
    known = isinstance(axes, list) and all(isinstance(a, dict) and isinstance(a.get("name"), str) for a in axes)
    names = [axis["name"] for axis in axes] if known and axes else []
    if names[-2:] != ["y", "x"] or len(set(names)) < len(names) or len(names) > 5:
        raise FileError(
            f"{path} has the axes {str(names or axes)[:80]}: expected two to five, each with a name of its own, the "
            "last two y and x"
        )
    return axes or []


def _is_channel(axis: dict[str, Any]) -> bool:
    return axis.get("type") == "channel" or axis["name"] == "c"


def _full(path: Path, folder: Zarr, held: dict[str, Any], ndim: int) -> tuple[dict[str, Any], ZarrArray]:
    """The level with the most pixels: its entry and its array."""
    levels = held.get("datasets")
    if not (isinstance(levels, list) and levels and all(isinstance(e, dict) for e in levels)):
        raise FileError(f"{path}: multiscales has no list of datasets: {REMEDY}")
    found: list[tuple[dict[str, Any], ZarrArray]] = []
    for entry in levels:
        name = entry.get("path")
        if not isinstance(name, str) or not name:
            raise FileError(f"{path}: a dataset of multiscales has the path {str(name)[:40]!r}: {REMEDY}")
        found.append((entry, folder.dataset(name)))
    entry, array = max(found, key=lambda pair: pair[1].size)
    if array.ndim != ndim:
        raise FileError(f"{path}: {array.name!r} has {array.ndim} axes, but multiscales names {ndim}: {REMEDY}")
    for each in (entry, held):
        _transforms(path, each, ndim)
    if not any(t["type"] == "scale" for t in _transforms(path, entry, ndim)):
        raise FileError(f"{path}: {array.name!r} has no scale, the size of its pixels: {REMEDY}")
    return entry, array


def _transforms(path: Path, held: dict[str, Any], ndim: int) -> list[dict[str, Any]]:
    """The coordinate transformations of an entry: scales and translations by numbers."""
    found = held.get("coordinateTransformations", [])
    for each in found if isinstance(found, list) else [None]:
        kind = each.get("type") if isinstance(each, dict) else None
        numbers = each.get(kind) if isinstance(each, dict) else None
        fits = isinstance(numbers, list) and len(numbers) == ndim and all(map(_is_number, numbers))
        if kind not in ("scale", "translation", "identity") or (kind != "identity" and not fits):
            raise FileError(
                f"{path} has the coordinate transformation {str(each)[:80]}: expected a scale or a translation, of "
                f"{ndim} finite numbers; {REMEDY}"
            )
        if kind == "scale" and min(numbers or [0]) <= 0:
            raise FileError(f"{path} has pixels of the size {numbers}: expected numbers > 0; {REMEDY}")
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _window(ome: dict[str, Any]) -> tuple[float, float] | None:
    """What the first channel says to show."""
    try:
        shown = ome["omero"]["channels"][0]["window"]
        low, high = shown["start"], shown["end"]
    except (KeyError, IndexError, TypeError):
        return None
    return (float(low), float(high)) if _is_number(low) and _is_number(high) and high > low else None


def _like(
    attributes: dict[str, Any], held: dict[str, Any], entry: dict[str, Any], moves: Sequence[tuple[int, float, float]],
    spread: bool,
) -> dict[str, Any]:  # fmt: skip
    """The attributes of a result: those of the image, with one level.

    Arguments: moves: (axis, origin, step): number k of the result lies at origin + k step of the image.
    """
    made, level = copy.deepcopy(attributes), copy.deepcopy(entry)
    transforms = [t for t in level["coordinateTransformations"] if t["type"] != "identity"]
    scale = next(t["scale"] for t in transforms if t["type"] == "scale")
    for axis, origin, step in moves:
        if (origin, step) == (0.0, 1.0):
            continue
        if not any(t["type"] == "translation" for t in transforms):
            transforms.append({"type": "translation", "translation": [0.0] * len(scale)})
        shift = next(t["translation"] for t in transforms if t["type"] == "translation")
        shift[axis] += origin * scale[axis]
        scale[axis] *= step
    level["coordinateTransformations"] = transforms
    kept = {key: value for key, value in copy.deepcopy(held).items() if key not in PYRAMID}
    ome = _of_ome(made)
    ome["multiscales"] = [kept | {"datasets": [level]}]
    if spread:
        ome.pop("omero", None)  # its window is of the values
    return made
