"""Is a blur kernel stated too small or too large? By the dips that the true one leaves in the spectrum of y."""

from torch import Tensor

from inverse.quality.kernel_shape import blurred, misshapen
from inverse.quality.spectrum import TILE
from operators import Operator

LARGER, SMALLER = (1.1, 1.25, 1.4, 1.6, 2.0, 2.5), (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)  # a fit starts at the last one's
BETTER, SURE = 0.002, 0.02  # nats per frequency from which factors are reported: any; those near 1
NEAR = (0.85, 1.15)
NATS = 16.0  # in all frequencies together, from which a factor is no chance


def stretched(operator: Operator, y: Tensor) -> tuple[float, float]:
    """The factor by which a stretched kernel fits the spectrum of a picture best, and how much better than as stated.

    Formula: the periodogram P of y, with a Hann window, is exponential with the mean
        m(v) = |H(f v)|^2 exp(X(v) b) + c,
    with H the kernel's transform, f the factor, exp(X b) a power law of pictures (`spectrum.design`) and c the noise,
    both fitted for each f (`spectrum.fitted`). A kernel of the wrong length has zeros where y has none, and none where
    y has.
    Source: Whittle 1953 (likelihood of a spectrum); Cannon 1976 (blur by the zeros of a spectrum); Field 1987 (power
    law).
    Arguments: operator; y (1, C, H, W).
    Returns: (f, nats per frequency). (1, 0) for other operators than a `Blur` with one kernel and noise, and for y
    of fewer than 48 pixels along a side.
    """
    if (seen := blurred(operator, y)) is None:
        return 1.0, 0.0
    scores: dict[float, float] = {}
    scores[1.0], middle = seen.score(seen.kernel)
    for factors in (LARGER, SMALLER):
        start = middle
        for factor in factors:
            scores[factor], start = seen.score(seen.kernel, factor, start)
    best = max(scores, key=lambda factor: scores[factor])
    return best, scores[best] - scores[1.0]


def misstated(operator: Operator, y: Tensor) -> str:
    """A message if a kernel of another size, or a disc, Gaussian or line, fits the spectrum of y better; else ""."""
    factor, gain = stretched(operator, y)
    height, width = (min(TILE, n) for n in y.shape[-2:]) if y.ndim == 4 else (1, 1)
    sized = gain * height * width >= 2 * NATS and gain >= (SURE if NEAR[0] < factor < NEAR[1] else BETTER)
    shape = misshapen(operator, y, gain if sized else 0.0)
    if shape or not sized:
        return shape
    return (
        f"the spectrum of y fits the blur kernel made {factor:g} times as large better (by {gain:.2g} nats per "
        "frequency): its length, angle or width is probably wrong, or its shape. Try others and compare the results, "
        "or infer them: --unknown length,angle of a movement, --unknown width of a Gaussian, --unknown radius of a disc"
    )
