"""How good one estimate is: measures per image, for the command lines and the benchmarks alike."""

import numpy as np
import torch
from torch import Tensor

from operators import Operator


def psnr(estimate: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of estimates clipped to [0, 1].

    Formula: -10 log10 mean (clip(estimate) - truth)^2.
    Arguments: estimate, truth (B, *E) in image units.
    Returns: (B,) dB.
    Raises: ValueError for different shapes.
    """
    _same_shape(estimate, truth)
    return -10 * torch.log10((estimate.clamp(0, 1) - truth).flatten(1).square().mean(1).clamp_min(1e-12))


def ssim(estimate: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity (scikit-image, 7 x 7 windows) of estimates clipped to [0, 1].

    Source: Wang, Bovik, Sheikh, Simoncelli 2004.
    Arguments: estimate, truth (B, C, H, W) in image units.
    Returns: (B,).
    Raises: ValueError for different shapes.
    """
    from skimage.metrics import structural_similarity

    _same_shape(estimate, truth)
    pairs = zip(estimate.clamp(0, 1).cpu().double().numpy(), truth.cpu().double().numpy(), strict=True)
    return torch.tensor(
        np.array([structural_similarity(a, b, channel_axis=0, data_range=1.0) for a, b in pairs]), dtype=torch.float32
    )


def residual_chi2(operator: Operator, y: Tensor, x: Tensor) -> Tensor:
    """Mean squared residual in units of the noise: about 1 for a draw of the posterior, below where noise was fitted.

    Formula: mean over measured entries of (y - A x)^2 / Var[y | A x].
    Arguments: operator (of these rows); y (B, *M); x (B, *E).
    Returns: (B,).
    Raises: ValueError for a noise without a variance, such as sigma = 0.
    """
    clean = operator(x)
    variance = operator.noise.variance(clean)
    if not bool((variance > 0).all()):
        raise ValueError("the noise has variance 0 somewhere: a chi^2 needs sigma > 0")
    squares = (y - clean) ** 2 / variance
    support = operator.support
    measured = torch.ones_like(squares) if support is None else support.expand_as(squares).to(squares)
    return (squares * measured).flatten(1).sum(1) / measured.flatten(1).sum(1)


def _same_shape(estimate: Tensor, truth: Tensor) -> None:
    if estimate.shape != truth.shape:
        raise ValueError(f"estimate {tuple(estimate.shape)} and truth {tuple(truth.shape)}: expected the same shape")
