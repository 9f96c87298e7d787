"""Raw data of MRI scanners in the format ISMRMRD: k-space on a grid, its noise whitened by a noise scan."""

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from inverse.app.fastmri import Scan
from inverse.app.kspace.artefacts import check_artefacts
from inverse.app.kspace.checks import check_centre, check_columns, check_picture
from inverse.app.kspace.copies import check_copies
from inverse.app.kspace.trust import trusted
from priors.files import FileError, reading, regular

OTHERS = (  # flags of readouts that are no samples of the picture
    "ACQ_IS_PARALLEL_CALIBRATION", "ACQ_IS_NAVIGATION_DATA", "ACQ_IS_PHASECORR_DATA", "ACQ_IS_HPFEEDBACK_DATA",
    "ACQ_IS_DUMMYSCAN_DATA", "ACQ_IS_RTFEEDBACK_DATA", "ACQ_IS_SURFACECOILCORRECTIONSCAN_DATA",
    "ACQ_IS_PHASE_STABILIZATION_REFERENCE", "ACQ_IS_PHASE_STABILIZATION",
)  # fmt: skip
COUNTERS = ("contrast", "phase", "repetition", "set")  # of which one picture has one value
FEW = 10  # noise samples per coil that its covariance takes at least


def is_raw(path: Path) -> bool:
    """Whether a file is HDF5 with a group of ISMRMRD; False for what cannot be read."""
    try:
        with h5py.File(path, "r") as file:
            return _group(file) is not None
    except OSError:
        return False


def read_raw(path: str | Path, slices: Sequence[int] | None = None) -> Scan:
    """Read a Cartesian two-dimensional scan, of all readouts that are samples of the picture; averages are averaged.

    Rows are the readout, columns the phase encoding. With noise measurements n in the file, their covariance Psi = E n
    n' = L L' gives k-space as s L^-1 y, whose noise is white, with the mean variance s^2 = tr Psi / coils of the coils.
    Source: Inati et al. 2017 (ISMRMRD); Pruessmann et al. 2001 (whitening).
    Arguments: path; slices: their indices, None for all.
    Raises: FileNotFoundError; ValueError without the package ismrmrd (extra mri), for other trajectories, volumes,
    several contrasts, phases, repetitions or sets, damaged files, and slices that the file does not have.
    Warns: as `read_scan`.
    """
    path = regular(path, "scan")
    if importlib.util.find_spec("ismrmrd") is None:
        raise ValueError(f'{path} holds raw data and needs ismrmrd: pip install "score-inverse[mri]"')
    whole = _whole(path, path.stat().st_mtime_ns)
    numbers = tuple(range(whole.total) if slices is None else slices)
    if not numbers or not all(0 <= n < whole.total for n in numbers):
        raise ValueError(f"slices = {list(numbers)}: expected slices from 0 to {whole.total - 1} of {path}")
    kspace = whole.kspace[list(numbers)]
    mask = trusted(path, kspace, whole.mask[list(numbers)])
    check_centre(path, kspace, mask)
    check_artefacts(path, kspace, mask)
    check_columns(path, kspace, mask)
    check_copies(path, kspace, mask)
    check_picture(path, kspace, mask)
    return replace(whole, kspace=kspace, mask=mask, slices=numbers)


def _group(file: h5py.File) -> str | None:
    names = [name for name, held in file.items() if isinstance(held, h5py.Group) and {"xml", "data"} <= set(held)]
    return names[0] if names else None


@lru_cache(maxsize=1)
def _whole(path: Path, stamp: int) -> Scan:
    """All slices; kept for the next call as long as the file's time stamp is the same."""
    import ismrmrd

    with reading(path, "ISMRMRD file"):
        with h5py.File(path, "r") as file:
            group = _group(file) or "dataset"
        with ismrmrd.Dataset(path, group, mode="r") as data:
            encoding = ismrmrd.xsd.CreateFromDocument(data.read_xml_header()).encoding[0]
            count: Any = data.number_of_acquisitions()
            readouts = [data.read_acquisition(i) for i in range(count)]
    kind = str(getattr(encoding.trajectory, "value", encoding.trajectory))
    if kind != "cartesian":
        raise FileError(
            f"{path} has a {kind} trajectory: expected a Cartesian one; build operators.NonCartesian from the readouts "
            "and their traj, and call inverse.solve"
        )
    size, limits = encoding.encodedSpace.matrixSize, encoding.encodingLimits.kspace_encoding_step_1
    shape = (int(size.x), int(size.y))
    noise = [r.data for r in readouts if _is(r, "ACQ_IS_NOISE_MEASUREMENT")]
    readouts = [r for r in readouts if not any(_is(r, flag) for flag in (*OTHERS, "ACQ_IS_NOISE_MEASUREMENT"))]
    _check(path, readouts, int(size.z))
    centre = shape[1] // 2 if limits is None else int(limits.center)
    kspace, counts = _placed(path, readouts, shape, centre)
    kspace /= counts.clip(1)[:, None]
    if noise:
        kspace = np.einsum("cd,sdhw->schw", whitening(path, np.concatenate(noise, 1)), kspace)
    values = torch.from_numpy(kspace.astype(np.complex64))
    values = values if values.shape[1] > 1 else values[:, 0]
    every = tuple(range(len(values)))
    return Scan(values, torch.from_numpy(counts > 0), None, every, len(values), whitened=bool(noise))


def whitening(path: Path, noise: np.ndarray) -> np.ndarray:
    """s L^-1, (coils, coils) complex, of noise samples (coils, n).

    Raises: FileError for too few samples, or a coil without noise.
    """
    coils, n = noise.shape
    if n < FEW * coils:
        raise FileError(f"{path} has {n} noise samples of {coils} coils: expected at least {FEW * coils}")
    noise = noise.astype(np.complex128)
    covariance = noise @ noise.conj().T / n
    level = np.trace(covariance).real / coils
    try:
        lower = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise FileError(f"{path}: the noise of its coils is 0 or not independent: remove such coils") from None
    return np.sqrt(level) * np.linalg.inv(lower)


def _is(readout: Any, flag: str) -> bool:
    import ismrmrd

    return bool(int(readout.flags) & (1 << (getattr(ismrmrd, flag) - 1)))


def _check(path: Path, readouts: list[Any], depth: int) -> None:
    if not readouts:
        raise FileError(f"{path} has no readouts of a picture: only noise, calibration or navigators")
    if depth > 1 or any(int(r.idx.kspace_encode_step_2) for r in readouts):
        raise FileError(f"{path} is three-dimensional: transform it along its second phase encoding, and save slices")
    for counter in COUNTERS:
        found = sorted({int(getattr(r.idx, counter)) for r in readouts})
        if len(found) > 1:
            raise FileError(
                f"{path} has the values {found[:8]} of {counter!r}: expected one; write each to its own file"
            )
    coils = sorted({int(r.active_channels) for r in readouts})
    if len(coils) > 1:
        raise FileError(f"{path} has readouts of {coils} coils: expected one number")


def _placed(path: Path, readouts: list[Any], shape: tuple[int, int], centre: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of readouts on the grid (S, coils, H, W), complex128, and how many each sample is of, (S, H, W)."""
    height, width = shape
    total = 1 + max(int(r.idx.slice) for r in readouts)
    kspace = np.zeros((total, int(readouts[0].active_channels), height, width), np.complex128)
    counts = np.zeros((total, height, width), np.int64)
    for r in readouts:
        first, last = int(r.discard_pre), int(r.number_of_samples) - int(r.discard_post)
        places, samples = np.arange(first, last) - int(r.center_sample), r.data[:, first:last]
        rows = height // 2 + (-places if _is(r, "ACQ_IS_REVERSE") else places)
        column = width // 2 + int(r.idx.kspace_encode_step_1) - centre
        if rows.min(initial=0) < 0 or rows.max(initial=0) >= height or not 0 <= column < width:
            raise FileError(
                f"{path}: a readout at line {int(r.idx.kspace_encode_step_1)} with {len(places)} samples lies outside "
                f"the encoded matrix of {height} x {width}: check the header's encodedSpace and limits"
            )
        kspace[int(r.idx.slice), :, rows, column] += samples.T
        counts[int(r.idx.slice), rows, column] += 1
    return kspace, counts
