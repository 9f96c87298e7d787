"""Are the slices of a scan without coils one picture, as coils that were written as slices?"""

import warnings
from pathlib import Path

import torch
from torch import Tensor

from inverse.app.kspace.checks import KSpaceWarning
from operators.kspace import ifftc, radius

MOST = 8  # slices that are compared

APART, LEFT = 0.35, 0.6  # spread of the centres over the size, and share that is not predicted, of coils
FROM, TO, REACH = 0.1, 0.5, 2  # |k| that is predicted; samples used on each side
PER_TERM = 4  # samples per coefficient, at least


class CoilsAsSlices(KSpaceWarning):
    """The slices of a scan look like the coils of one slice."""


def check_slices(path: Path, kspace: Tensor, mask: Tensor) -> None:
    """Check that slices without coils are not the coils of one slice.

    Arguments: path, for messages; kspace (S, H, W) or (S, coils, H, W); mask (S, H, W) bool. The first 8 are compared.
    Warns: CoilsAsSlices.
    """
    if kspace.ndim == 3 and len(kspace) > 1 and one_picture(kspace[:MOST], mask[:MOST]):
        warnings.warn(
            f"{path}: the slices are the same picture, each bright at another side, as those of coils are: was the "
            "axis of coils written as slices? Expected (slices, coils, H, W), so kspace[None]",
            CoilsAsSlices,
            stacklevel=4,
        )


def one_picture(kspace: Tensor, mask: Tensor) -> bool:
    """Whether slices (S, H, W) are bright at different sides, and predict each other.

    Formula: the spread of the centres of |x|^2, relative to its radius, exceeds `APART`; and the median over successive
    slices of |z_i - W z_(i-1)|^2 / |z_i|^2 is below `LEFT`, W being the best kernel of 5 x 5 samples: the ratio of two
    smooth maps. Adjacent slices of a head predict each other too, but have their centres in one place (.015 for 10
    slices, .2 for unrelated ones, .5 to .7 for 2 to 16 coils).
    """
    there = [i for i in range(len(kspace)) if bool(kspace[i][mask[i]].any())]
    if len(there) < 2:
        return False
    z = torch.where(mask, kspace, 0)[there].to(torch.complex128)
    if _spread(ifftc(z).abs().square()) < APART:
        return False
    known = mask[there].all(0)
    left = sorted(_left(a, b, known) for a, b in zip(z[1:], z[:-1], strict=True))
    return left[len(left) // 2] < LEFT


def _spread(power: Tensor) -> float:
    """The root mean square distance of the centres of pictures (S, H, W) from their mean, over the radius."""
    share = power / power.sum((-2, -1), keepdim=True)
    places = torch.cartesian_prod(*(torch.arange(n, dtype=share.dtype) for n in power.shape[-2:]))
    centres, mean = share.flatten(1) @ places, share.flatten(1).mean(0) @ places
    size = share.flatten(1).mean(0) @ (places - mean).square().sum(1)
    return float(((centres - mean).square().sum(1).mean() / size).sqrt())


def _left(z: Tensor, other: Tensor, known: Tensor) -> float:
    """The share of the energy of z (H, W) that a kernel on another slice does not predict; 1 for too few samples."""
    distance = radius((z.shape[0], z.shape[1]))
    shifts = range(-REACH, REACH + 1)
    whole = torch.stack([known.roll((i, j), (0, 1)) for i in shifts for j in shifts]).all(0)
    chosen = whole & (distance > FROM) & (distance < TO)
    if int(chosen.sum()) < PER_TERM * len(shifts) ** 2:
        chosen = whole & (distance < TO)
    if int(chosen.sum()) < PER_TERM * len(shifts) ** 2:
        return 1.0
    terms = torch.stack([other.roll((i, j), (0, 1))[chosen] for i in shifts for j in shifts], 1)
    target = z[chosen][:, None]
    rest = target - terms @ torch.linalg.lstsq(terms, target, driver="gelsd").solution
    return float(rest.abs().square().sum() / target.abs().square().sum().clamp_min(1e-300))
