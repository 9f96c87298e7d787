"""The noise of a command line: a number, estimated, or a noise that is not Gaussian."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from inverse.quality.noise_level import level_under
from operators import (
    Downsampling,
    Identity,
    Noise,
    Operator,
    PoissonGaussianNoise,
    PoissonNoise,
    Resize,
    RicianNoise,
    SpeckleNoise,
    estimate_sigma,
)
from operators.estimation import rounding_level
from priors import Prior
from priors.rounding import Rounding, rounding

SHARP = (Identity, Downsampling, Resize)  # their measurements are pictures like those of the prior
PART, LEAST = 64, 32  # pixels: side of the parts that are looked at, and the least one
AT_FLOOR = 1.1  # times the rounding of JPEG: an estimate below this is reported as rounding alone

NOISES: dict[str, tuple[Callable[..., Noise], str]] = {  # name -> class and its numbers
    "poisson": (PoissonNoise, "PEAK"),
    "camera": (PoissonGaussianNoise, "PEAK,SIGMA"),
    "rician": (RicianNoise, "SIGMA"),
    "speckle": (SpeckleNoise, "LOOKS"),
}


def is_noise(text: str | None) -> bool:
    """Whether a text names a noise, rather than a standard deviation."""
    return text is not None and text.partition(":")[0].strip().lower() in NOISES


def read_noise(text: str) -> Noise:
    """The noise of a text: poisson:PEAK, camera:PEAK,SIGMA, rician:SIGMA or speckle:LOOKS.

    Raises: ValueError for other numbers than these.
    """
    name, _, rest = text.partition(":")
    make, numbers = NOISES[name.strip().lower()]
    try:
        values = [float(value) for value in rest.split(",")]
    except ValueError:
        values = []
    if len(values) != len(numbers.split(",")):
        raise ValueError(f"sigma = {text!r}: expected {name}:{numbers}, such as {name}:{_example(numbers)}")
    return make(*values)


def described(noise: Noise) -> str:
    """A noise that is not Gaussian, in words."""
    match noise:
        case PoissonNoise():
            return f"Poisson: {_number(noise.peak)} photons are expected where the measurement is 1"
        case PoissonGaussianNoise():
            photons = described(PoissonNoise(noise.peak))
            return f"{photons}; and read noise of standard deviation {_number(noise.sigma)}"
        case RicianNoise():
            return f"Rician: standard deviation {_number(noise.sigma)} in each part of a complex value"
        case SpeckleNoise():
            return f"speckle of {_number(noise.looks)} looks: standard deviation 1 / sqrt(looks) of the measurement"
        case _:
            return repr(noise)


def _number(value: Tensor) -> str:
    return f"{value.item():.4g}" if value.numel() == 1 else f"{value.min().item():.4g} to {value.max().item():.4g}"


def _example(numbers: str) -> str:
    return ",".join({"PEAK": "100", "SIGMA": "0.05", "LOOKS": "4"}[number] for number in numbers.split(","))


def estimated_level(
    path: Path, y: Tensor, operator: Operator, read: bool = False, prior: Prior | None = None
) -> tuple[float, str]:
    """Sigma by `operators.estimate_sigma`, at least the rounding error of the file; and a description of its source.

    JPEG removes the fine detail that the estimate is based on, so its rounding error is added to the estimate. Of other
    files whose y is a sharp picture, the smaller one of this and of the most probable level under the prior
    (`inverse.quality.noise_level`): both take fine texture for noise, the prior less of it.
    """
    file = Rounding(0.0, "its values") if read or path.suffix.lower() == ".npy" else rounding(path)
    floor = file.level or rounding_level(y).item()
    found = estimate_sigma(y, operator, 0.0 if file.hides else floor).item()
    known = None if file.hides or prior is None else _sharp(prior, operator, y)
    where = "smooth regions of the measurement"
    if known is not None and found > max(floor, 1e-6):
        lower = level_under(known[0], known[1], max(floor, 1e-6), found)
        found, where = (lower, "its detail, by the prior") if lower < found else (found, where)
    found = math.hypot(found, floor) if file.hides else found
    if not found > 0:
        raise ValueError(f"{path}: neither noise nor rounding was found: give --sigma a number, in units of y")
    at_floor = found <= floor * (AT_FLOOR if file.hides else 1 + 1e-6)  # y is in single precision
    how = (
        f"the rounding of {file.text}"
        if at_floor
        else f"estimated from {where}; far too small if the noise is correlated"
    )
    how += f" and the rounding of {file.text}" if file.hides and not at_floor else ""
    return float(f"{found:.4g}"), how


def _sharp(prior: Prior, operator: Operator, y: Tensor) -> tuple[Prior, Tensor] | None:
    """The prior at the size of a few parts of y, and these; None where y is not a sharp picture of the prior's kind."""
    if not isinstance(operator, SHARP) or operator.support is not None or not prior.differentiable:
        return None
    if prior.least_size is None or y.ndim != 4 or y.shape[1] != prior.event_shape[0]:
        return None
    sides = tuple(min(n, PART) for n in y.shape[2:])
    if min(sides) < max(prior.least_size, LEAST):
        return None
    corners = [sorted({0, n - side}) for n, side in zip(y.shape[2:], sides, strict=True)]
    parts = [y[..., top : top + sides[0], left : left + sides[1]] for top in corners[0] for left in corners[1]]
    return prior.resized((y.shape[1], *sides)), torch.cat(parts).float().to(prior.device)


def level_of(sigma: str | float) -> float:
    """The standard deviation of a text.

    Raises: ValueError for what is no number.
    """
    try:
        return float(sigma)
    except ValueError:
        raise ValueError(
            f"sigma = {sigma!r}: expected a number in units of y, auto with --measured, or one of "
            + ", ".join(f"{name}:{numbers}" for name, (_, numbers) in NOISES.items())
            + "; to infer it pass --unknown sigma, with a range as in --unknown sigma=0.005:0.1"
        ) from None
