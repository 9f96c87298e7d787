"""DICOM: a file, or a folder with the files of one series, with spacing, position and rescaling."""

import copy
from pathlib import Path
from typing import Any

import numpy as np

from inverse.app.files.volume import Volume, check_values, need, readable
from priors.files import FileError, atomic

SUFFIXES = (".dcm", ".dicom", ".ima")
KIND = "DICOM"
OF_VALUES = (
    "SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "LossyImageCompression",
)  # fmt: skip
OF_WINDOW = ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction")


def is_series(folder: Path) -> bool:
    """Whether a folder has DICOM files: by their ending, or by the mark at byte 128."""
    return any(_is_dicom(path) for path in sorted(folder.iterdir())[:50])


def _is_dicom(path: Path) -> bool:
    if not path.is_file() or path.name.startswith("."):
        return False
    if path.suffix.lower() in SUFFIXES:
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read(path: Path) -> Volume:
    """The slices of a series in order of their position, or the frames of a single file; in units after rescaling.

    Raises: ValueError without pydicom; FileError for files that are not DICOM, of colours, of several series or sizes.
    """
    need("pydicom", path, KIND)
    import pydicom
    from pydicom import uid as uids

    places = sorted(p for p in path.iterdir() if _is_dicom(p)) if path.is_dir() else [path]
    sets: list[tuple[Path, Any]] = []
    for place in places:
        with readable(place, KIND):
            found = pydicom.dcmread(place)
            if "PixelData" not in found:
                raise ValueError("it has no pixels")
            sets.append((place, found))
    _check_series(path, [found for _, found in sets])
    sets.sort(key=lambda pair: _place(pair[1]))
    parts, frames = [], []
    for place, found in sets:
        with readable(place, KIND):
            pixels = np.asarray(found.pixel_array)
        check_values(place, KIND, pixels.dtype, pixels.shape)
        pixels = pixels.reshape(-1, *pixels.shape[-2:])
        slope, intercept = _rescale(found)
        parts.append(pixels * slope + intercept)
        frames.append(len(pixels))
    names = tuple(
        f"{p.name}{f', frame {i}' if n > 1 else ''}" for (p, _), n in zip(sets, frames, strict=True) for i in range(n)
    )

    def write(folder: Path, name: str, slices: np.ndarray, spread: bool) -> Path:
        target = folder / (name if path.is_dir() else f"{name}.dcm")
        uid = uids.generate_uid(entropy_srcs=[str(sets[0][1].get("SeriesInstanceUID", path)), name])
        ends = np.cumsum(frames)
        for (place, found), start, end in zip(sets, [0, *ends[:-1]], ends, strict=True):
            made = _like(found, slices[start:end], name, spread, float(slices.max()))
            made.SeriesInstanceUID = uid
            made.SOPInstanceUID = uids.generate_uid(entropy_srcs=[str(found.get("SOPInstanceUID", place)), name])
            made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
            if made.file_meta.TransferSyntaxUID.is_compressed:
                made.file_meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
            with atomic(target / place.name if path.is_dir() else target) as temporary:
                pydicom.dcmwrite(temporary, made, enforce_file_format=True)
        return target

    first = sets[0][1]
    units = str(first.get("RescaleType", ""))
    return Volume(path, KIND, np.concatenate(parts), names, write, units, window=_window(first))


def _check_series(path: Path, sets: list[Any]) -> None:
    if not sets:
        raise FileError(f"{path} has no DICOM files: expected the files of one series")
    series = {str(found.get("SeriesInstanceUID", "")) for found in sets}
    if len(series) > 1:
        raise FileError(f"{path} has the files of {len(series)} series: expected one; move each into its own folder")
    sizes = {(int(found.Rows), int(found.Columns)) for found in sets}
    if len(sizes) > 1:
        raise FileError(f"{path} has slices of {sorted(sizes)} pixels: expected one size; remove localisers")
    if int(sets[0].get("SamplesPerPixel", 1)) != 1:
        raise FileError(f"{path} has colours ({sets[0].PhotometricInterpretation}): expected grey levels; export them")
    if any("SharedFunctionalGroupsSequence" in found for found in sets):
        raise FileError(f"{path} is an enhanced multi-frame file: export it as one file per slice")


def _place(found: Any) -> tuple[float, float]:
    """The position along the normal of the slices, else the number of the instance."""
    position, axes = found.get("ImagePositionPatient"), found.get("ImageOrientationPatient")
    number = float(found.get("InstanceNumber") or 0)
    if position is None or axes is None:
        return number, 0.0
    normal = np.cross(np.array(axes[:3], float), np.array(axes[3:], float))
    return float(normal @ np.array(position, float)), number


def _rescale(found: Any) -> tuple[float, float]:
    return float(found.get("RescaleSlope") or 1), float(found.get("RescaleIntercept") or 0)


def _window(found: Any) -> tuple[float, float] | None:
    centre, width = found.get("WindowCenter"), found.get("WindowWidth")
    if centre is None or width is None:
        return None
    several = hasattr(centre, "__len__") and not isinstance(centre, str)  # the first of several windows
    centre, width = (float(v[0]) for v in (centre, width)) if several else (float(centre), float(width))
    return centre - width / 2, centre + width / 2


def _like(found: Any, slices: np.ndarray, name: str, spread: bool, largest: float) -> Any:
    """A copy of a data set with other pixels. Values keep its rescaling, and are rounded and clipped to its integers;
    standard deviations, which may be smaller than one of these, get their own."""
    made = copy.deepcopy(found)
    bits, signed = int(found.BitsStored), int(found.PixelRepresentation) == 1
    slope, intercept = _rescale(found)
    if spread:
        signed, slope, intercept = False, float(f"{max(largest, 1e-12) / (2**bits - 1):.8g}"), 0.0
        made.PixelRepresentation, made.RescaleSlope, made.RescaleIntercept = 0, f"{slope:.8g}", "0"
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    stored = np.rint((slices - intercept) / slope).clip(low, high)
    made.PixelData = stored.astype(f"{'<i' if signed else '<u'}{int(found.BitsAllocated) // 8}").tobytes()
    made["PixelData"].VR = "OW" if int(found.BitsAllocated) > 8 else "OB"
    for keyword in (*OF_VALUES, *(OF_WINDOW if spread else ())):
        if keyword in made:
            del made[keyword]
    height, width = slices.shape[1:]
    if (height, width) != (int(found.Rows), int(found.Columns)):
        _zoom(made, int(found.Rows) / height, int(found.Columns) / width)
        made.Rows, made.Columns = height, width
    made.ImageType = ["DERIVED", "SECONDARY", *list(found.get("ImageType", []))[2:]]
    made.SeriesDescription = f"{found.get('SeriesDescription', '')} {name}".strip()[:64]
    made.DerivationDescription = f"{name} of posterior samples by score-inverse"
    return made


def _zoom(made: Any, down: float, across: float) -> None:
    """Spacing and position for pixels that are so many times as large, over the same field of view."""
    spacing = made.get("PixelSpacing")
    if spacing is None:
        return
    rows, columns = (float(v) for v in spacing)
    made.PixelSpacing = [f"{rows * down:.10g}", f"{columns * across:.10g}"]
    position, axes = made.get("ImagePositionPatient"), made.get("ImageOrientationPatient")
    if position is not None and axes is not None:
        moved = np.array(position, float) + columns * (across - 1) / 2 * np.array(axes[:3], float)
        moved = moved + rows * (down - 1) / 2 * np.array(axes[3:], float)
        made.ImagePositionPatient = [f"{v:.10g}" for v in moved]
