"""Scans with a known picture, as files of fastMRI's layout."""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from operators import Fourier, GaussianNoise
from operators.coils import smooth_sensitivities
from operators.kspace import to_complex
from operators.sampling import cartesian

SIZE = (40, 37)
UNITS = 3e-4  # of the scanner


@dataclass(frozen=True)
class Made:
    """Pictures (slices, H, W) and their phase (H, W), the coils' maps or None, the mask, and sigma; scanner units."""

    pictures: Tensor
    phase: Tensor
    maps: Tensor | None
    mask: Tensor
    sigma: float
    kspace: Tensor


def made(slices: int = 2, coils: int | None = 4, sigma: float = 0.02, acceleration: float = 2.5) -> Made:
    """Ellipses that shrink from slice to slice, with edges of about a pixel and a smooth phase."""
    y, x = (torch.linspace(-1, 1, n) for n in SIZE)
    y = y[:, None]
    radius = torch.linspace(1, 0.7, slices)[:, None, None]
    r = ((y / 0.9) ** 2 + (x / 0.75) ** 2) / radius**2
    hole = ((y - 0.2) / 0.3) ** 2 + (x / 0.25) ** 2
    pictures = sum(weight * torch.sigmoid(10 * (1 - q)) for weight, q in ((1, r), (-0.4, r / 0.6), (-0.2, hole)))
    phase, mask = 0.5 * y + 0.7 * x * y + 0.2, cartesian(SIZE, acceleration, 0.25)
    maps = None if coils is None else smooth_sensitivities(coils, SIZE)
    operator = Fourier(mask, maps, phase, GaussianNoise(sigma))
    kspace = UNITS * to_complex(operator.measure(pictures[:, None], seed=1))
    return Made(UNITS * pictures, phase, maps, mask, UNITS * sigma, kspace)


def write(path: Path, kspace: Tensor, **more: Tensor) -> Path:
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace.numpy().astype(np.complex64)
        for name, value in more.items():
            file[name] = value.numpy()
    return path
