"""Receive coils: how each sees the picture, simulated or estimated from the middle of k-space."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .arguments import count, number
from .base import Shape
from .kspace import ifftc, to_complex
from .sampling import calibration_region, plane

LOBE, TWIST = 0.7, 1.0  # of simulated coils: width in half pictures, phase in radians per half picture
LARGEST = 24  # rows and columns of the calibration region that kernels are looked for in
PER_BATCH = 2**24  # complex numbers of an eigenvalue problem at a time


def smooth_sensitivities(coils: int, shape: Shape) -> Tensor:
    """Simulated coils around the picture: Gaussian lobes with a smooth phase each, sum_c |S_c|^2 = 1 everywhere.

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


def estimate_sensitivities(y: Tensor, mask: Tensor, kernel: int = 5, threshold: float = 0.05) -> Tensor:
    """Coils from the region about k = 0 that is measured whole: ESPIRiT, sum_c |S_c|^2 = 1 everywhere.

    Formula: all windows of kernel x kernel samples of all coils span a space of few dimensions, with projection P; if
    k-space is that of S x, averaging what P makes of its windows leaves it as it is. That average is a matrix W(r)
    between coils at every pixel r, of which S(r) is the eigenvector of the largest eigenvalue, which is 1 where there
    is a picture. Its phase is chosen such that the picture at low resolution is real and positive.
    Source: Uecker et al. 2014.
    Arguments: y (N, coils, 2, H, W); mask (H, W) bool; kernel: side of a window in samples; threshold: directions of a
    smaller singular value, relative to the largest, do not belong to the space of windows.
    Returns: (N, coils, H, W) complex.
    Raises: ValueError for a calibration region smaller than a window, or without signal.
    """
    kernel = count("estimate_sensitivities: kernel", kernel, most=64)
    number("estimate_sensitivities: threshold", threshold, "[0, 1)")
    _scan("estimate_sensitivities", y, mask, 5)
    rows, columns = _middle(calibration_region(mask), mask.shape)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    if min(height, width) < kernel + 2:
        raise ValueError(
            f"estimate_sensitivities: {height} x {width} samples about k = 0 are measured whole, expected at least "
            f"{kernel + 2} each way for windows of {kernel}; give the sensitivities, or a smaller kernel"
        )
    maps = torch.stack([_espirit(z, mask.shape, kernel, threshold) for z in to_complex(y)[..., rows, columns]])
    return maps * torch.polar(torch.ones(()), estimate_phase(y, mask, maps)).unsqueeze(1).to(maps)


def estimate_phase(y: Tensor, mask: Tensor, sensitivities: Tensor | None = None) -> Tensor:
    """The phase of the picture at low resolution: of the middle of k-space under a Hann window, coils combined.

    Formula: the angle of sum_c conj(S_c) F^-1(w y_c).
    Source: Noll, Nishimura & Macovski 1991 (homodyne detection).
    Arguments: y (N, 2, H, W), or (N, coils, 2, H, W) with sensitivities (coils, H, W) or (N, coils, H, W) complex;
    mask (H, W) bool.
    Returns: (N, H, W) radians.
    Raises: ValueError where k = 0 is not measured.
    """
    _scan("estimate_phase", y, mask, 4 if sensitivities is None else 5)
    region = calibration_region(mask)
    sizes = [part.stop - part.start for part in region]
    if 0 in sizes:
        raise ValueError("estimate_phase: k = 0 is not measured, expected some samples about it; give the phase")
    window = torch.zeros(mask.shape)
    a, b = (torch.hann_window(n + 2, periodic=False)[1:-1] for n in sizes)
    window[region] = a[:, None] * b
    picture = ifftc(to_complex(y) * window.to(y))
    return (picture if sensitivities is None else (sensitivities.conj() * picture).sum(1)).angle()


def _scan(name: str, y: Tensor, mask: Tensor, axes: int) -> None:
    """Refuse k-space that is not (N, [coils,] 2, H, W) of real channels, or of another size than its mask (H, W)."""
    coils = "coils, " * (axes - 4)
    if not (isinstance(y, Tensor) and isinstance(mask, Tensor)) or not y.is_floating_point():
        raise TypeError(f"{name}: expected k-space y (N, {coils}2, H, W) of real numbers and a mask (H, W), as tensors")
    if y.ndim != axes or y.shape[-3] != 2 or y.shape[-2:] != mask.shape or len(y) == 0:
        raise ValueError(
            f"{name}: y of shape {tuple(y.shape)} and a mask of {tuple(mask.shape)}: expected (N, {coils}2, H, W) and "
            "(H, W)"
        )


def _middle(region: tuple[slice, slice], shape: torch.Size) -> list[slice]:
    """At most `LARGEST` rows and columns of it, about the same middle."""
    return [
        slice(max(part.start, n // 2 - LARGEST // 2), min(part.stop, n // 2 + LARGEST // 2))
        for part, n in zip(region, shape, strict=True)
    ]


def _espirit(z: Tensor, shape: torch.Size, kernel: int, threshold: float) -> Tensor:
    """The eigenvectors (coils, H, W) of one calibration region (coils, h, w), of arbitrary phase."""
    coils = len(z)
    windows = z.unfold(1, kernel, 1).unfold(2, kernel, 1).permute(1, 2, 0, 3, 4).reshape(-1, coils * kernel**2)
    _, s, vh = torch.linalg.svd(windows, full_matrices=False)
    if not s[0] > 0:
        raise ValueError("estimate_sensitivities: the region about k = 0 holds zeros only; is this a scan?")
    # A window is a row, so rows of vh span them: W = sum of g g' with g their transforms, over kernel^2.
    spanning = vh[s > threshold * s[0]].reshape(-1, coils, kernel, kernel)
    height, width = shape
    pad = (width // 2, width - width // 2 - kernel, height // 2, height - height // 2 - kernel)
    scale = math.sqrt(height * width) / kernel
    average = torch.zeros(height, width, coils, coils, dtype=z.dtype, device=z.device)
    for part in spanning.split(max(1, PER_BATCH // (coils * height * width))):
        g = ifftc(F.pad(part, pad)).permute(2, 3, 1, 0) * scale
        average += g @ g.mH
    return torch.linalg.eigh(average).eigenvectors[..., -1].permute(2, 0, 1)


def _root_sum_of_squares(maps: Tensor) -> Tensor:
    return maps.abs().square().sum(-3, keepdim=True).sqrt()
