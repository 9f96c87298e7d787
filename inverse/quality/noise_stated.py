"""Is sigma_y the noise that y has? By the noise that is seen in y, before a solve."""

import torch
from torch import Tensor

from inverse.quality.instrument import DoubtfulInstrument
from inverse.quality.noise_level import excess, random_signs
from inverse.quality.scale import inner, of_pictures
from operators import Blur, Downsampling, Fourier, Identity, Operator, Resize
from operators.estimation import estimate_sigma
from operators.kspace import deviation, outermost
from operators.tomography import Tomography
from priors import Prior

LARGE, SMALL = 1.6, 1.6  # times the noise of y, and its part, from which sigma_y is reported
AT, PART, PARTS = 1.4, 64, 2  # times sigma_y: level at which a prior is asked; pixels of a part; their number
OWN, FINE, FAR = 0.008, 0.003, 50.0  # noise that pictures have of their own; and where sigma_y is smaller by this
SURE = 0.03  # nats per value and logarithm of the level
QUIET, WEAK = 0.15, 5.0  # mean |H|^2 of a blur that leaves little else than noise at high frequencies; factor of others
BLURRED, DETAIL = 0.004, 0.035  # levels that detail may have behind such a blur, and elsewhere
COILS, ONE = 15.0, 50.0  # factors of k-space, which has signal at its border
SIDE, VIEWS, ROWS = 32, 16, 8  # least sides of a picture and a sinogram; measurements that are looked at
SHARP = (Identity, Downsampling, Resize)  # their measurements are pictures like those of the prior


class DoubtfulNoise(DoubtfulInstrument):
    """sigma_y is far from the noise that is seen in y."""


@torch.no_grad()
def misjudged(prior: Prior, operator: Operator, y: Tensor) -> list[str]:
    """Messages on a sigma_y that y contradicts, B strings, empty if it is plausible or cannot be told.

    The noise is estimated from smooth regions of pictures and sinograms (`operators.estimate_sigma`) and from the
    border of k-space. Texture is counted as noise, so that a sigma_y 1.6 times above the estimate is too large. One
    below is reported where y has little else than noise: of sinograms and strong blurs from 1.6 times on, of other
    blurs and masks from 5, of k-space from 15 (50 of one coil); of sharp pictures from 1.6 on, if a level above 1.4
    times sigma_y, and above .008 (.003 for less than a 50th of the estimate), is more probable than one below under
    the prior (by the slope of its likelihood, `inverse.quality.noise_level`).
    Arguments: prior; operator, of events of known shape; y (B, *M), of which the first 8 are tested. Noise other than
    white Gaussian, and y of fewer than 32 pixels or 16 views along a side, are not.
    """
    if not {"gaussian", "isotropic"} <= operator.noise.capabilities or operator.noise.noiseless:
        return [""] * len(y)
    found = [_judged(prior, operator.rows(torch.tensor([b])), y[b : b + 1]) for b in range(min(len(y), ROWS))]
    return found + [""] * (len(y) - len(found))


def _judged(prior: Prior, operator: Operator, y: Tensor) -> str:
    seen = level_of(operator, y)
    if seen is None or not seen[0] > 0:
        return ""
    level, factor, least, where = seen
    stated = float(operator.noise.variance(y[..., :1, :1]).flatten()[0]) ** 0.5
    if stated > LARGE * level:
        return (
            f"sigma_y = {stated:.3g} is {stated / level:.2g} times the noise of y, about {level:.3g} by {where}: give "
            "the standard deviation, in units of y (not of 0..255), unless the noise is correlated or differs between "
            "values (JPEG, photon counts)"
        )
    if level > max(factor * stated, least) and not _fine(prior, operator, y, stated, level):
        square = ", whose square was stated" if 0.6 < level**2 / stated < 1.6 else ""
        return (
            f"the noise of y is about {level:.3g} by {where}{square}, {level / stated:.2g} times sigma_y = "
            f"{stated:.3g}: give the standard deviation, not the variance, in units of y; too small a sigma_y leaves "
            "the noise in the samples"
        )
    return ""


def level_of(operator: Operator, y: Tensor) -> tuple[float, float, float, str] | None:
    """The noise of a measurement (1, *M), the factor by which detail may raise it, the level that detail alone may
    have, and where it was seen; None where it cannot be seen."""
    try:
        if isinstance(operator, Fourier):
            return _border(operator, y)
        if y.ndim != 4 or min(y.shape[-2:]) < (VIEWS if isinstance(operator, Tomography) else SIDE):
            return None
        if isinstance(operator, Tomography):
            return float(estimate_sigma(y)), SMALL, 0.0, "neighbouring rays"
        level, where = float(estimate_sigma(y, operator)), "smooth regions"
    except ValueError:  # too few values, or no pictures
        return None
    if isinstance(operator, SHARP):
        return level, SMALL, 0.0, where
    if isinstance(operator, Blur) and float(operator.kernel.square().sum((-2, -1)).max()) < QUIET:
        return level, SMALL, BLURRED, where
    return level, WEAK, DETAIL, where


def _border(operator: Fourier, y: Tensor) -> tuple[float, float, float, str] | None:
    mask = operator.mask.reshape(-1, *operator.mask.shape[-2:])[0].bool()
    if y.shape[-2:] != mask.shape or not bool(mask.any()):
        return None
    values = y[..., outermost(mask)].flatten()
    values = values[values != 0]
    if len(values) < SIDE**2 // 4:
        return None
    factor = ONE if (operator.coils or 1) == 1 else COILS
    return deviation(values), factor, 0.0, "the border of k-space"


def _fine(prior: Prior, operator: Operator, y: Tensor, stated: float, level: float) -> bool:
    """Whether detail of a sharp picture may be its own, rather than noise: by the prior at twice the stated level."""
    if not isinstance(operator, SHARP):
        return False
    prior = inner(prior)
    if not of_pictures(prior) or prior.least_size is None or y.shape[1] != prior.event_shape[0]:
        return True
    sides = [min(n, PART) for n in y.shape[-2:]]
    if min(sides) < prior.least_size or not prior.differentiable:
        return True
    starts = [[round((n - side) * k / 2) for n, side in zip(y.shape[-2:], sides, strict=True)] for k in (0, 1)]
    parts = [y[..., top : top + sides[0], left : left + sides[1]] for top, left in starts[:PARTS]]
    x = torch.cat(parts).float().contiguous()
    sized = prior.resized((y.shape[1], *sides))
    least = OWN if FAR * stated > level else FINE
    return excess(sized, x, max(AT * stated, least), random_signs(x)) < SURE * x.numel()
