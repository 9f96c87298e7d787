"""Was a picture shrunk with antialiasing, or without? By the spectrum of y: without, fine structure is folded."""

import math

import torch
from torch import Tensor

from inverse.quality.spectrum import design, fitted, periodogram
from operators import Downsampling, Operator, Resize

LEAST, MOST = 32, 8  # pixels of a side; factor
FOLDED, SMOOTH = 0.035, 0.016  # nats per frequency from which a missing antialiasing is reported, and one that is there


def gains(operator: Operator, y: Tensor) -> dict[str, float]:
    """How much better other ways of shrinking fit the spectrum of a picture, by name, in nats per frequency.

    Formula: the periodogram of y is exponential with the mean sum_a |H(v + a / f)|^2 exp(X(v + a / f) b) + c, over the
    frequencies that are seen as one; H is the transform of what a pixel of y averages, exp(X b) a power law of pictures
    that is fitted for each H, and c the noise (`inverse.quality.spectrum`).
    Arguments: operator; y (1, C, H, W).
    Returns: of an antialiased `Resize`: one pixel taken, and bilinear interpolation; of others: a bicubic kernel, and
    means. Nothing for other operators, also `Downsampling`, whose means are hardly told from single pixels, for factors
    that are no integers from 2 to 8, noiseless and small y.
    """
    if not isinstance(operator, Resize) or operator.noise.noiseless or not y.is_floating_point():
        return {}
    f = operator.factor
    if f != int(f) or not 2 <= f <= MOST or min(y.shape[-2:]) < LEAST:
        return {}
    f, y = int(f), y.double().cpu()
    others: dict[str, Resize | Downsampling] = {"resize:kernel=nearest,offset=0": Resize(f, "nearest", offset=0)}
    if f > 2:  # for 2 it is the mean of blocks
        others["resize:kernel=bilinear,antialias=False"] = Resize(f, "bilinear", antialias=False)
    if aliased(operator):
        others = {"resize:kernel=bicubic": Resize(f), "downsampling": Downsampling(f)}
    noise = float(operator.noise.variance(y.clamp_min(operator.noise.least)).mean())
    power, rows, columns = periodogram(y)
    shifts = torch.arange(f, dtype=torch.float64) - f // 2
    v, w = (((each[:, None] + shifts + f / 2) % f - f / 2) / f for each in (rows, columns))  # cycles per pixel of x
    v, w = v[:, :, None].expand(-1, -1, f).flatten(1), w[:, None].expand(-1, f, -1).flatten(1)
    x = design(v, w)

    def score(one: Resize | Downsampling) -> float:
        row = _row(one, f)
        return fitted(power, _squared(row, v) * _squared(row, w), x, noise, known=True)[0]

    own = score(operator)
    return {name: score(one) - own for name, one in others.items()}


def aliased(operator: Operator) -> bool:
    """Whether a `Resize` folds fine structure into coarser one."""
    return isinstance(operator, Resize) and (operator.kernel == "nearest" or not operator.antialias)


def folded(operator: Operator, y: Tensor) -> str:
    """A message if y was probably shrunk with antialiasing and stated without, or the other way round; else ""."""
    found = gains(operator, y)
    best = max(found, key=lambda name: found[name], default="")
    if not best or found[best] < (SMOOTH if aliased(operator) else FOLDED):
        return ""
    how = "with antialiasing" if aliased(operator) else "without antialiasing"
    return (
        f"the spectrum of y is that of a picture shrunk {how} (by {found[best]:.2g} nats per frequency): "
        f"try --operator {best} with the same factor, and compare the results"
    )


def _row(operator: Resize | Downsampling, f: int) -> Tensor:
    """What a pixel of y averages, along one axis."""
    pixel = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    pixel[..., 8, 8] = 1.0
    return operator.at((1, 16 * f, 16 * f)).adjoint(pixel)[0, 0].sum(0).cpu()


def _squared(row: Tensor, v: Tensor) -> Tensor:
    """|sum_j row_j exp(-2 pi i v j)|^2 at frequencies v, in cycles per pixel."""
    each, inverse = v.unique(return_inverse=True)
    waves = torch.exp(-2j * math.pi * each[:, None] * torch.arange(len(row)))
    return (waves @ row.to(waves.dtype)).abs().square()[inverse]
