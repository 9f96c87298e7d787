"""The noise of k-space: one level of all coils, and one of each."""

import torch
from torch import Tensor

from operators.kspace import deviation, outermost

NUMBERS_OF_NOISE = 50  # least number of values to estimate a noise level from
OUTER = 0.2  # fraction of the measured samples, farthest from k = 0, from which coils are predicted by each other
PER_TERM = 2  # samples per coefficient of a prediction, at least
LEAST = 0.1  # of the level without prediction: coils that are copies of each other have no residual
UNEVEN = 1.5  # ratio of the noise of coils from which each has its own level


def noise_level(kspace: Tensor, mask: Tensor) -> float:
    """Standard deviation of the noise, estimated from the outermost tenth of the measured samples.

    Formula: median |v| / .6745 over the real and imaginary parts v of all coils: the median absolute deviation from 0,
    which is robust to a minority of samples with signal. It assumes equal noise in all coils; signal in most of these
    samples would be counted as noise; see `unlike_coils`.
    Arguments: kspace (H, W) or (coils, H, W) complex; mask (H, W) bool.
    Raises: ValueError if too few samples are measured, or they have no noise.
    """
    values = torch.view_as_real(kspace[..., outermost(mask)]).flatten()
    values = values[values != 0]  # zeros are padding
    if len(values) < NUMBERS_OF_NOISE:
        raise ValueError(
            f"the outermost tenth of the measured samples has {len(values)} nonzero values: at least "
            f"{NUMBERS_OF_NOISE} are needed to estimate the noise level; give sigma"
        )
    return deviation(values)


def noise_levels(kspace: Tensor, mask: Tensor) -> Tensor | None:
    """Standard deviation of the noise of each coil, from what the other coils do not predict at the border of k-space.

    Formula: sigma_c^2 = |z_c - W z|^2 / (2 (n - p)) over the outermost n samples, with W z the least-squares prediction
    by the p values of the other coils at the same sample and at those before and after it in the column. Signal is
    common to smooth coils, and noise is not, so that this has less signal than the power of a coil.
    Source: the prediction is that of Griswold et al. 2002 (GRAPPA), of samples that were measured.
    Arguments: kspace (coils, H, W) complex; mask (H, W) bool.
    Returns: (coils,) float64; None for one coil or too few samples.
    """
    if len(kspace) < 2 or not bool(mask.any()):
        return None
    far = outermost(mask, OUTER)
    z = kspace.to(torch.complex128)
    beside = torch.stack([z, z.roll(1, -2), z.roll(-1, -2)], 1)[..., far]  # (coils, 3, n)
    coils, _, n = beside.shape
    terms = 3 * (coils - 1)
    plain = beside[:, 0].abs().square().mean(-1).div(2).sqrt()
    if n < NUMBERS_OF_NOISE or not bool((plain > 0).all()):
        return None
    if n < PER_TERM * terms:
        return plain
    found = []
    for c in range(coils):
        others = torch.cat([beside[:c], beside[c + 1 :]]).flatten(0, 1).T
        others = others / others.norm(dim=0).clamp_min(1e-300)
        target = beside[c, 0][:, None]
        left = target - others @ torch.linalg.lstsq(others, target, driver="gelsd").solution
        found.append(float(left.abs().square().sum()) / (2 * (n - terms)))
    return torch.maximum(torch.tensor(found, dtype=torch.float64).sqrt(), LEAST * plain)


def unlike_coils(kspace: Tensor, mask: Tensor) -> Tensor | None:
    """The noise of each coil relative to their median, if it differs by more than a factor of `UNEVEN`; else None.

    Dividing every coil and its sensitivity by it leaves white noise of one level: whitening of noise that is not
    correlated between coils, as Pruessmann et al. 2001 do with a noise scan.
    Arguments and returns: as `noise_levels`.
    """
    levels = noise_levels(kspace, mask)
    if levels is None or float(levels.max()) <= UNEVEN * float(levels.min()):
        return None
    return levels / levels.median()


def combined(pictures: Tensor, maps: Tensor) -> Tensor:
    """The magnitude of the picture that explains pictures of coils by least squares; both (coils, H, W) -> (H, W)."""
    return (maps.conj() * pictures).sum(0).abs() / maps.abs().square().sum(0).clamp_min(1e-30)
