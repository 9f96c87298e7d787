"""Noise level estimation from a measurement alone."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, max_pool2d, unfold

from .arguments import number
from .base import Operator
from .blur import Blur
from .composition import Composition
from .downsampling import Downsampling
from .grayscale import Grayscale
from .identity import Identity
from .masking import Masking
from .resize import Resize
from .varying_blur import VaryingBlur

# operators whose measurements are images with white noise
PICTURES = (Blur, Downsampling, Grayscale, Identity, Masking, Resize, VaryingBlur)
NEAR, FEWEST = 5, 150  # side, in quads, of local averages of detail; least number of positions for an estimate
SIDE, PATCHES = 5, 2**15  # side of a patch in pixels; approximate number of patches
ALIKE = 2.0  # correlated positions equivalent to one independent one, without the selection of the smallest 90 %
CLIPPED = 9  # side, in pixels, of the neighbourhood of a clipped entry that is excluded
SHARES, ERRORS = (0.25, 0.125, 0.0625, 0.03125), 3.0  # of the smoothest positions; standard errors to differ by
KEPT, KEPT_MEAN = 0.9, 0.622998  # of the squares; E[z^2 | z^2 is among its least 90 %], z ~ N(0, 1)
FEWEST_VALUES, LOOKED_AT, EVEN = 16, 2**18, 0.1  # of a rounding step: values, entries, tolerance
# orthonormal, so that white noise is independent in the three: left - right, top - bottom, and the diagonals
HAAR = torch.tensor([[[1.0, -1.0], [1.0, -1.0]], [[1.0, 1.0], [-1.0, -1.0]], [[1.0, -1.0], [-1.0, 1.0]]])[:, None] / 2


def estimate_sigma(y: Tensor, operator: Operator | None = None, floor: float | None = None) -> Tensor:
    """The standard deviation of white noise on an image measurement.

    Two quantities contain the noise and little image content: the diagonal Haar detail of 2 x 2 pixels; and, where
    patches of 5 x 5 are fully measured, their direction of least variance, found in one half of the image and evaluated
    in the other. Each is taken where the image is smooth: at the quarter, the eighth and so on down to a 32nd of the
    positions whose other details are smallest. White noise is independent in orthogonal details, so this selection does
    not bias the estimate. Positions with an unmeasured or clipped entry (equal to the least or largest of y) are left
    out.
    Formula: sigma^2 = mean of the smallest 90 % of d^2, divided by its value for N(0, 1). Among all details and
    fractions, the one with the least sigma^2 (1 + 3 standard errors) is used; then the mean over channels. Never below
    ``floor``.
    Source: Donoho & Johnstone 1994 (wavelet details), Pyatykh et al. 2013 (least variance of patches); the selection of
    positions is new here. Accuracy: benchmarks/results/noise_level.md. It overestimates small noise on images with
    texture everywhere, as after downsampling (by a factor of 5 at sigma = .001 and 1.6 at .005, on photographs of 32 x
    32 pixels), and underestimates noise that is not white.
    Arguments: y (B, C, H, W); operator that measured it, which must be a `Blur`, `VaryingBlur`, `Downsampling`,
    `Resize`, `Grayscale`, `Identity`, `Masking` or a composition of these. None: an image measured everywhere; floor
    (units of y): lower bound of the result, such as `priors.rounding` of a file. None: the rounding error where y has
    equidistant values, step / sqrt(12), so 1 / (255 sqrt(12)) for 8 bits in [0, 1].
    Returns: (B,), in units of y.
    Raises: TypeError for a y that is not a floating tensor; ValueError for one that is not an image, for an unsupported
    operator, where fewer than 150 quads are left, and for a floor that is negative or not finite.
    """
    if not isinstance(y, Tensor) or not y.is_floating_point():
        raise TypeError(f"y of {getattr(y, 'dtype', type(y).__name__)}: expected a floating tensor (B, C, H, W)")
    if not isinstance(operator, Operator | None):
        raise TypeError(f"operator of type {type(operator).__name__}: expected an operators.Operator, or None")
    if operator is not None and not _makes_pictures(operator):
        raise ValueError(
            f"{type(operator).__name__}: sigma can only be estimated for pictures with white noise, which its "
            "measurements are not known to be; give sigma as a number"
        )
    if y.ndim != 4 or len(y) == 0 or y.is_meta or min(y.shape[2:]) < 2 or not bool(y.isfinite().all()):
        raise ValueError(f"y of shape {tuple(y.shape)}: expected finite pictures (B, C, H, W); give sigma as a number")
    floor = None if floor is None else number("floor", floor, "[0, inf)", "in units of y")
    support = None if operator is None else operator.support
    known = torch.ones_like(y, dtype=torch.bool) if support is None else support.expand_as(y)
    clipped = (y == y.amin((1, 2, 3), keepdim=True)) | (y == y.amax((1, 2, 3), keepdim=True))
    parts = [_bands(a) for a in (y, known, clipped)]
    found = torch.stack([_of_one(*row) for row in zip(*parts, strict=True)])
    return found.maximum(rounding_level(y) if floor is None else torch.full_like(found, floor))


def rounding_level(y: Tensor) -> Tensor:
    """The rounding error, step / sqrt(12), of measurements (B, *M) with equidistant values; 0 for others.

    Uses at most 2^18 entries of each; fewer than 16 distinct values count as not rounded. Returns: (B,).
    """
    return torch.stack([_step(row.flatten()) for row in y]).to(y.dtype) / math.sqrt(12)


def _step(y: Tensor) -> Tensor:
    gaps = y[:: math.ceil(len(y) / LOOKED_AT)].double().unique().diff()
    if len(gaps) < FEWEST_VALUES - 1:
        return gaps.new_zeros(())
    step = gaps[gaps < 1.5 * gaps.min()].mean()  # in single precision the gaps of 16 bits vary by up to .4 %
    uneven = (gaps / step - (gaps / step).round()).abs().max()
    spacing = torch.finfo(y.dtype).eps * y.abs().max()  # of the floating-point format
    return torch.where((uneven < EVEN) & (step > 16 * spacing), step, 0)


def _makes_pictures(operator: Operator) -> bool:
    if isinstance(operator, Composition):
        return _makes_pictures(operator.outer) and _makes_pictures(operator.inner)
    return isinstance(operator, PICTURES)


def _bands(y: Tensor) -> Tensor:
    """A large image (B, C, H, W) subsampled to about 2^20 pixels: bands of 64 rows, evenly spaced."""
    every = math.ceil(y.shape[2] * y.shape[3] / 2**20)
    if every == 1 or y.shape[2] < 64:
        return y
    return y[:, :, : y.shape[2] // 64 * 64].unflatten(2, (-1, 64))[:, :, ::every].flatten(2, 3)


def _of_one(y: Tensor, known: Tensor, clipped: Tensor) -> Tensor:
    """y, known (True where measured) and clipped, (C, H, W)."""
    for reach in (CLIPPED, 1):  # y varies too little near clipped entries, so their neighbourhood is excluded too
        there = known & (max_pool2d(clipped.to(y), reach, 1, reach // 2) == 0)
        variances = []
        for channel, places in zip(y.double(), there, strict=True):
            details = [found for found in (_quads(channel, places), _patches(channel, places)) if found is not None]
            if details:
                variances.append(_variance(details))
        if variances:
            return torch.stack(variances).mean().sqrt().to(y.dtype)
    whole = int((avg_pool2d((known & ~clipped).double(), 2) == 1).sum())
    raise ValueError(
        f"{whole} quads of 2 x 2 pixels are measured and not clipped: at least {FEWEST} per channel are needed to "
        "estimate sigma; give it as a number (a mask is 1, or white, where pixels were measured: is it inverted?)"
    )


class _Details(NamedTuple):
    """Squares of a detail (n,), the energy of the other details at its positions (n,), and the positions that share one
    noise."""

    squares: Tensor
    roughness: Tensor
    alike: float


def _variance(details: list[_Details]) -> Tensor:
    """The variance with the least upper confidence limit, over all details and fractions of positions."""
    found = []
    for detail in details:
        for share in SHARES:
            chosen = detail.squares[detail.roughness <= detail.roughness.quantile(share)]
            lowest = chosen.sort().values[: max(1, int(KEPT * len(chosen)))]
            variance = lowest.mean() / KEPT_MEAN
            found.append((variance * (1 + ERRORS * math.sqrt(2 * detail.alike / len(chosen))), variance))
    return min(found, key=lambda pair: pair[0].item())[1]


def _quads(y: Tensor, known: Tensor) -> _Details | None:
    details = conv2d(y[None, None], HAAR.to(y), stride=2)[0]
    whole = avg_pool2d(known[None].to(y), 2) == 1
    if int(whole.sum()) < FEWEST:
        return None
    texture = torch.where(whole, details[:2].square().sum(0, keepdim=True), 0)
    near = [avg_pool2d(a, NEAR, 1, NEAR // 2, count_include_pad=False) for a in (texture, whole.to(y))]
    roughness = near[0] / near[1].clamp_min(1e-12)
    return _Details(details[2:][whole].square(), roughness[whole], ALIKE)


def _patches(y: Tensor, known: Tensor) -> _Details | None:
    """Projections on the direction of least variance among smooth patches; None if too few patches are fully
    measured."""
    if min(y.shape) < 2 * SIDE:
        return None
    stride = max(1, math.ceil(math.sqrt(y.numel() / PATCHES)))
    columns = (y.shape[1] - SIDE) // stride + 1
    patches, there = (unfold(a[None, None], SIDE, stride=stride)[0].mT for a in (y, known.to(y)))
    whole = there.amin(1) == 1
    left = torch.arange(len(patches), device=y.device) % columns < columns // 2
    halves = [patches[whole & left], patches[whole & ~left]]
    if min(map(len, halves)) < FEWEST:
        return None
    squares, roughness = [], []
    for own, other in (halves, halves[::-1]):
        own, other = own - own.mean(0), other - other.mean(0)
        rough = torch.linalg.eigh(own.mT @ own).eigenvectors[:, SIDE**2 // 2 :]
        texture = (own @ rough).square().sum(1)
        smooth = own[texture <= texture.quantile(0.5)]
        smooth = smooth - smooth.mean(0)
        directions = torch.linalg.eigh(smooth.mT @ smooth).eigenvectors
        squares.append((other @ directions[:, 0]).square())
        roughness.append((other @ directions[:, SIDE**2 // 2 :]).square().sum(1))
    return _Details(torch.cat(squares), torch.cat(roughness), max(ALIKE, 3 * ALIKE / stride**2))
