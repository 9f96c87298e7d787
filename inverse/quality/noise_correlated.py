"""Is the noise of y correlated between pixels? By what of it is left in means of 2 x 2 pixels, before a solve."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from inverse.quality.noise_level import excess, random_signs
from inverse.quality.noise_stated import SHARP
from inverse.quality.scale import inner, middle, of_pictures
from operators import Operator
from operators.estimation import estimate_sigma
from priors import Prior

LEAST, PART = 48, 128  # pixels: least side of y, and of the part in its middle
ABOVE, FINE = 1.5, 0.012  # times what white noise leaves: level at which a prior is asked; its least
MORE = 0.0  # nats per value and logarithm of the level: white noise has -.7 to -.04, correlated noise .1 at most


@torch.no_grad()
def correlated(prior: Prior, operator: Operator, y: Tensor) -> list[str]:
    """Messages on noise that is correlated between pixels, B strings, empty if it is white or cannot be decided.

    White noise of sigma leaves sigma / 2 in the means of 2 x 2 pixels; noise of a picture that was enlarged, demosaiced
    or denoised leaves more, and sigma, estimated between neighbours (`operators.estimate_sigma`), is too small.
    Reported is y of which a noise in the means above 1.5 times sigma / 2, and above .012, as pictures may have of their
    own, is more probable under the prior than one below, by the slope of its likelihood (`quality.noise_level`).
    Arguments: prior, of photographs of any size; operator, whose measurements are pictures: `Identity`, `Downsampling`
    or `Resize`; y (B, C, H, W) of at least 48 pixels along a side, of which the first is looked at: those of one solve
    have noise of one kind.
    """
    prior = inner(prior)
    able = {"gaussian", "isotropic"} <= operator.noise.capabilities and isinstance(operator, SHARP)
    if not able or y.ndim != 4 or min(y.shape[-2:]) < LEAST or not of_pictures(prior) or not prior.differentiable:
        return [""] * len(y)
    if prior.least_size is None or prior.units is not None or y.shape[1] != prior.event_shape[0]:
        return [""] * len(y)
    return [_message(prior, operator, y[:1]), *[""] * (len(y) - 1)]


def _message(prior: Prior, operator: Operator, y: Tensor) -> str:
    try:
        sigma = float(estimate_sigma(y, operator))
    except ValueError:  # too few values
        return ""
    means = avg_pool2d(middle(y, PART).float(), 2)
    level = max(ABOVE * sigma / 2, FINE)
    slope = excess(prior.resized(tuple(means.shape[1:])), means, level, random_signs(means)) / means.numel()
    if slope < MORE:
        return ""
    return (
        f"the noise of y is correlated between pixels: between neighbours it is {sigma:.2g}, but means of 2 x 2 pixels "
        f"have more than {level:.2g}, where white noise leaves {sigma / 2:.2g} (an enlarged, demosaiced, denoised or "
        "JPEG picture). An estimated sigma is too small then: give that of the whole noise, or a larger one"
    )
