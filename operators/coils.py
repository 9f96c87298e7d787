"""Coil sensitivities, simulated or estimated from the centre of k-space."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .arguments import count, number, tensor
from .base import Shape
from .kspace import ifftc, to_complex
from .sampling import calibration_region, plane

LOBE, TWIST = 0.7, 1.0  # of simulated coils: width in half images, phase in radians per half image
LARGEST = 24  # largest height and width of the calibration region
FEWEST = 5  # least height and width of the calibration region
PER_BATCH = 2**24  # complex numbers per batch of eigenvalue problems


def smooth_sensitivities(coils: int, shape: Shape) -> Tensor:
    """Simulated coils around the image: Gaussian lobes with a smooth phase, sum_c |S_c|^2 = 1 everywhere.

    Arguments: coils (int >= 1), evenly on a circle; shape (H, W).
    Returns: (coils, H, W) complex64.
    Raises: ValueError for no coil.
    """
    coils = count("smooth_sensitivities: coils", coils, most=1024)
    y, x = (torch.linspace(-1, 1, n) for n in plane(shape))
    angle = 2 * math.pi * torch.arange(coils)[:, None, None] / coils
    across, along = y[:, None] * angle.cos() - x * angle.sin(), y[:, None] * angle.sin() + x * angle.cos()
    magnitude = torch.exp(-((along - 1) ** 2 + across**2) / (2 * LOBE**2))
    maps = torch.polar(magnitude, angle + TWIST * across)
    return maps / _root_sum_of_squares(maps)


def estimate_sensitivities(
    y: Tensor, mask: Tensor, kernel: int = 5, threshold: float = 0.05, sigma: float | None = None
) -> Tensor:
    """Coil sensitivities and phase from the fully sampled region around k = 0, by ESPIRiT; sum_c |S_c|^2 = 1
    everywhere.

    Formula: the windows of k-space samples of all coils span a low-dimensional space with projection P. Projecting all
    windows of the k-space of S x and averaging leaves it unchanged. In the image domain this average is a matrix W(r)
    between coils at every pixel r; S(r) is its eigenvector to the largest eigenvalue, which is 1 where the image is not
    0. Every coil is used twice, as z(k) and as the virtual coil conj z(-k) with sensitivity conj(S). This determines S
    up to its sign and includes the phase of the image, so that x is real and positive. The sign is that of the image at
    low resolution. Windows are ``kernel`` samples wide, or half the width of a narrow region.
    Source: Uecker et al. 2014; Uecker & Lustig 2017 (virtual conjugate coils).
    Arguments: y (N, coils, 2, H, W), one coil allowed; mask (H, W) bool; kernel (int >= 2): largest side of a window in
    samples; threshold: directions with a smaller singular value, relative to the largest, are discarded; sigma: noise
    standard deviation of the real and of the imaginary part, in units of y: replaces the threshold by weights 1 - (e /
    s)^2, the fraction of a direction's power that is not noise, with s its singular value and e the largest singular
    value of noise alone.
    Returns: (N, coils, H, W) complex.
    Raises: ValueError for a calibration region of fewer than `FEWEST` samples along an axis, or without signal.
    """
    kernel = count("estimate_sensitivities: kernel", kernel, 2, most=64)
    number("estimate_sensitivities: threshold", threshold, "[0, 1)")
    if sigma is not None:
        number("estimate_sensitivities: sigma", sigma, "[0, inf)")
    _scan("estimate_sensitivities", y, mask, 5)
    rows, columns = (_symmetric(part, n) for part, n in zip(calibration_region(mask), mask.shape, strict=True))
    height, width = (max(part.stop - part.start, 0) for part in (rows, columns))
    if min(height, width) < FEWEST:
        raise ValueError(
            f"estimate_sensitivities: {height} x {width} samples around k = 0 are fully sampled, expected at least "
            f"{FEWEST} x {FEWEST}; measure more of them, or give the sensitivities"
        )
    window = (min(kernel, height // 2), min(kernel, width // 2))
    z = to_complex(y)
    maps = torch.stack([_espirit(row[..., rows, columns], mask.shape, window, threshold, sigma) for row in z])
    negative = (maps.conj() * ifftc(z * _hann(mask).to(z.real))).sum(1, keepdim=True).real < 0
    return torch.where(negative, -maps, maps)


def estimate_phase(y: Tensor, mask: Tensor, sensitivities: Tensor | None = None) -> Tensor:
    """The low-resolution phase of the image, from the centre of k-space under a Hann window, coils combined.

    Formula: the angle of sum_c conj(S_c) F^-1(w y_c).
    Source: Noll, Nishimura & Macovski 1991 (homodyne detection).
    Arguments: y (N, 2, H, W), or (N, coils, 2, H, W) with sensitivities (coils, H, W) or (N, coils, H, W) complex;
    mask (H, W) bool.
    Returns: (N, H, W) radians.
    Raises: ValueError where k = 0 is not measured.
    """
    _scan("estimate_phase", y, mask, 4 if sensitivities is None else 5)
    if not bool(mask[mask.shape[0] // 2, mask.shape[1] // 2]):
        raise ValueError("estimate_phase: k = 0 is not measured; measure samples around it, or give the phase")
    picture = ifftc(to_complex(y) * _hann(mask).to(y))
    return (picture if sensitivities is None else (sensitivities.conj() * picture).sum(1)).angle()


def _scan(name: str, y: Tensor, mask: Tensor, axes: int) -> None:
    """Refuse k-space that is not (N, [coils,] 2, H, W) with real channels, or that differs in size from its mask (H,
    W)."""
    coils = "coils, " * (axes - 4)
    if not (isinstance(y, Tensor) and isinstance(mask, Tensor)) or not y.is_floating_point():
        raise TypeError(f"{name}: expected k-space y (N, {coils}2, H, W), real, and a mask (H, W), as tensors")
    if y.ndim != axes or y.shape[-3] != 2 or y.shape[-2:] != mask.shape or len(y) == 0:
        raise ValueError(
            f"{name}: y of shape {tuple(y.shape)} and a mask of {tuple(mask.shape)}: expected (N, {coils}2, H, W) and "
            "(H, W)"
        )


def _symmetric(part: slice, n: int) -> slice:
    """At most `LARGEST` of its samples, symmetric about k = 0."""
    reach = min(n // 2 - part.start, part.stop - 1 - n // 2, LARGEST // 2)
    return slice(n // 2 - reach, n // 2 + reach + 1)


def _hann(mask: Tensor) -> Tensor:
    """A window (H, W) over the fully sampled region around k = 0."""
    region, window = calibration_region(mask), torch.zeros(mask.shape)
    a, b = (torch.hann_window(part.stop - part.start + 2, periodic=False)[1:-1] for part in region)
    window[region] = a[:, None] * b
    return window


def _espirit(z: Tensor, shape: torch.Size, kernel: tuple[int, int], threshold: float, sigma: float | None) -> Tensor:
    """The maps (coils, H, W) of one calibration region (coils, h, w), symmetric about k = 0; of arbitrary sign."""
    coils, (p, q) = len(z), kernel
    twice = torch.cat((z, z.flip((-2, -1)).conj()))
    windows = twice.unfold(1, p, 1).unfold(2, q, 1).permute(1, 2, 0, 3, 4).reshape(-1, 2 * coils * p * q)
    _, s, vh = torch.linalg.svd(windows, full_matrices=False)
    if not s[0] > 0:
        raise ValueError("estimate_sensitivities: the region around k = 0 is zero; check the k-space")
    if sigma is None:
        share = (s > threshold * s[0]).to(s)
    else:  # the largest singular value of white noise (Marchenko & Pastur 1967)
        edge = sigma * math.sqrt(2) * (math.sqrt(windows.shape[0]) + math.sqrt(windows.shape[1]))
        share = (1 - (edge / s.clamp_min(1e-30)) ** 2).clamp_min(0)
        share[0] = share[0].clamp_min(1e-3)  # keep at least one direction, however large the noise is
    # A window is a row, so rows of vh span them: W = sum of g g' with g their transforms, over the window's samples.
    spanning = (share.sqrt()[:, None] * vh)[share > 0].reshape(-1, 2 * coils, p, q)
    height, width = shape
    pad = (width // 2, width - width // 2 - q, height // 2, height - height // 2 - p)
    scale = math.sqrt(height * width / (p * q))
    # In the basis of (S, conj S) with real coefficients of Re S and Im S, W is real: the phase of S is fixed.
    average = torch.zeros(height, width, 2 * coils, 2 * coils, dtype=s.dtype, device=z.device)
    for part in spanning.split(max(1, PER_BATCH // (2 * coils * height * width))):
        a, b = (ifftc(F.pad(part, pad)).permute(2, 3, 1, 0) * scale).split(coils, 2)
        g = torch.cat((a + b, (a - b) / 1j), 2) / math.sqrt(2)
        average += (g @ g.mH).real
    real, imaginary = torch.linalg.eigh(average).eigenvectors[..., -1].permute(2, 0, 1).split(coils)
    return torch.complex(real, imaginary)


def _root_sum_of_squares(maps: Tensor) -> Tensor:
    return maps.abs().square().sum(-3, keepdim=True).sqrt()


def coil_maps(name: str, sensitivities: Any, phase: Any, device: torch.device) -> Tensor:
    """The factors of an image in every coil, S_c e^(i phase), complex (coils, H, W) or (B, coils, H, W); (1, 1, 1)
    without either, on the device. Arguments as of `Fourier`; name: of the operator, for messages.

    Raises: TypeError for sensitivities that are not complex; ValueError for other axes and numbers that are not finite.
    """
    maps = torch.ones(1, 1, 1, dtype=torch.complex64, device=device)
    if sensitivities is not None:
        maps = _finite(f"{name}: sensitivities", sensitivities, 3, complex_=True)
    if phase is not None:
        phase = _finite(f"{name}: phase", phase, 2, complex_=False)
        maps = maps * torch.polar(torch.ones_like(phase), phase).unsqueeze(-3)
    return maps


def _finite(name: str, value: Any, axes: int, complex_: bool) -> Tensor:
    """A checked parameter with that many axes, or with a leading axis of measurements."""
    value = tensor(name, value, complex_=True)
    if value.is_complex() != complex_:
        raise TypeError(
            f"{name} are {value.dtype}, expected {'complex' if complex_ else 'real'} values; "
            "convert with torch.complex(real, imaginary) or torch.angle(z)"
        )
    if value.ndim not in (axes, axes + 1):
        operator, _, what = name.partition(": ")
        raise ValueError(
            f"{operator}: expected {what} ({'coils, ' * (axes - 2)}H, W), or with a batch axis before "
            f"these, given shape {tuple(value.shape)}"
        )
    return value
