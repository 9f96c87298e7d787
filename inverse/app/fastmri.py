"""MRI scans in fastMRI's HDF5 layout: from k-space to the arguments of `solve`, and back to scanner units."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inverse.app.kspace.artefacts import check_artefacts
from inverse.app.kspace.checks import (
    check_centre,
    check_columns,
    check_picture,
    measured,
)
from inverse.app.kspace.copies import check_copies
from inverse.app.kspace.forms import EXPECTED, PADDING, check_axes, form, padding, to_complex64
from inverse.app.kspace.maps import check_agreement, check_maps
from inverse.app.kspace.noise import combined, noise_level, unlike_coils
from inverse.app.kspace.slices import check_slices
from inverse.app.kspace.trust import trusted
from operators import Fourier, GaussianNoise
from operators.coils import FEWEST, estimate_phase, estimate_sensitivities
from operators.kspace import fftc, ifftc, to_channels
from operators.sampling import Kind, calibration_region, cartesian
from priors.files import FileError
from priors.hdf5 import NUMBERS, Hdf5, opened

RSS = "reconstruction_rss"
SENSITIVITIES = ("sensitivity", "sensitivities", "sens_maps")  # names of the dataset in different files
BRIGHT = 0.995  # quantile of the zero-filled magnitude that becomes 1: unlike the maximum, robust to single pixels
WHOLE = 0.75  # fraction of k-space that a fully sampled scan must have, without padding


@dataclass(frozen=True)
class Problem:
    """One slice as arguments of `solve`, in units in which the brightest part of the picture is 1.

    Attributes: operator; y (1, *M); scale: scanner units per unit of the picture; sigma: of the noise, in scanner
    units; zero_filled (1, 1, H, W): magnitude of the zero-filled reconstruction, coils combined by root sum of
    squares; estimated: what the file does not contain, among "sensitivities", "phase" and "sigma"; excess: mean
    variance of the operator's noise over sigma^2, above 1 if it includes errors of the estimates (see
    `inverse.app.scan_noise.with_errors`); noise_ratio: the largest noise of a coil over the smallest, 1 if they are
    alike; otherwise coils and sensitivities are divided by the noise of each, relative to the median, which sigma is.
    """

    operator: Fourier
    y: Tensor
    scale: float
    sigma: float
    zero_filled: Tensor
    estimated: tuple[str, ...] = ()
    excess: float = 1.0
    noise_ratio: float = 1.0


@dataclass(frozen=True)
class Scan:
    """Slices of a scan.

    Attributes: kspace (S, H, W) or (S, coils, H, W) complex64, scanner units, k = 0 at (H // 2, W // 2); mask (S, H, W)
    bool; sensitivities (S, coils, H, W) complex64, or None; slices: their indices in the file; total: of the file;
    whitened: whether a noise scan changed the units.
    """

    kspace: Tensor
    mask: Tensor
    sensitivities: Tensor | None
    slices: tuple[int, ...]
    total: int
    whitened: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(H, W), pixels."""
        return self.kspace.shape[-2], self.kspace.shape[-1]

    @property
    def coils(self) -> int | None:
        """Number of coils; None for a single coil."""
        return self.kspace.shape[1] if self.kspace.ndim == 4 else None

    def cropped(self, rows: int) -> "Scan":
        """The same scan cropped to its middle rows, to remove readout oversampling.

        Arguments: rows (int from 1 to H) to keep. The noise of k-space stays white and of the same level.
        Raises: ValueError for other values, and if the mask is not made of whole columns, so that rows do not separate.
        """
        height = self.size[0]
        if not 1 <= rows <= height:
            raise ValueError(f"rows = {rows}: expected 1 to {height}, the rows of the scan")
        if not bool((self.mask == self.mask[:, :1]).all()):
            raise ValueError(f"rows = {rows}: only a mask of whole k-space columns can be cropped; keep all rows")
        middle = slice(height // 2 - rows // 2, height // 2 - rows // 2 + rows)
        kspace = fftc(ifftc(self.kspace, (-2,))[..., middle, :], (-2,))
        maps = None if self.sensitivities is None else self.sensitivities[..., middle, :]
        return replace(self, kspace=kspace, mask=self.mask[:, middle], sensitivities=maps)

    def undersampled(
        self, acceleration: float = 4.0, calibration: float = 0.08, kind: Kind = "variable", seed: int = 0
    ) -> "Scan":
        """The same scan, retrospectively undersampled: whole columns of k-space are kept, the others set to 0.

        Arguments: as `operators.sampling.cartesian`; all slices have the same columns. Unmeasured columns, such as
        padding, stay unmeasured.
        Raises: ValueError if less than three quarters of k-space are measured, and as `cartesian`.
        """
        measured = float(self.mask.float().mean())
        if measured < WHOLE:
            raise ValueError(
                f"{measured:.0%} of k-space are measured: only a fully sampled scan can be undersampled; solve this "
                "one as it is"
            )
        mask = self.mask & cartesian(self.size, acceleration, calibration, kind, seed)
        wide = mask if self.coils is None else mask[:, None]
        return replace(self, kspace=torch.where(wide, self.kspace, 0), mask=mask)

    def zero_filled(self, i: int) -> Tensor:
        """Magnitude of the zero-filled reconstruction of slice number ``slices[i]``, (H, W) in scanner units.

        Coils are combined by root sum of squares; for a fully sampled scan this is the reference image.
        """
        pictures = ifftc(torch.where(self.mask[i], self.kspace[i], 0)).abs()
        # in double precision: the square of 1e-20 would be 0 in single precision
        return pictures if self.coils is None else pictures.double().square().sum(0).sqrt().float()

    def problem(self, i: int, channels: int = 1, sigma: float | None = None) -> Problem:
        """Slice number ``slices[i]`` as a problem; what the file does not contain is estimated from its k-space.

        Arguments: i; channels: 1 for a prior of magnitudes, whose phase is then estimated from the middle of k-space
        (together with the coils, if these are estimated too), or 2 for a prior of complex pictures; sigma: standard
        deviation of the noise in the real and in the imaginary part, in scanner units; None: see `noise_level` and
        `inverse.app.scan_noise.with_errors`.
        Raises: ValueError for a slice of zeros, or if k-space does not suffice for an estimate.
        """
        mask, zero_filled = self.mask[i], self.zero_filled(i)
        kspace = torch.where(mask, self.kspace[i], 0)
        unlike = None if self.coils is None else unlike_coils(kspace, mask)
        whitening = 1 if unlike is None else (1 / unlike)[:, None, None].to(kspace)
        kspace = kspace * whitening
        scale = float(zero_filled.flatten().quantile(BRIGHT))
        if not scale > 0:
            raise ValueError(f"slice {self.slices[i]} is zero everywhere: nothing was measured; leave it out")
        estimated = ("sigma",) if sigma is None else ()
        sigma = noise_level(kspace, mask) if sigma is None else sigma
        y = to_channels(kspace / scale)[None]
        maps, phase = None if self.sensitivities is None else self.sensitivities[i] * whitening, None
        unknown = self.coils is not None and maps is None
        if unknown or (channels == 1 and _narrowest(mask) >= FEWEST):
            try:
                found = estimate_sensitivities(y if self.coils is not None else y[:, None], mask, sigma=sigma / scale)
            except ValueError as error:
                raise ValueError(f"slice {self.slices[i]}: {error}") from None
            if unknown:
                maps = found[0]
                if unlike is not None:  # sum |S_c|^2 = 1 before whitening, which would shade the picture
                    maps = maps / (maps / whitening).abs().square().sum(0).sqrt()
                estimated = ("sensitivities", *(["phase"] * (channels == 1)), *estimated)
            else:
                phase = (found[0] if maps is None else maps.conj() * found[0]).sum(0).angle()
        elif channels == 1:
            phase = estimate_phase(y, mask, maps)[0]
        if phase is not None:
            estimated = ("phase", *estimated)
        ratio = 1.0
        if unlike is not None and maps is not None:  # without the noise of a noisy coil
            zero_filled, before = combined(ifftc(kspace), maps), scale
            scale, ratio = float(zero_filled.flatten().quantile(BRIGHT)), float(unlike.max() / unlike.min())
            y = y * (before / scale)
        operator = Fourier(mask, maps, phase, GaussianNoise(sigma / scale), channels)
        return Problem(operator, y, scale, sigma, zero_filled[None, None] / scale, estimated, noise_ratio=ratio)


def _narrowest(mask: Tensor) -> int:
    return min(max(part.stop - part.start, 0) for part in calibration_region(mask))


def read_rss(path: str | Path, number: int) -> Tensor | None:
    """The image "reconstruction_rss" of a slice, as in fastMRI files, (h, w) in scanner units, or None if absent.

    Raises: FileNotFoundError; ValueError for a truncated file, and if it is not real with shape (slices, h, w).
    """
    with opened(path, "scan", "download it again; expected HDF5 in fastMRI's layout") as file:
        if RSS not in file:
            return None
        held = file.dataset(RSS)
        if len(held.shape) != 3 or held.dtype.kind not in "fiu" or not 0 <= number < held.shape[0]:
            raise FileError(f"{path}: {RSS!r} is {held.shape} {held.dtype}: expected real values (slices, h, w)")
        file.spend(math.prod(held.shape[1:]) * held.dtype.itemsize)
        return torch.from_numpy(np.asarray(held[number], np.float32))


def read_scan(path: str | Path, slices: Sequence[int] | None = None) -> Scan:
    """Read a scan.

    Arguments: path of an HDF5 file with "kspace" (slices, H, W) or (slices, coils, H, W), complex (or compound with
    fields r and i, or real with a last axis of 2), k = 0 at (H // 2, W // 2); optional datasets: "mask" (W,), (H, W) or
    (slices, H, W), 1 where measured; "sensitivity", "sensitivities" or "sens_maps", (coils, H, W) or (slices, coils, H,
    W), complex; optional attributes: padding_left and padding_right, the first measured column and the one after the
    last. Samples that are exactly 0 in all coils count as not measured, within a mask only whole columns or rows of
    them; slices: their indices, None for all.
    Raises: FileNotFoundError; ValueError for a truncated, foreign or inconsistent file, for k-space whose energy is at
    the ends of an axis, and for slices that the file does not have.
    Warns: `KSpaceWarning` if the mask covers samples that are no measurements, which leave it (zeros, noise outside an
    ellipse or of partial Fourier, spikes, lines of interference); if the energy is not in the middle of k-space, the
    picture is split at the border, k-space was filtered, or has an offset, a zipper or an N/2 ghost; if given
    sensitivities are not normalised or do not fit k-space; and if slices look like the coils of one (`CoilsAsSlices`).
    """
    with opened(path, "scan", "download it again; expected HDF5 in fastMRI's layout") as file:
        return _read(file, slices)


def _read(file: Hdf5, slices: Sequence[int] | None) -> Scan:
    path = file.path
    if "kspace" not in file:
        raise FileError(f"{path} has the datasets {file.names()[:8]}: {EXPECTED}")
    kspace = file.dataset("kspace")
    shape = form(kspace.dtype, kspace.shape)
    if shape is None:
        raise FileError(
            f"{path}: 'kspace' is {kspace.shape} {kspace.dtype}: {EXPECTED}, or compound with fields r and i, or "
            "real with a last axis of 2; magnitude images are not k-space"
        )
    check_axes(path, shape)
    total, *coils, height, width = shape
    numbers = tuple(range(total) if slices is None else slices)
    if not numbers or not all(0 <= n < total for n in numbers):
        raise ValueError(f"slices = {list(numbers)}: expected slices from 0 to {total - 1} of {path}")
    file.spend(len(numbers) * (kspace.size * kspace.dtype.itemsize) // total)
    values = torch.stack([to_complex64(np.asarray(kspace[n])) for n in numbers])
    if not bool(torch.view_as_real(values).isfinite().all()):
        raise FileError(
            f"{path}: k-space has values that are nan, infinite or beyond 3e38; set unmeasured samples to 0 and "
            "rescale the rest"
        )
    name = next((name for name in SENSITIVITIES if name in file), None)
    maps = None if name is None else _maps(file, name, (*coils, height, width), numbers, total)
    mask = _mask(file, (height, width), numbers, total) if "mask" in file else None
    mask = measured(path, values, mask, padding(path, file.attributes(PADDING), width))
    mask = trusted(path, values, mask)
    check_centre(path, values, mask)
    check_artefacts(path, values, mask)
    check_copies(path, values, mask)
    check_columns(path, values, mask)
    check_picture(path, values, mask)
    check_slices(path, values, mask)
    if name is not None and maps is not None:
        check_maps(path, name, values, mask, maps)
        check_agreement(path, name, values, mask, maps)
    return Scan(values, mask, maps, numbers, total)


def _mask(file: Hdf5, shape: tuple[int, int], numbers: tuple[int, ...], total: int) -> Tensor:
    """(S, H, W) bool."""
    mask = _per_slice(file, "mask", shape, [shape[1:], (1, *shape[1:])], numbers, total)
    if mask.dtype.kind not in NUMBERS or not np.isin(mask, (0, 1)).all():
        raise FileError(
            f"{file.path}: the mask has values other than 0 and 1 ({mask.dtype}); expected 1 where measured"
        )
    return torch.from_numpy(mask.astype(bool))


def _maps(file: Hdf5, name: str, shape: tuple[int, ...], numbers: tuple[int, ...], total: int) -> Tensor:
    """(S, coils, H, W) complex64."""
    held = file.dataset(name)
    found = form(held.dtype, held.shape)
    if len(shape) == 2:
        raise FileError(
            f"{file.path}: {name!r} is {held.shape}, but 'kspace' {(total, *shape)} has no axis of coils: "
            "expected (slices, coils, H, W) for both; write kspace[None] if its first axis are coils, or remove the "
            "sensitivities"
        )
    if found is None or len(found) < 3:
        raise FileError(f"{file.path}: {name!r} is {held.dtype} {held.shape}; expected complex values of shape {shape}")
    trailing = held.shape[len(found) :]
    maps = _per_slice(file, name, (*shape, *trailing), [], numbers, total)
    sensitivities = to_complex64(maps)
    if not bool(torch.view_as_real(sensitivities).isfinite().all()):
        raise FileError(f"{file.path}: {name!r} has nan or infinite values; set it to 0 outside the picture")
    return sensitivities


def _per_slice(
    file: Hdf5, name: str, shape: tuple[int, ...], others: list[tuple[int, ...]], numbers: tuple[int, ...], total: int
) -> np.ndarray:
    """A dataset with one slice's shape, all slices, or a shape that broadcasts to a slice, as (S, *shape)."""
    held, allowed = file.dataset(name), [shape, (total, *shape), *others]
    if held.shape not in allowed:
        raise FileError(f"{file.path}: {name!r} is {held.shape}; expected one of the shapes {allowed}")
    file.spend(len(numbers) * math.prod(shape) * held.dtype.itemsize)
    values = [np.asarray(held[n] if held.shape == allowed[1] else held[()]) for n in numbers]
    return np.stack([np.broadcast_to(value, shape) for value in values])
