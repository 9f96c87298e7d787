"""Signs in y and the operator that the instrument is not the one that was meant: saturated pixels, kernels' sums, masks
that are inverted or moved, counts that were scaled, views of other angles, JPEG."""

import torch
from torch import Tensor

from inverse.quality.compressed import compressed
from inverse.quality.scale import some
from inverse.quality.sinogram import inconsistent
from operators import Blur, Masking, Operator, PoissonNoise, Radon

SHARE, FEWEST = 0.01, 16  # of the entries at the largest value, and their number, from which y counts as clipped
PILE = 4  # times as many entries as at the next lower value
VALUES = 16  # distinct ones: with fewer, y is a drawing
FEW, MOST = 6, 0.7  # zeros, and share of the zeros and of what the moved mask leaves out, from which it counts as moved
UNIT = 0.01  # deviation of a kernel's sum from 1


class DoubtfulInstrument(UserWarning):
    """y has saturated pixels that the operator does not know of, is 0 wherever it was measured, or where a mask that is
    moved has its hole, or has fractions of a photon; a kernel does not sum to 1; views of a sinogram fit together at
    other angles; or a picture was compressed as JPEG."""


def doubtful(operator: Operator, y: Tensor) -> list[str]:
    """Messages on measurements y (B, *M), B strings: clipped at their largest value, by a kernel of another sum, only
    zeros under a mask, less than half a photon everywhere, views that do not fit together, or JPEG.

    Arguments: operator, of events of known shape; y, 0 where nothing was measured.
    """
    texts = [[text] if text else [] for text in [_kernel(operator)] * len(y)]
    if {"linear", "gaussian"} <= operator.capabilities and y.is_floating_point():
        support = operator.support
        seen = torch.ones_like(y, dtype=torch.bool) if support is None else support.expand(y.shape)
        for found, values, there in zip(texts, y, seen, strict=True):
            found += _clipped(some(values[None])[0][some(there[None])[0]])
    if isinstance(operator, Masking):
        for found, values, there in zip(texts, y, operator.support.expand(y.shape), strict=True):
            found += _hidden(values[there]) or _shifted(values, there)
    if isinstance(operator.noise, PoissonNoise):
        for found, values in zip(texts, y * operator.noise.aligned("peak", y), strict=True):
            found += _fractions(values)
    if isinstance(operator, Radon):
        texts = [[*found, text] for found, text in zip(texts, inconsistent(operator, y), strict=True)]
    texts = [[*found, text] for found, text in zip(texts, compressed(operator, y), strict=True)]
    return ["; ".join(filter(None, found)) for found in texts]


def _hidden(values: Tensor) -> list[str]:
    if values.numel() < VALUES or bool((values != values.flatten()[0]).any()):
        return []
    level = float(values.flatten()[0])
    return [f"every measured pixel is {level:.3g}: is the mask inverted? It is 1, or white, where pixels were measured"]


def _shifted(values: Tensor, there: Tensor) -> list[str]:
    """Of y and mask (C, H, W): the measured pixels that are exactly 0 are those that a moved mask leaves out."""
    if values.ndim != 3:
        return []
    mask = there.any(0)
    zeros = (values == 0).all(0) & mask
    if int(zeros.sum()) < FEW:
        return []
    left_out = int(mask.sum()) - _overlaps(mask, mask)  # by the mask at each shift
    both = int(zeros.sum()) - _overlaps(zeros, mask)
    share = both / left_out.clamp_min(int(zeros.sum()))
    at = int(share.argmax())
    if float(share.flatten()[at]) < MOST:
        return []
    dy, dx = (k - n if k > n // 2 else k for k, n in zip(divmod(at, mask.shape[1]), mask.shape, strict=True))
    return [
        f"{int(both.flatten()[at])} measured pixels are exactly 0, and are those that the mask leaves out when it is "
        f"moved by ({dy}, {dx}) pixels: move it, np.roll(mask, ({dy}, {dx}), (0, 1))"
    ]


def _overlaps(a: Tensor, b: Tensor) -> Tensor:
    """How many pixels a and b rolled by (i, j) share, at [i, j], of bool (H, W)."""
    size = tuple(a.shape)
    a, b = (torch.fft.rfft2(v.double()) for v in (a, b))
    return torch.fft.irfft2(a * b.conj(), s=size).round().long()


def _fractions(counts: Tensor) -> list[str]:
    most = float(counts.max())
    if not 0 < most < 0.5:
        return []
    return [
        f"the largest y is {most:.3g} photons: expected y = counts / peak, in whole counts; of a "
        "file of counts give the array counts / peak"
    ]


def _clipped(values: Tensor) -> list[str]:
    levels, counts = values.unique(return_counts=True)
    if len(levels) < VALUES:
        return []
    most, next_ = int(counts[-1]), int(counts[-2])
    if most < max(FEWEST, SHARE * len(values), PILE * next_):
        return []
    top = float(levels[-1])
    return [
        f"{most / len(values):.1%} of y are exactly at its largest value, {top:.4g}, as saturated pixels are: leave "
        f"them out by a mask, or take operators.Saturation(gain=1, limit={top:.4g}, noise=...) @ operator"
    ]


def _kernel(operator: Operator) -> str:
    sums = [part.kernel.sum((-2, -1)) for part in operator.modules() if isinstance(part, Blur)]
    wrong = next((s for each in sums for s in each.flatten().tolist() if abs(s - 1) > UNIT), None)
    if wrong is None:
        return ""
    return (
        f"the kernel of the blur sums to {wrong:.4g}, so that y is {wrong:.4g} times as bright as the picture: "
        "normalise it with kernel / kernel.sum(), unless the instrument does this"
    )
