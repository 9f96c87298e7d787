"""NIfTI: volumes of medical imaging, with spacing, orientation and units."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from inverse.app.files.volume import Volume, check_values, need, readable
from priors.files import atomic

SUFFIXES = (".nii", ".nii.gz")
KIND = "NIfTI"


def read(path: Path) -> Volume:
    """Slices along the third axis (and of every volume of a fourth): rows are its second axis, columns the first.

    Raises: ValueError without nibabel; FileError for files that are not NIfTI, or of colours or complex values.
    """
    need("nibabel", path, KIND)
    import nibabel

    with readable(path, KIND):
        image: Any = nibabel.load(path)
        if not isinstance(image, nibabel.Nifti1Image):  # Nifti2Image derives from it
            raise ValueError(f"it is {type(image).__name__}")
        shape = tuple(image.shape)
        check_values(path, KIND, np.dtype(image.get_data_dtype()), shape)
        if len(shape) < 2:
            raise ValueError(f"shape {shape}: expected two to four axes")
        values = np.asarray(image.get_fdata(dtype=np.float64)).reshape(*shape[:2], -1)
    rest = shape[2:]
    names = tuple(f"slice {','.join(map(str, index)) or '0'}" for index in np.ndindex(rest))
    low, high = float(image.header["cal_min"]), float(image.header["cal_max"])

    def write(folder: Path, name: str, slices: np.ndarray, spread: bool) -> Path:
        height, width = slices.shape[1:]
        array = np.ascontiguousarray(slices.transpose(2, 1, 0), np.float32).reshape(width, height, *rest)
        fx, fy = shape[0] / width, shape[1] / height
        step = np.diag([fx, fy, 1, 1])
        step[:2, 3] = (fx - 1) / 2, (fy - 1) / 2  # centres of pixels over the same field of view
        header, affine = image.header.copy(), image.affine @ step
        header.set_data_dtype(np.float32)
        if spread:
            header["cal_min"] = header["cal_max"] = 0
        made: Any = type(image)(array, affine, header)
        made.set_qform(affine, int(image.header["qform_code"]))
        made.set_sform(affine, int(image.header["sform_code"]))
        packed = path.name.lower().endswith(".gz")
        target = folder / f"{name}{'.nii.gz' if packed else '.nii'}"
        with atomic(target) as temporary:
            content = made.to_bytes()
            temporary.write_bytes(gzip.compress(content, mtime=0) if packed else content)
        return target

    return Volume(path, KIND, values.transpose(2, 1, 0), names, write, window=(low, high) if high > low else None)
