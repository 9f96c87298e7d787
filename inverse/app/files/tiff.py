"""TIFF stacks, of ImageJ and as OME-TIFF, with the size of their pixels."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from inverse.app.files.volume import Volume, check_values, readable
from priors.files import FileError, atomic

SUFFIXES = (".tif", ".tiff")
KIND = "TIFF"
COLOURS = "SC"  # axes of samples and channels
SIZES = tuple(f"PhysicalSize{axis}{unit}" for axis in "XYZ" for unit in ("", "Unit"))
OF_IMAGEJ = ("ImageJ", "images", "slices", "frames", "channels", "hyperstack", "min", "max")  # written by the library
RESOLUTIONS = ("XResolution", "YResolution", "ResolutionUnit")


def is_stack(path: Path) -> bool:
    """Whether a TIFF has several pages, or metadata of OME or ImageJ; False for what is no TIFF."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            pages = [page for page in file.pages[:3] if not getattr(page, "is_reduced", False)]
            return len(pages) > 1 or file.is_ome or file.is_imagej
    except Exception:  # the reader of pictures tells what is wrong with it
        return False


def read(path: Path) -> Volume:
    """The slices of the first series of pages, along all axes but Y and X.

    Raises: FileError for files that are not TIFF, or of several channels or colours.
    """
    import tifffile

    with readable(path, KIND), _complaints() as wrong, tifffile.TiffFile(path) as file:
        series: Any = file.series[0]
        axes, shape = series.axes, series.shape
        check_values(path, KIND, np.dtype(series.dtype), shape)
        many = [f"{n} along {axis}" for axis, n in zip(axes, shape, strict=True) if axis in COLOURS and n > 1]
        if many or axes[-2:] != "YX":
            raise FileError(
                f"{path} has axes {axes} of {shape}: expected grey slices, which end in YX; save each channel as its "
                "own file"
            )
        values = series.asarray()
        pages: list[Any] = [page for page in series.pages if page is not None]
        ends = [a + n for page in pages for a, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if wrong or not ends or max(ends) > file.filehandle.size:
            raise ValueError(wrong[0] if wrong else "its pixels are missing")
        facts = _facts(file, series.keyframe)
    lead = values.shape[:-2]
    names = tuple(f"slice {','.join(map(str, i)) or '0'}" for i in np.ndindex(lead))
    white = float(np.iinfo(values.dtype).max) if values.dtype.kind == "u" and values.dtype.itemsize <= 2 else None

    def write(folder: Path, name: str, slices: np.ndarray, spread: bool) -> Path:
        array = np.ascontiguousarray(slices, np.float32).reshape(*lead, *slices.shape[1:])
        down, across = (before / after for before, after in zip(values.shape[-2:], slices.shape[1:], strict=True))
        ending = next((e for e in (".ome.tiff", ".ome.tif") if path.name.lower().endswith(e)), path.suffix)
        target = folder / f"{name}{ending}"
        with atomic(target) as temporary:
            tifffile.imwrite(temporary, array, photometric="minisblack", **_written(facts, axes, across, down))
        return target

    return Volume(
        path, KIND, values.astype(np.float64).reshape(-1, *values.shape[-2:]), names, write,
        bounds=None if white is None else (0.0, white),
    )  # fmt: skip


@contextmanager
def _complaints() -> Generator[list[str]]:
    """The errors that tifffile logs, in place of raising them, for truncated files."""

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    found: list[str] = []
    handler, logger = Kept(logging.ERROR), logging.getLogger("tifffile")
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


def _facts(file: Any, page: Any) -> dict[str, Any]:
    """What is kept: the metadata of OME or ImageJ, or the description, and the resolution."""
    import tifffile

    tags = {tag: page.tags[tag].value for tag in RESOLUTIONS if tag in page.tags}
    if file.is_ome:
        images = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
        image = images[0] if isinstance(images, list) else images
        known = {key: image["Pixels"][key] for key in SIZES if key in image["Pixels"]}
        known |= {key: str(image[key]) for key in ("Name", "AcquisitionDate", "Description") if key in image}
        return {"kind": "ome", "tags": tags, "metadata": known}
    if file.is_imagej:
        return {"kind": "imagej", "tags": tags, "metadata": dict(file.imagej_metadata or {})}
    return {"kind": "plain", "tags": tags, "metadata": {"description": page.description}}


def _written(facts: dict[str, Any], axes: str, across: float, down: float) -> dict[str, Any]:
    """The arguments of imwrite for pixels that are ``across`` and ``down`` times as large."""
    tags, known = facts["tags"], dict(facts["metadata"])
    found: dict[str, Any] = {}
    if "XResolution" in tags and "YResolution" in tags:
        x, y = ((a / b if b else 0.0) for a, b in (tags["XResolution"], tags["YResolution"]))
        found = {"resolution": (x / across, y / down), "resolutionunit": int(tags.get("ResolutionUnit", 1))}
    if facts["kind"] == "ome":
        for key, factor in (("PhysicalSizeX", across), ("PhysicalSizeY", down)):
            known |= {key: float(known[key]) * factor} if key in known else {}
        return found | {"ome": True, "metadata": {"axes": axes} | known}
    if facts["kind"] == "imagej":
        kept = {key: value for key, value in known.items() if key not in OF_IMAGEJ}
        return found | {"imagej": True, "metadata": {"axes": axes.replace("I", "Z").replace("Q", "Z")} | kept}
    return found | {"metadata": None, "description": known["description"] or None}
