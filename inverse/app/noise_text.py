"""Noise that is not Gaussian, from the text of a command line."""

from collections.abc import Callable

from operators import Noise, PoissonGaussianNoise, PoissonNoise, RicianNoise, SpeckleNoise

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


def _example(numbers: str) -> str:
    return ",".join({"PEAK": "100", "SIGMA": "0.05", "LOOKS": "4"}[number] for number in numbers.split(","))
