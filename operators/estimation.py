"""How large the noise of a measurement is, told from the measurement alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from .base import Operator
from .blur import Blur
from .composition import Composition
from .downsampling import Downsampling
from .grayscale import Grayscale
from .identity import Identity
from .masking import Masking
from .resize import Resize
from .varying_blur import VaryingBlur

PICTURES = (
    Blur,
    Downsampling,
    Grayscale,
    Identity,
    Masking,
    Resize,
    VaryingBlur,
)  # they measure pictures with white noise
QUIET, NEAR, FEWEST = 0.25, 5, 400  # the share of quads that is used, quads that are averaged over, quads needed
NORMAL_MAD = 0.6744897501960817  # median of |z|, z ~ N(0, 1)
# orthonormal, so that white noise is independent in the three: left - right, top - bottom, and the diagonals
HAAR = torch.tensor([[[1.0, -1.0], [1.0, -1.0]], [[1.0, 1.0], [-1.0, -1.0]], [[1.0, -1.0], [-1.0, 1.0]]])[:, None] / 2


def estimate_sigma(y: Tensor, operator: Operator | None = None) -> Tensor:
    """The standard deviation of white noise on a measurement that is a picture.

    Of quads of 2 x 2 pixels, the diagonal Haar detail where the picture is smooth: of the quarter whose neighbourhood
    has the least horizontal and vertical detail. White noise is independent in the three details, so that choosing by
    two of them does not bias the third. Quads with an entry that was not measured, or that is clipped (equal to the
    least or largest of y), are left out.
    Formula: sigma = median |d| / .6745 over the quietest quarter of each channel, then the mean over channels.
    Source: Donoho & Johnstone 1994 (median of wavelet details); the choice of places is ours. On photographs with sigma
    of .02 to .1 it was within 15 %, mostly too large, the more so the smaller sigma and the picture: what is left of
    texture is taken for noise (28 % too large after downsampling by 4). Of masks of 30 % it was 13 % too small to 20 %
    too large, of files of 8 bits with clipping up to 13 % too small. Noise that is not white is underestimated.
    Arguments: y (B, C, H, W); operator that measured it, which must be a `Blur`, `VaryingBlur`, `Downsampling`,
    `Resize`, `Grayscale`, `Identity`, `Masking` or a composition of such. None: a picture that is measured everywhere.
    Returns: (B,), in units of y.
    Raises: TypeError for a y that is no floating tensor; ValueError for one that is no picture, for another operator,
    and where fewer than 400 quads are left.
    """
    if not isinstance(y, Tensor) or not y.is_floating_point():
        raise TypeError(f"y of {getattr(y, 'dtype', type(y).__name__)}: expected a floating tensor (B, C, H, W)")
    if not isinstance(operator, Operator | None):
        raise TypeError(f"operator of type {type(operator).__name__}: expected an operators.Operator, or None")
    if operator is not None and not _makes_pictures(operator):
        raise ValueError(
            f"{type(operator).__name__}: its measurements are not known to be pictures with white noise, and of those "
            "alone sigma can be estimated; give sigma as a number"
        )
    if y.ndim != 4 or len(y) == 0 or y.is_meta or min(y.shape[2:]) < 2 or not bool(y.isfinite().all()):
        raise ValueError(f"y of shape {tuple(y.shape)}: expected finite pictures (B, C, H, W); give sigma as a number")
    support = None if operator is None else operator.support
    known = torch.ones_like(y, dtype=torch.bool) if support is None else support.expand_as(y)
    inner = (y > y.amin((1, 2, 3), keepdim=True)) & (y < y.amax((1, 2, 3), keepdim=True))
    return torch.stack([_of_one(*row) for row in zip(y, (known & inner).to(y), strict=True)])


def _makes_pictures(operator: Operator) -> bool:
    if isinstance(operator, Composition):
        return _makes_pictures(operator.outer) and _makes_pictures(operator.inner)
    return isinstance(operator, PICTURES)


def _of_one(y: Tensor, known: Tensor) -> Tensor:
    """y and known (1 where measured), (C, H, W); channels are the batch of the convolution."""
    details = conv2d(y[:, None], HAAR.to(y), stride=2)
    whole = avg_pool2d(known, 2) == 1
    if int(whole.sum()) < FEWEST:
        raise ValueError(
            f"{int(whole.sum())} quads of 2 x 2 pixels are measured and not clipped: expected {FEWEST} or more to "
            "estimate sigma by; give it as a number"
        )
    texture = torch.where(whole, details[:, :2].square().sum(1), 0)
    near = [avg_pool2d(a, NEAR, 1, NEAR // 2, count_include_pad=False) for a in (texture, whole.to(y))]
    texture = near[0] / near[1].clamp_min(1e-12)
    found = []
    for size, there, roughness in zip(details[:, 2].abs(), whole, texture, strict=True):
        if bool(there.any()):
            found.append(size[there & (roughness <= roughness[there].quantile(QUIET))].median() / NORMAL_MAD)
    return torch.stack(found).mean()
