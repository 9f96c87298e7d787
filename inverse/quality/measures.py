"""Measures of the error of an estimate, per image: PSNR and SSIM."""

import numpy as np
import torch
from torch import Tensor

from priors.arguments import rows as rows_of

WINDOW = 7  # pixels: window of structural similarity, the default of scikit-image


def psnr(estimate: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of estimates clipped to [0, 1].

    Formula: -10 log10 mean (clip(estimate) - truth)^2.
    Arguments: estimate, truth (B, *E) in image units.
    Returns: (B,) dB.
    Raises: TypeError for arguments that are not floating-point tensors; ValueError for different shapes.
    """
    _same_shape(estimate, truth)
    return -10 * torch.log10((estimate.clamp(0, 1) - truth).flatten(1).square().mean(1).clamp_min(1e-12))


def ssim(estimate: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity (scikit-image, 7 x 7 windows) of estimates clipped to [0, 1].

    Source: Wang, Bovik, Sheikh, Simoncelli 2004.
    Arguments: estimate, truth (B, C, H, W) in image units.
    Returns: (B,).
    Raises: TypeError for arguments that are not floating-point tensors; ValueError for different shapes or below 7 x 7.
    """
    from skimage.metrics import structural_similarity

    _same_shape(estimate, truth)
    if estimate.ndim != 4 or min(estimate.shape[2:]) < WINDOW:
        raise ValueError(
            f"estimate of shape {tuple(estimate.shape)}: expected pictures (B, C, H, W) of at least {WINDOW} x "
            f"{WINDOW} pixels, the window of SSIM; for smaller pictures use psnr"
        )
    pairs = zip(estimate.clamp(0, 1).cpu().double().numpy(), truth.cpu().double().numpy(), strict=True)
    return torch.tensor(
        np.array([structural_similarity(a, b, channel_axis=0, data_range=1.0) for a, b in pairs]), dtype=torch.float32
    )


def _same_shape(estimate: Tensor, truth: Tensor) -> None:
    rows_of("estimate", estimate)
    rows_of("truth", truth)
    if estimate.shape != truth.shape:
        raise ValueError(f"estimate {tuple(estimate.shape)} and truth {tuple(truth.shape)}: expected the same shape")
