"""Bootstrap confidence intervals of means over images, and differences of PSNR."""

import math

import torch
from torch import Tensor


def interval(values: Tensor) -> str:
    """95 % bootstrap interval of the mean, paired by image because the values are differences per image."""
    low, high = bootstrap(values)
    return f"{low:+.2f}, {high:+.2f}"


def bootstrap(values: Tensor, draws: int = 2000) -> tuple[float, float]:
    """Ends of the 95 % percentile interval of the mean of values (n,), one per image (Efron 1979)."""
    index = torch.randint(len(values), (draws, len(values)), generator=torch.Generator().manual_seed(0))
    low, high = torch.quantile(values[index].mean(1), values.new_tensor([0.025, 0.975])).tolist()
    return low, high


def db(squared: Tensor) -> float:
    """PSNR in dB of squared errors (n,) per pixel of range [0, 1].

    Formula: -10 log10 of their mean; of the mean, so that E|x - m|^2 = Var[x | y] + |m - E[x | y]|^2 can be read off.
    """
    return -10 * math.log10(squared.mean().item())


def gain(squared: Tensor, other: Tensor) -> tuple[float, float, float]:
    """The difference of two PSNRs, dB, with the ends of its 95 % bootstrap interval.

    Formula: 10 log10(mean e' / mean e), made linear in the errors for the bootstrap, which is paired by measurement.
    Arguments: squared, other (n,): squared errors e and e' on the same measurements.
    """
    linear = 10 / math.log(10) * (other / other.mean() - squared / squared.mean())
    gained = db(squared) - db(other)
    low, high = bootstrap(linear)
    return gained, gained + low, gained + high
