"""K-space that was computed from other k-space or from magnitudes, and coils without a signal."""

import warnings
from pathlib import Path

import torch
from torch import Tensor

from inverse.app.kspace.checks import KSpaceWarning
from operators.kspace import mirrored, radius

EXACT = 1e-3  # relative difference of a sample and the conjugate of its mirror image, which noise does not allow
FILLED, ALL = 0.02, 0.9  # shares of exact pairs: part of k-space was filled; it is that of real pictures
LEAST = 32  # pairs of samples
NEAR, FAR, SILENT = 0.15, 0.85, 2.0  # parts of half a side; ratio of powers there below which a coil has no signal
HEARD = 20.0  # the ratio of another coil


def check_copies(path: Path, kspace: Tensor, mask: Tensor) -> None:
    """Check for k-space that is its own mirror image, and for coils that measured noise alone.

    Arguments: path, for messages; kspace (S, H, W) or (S, coils, H, W) complex; mask (S, H, W) bool.
    Warns: KSpaceWarning where samples are exact conjugates of their mirror images (`copied`): all of several coils,
    or some of any; and for coils without signal (`silent`).
    """
    for values, known in zip(kspace, mask, strict=True):
        z = torch.where(known, values if values.ndim == 3 else values[None], 0)
        if not bool(z.any()):
            continue
        share = copied(z, known)
        if share >= ALL and len(z) > 1:
            text = (
                "the k-space of every coil is exactly that of a real picture: magnitudes of coil pictures were "
                "transformed, whose phase is lost and whose noise is not Gaussian; take the complex k-space"
            )
            warnings.warn(f"{path}: {text}", KSpaceWarning, stacklevel=4)
        elif FILLED <= share < ALL:
            text = (
                f"{share:.0%} of the measured samples are exact conjugates of those at the opposite place: a partial "
                "Fourier scan was filled by symmetry, and copies are no measurements; give the samples that were "
                "measured, and zeros elsewhere"
            )
            warnings.warn(f"{path}: {text}", KSpaceWarning, stacklevel=4)
        if coils := silent(z, known):
            which = ", ".join(map(str, coils))
            text = f"coil {which} has no signal, only noise: leave it out of the file, or the picture is shaded"
            warnings.warn(f"{path}: {text}", KSpaceWarning, stacklevel=4)


def copied(z: Tensor, mask: Tensor) -> float:
    """The share of pairs k and -k, both measured, whose samples are exact conjugates in every coil.

    Arguments: z (coils, H, W) complex, k = 0 at (H // 2, W // 2); mask (H, W) bool.
    """
    numbers = torch.arange(mask.numel()).view(mask.shape)
    both = mask & mirrored(mask) & (mirrored(numbers) != numbers) & (z.abs().sum(0) > 0)
    if int(both.sum()) < LEAST:
        return 0.0
    alike = (z - mirrored(z).conj()).abs().square().sum(0).sqrt() <= EXACT * z.abs().square().sum(0).sqrt()
    return float((alike & both).sum() / both.sum())


def silent(z: Tensor, mask: Tensor) -> list[int]:
    """The coils whose power near k = 0 is about that of the border, while another coil has a signal."""
    distance = radius((mask.shape[0], mask.shape[1]))
    near, far = mask & (distance < NEAR), mask & (distance > min(FAR, float(distance[mask].max()) * FAR))
    if len(z) < 2 or int(near.sum()) < 4 or int(far.sum()) < LEAST:
        return []
    power = z.abs().double().square()
    ratio = power[:, near].mean(1) / power[:, far].median(1).values.clamp_min(1e-300)
    heard = bool((ratio > HEARD).any())
    return [c for c, r in enumerate(ratio.tolist()) if heard and r < SILENT]
