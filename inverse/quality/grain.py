"""Do samples of photographs hold noise, or ringing, that the prior would not draw?"""

import torch
from torch import Tensor

from inverse.quality.noise_level import excess, random_signs
from inverse.quality.scale import inner, middle, of_pictures
from priors import Prior

LEVEL = 0.01  # of the noise that is looked for
MOST, LIMIT = -0.225, 1.0  # slopes of noise; photographs have -.6 to -.24, and above 1 the denoiser has failed
PART = 96  # pixels: side of the part in the middle that is looked at


@torch.no_grad()
def grain(prior: Prior, x: Tensor) -> float | None:
    """How probable a picture is as a noisy one: near -1 without fine detail, near 0 and above with noise.

    Formula: 2 s^2 d log p_s(x) / d s^2 per value, at s = .01, p_s being the prior's law with white noise of level s
    (`inverse.quality.noise_level`): where it falls slowly with s, x is as well explained as a noisy picture.
    Arguments: prior; x (1, 3, H, W), of which the middle is looked at.
    Returns: the slope; None for other priors than colour photographs of any size, and for smaller pictures.
    """
    prior = inner(prior)
    if not of_pictures(prior) or prior.least_size is None or prior.units is not None or prior.decoder is not None:
        return None
    if prior.event_shape[0] != 3 or x.ndim != 4 or not prior.differentiable:
        return None
    sides = [min(n, PART) for n in x.shape[-2:]]
    if min(sides) < max(prior.least_size, PART // 2):
        return None
    part = middle(x, PART).float().contiguous()
    return excess(prior.resized((3, *sides)), part, LEVEL, random_signs(part)) / part.numel()


def grainy(prior: Prior, samples: Tensor) -> list[str]:
    """Messages on samples that hold noise, B strings, empty if they do not or it cannot be told.

    Residuals of such samples have the law of the noise, as they have explained the rest of it as detail: noise that is
    correlated (resized, demosaiced, denoised), or stated too small.
    Arguments: prior; samples (B, K, *E), data units, of which the first of the first measurement is looked at: those
    of one solve have noise of one kind, and each look takes an evaluation and a backward pass.
    """
    return [_said(grain(prior, samples[0, :1])), *[""] * (len(samples) - 1)]


def _said(slope: float | None) -> str:
    if slope is None or not MOST <= slope < LIMIT:
        return ""
    return (
        "the samples hold noise or ringing that the prior takes for none of a photograph's detail: the noise of y is "
        "correlated (resized, demosaiced, denoised or JPEG), sigma_y is too small, the operator is wrong, or the "
        "method left noise (more steps); intervals are too narrow"
    )
